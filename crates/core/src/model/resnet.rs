//! CLIP's ResNets (`OpenAI`'s ModifiedResNet): a stem of three convolutions, bottlenecks whose stride is an average
//! pool in front of a 1x1 convolution, and attention pooling with the mean of the map as the query.
//! Batch normalisation uses its stored statistics and is folded into the convolution before it. Maps are channels-last
//! rows; an image is frozen and has no backward.

use super::config::{Config, Resnet};
use super::weights::Weights;
use crate::Result;
use crate::kernels::attention::{self, HEAD, Heads};
use crate::kernels::conv::Window;
use crate::ops::Ops;
use std::mem::swap;

/// Values in the largest map of the images that go through together: bounds memory, and still fills the last stages.
const VALUES: usize = 8 << 20;
/// What the stem and the stages divide the image's side by.
pub const REDUCTION: usize = 32;
/// Added to the variance.
const EPS: f32 = 1e-5;

/// The image tower.
pub struct ModifiedResNet<O: Ops> {
    stem: [O::Linear; 3],
    blocks: Vec<Bottleneck<O>>,
    pool: AttentionPool<O>,
    image_size: usize,
    width: usize,
}

/// `x = relu(x + conv3(pool(relu(conv2(relu(conv1 x))))))`.
struct Bottleneck<O: Ops> {
    conv1: O::Linear,
    conv2: O::Linear,
    conv3: O::Linear,
    /// Of the shortcut, where the map changes its shape.
    downsample: Option<O::Linear>,
    /// Side of the pooled squares: 1 or 2.
    stride: usize,
    /// Channels of conv1 and conv2.
    planes: usize,
}

struct AttentionPool<O: Ops> {
    /// (grid² + 1, width); row 0 is that of the mean.
    positional_embedding: Vec<f32>,
    query: O::Linear,
    key_value: O::Linear,
    out: O::Linear,
    width: usize,
}

/// Buffers of a forward pass; they grow to the largest batch seen and stay.
pub struct Buffers<O: Ops> {
    pixels: Vec<f32>,
    x: O::Buffer,
    h: O::Buffer,
    pooled: O::Buffer,
    shortcut: O::Buffer,
    patches: O::Buffer,
    tokens: Option<Tokens<O>>,
    features: Vec<f32>,
}

/// The attention pool's plan for one size of batch.
struct Tokens<O: Ops> {
    batch: usize,
    positions: O::Buffer,
    means: O::Rows,
    pixels: O::Rows,
    plan: O::Plan,
}

impl<O: Ops> Default for Buffers<O> {
    fn default() -> Self {
        Self {
            pixels: Vec::new(),
            x: O::Buffer::default(),
            h: O::Buffer::default(),
            pooled: O::Buffer::default(),
            shortcut: O::Buffer::default(),
            patches: O::Buffer::default(),
            tokens: None,
            features: Vec::new(),
        }
    }
}

impl<O: Ops> ModifiedResNet<O> {
    /// Reads the tower.
    /// # Errors
    /// Of [`Weights::get`].
    pub fn load(ops: &O, weights: &dyn Weights, config: &Config, shape: &Resnet) -> Result<Self> {
        let w = shape.width;
        let conv = |name: &str, bn: &str, shape: [usize; 3]| {
            let (weight, bias) =
                weights.convolution(&format!("visual.{name}"), &format!("visual.{bn}"), shape)?;
            Ok(ops.new_linear(weight, Some(bias)))
        };
        let stem = [
            conv("conv1", "bn1", [w / 2, 3, 3])?,
            conv("conv2", "bn2", [w / 2, w / 2, 3])?,
            conv("conv3", "bn3", [w, w / 2, 3])?,
        ];
        let (mut blocks, mut channels) = (Vec::new(), w);
        for (stage, &count) in shape.layers.iter().enumerate() {
            let planes = w << stage;
            for i in 0..count {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let conv = |leaf: &str, bn: &str, shape: [usize; 3]| {
                    let block = format!("layer{}.{i}", stage + 1);
                    conv(&format!("{block}.{leaf}"), &format!("{block}.{bn}"), shape)
                };
                let changes = stride > 1 || channels != 4 * planes;
                blocks.push(Bottleneck {
                    conv1: conv("conv1", "bn1", [planes, channels, 1])?,
                    conv2: conv("conv2", "bn2", [planes, planes, 3])?,
                    conv3: conv("conv3", "bn3", [4 * planes, planes, 1])?,
                    downsample: changes
                        .then(|| conv("downsample.0", "downsample.1", [4 * planes, channels, 1]))
                        .transpose()?,
                    stride,
                    planes,
                });
                channels = 4 * planes;
            }
        }
        let pool = AttentionPool::load(ops, weights, config, channels)?;
        Ok(Self { stem, blocks, pool, image_size: config.image_size, width: w })
    }

    /// `features` = the unnormalised `image_features` (batch, `embed_dim`) of `pixels` (batch, 3, `image_size`,
    /// `image_size`).
    /// # Panics
    /// If `pixels` is no whole number of images.
    pub fn encode(&self, ops: &O, work: &mut Buffers<O>, features: &mut Vec<f32>, pixels: &[f32]) {
        let image_len = 3 * self.image_size.pow(2);
        assert!(pixels.len().is_multiple_of(image_len));
        let together = (VALUES / ((self.image_size / 2).pow(2) * self.width)).max(1);
        features.clear();
        for pixels in pixels.chunks(together * image_len) {
            self.encode_together(ops, work, pixels);
            ops.download(&mut work.features, &work.x);
            features.extend_from_slice(&work.features);
        }
    }

    /// From pixels to `work.x` (batch, `embed_dim`).
    fn encode_together(&self, ops: &O, work: &mut Buffers<O>, pixels: &[f32]) {
        self.stem(ops, work, pixels);
        let mut size = self.image_size / 4;
        for block in &self.blocks {
            block.forward(ops, work, size);
            size /= block.stride;
        }
        self.pool.forward(ops, work, pixels.len() / (3 * self.image_size.pow(2)), size);
    }

    /// From pixels to `work.x` (batch·(size/4)², width).
    fn stem(&self, ops: &O, work: &mut Buffers<O>, pixels: &[f32]) {
        let Buffers { pixels: rows, x, h, patches, .. } = work;
        let (size, area) = (self.image_size, self.image_size.pow(2));
        rows.clear();
        for image in pixels.chunks_exact(3 * area) {
            rows.extend((0..area).flat_map(|i| [image[i], image[area + i], image[2 * area + i]]));
        }
        ops.upload(x, rows);
        let [conv1, conv2, conv3] = &self.stem;
        let window = |size, stride| Window { size, kernel: 3, stride };
        ops.conv(h, x, conv1, window(size, 2), patches, false, true);
        ops.conv(x, h, conv2, window(size / 2, 1), patches, false, true);
        ops.conv(h, x, conv3, window(size / 2, 1), patches, false, true);
        ops.average_pool(x, h, size / 2, 2, self.width);
    }
}

impl<O: Ops> Bottleneck<O> {
    /// From `work.x` (batch·size², channels) to `work.x` (batch·(size/stride)², 4·planes).
    fn forward(&self, ops: &O, work: &mut Buffers<O>, size: usize) {
        let Buffers { x, h, pooled, shortcut, patches, .. } = work;
        let (point, out) = (Window { size, kernel: 1, stride: 1 }, size / self.stride);
        let small = Window { size: out, ..point };
        ops.conv(h, x, &self.conv1, point, patches, false, true);
        ops.conv(pooled, h, &self.conv2, Window { kernel: 3, ..point }, patches, false, true);
        if self.stride > 1 {
            ops.average_pool(h, pooled, size, self.stride, self.planes);
        } else {
            swap(h, pooled);
        }
        if let Some(downsample) = &self.downsample {
            if self.stride > 1 {
                ops.average_pool(pooled, x, size, self.stride, 2 * self.planes);
                ops.conv(shortcut, pooled, downsample, small, patches, false, false);
            } else {
                ops.conv(shortcut, x, downsample, small, patches, false, false);
            }
            swap(x, shortcut);
        }
        ops.conv(x, h, &self.conv3, small, patches, true, true);
        if self.stride == 1 {
            swap(h, pooled); // every buffer keeps its place, and so its size, from image to image
        }
    }
}

impl<O: Ops> AttentionPool<O> {
    fn load(ops: &O, weights: &dyn Weights, config: &Config, width: usize) -> Result<Self> {
        let name = |leaf: &str| format!("visual.attnpool.{leaf}");
        let rows = (config.image_size / REDUCTION).pow(2) + 1;
        let bias =
            |leaf: &str, outputs: usize| weights.get(&name(&format!("{leaf}.bias")), &[outputs]);
        let linear = |leaf: &str, outputs: usize| -> Result<O::Linear> {
            let weight =
                weights.matrix(&name(&format!("{leaf}.weight")), &[outputs, width], 0..outputs)?;
            Ok(ops.new_linear(weight, Some(bias(leaf, outputs)?)))
        };
        let key_value =
            weights.stacked([&name("k_proj.weight"), &name("v_proj.weight")], [width, width])?;
        let key_value_bias = [bias("k_proj", width)?, bias("v_proj", width)?].concat();
        Ok(Self {
            positional_embedding: weights.get(&name("positional_embedding"), &[rows, width])?,
            query: linear("q_proj", width)?,
            key_value: ops.new_linear(key_value, Some(key_value_bias)),
            out: linear("c_proj", config.embed_dim)?,
            width,
        })
    }

    /// From `work.x` (batch·size², width) to `work.x` (batch, `embed_dim`).
    fn forward(&self, ops: &O, work: &mut Buffers<O>, batch: usize, size: usize) {
        let Buffers { x, h, pooled, shortcut, tokens, .. } = work;
        let tokens = match tokens {
            Some(tokens) if tokens.batch == batch => tokens,
            _ => tokens.insert(self.tokens(ops, batch, size)),
        };
        ops.average_pool(pooled, x, size, size, self.width);
        ops.copy(h, &tokens.positions);
        ops.scatter_add(h, pooled, &tokens.means, self.width);
        ops.scatter_add(h, x, &tokens.pixels, self.width);
        ops.linear(shortcut, h, &self.key_value, false);
        ops.gather(pooled, h, &tokens.means, self.width);
        ops.linear(x, pooled, &self.query, false);
        let heads = Heads { width: self.width, head: HEAD };
        ops.attention(h, x, shortcut, &tokens.plan, heads);
        ops.linear(x, h, &self.out, false);
    }

    fn tokens(&self, ops: &O, batch: usize, size: usize) -> Tokens<O> {
        let rows = size * size + 1;
        let mut positions = O::Buffer::default();
        ops.upload(&mut positions, &self.positional_embedding.repeat(batch));
        let (means, pixels) = (0..(batch * rows) as u32).partition(|row| row % rows as u32 == 0);
        Tokens {
            batch,
            positions,
            means: ops.new_rows(means),
            pixels: ops.new_rows(pixels),
            plan: ops.new_plan(attention::Plan::full(batch, rows, 1)),
        }
    }
}

/// The convolution `conv` (`out`, `inputs`, `kernel`, `kernel`), without bias, and the batch normalisation `bn` after it
/// as one weight (`out`, kernel²·`inputs`), a row in the order (y, x, channel), and its bias (`out`).
pub(super) fn folded(
    get: impl Fn(&str, &[usize]) -> Result<Vec<f32>>,
    conv: &str,
    bn: &str,
    [out, inputs, kernel]: [usize; 3],
) -> Result<(Vec<f32>, Vec<f32>)> {
    let weight = get(&format!("{conv}.weight"), &[out, inputs, kernel, kernel])?;
    let (scale, bias) = batch_norm(get, bn, out)?;
    let (area, len) = (kernel * kernel, inputs * kernel * kernel);
    let mut rows = Vec::with_capacity(weight.len());
    for (filter, scale) in weight.chunks_exact(len).zip(scale) {
        rows.extend((0..len).map(|j| scale * filter[j % inputs * area + j / inputs]));
    }
    Ok((rows, bias))
}

/// (scale, bias) of batch normalisation `bn` over `channels`, by its stored statistics: y = scale·x + bias.
/// # Errors
/// Of [`Weights::get`].
pub(crate) fn batch_norm(
    get: impl Fn(&str, &[usize]) -> Result<Vec<f32>>,
    bn: &str,
    channels: usize,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let norm = |leaf: &str| get(&format!("{bn}.{leaf}"), &[channels]);
    let (gain, mut bias) = (norm("weight")?, norm("bias")?);
    let (mean, variance) = (norm("running_mean")?, norm("running_var")?);
    let scale: Vec<f32> =
        gain.iter().zip(variance).map(|(gain, variance)| gain / (variance + EPS).sqrt()).collect();
    bias.iter_mut().zip(mean.iter().zip(&scale)).for_each(|(bias, (m, s))| *bias -= m * s);
    Ok((scale, bias))
}
