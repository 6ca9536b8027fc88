//! CLIP's vision transformer (`OpenAI`'s `VisionTransformer`): patches, class token, positions, `ln_pre`, blocks,
//! `ln_post` of the class token, projection. It is frozen and has no backward.

use super::block::{Plan, Transformer, Workspace, load_norm, load_projection};
use super::config::{Config, Vit};
use super::weights::Weights;
use crate::Result;
use crate::kernels::attention::{self, Heads};
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
                Heads { width, head: width / shape.heads },
                shape.mlp,
                shape.activation,
            )?,
            ln_post: load_norm(ops, weights, "visual.ln_post", width)?,
            proj: load_projection(ops, weights, "visual.proj", width, config.embed_dim)?,
            image_size: config.image_size,
            patch_size,
            width,
        })
    }

    /// `features` = the unnormalised `image_features` (batch, `embed_dim`) of `pixels` (batch, 3, `image_size`,
    /// `image_size`).
    /// # Panics
    /// If `pixels` is no whole number of images.
    pub fn encode(
        &self,
        ops: &O,
        work: &mut Workspace<O>,
        features: &mut Vec<f32>,
        pixels: &[f32],
    ) {
        let image_len = 3 * self.image_size * self.image_size;
        assert!(pixels.len().is_multiple_of(image_len));
        let batch = pixels.len() / image_len;
        let rows = self.base.len() / self.width;
        let Workspace { x, h, wide, host, images, .. } = work;
        self.patches(host, pixels);
        ops.upload(wide, host);
        host.clear();
        (0..batch).for_each(|_| host.extend_from_slice(&self.base));
        ops.upload(h, host);
        ops.linear(h, wide, &self.conv1, true);
        ops.layer_norm(x, h, &self.ln_pre);
        if images.as_ref().is_none_or(|(known, _)| *known != (batch, rows)) {
            let plan = Plan {
                all: ops.new_plan(attention::Plan::full(batch, rows, rows)),
                last: ops.new_plan(attention::Plan::full(batch, rows, 1)),
                ends: ops.new_rows((0..batch).map(|image| (image * rows) as u32).collect()),
            };
            *images = Some(((batch, rows), plan));
        }
        let images = images.take(); // so that the rest of the workspace can be lent
        self.transformer.forward(ops, work, &images.as_ref().expect("just made").1);
        let Workspace { x, normed, projected, .. } = work;
        ops.layer_norm(normed, x, &self.ln_post);
        ops.linear(projected, normed, &self.proj, false);
        ops.download(features, projected);
        work.images = images;
    }

    /// `patches` = for each image a row of zeros, where the class token will stand, and every patch as a row (batch·rows,
    /// 3·patch²), in the order of the filter's own (channel, y, x).
    fn patches(&self, patches: &mut Vec<f32>, pixels: &[f32]) {
        let (size, patch) = (self.image_size, self.patch_size);
        let grid = size / patch;
        patches.clear();
        for image in pixels.chunks_exact(3 * size * size) {
            patches.extend(std::iter::repeat_n(0.0, 3 * patch * patch));
            for corner in (0..grid * grid).map(|i| i / grid * patch * size + i % grid * patch) {
                for line in
                    (0..3 * patch).map(|i| corner + (i / patch) * size * size + i % patch * size)
                {
                    patches.extend_from_slice(&image[line..line + patch]);
                }
            }
        }
    }
}
