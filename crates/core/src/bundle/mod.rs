//! The prompt bundle: one safetensors file with what was learned and all that is needed to serve it.
//! docs/bundle-format.md defines it; [`read`] is strict, [`Bundle::write`] deterministic.

mod format;
mod read;

pub use format::{Metadata, Method, ModelId, Prompt};

use crate::model::text::TokenTable;
use crate::prompt::learner::Learner;
use crate::{Error, Result};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A bundle in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// What it says of itself.
    pub metadata: Metadata,
    /// What was learned; nothing for zero-shot.
    pub learner: Option<Learner>,
    /// (`n_cls`, `embed_dim`), L2-normalised, where they do not depend on the image.
    pub text_features: Option<Vec<f32>>,
    /// The token embeddings of the classes' prompts, where something was learned.
    pub tokens: Option<TokenTable>,
    /// Logits of the probe image (`n_cls`).
    pub probe_logits: Vec<f32>,
}

impl Bundle {
    /// Reads a bundle.
    /// # Errors
    /// [`Error::Safetensors`], [`Error::Bundle`], [`Error::MissingTensor`], [`Error::Shape`], [`Error::Dtype`],
    /// [`Error::NotFinite`]: each broken promise of docs/bundle-format.md by its name.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        read::bundle(bytes)
    }

    /// That it was made for the model of this hash and these lengths.
    /// # Errors
    /// [`Error::ModelMismatch`], [`Error::Shape`].
    pub fn check_fits(&self, sha256: &str, embed_dim: usize, ctx_dim: usize) -> Result<()> {
        let model = &self.metadata.model;
        if model.sha256 != sha256 {
            let (id, expected, got) = (model.id.clone(), model.sha256.clone(), sha256.into());
            return Err(Error::ModelMismatch { id, expected, got });
        }
        let width = self.learner.as_ref().map(|learner| ("ctx_dim", learner.ctx_dim, ctx_dim));
        let lengths = [("embed_dim", model.embed_dim, embed_dim)].into_iter().chain(width);
        for (name, expected, got) in lengths {
            if expected != got {
                let (name, expected, got) = (name.into(), vec![expected], vec![got]);
                return Err(Error::Shape { name, expected, got });
            }
        }
        Ok(())
    }

    /// `classnames`, if they are others than the bundle's own.
    /// # Errors
    /// [`Error::Classes`] if there are none, or if its vectors serve its own classes only.
    pub fn other_classes(&self, classnames: Option<Vec<String>>) -> Result<Option<Vec<String>>> {
        let other = classnames.filter(|names| *names != self.metadata.classnames);
        if other.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::Classes { why: "the list is empty".into() });
        }
        if self.metadata.prompt.csc && other.is_some() {
            let why = "class-specific vectors were learned for the bundle's own classes and fit no others".into();
            return Err(Error::Classes { why });
        }
        Ok(other)
    }

    /// How far `logits` (`n_cls`) of the probe image are from those that are stored: largest difference over the largest
    /// of them.
    /// # Errors
    /// [`Error::Classes`] if they are not of the bundle's own classes.
    pub fn probe_difference(&self, logits: &[f32]) -> Result<f32> {
        let expected = &self.probe_logits;
        if logits.len() != expected.len() {
            return Err(Error::Classes { why: "the probe is for the bundle's own classes".into() });
        }
        let largest = expected.iter().fold(f32::MIN_POSITIVE, |max, z| max.max(z.abs()));
        let difference =
            logits.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        Ok(difference / largest)
    }

    /// The file's bytes: a function of the content alone.
    /// # Errors
    /// [`Error::Bundle`] if the content is not what [`Self::read`] accepts.
    pub fn write(&self) -> Result<Vec<u8>> {
        let mut tensors: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let n_cls = self.metadata.classnames.len();
        for (name, shape, values) in self.learner.iter().flat_map(Learner::tensors) {
            tensors.push((name, Dtype::F32, shape, f32_bytes(values)));
        }
        if let Some(features) = &self.text_features {
            tensors.push((
                "text_features",
                Dtype::F32,
                vec![n_cls, self.metadata.model.embed_dim],
                f32_bytes(features),
            ));
        }
        if let Some((ids, rows)) = self.tokens.as_ref().map(TokenTable::parts) {
            tensors.push((
                "token_ids",
                Dtype::U32,
                vec![ids.len()],
                ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
            ));
            tensors.push((
                "token_rows",
                Dtype::F32,
                vec![ids.len(), rows.len() / ids.len()],
                f32_bytes(rows),
            ));
        }
        tensors.push(("probe.logits", Dtype::F32, vec![n_cls], f32_bytes(&self.probe_logits)));
        let bytes = serialize(&tensors, ("cocoop", self.metadata.to_json()))?;
        Self::read(&bytes)?; // what we write, we can read
        Ok(bytes)
    }
}

/// A safetensors file of these tensors (name, type, shape, little-endian bytes) and one metadata entry: with only one the
/// bytes are a function of the content.
/// # Errors
/// [`Error::Safetensors`] if a shape does not fit its bytes.
pub fn serialize(
    tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)],
    (key, text): (&str, String),
) -> Result<Vec<u8>> {
    let bad = |error: safetensors::SafeTensorError| Error::Safetensors { why: error.to_string() };
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| {
            Ok((*name, TensorView::new(*dtype, shape.clone(), data).map_err(bad)?))
        })
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, Some([(key.to_string(), text)].into())).map_err(bad)
}

/// The little-endian bytes of `values`.
pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::learner::MetaNet;
    use crate::prompt::template::ClassTokenPosition;
    use serde_json::{Map, json};

    fn metadata(method: Method) -> Metadata {
        Metadata {
            name: "test".into(),
            method,
            classnames: vec!["dog".into(), "cat".into()],
            prompt: Prompt {
                n_ctx: if method == Method::ZeroShot { 0 } else { 4 },
                ctx_init: None,
                csc: false,
                class_token_position: ClassTokenPosition::End,
                templates: if method == Method::ZeroShot { vec!["a {}.".into()] } else { vec![] },
            },
            model: ModelId {
                id: "tiny".into(),
                sha256: "ab".repeat(32),
                embed_dim: 32,
                image_size: 16,
            },
            training: json!({"seed": 1, "lr": 0.002}).as_object().unwrap().clone(),
            metrics: Map::new(),
        }
    }

    fn bundle(method: Method) -> Bundle {
        let meta_net = (method == Method::Cocoop).then(|| MetaNet::random(32, 2, 8, 1));
        let learner = Learner::new(Learner::random_ctx(4, 8, 1), 4, 8, false, meta_net);
        Bundle {
            metadata: metadata(method),
            learner: (method != Method::ZeroShot).then_some(learner),
            text_features: (method != Method::Cocoop).then(|| vec![0.1; 64]),
            tokens: (method != Method::ZeroShot)
                .then(|| TokenTable::some(vec![3, 7], vec![0.5; 16], 8).unwrap()),
            probe_logits: vec![1.0, 2.0],
        }
    }

    #[test]
    fn what_is_written_is_read_and_the_bytes_are_the_contents() {
        for method in [Method::ZeroShot, Method::Coop, Method::Cocoop] {
            let bundle = bundle(method);
            let bytes = bundle.write().unwrap();
            assert_eq!(Bundle::read(&bytes).unwrap(), bundle);
            assert_eq!(bundle.clone().write().unwrap(), bytes);
        }
    }

    #[test]
    fn truncated_and_flipped_files_are_refused_or_read_whole_never_a_panic() {
        let bytes = bundle(Method::Cocoop).write().unwrap();
        for length in 0..bytes.len() {
            assert!(Bundle::read(&bytes[..length]).is_err(), "{length}");
        }
        for i in 0..bytes.len().min(4096) {
            let mut flipped = bytes.clone();
            flipped[i] ^= 0x20;
            let _ = Bundle::read(&flipped);
        }
    }

    #[test]
    fn every_broken_promise_has_its_error() {
        let broken = |change: &dyn Fn(&mut Bundle)| {
            let mut bundle = bundle(Method::Cocoop);
            change(&mut bundle);
            bundle.write().unwrap_err()
        };
        assert_eq!(broken(&|b| b.probe_logits[0] = f32::NAN).code(), "not_finite");
        let no_classes = |b: &mut Bundle| {
            b.metadata.classnames.clear();
            b.probe_logits.clear();
        };
        assert_eq!(broken(&no_classes).code(), "bad_bundle");
        assert_eq!(broken(&|b| b.text_features = Some(vec![0.0; 64])).code(), "bad_bundle");
        assert_eq!(
            broken(&|b| b.learner.as_mut().unwrap().meta_net = None).code(),
            "missing_tensor"
        );
        assert_eq!(broken(&|b| b.tokens = None).code(), "missing_tensor");
        assert_eq!(broken(&|b| b.metadata.prompt.n_ctx = 5).code(), "bad_shape");
        assert_eq!(broken(&|b| b.metadata.model.sha256 = "xyz".into()).code(), "bad_bundle");
    }
}
