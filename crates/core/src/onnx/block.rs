//! The transformer of both towers as nodes, in the form that the runtimes' optimisers know.

use super::graph::Graph;
use super::proto::Attribute;
use crate::Result;
use crate::ops::Activation;

/// A stack of residual blocks.
pub(super) struct Transformer<'a> {
    /// What stands before `.resblocks`.
    pub prefix: &'a str,
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    /// Length of a row inside the MLPs.
    pub mlp: usize,
    pub activation: Activation,
    /// (sequence, sequence), added to the scores.
    pub mask: Option<&'a str>,
}

impl Transformer<'_> {
    /// `x` (batch, sequence, width) through all blocks.
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn build(&self, graph: &mut Graph, x: String) -> Result<String> {
        (0..self.layers).try_fold(x, |x, i| {
            let (width, name) =
                (self.width, |leaf: &str| format!("{}.resblocks.{i}.{leaf}", self.prefix));
            let normed = graph.norm(&x, &name("ln_1"), width)?;
            let attended = self.attention(graph, &normed, &name("attn"))?;
            let x = graph.op("Add", &[&x, &attended], &[]);
            let normed = graph.norm(&x, &name("ln_2"), width)?;
            let fc = graph.linear(&normed, &name("mlp.c_fc"), [self.mlp, width])?;
            let active = self.activation(graph, &fc);
            let out = graph.linear(&active, &name("mlp.c_proj"), [width, self.mlp])?;
            Ok(graph.op("Add", &[&x, &out], &[]))
        })
    }

    fn attention(&self, graph: &mut Graph, x: &str, name: &str) -> Result<String> {
        let width = self.width;
        let (weight, bias) = (format!("{name}.in_proj_weight"), format!("{name}.in_proj_bias"));
        let qkv = graph.affine(x, &weight, &bias, [3 * width, width])?;
        let qkv = graph.ops("Split", &[&qkv], &[("axis", Attribute::Int(2))]);
        let mixed = attention(graph, &qkv, width, self.heads, self.mask);
        graph.linear(&mixed, &format!("{name}.out_proj"), [width, width])
    }

    /// x·sigmoid(1.702·x), or x/2·(1 + erf(x/√2)).
    fn activation(&self, graph: &mut Graph, x: &str) -> String {
        match self.activation {
            Activation::Gelu => {
                let (root, one, half) =
                    (graph.scalar(std::f32::consts::SQRT_2), graph.scalar(1.0), graph.scalar(0.5));
                let erf = graph.op("Div", &[x, &root], &[]);
                let erf = graph.op("Erf", &[&erf], &[]);
                let sum = graph.op("Add", &[&erf, &one], &[]);
                let product = graph.op("Mul", &[x, &sum], &[]);
                graph.op("Mul", &[&product, &half], &[])
            }
            Activation::QuickGelu => {
                let slope = graph.scalar(1.702);
                let gate = graph.op("Mul", &[x, &slope], &[]);
                let gate = graph.op("Sigmoid", &[&gate], &[]);
                graph.op("Mul", &[x, &gate], &[])
            }
        }
    }
}

/// softmax(q·kᵀ/√head + `mask`)·v for each head: (batch, rows, width) from q (batch, rows, width), k and v (batch, keys,
/// width).
pub(super) fn attention(
    graph: &mut Graph,
    [q, k, v]: &[String; 3],
    width: usize,
    heads: usize,
    mask: Option<&str>,
) -> String {
    let head = width / heads;
    let mut split = |x: &str, order: &[usize]| {
        let x = graph.reshape(x, &[0, 0, heads as i64, head as i64]);
        graph.transpose(&x, order)
    };
    let (q, k, v) = (split(q, &[0, 2, 1, 3]), split(k, &[0, 2, 3, 1]), split(v, &[0, 2, 1, 3]));
    let scale = graph.scalar((head as f32).sqrt().recip());
    let q = graph.op("Mul", &[&q, &scale], &[]);
    let mut scores = graph.op("MatMul", &[&q, &k], &[]);
    if let Some(mask) = mask {
        scores = graph.op("Add", &[&scores, mask], &[]);
    }
    let weights = graph.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
    let mixed = graph.op("MatMul", &[&weights, &v], &[]);
    let mixed = graph.transpose(&mixed, &[0, 2, 1, 3]);
    graph.reshape(&mixed, &[0, 0, width as i64])
}
