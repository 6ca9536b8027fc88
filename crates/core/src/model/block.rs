//! The transformer of both towers: pre-LayerNorm residual blocks (Radford et al. 2021, 2.4; `OpenAI`'s model file).
//! Rows are packed, (rows, width); what differs between image and text, training and inference, is only the
//! attention plan and how many sets of activations the workspace holds. In the last block only `ends` (the class
//! token, the end-of-text rows) are queries: nothing reads the other rows after it.

use super::resnet;
use super::weights::Weights;
use crate::Result;
use crate::kernels::attention::Heads;
use crate::ops::{Activation, Ops};
use std::mem::swap;

/// One residual block: `x += out(attention(ln_1 x)); x += proj(activation(fc(ln_2 x)))`.
struct Block<O: Ops> {
    ln_1: O::Norm,
    query: O::Linear,
    key_value: O::Linear,
    out: O::Linear,
    ln_2: O::Norm,
    fc: O::Linear,
    proj: O::Linear,
}

/// A stack of blocks.
pub struct Transformer<O: Ops> {
    blocks: Vec<Block<O>>,
    heads: Heads,
    activation: Activation,
}

/// Which rows see which, in all blocks and in the last.
pub struct Plan<O: Ops> {
    /// Every row is a query.
    pub all: O::Plan,
    /// Only the rows `ends` are queries.
    pub last: O::Plan,
    /// The rows that leave the transformer.
    pub ends: O::Rows,
}

/// What backward reads of one block's forward pass.
struct Saved<O: Ops> {
    x: O::Buffer,
    q: O::Buffer,
    kv: O::Buffer,
    mid: O::Buffer,
    fc: O::Buffer,
}

/// Buffers of a forward and a backward pass; they grow to the largest batch seen and stay.
/// Inference reuses one set of activations for all blocks, training keeps one for each.
pub struct Workspace<O: Ops> {
    saved: Vec<Saved<O>>,
    /// (ends, width): the transformer's result; in backward, its gradient and then that of each block's input.
    pub(super) x: O::Buffer,
    pub(super) d: O::Buffer,
    pub(super) h: O::Buffer,
    ends: O::Buffer,
    attended: O::Buffer,
    pub(super) wide: O::Buffer,
    dq: O::Buffer,
    dkv: O::Buffer,
    /// Of an image tower that is a ResNet.
    pub(super) maps: resnet::Buffers<O>,
    /// (ends, width) and (ends, `embed_dim`): what stands behind the last block.
    pub(super) normed: O::Buffer,
    pub(super) projected: O::Buffer,
    /// What is laid out on the host before it goes where the backend computes.
    pub(super) host: Vec<f32>,
    /// The plan of the latest (images, rows) of the image tower.
    pub(super) images: Option<((usize, usize), Plan<O>)>,
}

impl<O: Ops> Workspace<O> {
    /// For forward passes only.
    pub fn inference() -> Self {
        Self::with_sets(1)
    }

    /// For a forward pass through `layers` blocks and the backward pass after it.
    pub fn training(layers: usize) -> Self {
        Self::with_sets(layers)
    }

    fn with_sets(sets: usize) -> Self {
        let saved = || Saved {
            x: O::Buffer::default(),
            q: O::Buffer::default(),
            kv: O::Buffer::default(),
            mid: O::Buffer::default(),
            fc: O::Buffer::default(),
        };
        Self {
            saved: (0..sets.max(1)).map(|_| saved()).collect(),
            x: O::Buffer::default(),
            d: O::Buffer::default(),
            h: O::Buffer::default(),
            ends: O::Buffer::default(),
            attended: O::Buffer::default(),
            wide: O::Buffer::default(),
            dq: O::Buffer::default(),
            dkv: O::Buffer::default(),
            maps: resnet::Buffers::default(),
            normed: O::Buffer::default(),
            projected: O::Buffer::default(),
            host: Vec::new(),
            images: None,
        }
    }
}

impl<O: Ops> Transformer<O> {
    /// Reads `layers` blocks named `{prefix}.resblocks.{i}`; `mlp` is the length of a row inside their MLPs.
    /// # Errors
    /// Of [`Weights::get`]: a tensor is missing or has another shape.
    pub fn load(
        ops: &O,
        weights: &dyn Weights,
        prefix: &str,
        layers: usize,
        heads: Heads,
        mlp: usize,
        activation: Activation,
    ) -> Result<Self> {
        let width = heads.width;
        let block = |i: usize| {
            let name = |leaf: &str| format!("{prefix}.resblocks.{i}.{leaf}");
            let norm = |leaf: &str| load_norm(ops, weights, &name(leaf), width);
            let linear = |leaf: &str, outputs: usize, inputs: usize| -> Result<O::Linear> {
                let name = name(leaf);
                let weight =
                    weights.matrix(&format!("{name}.weight"), &[outputs, inputs], 0..outputs)?;
                let bias = weights.get(&format!("{name}.bias"), &[outputs])?;
                Ok(ops.new_linear(weight, Some(bias)))
            };
            let mut q_bias = weights.get(&name("attn.in_proj_bias"), &[3 * width])?;
            let kv_bias = q_bias.split_off(width);
            let qkv =
                |rows| weights.matrix(&name("attn.in_proj_weight"), &[3 * width, width], rows);
            Ok(Block {
                ln_1: norm("ln_1")?,
                query: ops.new_linear(qkv(0..width)?, Some(q_bias)),
                key_value: ops.new_linear(qkv(width..3 * width)?, Some(kv_bias)),
                out: linear("attn.out_proj", width, width)?,
                ln_2: norm("ln_2")?,
                fc: linear("mlp.c_fc", mlp, width)?,
                proj: linear("mlp.c_proj", width, mlp)?,
            })
        };
        #[cfg(feature = "parallel")]
        let blocks = {
            use rayon::prelude::*;
            (0..layers).into_par_iter().map(block).collect::<Result<_>>()?
        };
        #[cfg(not(feature = "parallel"))]
        let blocks = (0..layers).map(block).collect::<Result<_>>()?;
        Ok(Self { blocks, heads, activation })
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// From `work.x` (rows, width) to `work.x` (ends, width).
    pub fn forward(&self, ops: &O, work: &mut Workspace<O>, plan: &Plan<O>) {
        let Workspace { saved, x, h, ends, attended, wide, .. } = work;
        let sets = saved.len();
        for (i, block) in self.blocks.iter().enumerate() {
            let saved = &mut saved[i % sets];
            let last = i + 1 == self.blocks.len();
            swap(&mut saved.x, x);
            ops.layer_norm(h, &saved.x, &block.ln_1);
            ops.linear(&mut saved.kv, h, &block.key_value, false);
            if last {
                ops.gather(ends, h, &plan.ends, self.heads.width);
                ops.linear(&mut saved.q, ends, &block.query, false);
                ops.gather(&mut saved.mid, &saved.x, &plan.ends, self.heads.width);
            } else {
                ops.linear(&mut saved.q, h, &block.query, false);
                ops.copy(&mut saved.mid, &saved.x);
            }
            let attention = if last { &plan.last } else { &plan.all };
            ops.attention(attended, &saved.q, &saved.kv, attention, self.heads);
            ops.linear(&mut saved.mid, attended, &block.out, true);
            ops.layer_norm(h, &saved.mid, &block.ln_2);
            ops.linear(&mut saved.fc, h, &block.fc, false);
            ops.activation(wide, &saved.fc, self.activation);
            ops.copy(x, &saved.mid);
            ops.linear(x, wide, &block.proj, true);
        }
    }

    /// From `work.d` (ends, width), the gradient of [`Self::forward`]'s result, to `work.d` (rows, width), that of its
    /// input. The shared rows of a trie receive the sum over all that hang under them.
    /// # Panics
    /// If the workspace was not made by [`Workspace::training`] for as many blocks.
    pub fn backward(&self, ops: &O, work: &mut Workspace<O>, plan: &Plan<O>, rows: usize) {
        let Workspace { saved, d, h, ends, attended, wide, dq, dkv, .. } = work;
        assert!(saved.len() >= self.blocks.len(), "backward needs a training workspace");
        for (i, block) in self.blocks.iter().enumerate().rev() {
            let saved = &saved[i];
            let last = i + 1 == self.blocks.len();
            let attention = if last { &plan.last } else { &plan.all };
            ops.linear_backward(wide, d, &block.proj, false);
            ops.activation_backward(wide, &saved.fc, self.activation);
            ops.linear_backward(h, wide, &block.fc, false);
            ops.layer_norm_backward(d, h, &saved.mid, &block.ln_2);
            ops.linear_backward(attended, d, &block.out, false);
            ops.attention_backward(dq, dkv, attended, &saved.q, &saved.kv, attention, self.heads);
            ops.linear_backward(h, dkv, &block.key_value, false);
            if last {
                ops.linear_backward(attended, dq, &block.query, false);
                ops.scatter_add(h, attended, &plan.ends, self.heads.width);
                swap(d, ends);
                ops.zero(d, rows * self.heads.width);
                ops.scatter_add(d, ends, &plan.ends, self.heads.width);
            } else {
                ops.linear_backward(h, dq, &block.query, true);
            }
            ops.layer_norm_backward(d, h, &saved.x, &block.ln_1);
        }
    }
}

/// Reads the LayerNorm `name`.
/// # Errors
/// Of [`Weights::get`].
pub fn load_norm<O: Ops>(
    ops: &O,
    weights: &dyn Weights,
    name: &str,
    width: usize,
) -> Result<O::Norm> {
    let weight = weights.get(&format!("{name}.weight"), &[width])?;
    Ok(ops.new_norm(weight, weights.get(&format!("{name}.bias"), &[width])?))
}

/// Reads the projection `name`, stored (width, `embed_dim`) for x·P, without bias.
/// # Errors
/// Of [`Weights::get`].
pub fn load_projection<O: Ops>(
    ops: &O,
    weights: &dyn Weights,
    name: &str,
    width: usize,
    embed_dim: usize,
) -> Result<O::Linear> {
    Ok(ops.new_linear(weights.projection(name, width, embed_dim)?, None))
}
