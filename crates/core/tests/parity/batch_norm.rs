//! CLIP's ResNet as the runs on `tiny-rn` were recorded: with the image tower in training mode, so that batch
//! normalisation uses the statistics of the batch and moves the running ones (PyTorch's momentum, 0.1). The trainers of
//! CoOp put only the prompt learner in training mode, and so does this project: the engine has no such tower. Hence
//! this plain reference, in f64, for the features of a recorded step, and its statistics for the engine's own tower.

use crate::synthetic::{Dims, Synthetic, Vision, tensor};
use cocoop_core::Result;
use cocoop_core::model::weights::Weights;
use std::collections::BTreeMap;

const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// The tower and what its batch normalisations have seen.
pub struct Tower {
    layers: [usize; 4],
    width: usize,
    embed_dim: usize,
    /// `running_mean` and `running_var` by name.
    pub running: BTreeMap<String, Vec<f64>>,
}

/// A synthetic model of which some tensors have other values.
pub struct Changed {
    pub model: Synthetic,
    pub tensors: BTreeMap<String, Vec<f64>>,
}

impl Weights for Changed {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.model.shape(name)
    }

    fn get(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>> {
        let values = self.model.get(name, expected)?;
        let changed = self.tensors.get(name).map(|new| new.iter().map(|&x| x as f32).collect());
        Ok(changed.unwrap_or(values))
    }

    fn sha256(&self) -> String {
        self.model.sha256()
    }
}

/// One map for each image, (channels, side²).
struct Maps {
    images: Vec<Vec<f64>>,
    channels: usize,
    side: usize,
}

impl Tower {
    /// Nothing if the image tower is no ResNet.
    pub fn new(dims: &Dims) -> Option<Self> {
        let Vision::Resnet(layers, width) = dims.vision else { return None };
        Some(Self { layers, width, embed_dim: dims.embed_dim, running: BTreeMap::new() })
    }

    /// The unnormalised features of `images`, each (3, side, side), one after the other.
    pub fn encode(&mut self, images: &[Vec<f32>]) -> Vec<f32> {
        let side = (images[0].len() / 3).isqrt();
        let images = images.iter().map(|image| image.iter().copied().map(f64::from).collect());
        let w = self.width;
        let mut x = Maps { images: images.collect(), channels: 3, side };
        x = self.conv(&x, "conv1", "bn1", [w / 2, 3, 2]).relu();
        x = self.conv(&x, "conv2", "bn2", [w / 2, 3, 1]).relu();
        x = self.conv(&x, "conv3", "bn3", [w, 3, 1]).relu().pool();
        for (stage, blocks) in self.layers.into_iter().enumerate() {
            for i in 0..blocks {
                let (name, planes) = (format!("layer{}.{i}", stage + 1), w << stage);
                x = self.bottleneck(x, &name, planes, stage > 0 && i == 0);
            }
        }
        x.images.iter().flat_map(|map| self.attention_pool(map, x.channels)).collect()
    }

    fn bottleneck(&mut self, x: Maps, name: &str, planes: usize, halves: bool) -> Maps {
        let pool = |x: Maps| if halves { x.pool() } else { x };
        let of = |leaf: &str| format!("{name}.{leaf}");
        let h = self.conv(&x, &of("conv1"), &of("bn1"), [planes, 1, 1]).relu();
        let h = pool(self.conv(&h, &of("conv2"), &of("bn2"), [planes, 3, 1]).relu());
        let mut h = self.conv(&h, &of("conv3"), &of("bn3"), [4 * planes, 1, 1]);
        let shortcut = if halves || x.channels != 4 * planes {
            self.conv(&pool(x), &of("downsample.0"), &of("downsample.1"), [4 * planes, 1, 1])
        } else {
            x
        };
        let both = h.images.iter_mut().zip(&shortcut.images);
        both.for_each(|(h, x)| h.iter_mut().zip(x).for_each(|(h, x)| *h += x));
        h.relu()
    }

    /// A convolution and the batch normalisation after it.
    fn conv(&mut self, x: &Maps, conv: &str, bn: &str, [out, kernel, stride]: [usize; 3]) -> Maps {
        let inputs = x.channels;
        let weight = tensor(&format!("visual.{conv}.weight"), &[out, inputs, kernel, kernel]);
        let (side, pad) = (x.side / stride, kernel / 2);
        let one = |map: &Vec<f64>| {
            let mut y = vec![0.0; out * side * side];
            for (i, w) in weight.iter().enumerate() {
                let (kx, ky) = (i % kernel, i / kernel % kernel);
                let (from, to) = (i / (kernel * kernel) % inputs, i / (kernel * kernel * inputs));
                for (row, column) in (0..side * side).map(|at| (at / side, at % side)) {
                    let (above, left) = (row * stride + ky, column * stride + kx);
                    if (pad..x.side + pad).contains(&above) && (pad..x.side + pad).contains(&left) {
                        let at = (from * x.side + above - pad) * x.side + left - pad;
                        y[(to * side + row) * side + column] += f64::from(*w) * map[at];
                    }
                }
            }
            y
        };
        let mut y = Maps { images: x.images.iter().map(one).collect(), channels: out, side };
        self.normalise(&mut y, &format!("visual.{bn}"));
        y
    }

    fn normalise(&mut self, x: &mut Maps, name: &str) {
        let (channels, area) = (x.channels, x.side * x.side);
        let read = |leaf: &str| -> Vec<f64> {
            let values = tensor(&format!("{name}.{leaf}"), &[channels]);
            values.into_iter().map(f64::from).collect()
        };
        let (gain, bias) = (read("weight"), read("bias"));
        let n = (x.images.len() * area) as f64;
        for c in 0..channels {
            let values = || x.images.iter().flat_map(|map| &map[c * area..(c + 1) * area]);
            let mean = values().sum::<f64>() / n;
            let squares = values().map(|v| (v - mean).powi(2)).sum::<f64>();
            for (leaf, seen) in [("running_mean", mean), ("running_var", squares / (n - 1.0))] {
                let kept =
                    self.running.entry(format!("{name}.{leaf}")).or_insert_with(|| read(leaf));
                kept[c] += MOMENTUM * (seen - kept[c]);
            }
            let scale = gain[c] / (squares / n + EPS).sqrt();
            let of_all = x.images.iter_mut().flat_map(|map| &mut map[c * area..(c + 1) * area]);
            of_all.for_each(|v| *v = (*v - mean) * scale + bias[c]);
        }
    }

    /// The features of one map (channels, side²).
    fn attention_pool(&self, map: &[f64], width: usize) -> Vec<f32> {
        let area = map.len() / width;
        let positions = tensor("visual.attnpool.positional_embedding", &[area + 1, width]);
        let token = |t: usize, c: usize| {
            let values = &map[c * area..(c + 1) * area];
            let value =
                if t == 0 { values.iter().sum::<f64>() / area as f64 } else { values[t - 1] };
            value + f64::from(positions[t * width + c])
        };
        let tokens: Vec<Vec<f64>> =
            (0..=area).map(|t| (0..width).map(|c| token(t, c)).collect()).collect();
        let linear = |x: &[f64], leaf: &str, outputs: usize| -> Vec<f64> {
            let name = format!("visual.attnpool.{leaf}_proj");
            let weight = tensor(&format!("{name}.weight"), &[outputs, width]);
            let bias = tensor(&format!("{name}.bias"), &[outputs]);
            let rows = weight.chunks_exact(width).zip(bias);
            rows.map(|(w, b)| {
                f64::from(b) + w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>()
            })
            .collect()
        };
        let q = linear(&tokens[0], "q", width);
        let [k, v] = ["k", "v"]
            .map(|leaf| tokens.iter().map(|x| linear(x, leaf, width)).collect::<Vec<_>>());
        let mut out = vec![0.0; width];
        for (head, out) in out.chunks_exact_mut(64).enumerate() {
            let own = head * 64..head * 64 + 64;
            let score = |k: &Vec<f64>| {
                q[own.clone()].iter().zip(&k[own.clone()]).map(|(q, k)| q * k).sum::<f64>() / 8.0
            };
            let scores: Vec<f64> = k.iter().map(score).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (weight, v) in weights.iter().zip(&v) {
                out.iter_mut().zip(&v[own.clone()]).for_each(|(o, v)| *o += weight / sum * v);
            }
        }
        linear(&out, "c", self.embed_dim).into_iter().map(|x| x as f32).collect()
    }
}

impl Maps {
    fn relu(mut self) -> Self {
        self.images.iter_mut().flatten().for_each(|x| *x = x.max(0.0));
        self
    }

    /// Means of squares of four.
    fn pool(self) -> Self {
        let (side, from) = (self.side / 2, self.side);
        let one = |map: &Vec<f64>| {
            let corner = |i: usize| {
                let (channel, row, column) = (i / (side * side), i / side % side, i % side);
                (channel * from + 2 * row) * from + 2 * column
            };
            let corners = (0..self.channels * side * side).map(corner);
            corners
                .map(|at| (map[at] + map[at + 1] + map[at + from] + map[at + from + 1]) / 4.0)
                .collect()
        };
        Self { images: self.images.iter().map(one).collect(), side, ..self }
    }
}
