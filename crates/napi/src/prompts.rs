//! What a learned prompt is made of: its vectors and what they lie near, and the originals' checkpoints.

use crate::Model;
use crate::job::{Job, run};
use cocoop_core::bundle::Bundle;
use cocoop_core::{door, original};
use napi::bindgen_prelude::{AsyncTask, Float32Array, Uint8Array};
use napi_derive::napi;
use std::sync::Arc;

/// The vectors of a bundle.
#[napi(object)]
pub struct PromptVectors {
    /// (`n_ctx`, dim), or (`n_cls`, `n_ctx`, dim) if class-specific.
    pub ctx: Float32Array,
    /// Vectors in a prompt.
    #[napi(js_name = "n_ctx")]
    pub n_ctx: u32,
    /// Length of a vector.
    pub dim: u32,
    /// Whether each class has its own.
    pub csc: bool,
    /// (n, dim): what the Meta-Net adds to every vector for each image; empty without one.
    pub shift: Float32Array,
}

#[napi]
impl Model {
    /// JSON [[{id, token, distance}]]: the nearest `k` tokens of each of `vectors` (n, width), by their embeddings.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn nearest_tokens(&self, vectors: Float32Array, k: u32) -> AsyncTask<Job<String>> {
        let (clip, vectors) = (Arc::clone(&self.clip), vectors.to_vec());
        run(move || door::nearest_tokens(&clip, &vectors, k as usize))
    }

    /// The vectors of a bundle, and their shift for each of (n, `embed_dim`) normalised features.
    #[napi(ts_return_type = "Promise<PromptVectors>")]
    pub fn prompt_vectors(
        &self,
        bundle: Uint8Array,
        image_features: Option<Float32Array>,
    ) -> AsyncTask<Job<PromptVectors>> {
        let (clip, bundle) = (Arc::clone(&self.clip), bundle.to_vec());
        let features = image_features.map(|features| features.to_vec()).unwrap_or_default();
        run(move || {
            let (learner, shift) = door::prompt_vectors(&clip, &bundle, &features)?;
            Ok(PromptVectors {
                ctx: learner.ctx.into(),
                n_ctx: learner.n_ctx as u32,
                dim: learner.ctx_dim as u32,
                csc: learner.csc,
                shift: shift.into(),
            })
        })
    }

    /// The bytes of the bundle of one of the originals' checkpoints: JSON {classnames, `class_token_position`,
    /// `ctx_init`, name, `model_id`, training}.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn import_checkpoint(
        &self,
        checkpoint: Uint8Array,
        spec: String,
    ) -> AsyncTask<Job<Uint8Array>> {
        let (clip, file) = (Arc::clone(&self.clip), checkpoint.to_vec());
        run(move || Ok(door::import_checkpoint(&clip, file, &spec)?.into()))
    }

    /// The bytes of the checkpoint that the originals would have saved of a bundle.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn export_checkpoint(&self, bundle: Uint8Array, epoch: u32) -> AsyncTask<Job<Uint8Array>> {
        let (clip, bundle) = (Arc::clone(&self.clip), bundle.to_vec());
        run(move || Ok(original::export(&clip, &Bundle::read(&bundle)?, epoch)?.into()))
    }
}
