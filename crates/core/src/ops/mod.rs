//! The operations that a CLIP tower is made of, each forward and backward, over row-major buffers that live where they
//! are computed. The model is written once over [`Ops`]; [`Cpu`] is here, a GPU is another implementation.
//! Frozen weights have no gradient: `linear` and `layer_norm` have a backward for their input only.

mod cpu;
pub mod cross_entropy;
pub mod normalize;

pub use cpu::Cpu;

use crate::kernels::attention::{self, Heads};
use crate::kernels::conv::Window;
use crate::kernels::gemm;
use serde::Serialize;

/// A frozen linear layer's weight, in the form in which its source holds it.
pub enum Matrix {
    /// Row-major (`outputs`, inputs).
    F32 {
        /// The numbers.
        values: Vec<f32>,
        /// Rows.
        outputs: usize,
    },
    /// Prepared for the GEMM already, as in a model pack.
    Packed(gemm::Packed),
}

/// What stands between the two layers of a block's MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x·sigmoid(1.702·x): `OpenAI`'s models.
    QuickGelu,
    /// x·Φ(x), Φ the normal distribution: most models of others.
    Gelu,
}

/// A backend. Shapes are (rows, cols); results are resized to fit.
pub trait Ops: Send + Sync {
    /// f32 values where this backend computes.
    type Buffer: Default + Send + Sync;
    /// A frozen linear layer, prepared.
    type Linear: Send + Sync;
    /// A frozen LayerNorm, prepared.
    type Norm: Send + Sync;
    /// Which keys each query sees, prepared.
    type Plan: Send + Sync;
    /// A list of row numbers, prepared.
    type Rows: Send + Sync;

    /// Prepares y = x·`weight`ᵀ + `bias` (outputs).
    fn new_linear(&self, weight: Matrix, bias: Option<Vec<f32>>) -> Self::Linear;
    /// Prepares a LayerNorm with these (width) weights.
    fn new_norm(&self, weight: Vec<f32>, bias: Vec<f32>) -> Self::Norm;
    /// Prepares an attention plan.
    fn new_plan(&self, plan: attention::Plan) -> Self::Plan;
    /// Prepares a list of row numbers.
    fn new_rows(&self, rows: Vec<u32>) -> Self::Rows;

    /// `to` = `from`.
    fn upload(&self, to: &mut Self::Buffer, from: &[f32]);
    /// `to` = `from`.
    fn download(&self, to: &mut Vec<f32>, from: &Self::Buffer);
    /// `to` = `from`.
    fn copy(&self, to: &mut Self::Buffer, from: &Self::Buffer);
    /// `to` = `len` zeros.
    fn zero(&self, to: &mut Self::Buffer, len: usize);

    /// `y` = x·weightᵀ + bias, or `y` += that.
    fn linear(
        &self,
        y: &mut Self::Buffer,
        x: &Self::Buffer,
        layer: &Self::Linear,
        accumulate: bool,
    );
    /// `dx` = `dy`·weight, or `dx` += that.
    fn linear_backward(
        &self,
        dx: &mut Self::Buffer,
        dy: &Self::Buffer,
        layer: &Self::Linear,
        accumulate: bool,
    );
    /// `y` = LayerNorm(`x`).
    fn layer_norm(&self, y: &mut Self::Buffer, x: &Self::Buffer, norm: &Self::Norm);
    /// `dx` += the gradient of the input `x`.
    fn layer_norm_backward(
        &self,
        dx: &mut Self::Buffer,
        dy: &Self::Buffer,
        x: &Self::Buffer,
        norm: &Self::Norm,
    );
    /// `out` = attention of `q` (queries, width) over `kv` (rows, 2·width).
    fn attention(
        &self,
        out: &mut Self::Buffer,
        q: &Self::Buffer,
        kv: &Self::Buffer,
        plan: &Self::Plan,
        heads: Heads,
    );
    /// `dq`, `dkv` = the gradients of `q` and `kv`.
    fn attention_backward(
        &self,
        dq: &mut Self::Buffer,
        dkv: &mut Self::Buffer,
        dout: &Self::Buffer,
        q: &Self::Buffer,
        kv: &Self::Buffer,
        plan: &Self::Plan,
        heads: Heads,
    );
    /// `y` = the activation of `x`.
    fn activation(&self, y: &mut Self::Buffer, x: &Self::Buffer, activation: Activation);
    /// `dx` *= the derivative at `x`.
    fn activation_backward(&self, dx: &mut Self::Buffer, x: &Self::Buffer, activation: Activation);
    /// `y` = the convolution of square maps `x` (batch·size², channels), or `y` += that, then max(0, `y`) if `relu`.
    /// A row of the layer's weight is a filter in the order (y, x, channel); `patches` is room to work in.
    fn conv(
        &self,
        y: &mut Self::Buffer,
        x: &Self::Buffer,
        layer: &Self::Linear,
        window: Window,
        patches: &mut Self::Buffer,
        accumulate: bool,
        relu: bool,
    );
    /// `y` = the means of the `window`² squares of `x` (batch·`size`², `channels`), side by side.
    fn average_pool(
        &self,
        y: &mut Self::Buffer,
        x: &Self::Buffer,
        size: usize,
        window: usize,
        channels: usize,
    );
    /// Row i of `y` = row `rows[i]` of `x`, each `width` long.
    fn gather(&self, y: &mut Self::Buffer, x: &Self::Buffer, rows: &Self::Rows, width: usize);
    /// Row `rows[i]` of `y` += row i of `x`; the rows are distinct.
    fn scatter_add(&self, y: &mut Self::Buffer, x: &Self::Buffer, rows: &Self::Rows, width: usize);
}
