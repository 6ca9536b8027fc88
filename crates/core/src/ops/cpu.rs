//! [`Ops`] on the processor: each operation is one call of a kernel.

use super::{Activation, Matrix, Ops};
use crate::kernels::attention::{self, Heads};
use crate::kernels::conv::{self, Window};
use crate::kernels::{gemm, norm, vector};
use std::sync::OnceLock;

/// Pixels whose patches are in memory at a time: bounds it at any size of image, and keeps them in a near cache.
const PIXELS: usize = 384;

/// The processor, all cores where the `parallel` feature is on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

/// A linear layer with its weight packed for the GEMM.
pub struct Linear {
    forward: gemm::Packed,
    /// Packed when a backward first asks: inference never does.
    backward: OnceLock<gemm::Packed>,
    bias: Option<Vec<f32>>,
}

/// A LayerNorm's (width) weights.
pub struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Ops for Cpu {
    type Buffer = Vec<f32>;
    type Linear = Linear;
    type Norm = Norm;
    type Plan = attention::Plan;
    type Rows = Vec<u32>;

    fn new_linear(&self, weight: Matrix, bias: Option<Vec<f32>>) -> Linear {
        let forward = match weight {
            Matrix::F32 { values, outputs } => {
                gemm::Packed::transposed(&values, values.len() / outputs, outputs)
            }
            Matrix::Packed(packed) => packed,
        };
        Linear { forward, backward: OnceLock::new(), bias }
    }

    fn new_norm(&self, weight: Vec<f32>, bias: Vec<f32>) -> Norm {
        Norm { weight, bias }
    }

    fn new_plan(&self, plan: attention::Plan) -> attention::Plan {
        plan
    }

    fn new_rows(&self, rows: Vec<u32>) -> Vec<u32> {
        rows
    }

    fn upload(&self, to: &mut Vec<f32>, from: &[f32]) {
        to.clear();
        to.extend_from_slice(from);
    }

    fn download(&self, to: &mut Vec<f32>, from: &Vec<f32>) {
        self.upload(to, from);
    }

    fn copy(&self, to: &mut Vec<f32>, from: &Vec<f32>) {
        self.upload(to, from);
    }

    fn zero(&self, to: &mut Vec<f32>, len: usize) {
        to.clear();
        to.resize(len, 0.0);
    }

    fn linear(&self, y: &mut Vec<f32>, x: &Vec<f32>, layer: &Linear, accumulate: bool) {
        let w = &layer.forward;
        y.resize(x.len() / w.k() * w.n(), 0.0);
        gemm::gemm(y, x, w, layer.bias.as_deref(), accumulate);
    }

    fn linear_backward(&self, dx: &mut Vec<f32>, dy: &Vec<f32>, layer: &Linear, accumulate: bool) {
        let w = layer.backward.get_or_init(|| layer.forward.transpose());
        dx.resize(dy.len() / w.k() * w.n(), 0.0);
        gemm::gemm(dx, dy, w, None, accumulate);
    }

    fn layer_norm(&self, y: &mut Vec<f32>, x: &Vec<f32>, norm: &Norm) {
        y.resize(x.len(), 0.0);
        norm::forward(y, x, &norm.weight, &norm.bias);
    }

    fn layer_norm_backward(&self, dx: &mut Vec<f32>, dy: &Vec<f32>, x: &Vec<f32>, norm: &Norm) {
        norm::backward(dx, dy, x, &norm.weight);
    }

    fn attention(
        &self,
        out: &mut Vec<f32>,
        q: &Vec<f32>,
        kv: &Vec<f32>,
        plan: &attention::Plan,
        heads: Heads,
    ) {
        out.resize(q.len(), 0.0);
        attention::forward(out, q, kv, plan, heads);
    }

    fn attention_backward(
        &self,
        dq: &mut Vec<f32>,
        dkv: &mut Vec<f32>,
        dout: &Vec<f32>,
        q: &Vec<f32>,
        kv: &Vec<f32>,
        plan: &attention::Plan,
        heads: Heads,
    ) {
        dq.resize(q.len(), 0.0);
        dkv.resize(kv.len(), 0.0);
        attention::backward(dq, dkv, dout, q, kv, plan, heads);
    }

    fn activation(&self, y: &mut Vec<f32>, x: &Vec<f32>, activation: Activation) {
        y.resize(x.len(), 0.0);
        match activation {
            Activation::QuickGelu => vector::quick_gelu(y, x),
            Activation::Gelu => vector::gelu(y, x),
        }
    }

    fn activation_backward(&self, dx: &mut Vec<f32>, x: &Vec<f32>, activation: Activation) {
        match activation {
            Activation::QuickGelu => vector::quick_gelu_backward(dx, x),
            Activation::Gelu => vector::gelu_backward(dx, x),
        }
    }

    fn conv(
        &self,
        y: &mut Vec<f32>,
        x: &Vec<f32>,
        layer: &Linear,
        window: Window,
        patches: &mut Vec<f32>,
        accumulate: bool,
        relu: bool,
    ) {
        let (k, n) = (layer.forward.k(), layer.forward.n());
        let channels = k / window.patch(1);
        let images = x.len() / (window.size * window.size * channels);
        y.resize(images * window.out() * window.out() * n, 0.0);
        for (i, y) in y.chunks_mut(PIXELS * n).enumerate() {
            let rows = y.len() / n;
            let seen = if window.kernel == 1 && window.stride == 1 {
                &x[i * PIXELS * k..][..rows * k]
            } else {
                patches.resize(rows * k, 0.0);
                conv::im2col(patches, x, window, channels, i * PIXELS);
                &*patches
            };
            gemm::gemm(y, seen, &layer.forward, layer.bias.as_deref(), accumulate);
            if relu {
                conv::relu(y);
            }
        }
    }

    fn average_pool(
        &self,
        y: &mut Vec<f32>,
        x: &Vec<f32>,
        size: usize,
        window: usize,
        channels: usize,
    ) {
        y.resize(x.len() / (window * window), 0.0);
        conv::average_pool(y, x, size, window, channels);
    }

    fn gather(&self, y: &mut Vec<f32>, x: &Vec<f32>, rows: &Vec<u32>, width: usize) {
        y.clear();
        rows.iter().for_each(|&row| y.extend_from_slice(&x[row as usize * width..][..width]));
    }

    fn scatter_add(&self, y: &mut Vec<f32>, x: &Vec<f32>, rows: &Vec<u32>, width: usize) {
        for (&row, x) in rows.iter().zip(x.chunks_exact(width)) {
            vector::add(&mut y[row as usize * width..][..width], x);
        }
    }
}
