//! What is learned: `ctx`, and for CoCoOp the Meta-Net that shifts it by the image (Zhou et al. 2022b, 3.1).
//! The Meta-Net is Linear (`embed_dim`, hidden), `ReLU`, Linear (hidden, `ctx_dim`), both with bias, on the L2-normalised
//! image feature, as in the original code, where hidden is `embed_dim`/16.

use crate::kernels::dot::dots;
use crate::random::{Purpose, Random};

/// The learned tensors; also the shape of their gradients and of the optimiser's velocities.
#[derive(Clone, Debug, PartialEq)]
pub struct Learner {
    /// (`n_ctx`, `ctx_dim`), or (`n_cls`, `n_ctx`, `ctx_dim`) if class-specific.
    pub ctx: Vec<f32>,
    /// Learned vectors in a prompt.
    pub n_ctx: usize,
    /// Length of a vector: the text tower's width.
    pub ctx_dim: usize,
    /// Whether each class has its own vectors.
    pub csc: bool,
    /// Of CoCoOp only.
    pub meta_net: Option<MetaNet>,
}

/// The Meta-Net's tensors, named as in the original's checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct MetaNet {
    /// (hidden, `embed_dim`)
    pub linear1_weight: Vec<f32>,
    /// (hidden)
    pub linear1_bias: Vec<f32>,
    /// (`ctx_dim`, hidden)
    pub linear2_weight: Vec<f32>,
    /// (`ctx_dim`)
    pub linear2_bias: Vec<f32>,
}

impl Learner {
    /// Vectors `ctx`, with or without a Meta-Net.
    pub fn new(
        ctx: Vec<f32>,
        n_ctx: usize,
        ctx_dim: usize,
        csc: bool,
        meta_net: Option<MetaNet>,
    ) -> Self {
        Self { ctx, n_ctx, ctx_dim, csc, meta_net }
    }

    /// `vectors` random vectors, N(0, 0.02²): CoOp's initial context.
    pub fn random_ctx(vectors: usize, ctx_dim: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, Purpose::Init, [0, 0]);
        (0..vectors * ctx_dim).map(|_| (0.02 * random.normal()) as f32).collect()
    }

    /// The same tensors, all zero.
    #[must_use]
    pub fn zeros(&self) -> Self {
        let mut zeros = self.clone();
        zeros.tensors_mut().into_iter().for_each(|values| values.fill(0.0));
        zeros
    }

    /// Name, shape and values of every tensor, in a fixed order.
    pub fn tensors(&self) -> Vec<(&'static str, Vec<usize>, &[f32])> {
        let row = self.n_ctx * self.ctx_dim;
        let shape = vec![self.n_ctx, self.ctx_dim];
        let shape = if self.csc { [vec![self.ctx.len() / row], shape].concat() } else { shape };
        let mut tensors = vec![("ctx", shape, self.ctx.as_slice())];
        if let Some(net) = &self.meta_net {
            let (hidden, embed_dim) = (net.hidden(), net.embed_dim());
            tensors.push(("meta_net.linear1.bias", vec![hidden], &net.linear1_bias));
            tensors.push(("meta_net.linear1.weight", vec![hidden, embed_dim], &net.linear1_weight));
            tensors.push(("meta_net.linear2.bias", vec![self.ctx_dim], &net.linear2_bias));
            tensors.push((
                "meta_net.linear2.weight",
                vec![self.ctx_dim, hidden],
                &net.linear2_weight,
            ));
        }
        tensors
    }

    /// The values of every tensor, in the order of [`Self::tensors`].
    pub fn tensors_mut(&mut self) -> Vec<&mut Vec<f32>> {
        let mut tensors = vec![&mut self.ctx];
        if let Some(net) = &mut self.meta_net {
            tensors.extend([
                &mut net.linear1_bias,
                &mut net.linear1_weight,
                &mut net.linear2_bias,
                &mut net.linear2_weight,
            ]);
        }
        tensors
    }

    /// The values of all tensors, one after the other in the order of [`Self::tensors`].
    pub fn values(&self) -> Vec<f32> {
        self.tensors().into_iter().flat_map(|(.., values)| values).copied().collect()
    }

    /// How many numbers are learned.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(.., values)| values.len()).sum()
    }
}

impl MetaNet {
    /// PyTorch's default initial values: U(-1/√inputs, 1/√inputs) for weights and biases.
    /// # Panics
    /// If `hidden` is 0.
    pub fn random(embed_dim: usize, hidden: usize, ctx_dim: usize, seed: u64) -> Self {
        assert!(hidden > 0);
        let mut random = Random::new(seed, Purpose::Init, [1, 0]);
        let mut uniform = |len: usize, inputs: usize| -> Vec<f32> {
            let limit = 1.0 / (inputs as f64).sqrt();
            (0..len).map(|_| random.uniform(-limit, limit) as f32).collect()
        };
        Self {
            linear1_weight: uniform(hidden * embed_dim, embed_dim),
            linear1_bias: uniform(hidden, embed_dim),
            linear2_weight: uniform(ctx_dim * hidden, hidden),
            linear2_bias: uniform(ctx_dim, hidden),
        }
    }

    /// Hidden units.
    pub fn hidden(&self) -> usize {
        self.linear1_bias.len()
    }

    /// Length of an image feature.
    pub fn embed_dim(&self) -> usize {
        self.linear1_weight.len() / self.hidden()
    }

    /// `shift` (batch, `ctx_dim`) and `hidden` (batch, hidden) after the `ReLU`, of `image_features` (batch, `embed_dim`).
    pub fn forward(&self, shift: &mut Vec<f32>, hidden: &mut Vec<f32>, image_features: &[f32]) {
        linear(hidden, image_features, &self.linear1_weight, &self.linear1_bias);
        hidden.iter_mut().for_each(|x| *x = x.max(0.0));
        linear(shift, hidden, &self.linear2_weight, &self.linear2_bias);
    }

    /// Adds the gradients of the tensors to `d`, given `dshift` (batch, `ctx_dim`) and what [`Self::forward`] saw and made.
    pub fn backward(&self, d: &mut Self, dshift: &[f32], image_features: &[f32], hidden: &[f32]) {
        let (units, ctx_dim, embed_dim) =
            (self.hidden(), self.linear2_bias.len(), self.embed_dim());
        let images = dshift
            .chunks_exact(ctx_dim)
            .zip(image_features.chunks_exact(embed_dim))
            .zip(hidden.chunks_exact(units));
        for ((dshift, features), hidden) in images {
            let mut dhidden = vec![0.0; units];
            for (i, dy) in dshift.iter().enumerate() {
                d.linear2_bias[i] += dy;
                for u in 0..units {
                    d.linear2_weight[i * units + u] += dy * hidden[u];
                    dhidden[u] += dy * self.linear2_weight[i * units + u];
                }
            }
            for (u, dh) in dhidden.iter().enumerate().filter(|(u, _)| hidden[*u] > 0.0) {
                d.linear1_bias[u] += dh;
                let row = &mut d.linear1_weight[u * embed_dim..][..embed_dim];
                row.iter_mut().zip(features).for_each(|(d, x)| *d += dh * x);
            }
        }
    }
}

/// `y` = x·weightᵀ + bias, row by row.
fn linear(y: &mut Vec<f32>, x: &[f32], weight: &[f32], bias: &[f32]) {
    let inputs = weight.len() / bias.len();
    y.resize(x.len() / inputs * bias.len(), 0.0);
    for (y, x) in y.chunks_exact_mut(bias.len()).zip(x.chunks_exact(inputs)) {
        dots(y, x, weight);
        y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meta_nets_backward_matches_central_differences() {
        let (embed_dim, ctx_dim, h) = (32, 6, 1e-2);
        let net = MetaNet::random(embed_dim, 2, ctx_dim, 5);
        let features: Vec<f32> = (0..2 * embed_dim).map(|i| (i as f32 * 0.7).sin()).collect();
        let dshift: Vec<f32> = (0..2 * ctx_dim).map(|i| (i as f32 * 1.3).cos()).collect();
        let learner =
            |net: &MetaNet| Learner::new(vec![0.0; ctx_dim], 1, ctx_dim, false, Some(net.clone()));
        let loss = |learner: &Learner| -> f32 {
            let mut shift = Vec::new();
            let net = learner.meta_net.as_ref().unwrap();
            net.forward(&mut shift, &mut Vec::new(), &features);
            shift.iter().zip(&dshift).map(|(x, d)| x * d).sum()
        };
        let mut hidden = Vec::new();
        net.forward(&mut Vec::new(), &mut hidden, &features);
        let mut d = learner(&net).zeros();
        net.backward(d.meta_net.as_mut().unwrap(), &dshift, &features, &hidden);
        for (t, (name, _, analytic)) in d.tensors().into_iter().enumerate().skip(1) {
            for (i, analytic) in analytic.iter().enumerate() {
                let moved = |by: f32| {
                    let mut moved = learner(&net);
                    moved.tensors_mut()[t][i] += by;
                    loss(&moved)
                };
                let numeric = (moved(h) - moved(-h)) / (2.0 * h);
                assert!((analytic - numeric).abs() < 2e-3, "{name}[{i}]: {analytic} {numeric}");
            }
        }
    }

    #[test]
    fn random_context_has_the_papers_spread() {
        let ctx = Learner::random_ctx(16, 512, 1);
        let variance = ctx.iter().map(|x| f64::from(x * x)).sum::<f64>() / ctx.len() as f64;
        assert!((variance.sqrt() - 0.02).abs() < 0.001); // 8192 values: sigma of the estimate is 0.8 %
    }
}
