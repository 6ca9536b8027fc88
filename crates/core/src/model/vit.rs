//! CLIP's vision transformer (`OpenAI`'s `VisionTransformer`): patches, class token, positions, `ln_pre`, blocks,
//! `ln_post` of the class token, projection. It is frozen and has no backward.

use super::block::{Plan, Transformer, Workspace, load_norm, load_projection};
use super::config::{Config, Vit};
use super::weights::Weights;
use crate::Result;
use crate::kernels::attention;
use crate::ops::Ops;

/// The image tower.
pub struct VisionTransformer<O: Ops> {
    conv1: O::Linear,
    /// (grid² + 1, width): the class embedding in row 0, plus the positional embedding.
    base: Vec<f32>,
    ln_pre: O::Norm,
    transformer: Transformer<O>,
    ln_post: O::Norm,
    proj: O::Linear,
    image_size: usize,
    patch_size: usize,
    width: usize,
}

impl<O: Ops> VisionTransformer<O> {
    /// Reads the tower.
    /// # Errors
    /// Of [`Weights::get`].
    pub fn load(ops: &O, weights: &dyn Weights, config: &Config, shape: &Vit) -> Result<Self> {
        let (width, patch_size) = (shape.width, shape.patch_size);
        let rows = (config.image_size / patch_size).pow(2) + 1;
        let filters = [width, 3, patch_size, patch_size];
        let conv1 = weights.matrix("visual.conv1.weight", &filters, 0..width)?;
        let mut base = weights.get("visual.positional_embedding", &[rows, width])?;
        let class_embedding = weights.get("visual.class_embedding", &[width])?;
        base.iter_mut().zip(class_embedding).for_each(|(x, class)| *x += class);
        Ok(Self {
            conv1: ops.new_linear(conv1, None),
            base,
            ln_pre: load_norm(ops, weights, "visual.ln_pre", width)?,
            transformer: Transformer::load(
                ops,
                weights,
                "visual.transformer",
                shape.layers,
                width,
                shape.activation,
            )?,
            ln_post: load_norm(ops, weights, "visual.ln_post", width)?,
            proj: load_projection(ops, weights, "visual.proj", width, config.embed_dim)?,
            image_size: config.image_size,
            patch_size,
            width,
        })
    }

    /// The unnormalised `image_features` (batch, `embed_dim`) of `pixels` (batch, 3, `image_size`, `image_size`).
    /// # Panics
    /// If `pixels` is no whole number of images.
    pub fn encode(&self, ops: &O, work: &mut Workspace<O>, pixels: &[f32]) -> Vec<f32> {
        let image_len = 3 * self.image_size * self.image_size;
        assert!(pixels.len().is_multiple_of(image_len));
        let batch = pixels.len() / image_len;
        let grid = self.image_size / self.patch_size;
        let rows = grid * grid + 1;
        let (mut patches, mut embedded, mut x) =
            (O::Buffer::default(), O::Buffer::default(), O::Buffer::default());
        ops.upload(&mut patches, &self.patches(pixels, image_len));
        ops.linear(&mut embedded, &patches, &self.conv1, false);
        ops.upload(&mut x, &self.base.repeat(batch));
        let behind_class =
            (0..batch * rows).filter(|row| row % rows > 0).map(|row| row as u32).collect();
        ops.scatter_add(&mut x, &embedded, &ops.new_rows(behind_class), self.width);
        ops.layer_norm(&mut work.x, &x, &self.ln_pre);
        let plan = Plan {
            all: ops.new_plan(attention::Plan::full(batch, rows, rows)),
            last: ops.new_plan(attention::Plan::full(batch, rows, 1)),
            ends: ops.new_rows((0..batch).map(|image| (image * rows) as u32).collect()),
        };
        self.transformer.forward(ops, work, &plan);
        ops.layer_norm(&mut embedded, &work.x, &self.ln_post);
        ops.linear(&mut x, &embedded, &self.proj, false);
        ops.download(&x)
    }

    /// Every patch as a row (batch·grid², 3·patch²), in the order of the filter's own (channel, y, x).
    fn patches(&self, pixels: &[f32], image_len: usize) -> Vec<f32> {
        let (size, patch) = (self.image_size, self.patch_size);
        let grid = size / patch;
        let mut patches = Vec::with_capacity(pixels.len());
        for image in pixels.chunks_exact(image_len) {
            for corner in (0..grid * grid).map(|i| i / grid * patch * size + i % grid * patch) {
                for line in
                    (0..3 * patch).map(|i| corner + (i / patch) * size * size + i % patch * size)
                {
                    patches.extend_from_slice(&image[line..line + patch]);
                }
            }
        }
        patches
    }
}
