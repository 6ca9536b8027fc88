//! The text tower as nodes, from token ids or from embeddings on, to unnormalised features (batch, `embed_dim`).
//! A sequence may have any length up to the model's context: the causal mask and the positions are cut to it, and rows
//! after the end of a text change nothing.

use super::block::Transformer;
use super::graph::Graph;
use super::proto::Dim::{Fixed, Free};
use super::proto::{Attribute, Type};
use crate::model::clip::require;
use crate::model::config::Config;
use crate::model::weights::TOKEN_TABLE;
use crate::{Error, Result};

/// From `input_ids` (batch, sequence), each text's end being the first of its highest ids: (`token_embeds` (batch,
/// sequence, width) without positions, features).
/// # Errors
/// A tensor is missing or has another shape.
pub(super) fn from_ids(graph: &mut Graph, config: &Config) -> Result<(String, String)> {
    let ids = graph.input("input_ids", Type::I64, &[Free("batch"), Free("sequence")]);
    let embeds = tokens(graph, config, &ids)?;
    // ArgMax takes no int64 in some runtimes.
    let small = graph.op("Cast", &[&ids], &[("to", Attribute::Int(Type::I32 as i64))]);
    let attributes = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(1))];
    let eot = graph.op("ArgMax", &[&small], &attributes);
    let features = tower(graph, config, &embeds, &eot)?;
    Ok((embeds, features))
}

/// From `inputs_embeds` (batch, sequence, width) without positions, and each text's end `eot` (batch): features.
/// # Errors
/// As [`from_ids`].
pub(super) fn from_embeds(graph: &mut Graph, config: &Config) -> Result<String> {
    let shape = [Free("batch"), Free("sequence"), Fixed(config.text.width)];
    let embeds = graph.input("inputs_embeds", Type::F32, &shape);
    let eot = graph.input("eot", Type::I64, &[Free("batch")]);
    let eot = graph.reshape(&eot, &[-1, 1]);
    tower(graph, config, &embeds, &eot)
}

/// The embeddings of `ids`. A sparse table becomes its rows, one of zeros for every other token, and the row of each id.
fn tokens(graph: &mut Graph, config: &Config, ids: &str) -> Result<String> {
    let (name, width) = (TOKEN_TABLE, config.text.width);
    let missing = || Error::MissingTensor { name: name.into() };
    let shape = graph.weights().shape(name).ok_or_else(missing)?;
    let rows = shape.first().copied().unwrap_or_default();
    let Some(known) = graph.weights().token_ids()? else {
        let table = graph.weight(name, &[rows, width])?;
        return Ok(graph.op("Gather", &[&table, ids], &[]));
    };
    let mut row_of = vec![rows as i32; crate::input::tokenizer::EOT as usize + 1];
    for (row, id) in known.iter().enumerate() {
        if let Some(slot) = row_of.get_mut(*id as usize) {
            *slot = row as i32;
        }
    }
    let index = graph.indices("token_embedding.rows", &row_of);
    let table = graph.made(
        name.into(),
        vec![rows + 1, width],
        Box::new(move |weights| {
            let mut values = weights.get(name, &[rows, width])?;
            values.resize((rows + 1) * width, 0.0);
            Ok(values)
        }),
    );
    let row = graph.op("Gather", &[&index, ids], &[]);
    Ok(graph.op("Gather", &[&table, &row], &[]))
}

/// Positions, blocks, and of each text's row `eot` (batch, 1) the features.
fn tower(graph: &mut Graph, config: &Config, embeds: &str, eot: &str) -> Result<String> {
    let (width, context) = (config.text.width, config.context_length);
    require(config.text.layers, TOKEN_TABLE)?;
    let length =
        graph.op("Shape", &[embeds], &[("start", Attribute::Int(1)), ("end", Attribute::Int(2))]);
    let (zero, zeros, axes) = (graph.ints(&[0]), graph.ints(&[0, 0]), graph.ints(&[0, 1]));
    let positions = graph.weight("positional_embedding", &[context, width])?;
    let positions = graph.op("Slice", &[&positions, &zero, &length, &zero], &[]);
    let x = graph.op("Add", &[embeds, &positions], &[]);

    // f32's least rather than -inf, which some GPUs do not add.
    let future = |i: usize| if i % context > i / context { f32::MIN } else { 0.0 };
    let mask: Vec<f32> = (0..context * context).map(future).collect();
    let mask = graph.floats(&mask, vec![context, context]);
    let square = graph.op("Concat", &[&length, &length], &[("axis", Attribute::Int(0))]);
    let mask = graph.op("Slice", &[&mask, &zeros, &square, &axes], &[]);
    let transformer = Transformer {
        prefix: "transformer",
        layers: config.text.layers,
        width,
        heads: config.text.heads,
        mlp: config.text.mlp,
        activation: config.text.activation,
        mask: Some(&mask),
    };
    let x = transformer.build(graph, x)?;
    let x = graph.op("GatherND", &[&x, eot], &[("batch_dims", Attribute::Int(1))]);
    let x = graph.norm(&x, "ln_final", width)?;
    let projection = graph.weight("text_projection", &[width, config.embed_dim])?;
    Ok(graph.op("MatMul", &[&x, &projection], &[]))
}
