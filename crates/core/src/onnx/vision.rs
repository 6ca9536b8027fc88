//! The image tower as nodes: `pixel_values` (batch, 3, size, size) to unnormalised features (batch, `embed_dim`).

use super::block::Transformer;
use super::graph::Graph;
use super::proto::Dim::{Fixed, Free};
use super::proto::{Attribute, Type};
use super::resnet;
use crate::Result;
use crate::model::clip::require;
use crate::model::config::{Config, Vision, Vit};

/// # Errors
/// A tensor is missing or has another shape.
pub(super) fn build(graph: &mut Graph, config: &Config) -> Result<String> {
    let size = config.image_size;
    require(size, "visual.conv1.weight")?;
    let shape = [Free("batch"), Fixed(3), Fixed(size), Fixed(size)];
    let pixels = graph.input("pixel_values", Type::F32, &shape);
    match &config.vision {
        Vision::Vit(tower) => transformer(graph, config, tower, &pixels),
        Vision::Resnet(tower) => resnet::build(graph, config, tower, &pixels),
    }
}

fn transformer(graph: &mut Graph, config: &Config, vit: &Vit, pixels: &str) -> Result<String> {
    let (size, width, patch) = (config.image_size, vit.width, vit.patch_size);
    let rows = (size / patch).pow(2) + 1;
    let conv1 = graph.weight("visual.conv1.weight", &[width, 3, patch, patch])?;
    let square = [patch, patch];
    let patches = graph.op(
        "Conv",
        &[pixels, &conv1],
        &[("kernel_shape", Attribute::Ints(&square)), ("strides", Attribute::Ints(&square))],
    );
    let patches = graph.reshape(&patches, &[0, width as i64, -1]);
    let patches = graph.transpose(&patches, &[0, 2, 1]);

    let class = graph.weight("visual.class_embedding", &[width])?;
    let first = [("start", Attribute::Int(0)), ("end", Attribute::Int(1))];
    let batch = graph.op("Shape", &[pixels], &first);
    let row = graph.ints(&[1, width as i64]);
    let shape = graph.op("Concat", &[&batch, &row], &[("axis", Attribute::Int(0))]);
    let class = graph.op("Expand", &[&class, &shape], &[]);
    let x = graph.op("Concat", &[&class, &patches], &[("axis", Attribute::Int(1))]);
    let positions = graph.weight("visual.positional_embedding", &[rows, width])?;
    let x = graph.op("Add", &[&x, &positions], &[]);
    let x = graph.norm(&x, "visual.ln_pre", width)?;

    let blocks = Transformer {
        prefix: "visual.transformer",
        layers: vit.layers,
        width,
        heads: vit.heads,
        mlp: vit.mlp,
        activation: vit.activation,
        mask: None,
    };
    let x = blocks.build(graph, x)?;
    let first = graph.int(0);
    let x = graph.op("Gather", &[&x, &first], &[("axis", Attribute::Int(1))]);
    let x = graph.norm(&x, "visual.ln_post", width)?;
    let projection = graph.weight("visual.proj", &[width, config.embed_dim])?;
    Ok(graph.op("MatMul", &[&x, &projection], &[]))
}
