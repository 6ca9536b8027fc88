//! CLIP's text transformer from embeddings on: a token's row, a learned `ctx` row and a shifted one are the same thing
//! to it. Forward and the gradient of the embeddings; which rows see which is the plan's business
//! ([`crate::prompt::plan`]).

use super::block::{Plan, Transformer, Workspace, load_norm, load_projection};
use super::config::Config;
use super::weights::Weights;
use crate::kernels::attention::Heads;
use crate::ops::Ops;
use crate::{Error, Result};

/// The text tower.
pub struct Text<O: Ops> {
    /// (`context_length`, width)
    positional_embedding: Vec<f32>,
    transformer: Transformer<O>,
    ln_final: O::Norm,
    projection: O::Linear,
    width: usize,
    embed_dim: usize,
}

/// The embeddings of some tokens: those of a bundle's class names, or those that [`super::clip::Clip::tokens`] was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenTable {
    /// The rows' ids, ascending.
    ids: Vec<u32>,
    rows: Vec<f32>,
    zero: Vec<f32>,
}

impl TokenTable {
    /// A table that holds `rows` (n, `width`) of the tokens `ids` (n), ascending.
    /// # Errors
    /// [`Error::Shape`], or [`Error::Model`] if the ids do not ascend.
    pub fn some(ids: Vec<u32>, rows: Vec<f32>, width: usize) -> Result<Self> {
        if ids.len() * width != rows.len() {
            let (expected, got) = (vec![rows.len() / width], vec![ids.len()]);
            return Err(Error::Shape { name: "token ids".into(), expected, got });
        }
        if !ids.is_sorted_by(|a, b| a < b) {
            return Err(Error::Model { why: "the token table's ids do not ascend".into() });
        }
        Ok(Self { ids, rows, zero: vec![0.0; width] })
    }

    /// The ids and rows.
    pub fn parts(&self) -> (&[u32], &[f32]) {
        (&self.ids, &self.rows)
    }

    /// The embedding of token `id` (width); zeros if the model has none, as in the whole table.
    pub fn row(&self, id: u32) -> &[f32] {
        let width = self.zero.len();
        self.ids.binary_search(&id).map_or(&self.zero, |row| &self.rows[row * width..][..width])
    }
}

impl<O: Ops> Text<O> {
    /// Reads the tower.
    /// # Errors
    /// Of [`Weights::get`].
    pub fn load(ops: &O, weights: &dyn Weights, config: &Config) -> Result<Self> {
        let width = config.text.width;
        Ok(Self {
            positional_embedding: weights
                .get("positional_embedding", &[config.context_length, width])?,
            transformer: Transformer::load(
                ops,
                weights,
                "transformer",
                config.text.layers,
                Heads { width, head: width / config.text.heads },
                config.text.mlp,
                config.text.activation,
            )?,
            ln_final: load_norm(ops, weights, "ln_final", width)?,
            projection: load_projection(ops, weights, "text_projection", width, config.embed_dim)?,
            width,
            embed_dim: config.embed_dim,
        })
    }

    /// Length of a row: `ctx_dim`.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of blocks: what [`Workspace::training`] asks for.
    pub fn layers(&self) -> usize {
        self.transformer.layers()
    }

    /// The positional embedding of position `depth` (width).
    pub fn position(&self, depth: usize) -> &[f32] {
        &self.positional_embedding[depth * self.width..][..self.width]
    }

    /// `features` = the unnormalised `text_features` (ends, `embed_dim`) of `x` (rows, width), embeddings with positions.
    pub fn encode(
        &self,
        ops: &O,
        work: &mut Workspace<O>,
        features: &mut Vec<f32>,
        x: &[f32],
        plan: &Plan<O>,
    ) {
        ops.upload(&mut work.x, x);
        self.transformer.forward(ops, work, plan);
        let Workspace { x, normed, projected, .. } = work;
        ops.layer_norm(normed, x, &self.ln_final);
        ops.linear(projected, normed, &self.projection, false);
        ops.download(features, projected);
    }

    /// The gradient of `x` (rows, width), given that of [`Self::encode`]'s result, which must be the workspace's latest.
    pub fn backward(
        &self,
        ops: &O,
        work: &mut Workspace<O>,
        dfeatures: &[f32],
        plan: &Plan<O>,
        rows: usize,
    ) -> Vec<f32> {
        let Workspace { x, d, normed, projected, .. } = work;
        ops.upload(projected, dfeatures);
        ops.linear_backward(normed, projected, &self.projection, false);
        ops.zero(d, dfeatures.len() / self.embed_dim * self.width);
        ops.layer_norm_backward(d, normed, x, &self.ln_final);
        self.transformer.backward(ops, work, plan, rows);
        let mut dx = Vec::new();
        ops.download(&mut dx, &work.d);
        dx
    }
}
