//! Writes ONNX graphs (opset 17) of a CLIP for other runtimes: each tower, and one of pixels to probabilities where the
//! prompts do not depend on the image. Inputs and outputs are named as in Hugging Face's exports (docs/onnx.md); features
//! leave the towers unnormalised, as theirs do. Nothing here reads or runs ONNX.

mod block;
mod graph;
pub mod host;
mod proto;
mod resnet;
#[cfg(test)]
mod tests;
mod text;
mod vision;

use crate::bundle::Bundle;
use crate::input::transform::Normalization;
use crate::model::clip::Clip;
use crate::model::config::Config;
use crate::model::weights::Weights;
use crate::{Error, Result};
use graph::{Graph, Values};
use proto::Dim::{Fixed, Free};
use proto::{Attribute, Type};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// How matrices are stored. All graphs compute in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// As they are.
    F32,
    /// As halves, widened when the runtime loads them: half the bytes.
    F16,
}

/// Which graph.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// `pixel_values` (batch, 3, size, size) to `image_embeds` (batch, `embed_dim`).
    Vision,
    /// `input_ids` (batch, sequence) to `text_embeds` (batch, `embed_dim`), and `token_embeds` (batch, sequence, width).
    Text,
    /// `inputs_embeds` (batch, sequence, width) without positions and `eot` (batch) to `text_embeds`: for learned vectors.
    Prompt,
    /// `pixel_values` to `logits` and `probs` (batch, `n_cls`), by the prompts of a bundle.
    Classifier(&'a Bundle),
}

impl What<'_> {
    /// The file's name without its end.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision_model",
            Self::Text => "text_model",
            Self::Prompt => "prompt_model",
            Self::Classifier(_) => "classifier",
        }
    }
}

/// What is written: the graph, and where one protobuf cannot hold it (2 GiB) a second file with the values.
pub struct Export {
    /// The graph's file first.
    pub files: Vec<File>,
}

/// A file in parts, to be written one after the other.
pub struct File {
    /// Its name; the graph refers to the second file by it.
    pub name: String,
    /// Its length, bytes.
    pub bytes: u64,
    parts: Vec<Part>,
}

/// Some bytes of a file.
enum Part {
    Bytes(Vec<u8>),
    /// One tensor, read when it is written.
    Values {
        name: String,
        values: Values,
        half: bool,
        bytes: u64,
    },
}

impl Part {
    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Values { bytes, .. } => *bytes,
        }
    }
}

impl File {
    fn new(name: String, parts: Vec<Part>) -> Self {
        Self { name, bytes: parts.iter().map(Part::bytes).sum(), parts }
    }

    /// How many parts it has; the largest is the model's largest tensor.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The bytes of part `index`, with values read from `weights`: those that the export was made from.
    /// # Errors
    /// Of [`Weights::get`]; [`Error::Model`] if a value does not fit into a half.
    /// # Panics
    /// If there is no such part.
    pub fn part(&self, index: usize, weights: &dyn Weights) -> Result<Vec<u8>> {
        match &self.parts[index] {
            Part::Bytes(bytes) => Ok(bytes.clone()),
            Part::Values { name, values, half, .. } => {
                graph::encode(name, &values(weights)?, *half)
            }
        }
    }
}

/// The graph that a door was asked for, and the model that its values are read from.
pub struct Exporter {
    clip: Arc<Clip>,
    export: Export,
}

/// What a door is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    graph: GraphName,
    dtype: Dtype,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum GraphName {
    Vision,
    Text,
    Prompt,
    Classifier,
}

impl Exporter {
    /// Lays out the graph that JSON `{graph, dtype}` names: `vision`, `text`, `prompt`, or `classifier`, which needs the
    /// bytes of a `bundle`; `f32` or `f16`.
    /// # Errors
    /// [`Error::Option`]; of [`export`] and [`Bundle::read`].
    pub fn open(clip: Arc<Clip>, spec: &str, bundle: Option<&[u8]>) -> Result<Self> {
        let option = |name: &str, expected: &str, got: String| Error::Option {
            name: name.into(),
            expected: expected.into(),
            got,
        };
        let Spec { graph, dtype } = serde_json::from_str(spec)
            .map_err(|error| option("spec", "{graph, dtype}", error.to_string()))?;
        let bundle = bundle.map(Bundle::read).transpose()?;
        let what = match (graph, &bundle) {
            (GraphName::Vision, _) => What::Vision,
            (GraphName::Text, _) => What::Text,
            (GraphName::Prompt, _) => What::Prompt,
            (GraphName::Classifier, Some(bundle)) => What::Classifier(bundle),
            (GraphName::Classifier, None) => {
                return Err(option("bundle", "the bundle whose classes are scored", "none".into()));
            }
        };
        let export = export(clip.source().as_ref(), &clip.config, &clip.info(), what, dtype)?;
        Ok(Self { clip, export })
    }

    /// The model's `ModelInfo`.
    pub fn info(&self) -> Value {
        self.clip.info()
    }

    /// JSON `[{name, bytes, parts}]` of the files that are to be written.
    pub fn files(&self) -> String {
        let file = |f: &File| json!({"name": f.name, "bytes": f.bytes, "parts": f.parts()});
        self.export.files.iter().map(file).collect::<Value>().to_string()
    }

    /// The bytes of part `part` of file `file`.
    /// # Errors
    /// [`Error::Option`] if there is no such part; of [`File::part`].
    pub fn part(&self, file: usize, part: usize) -> Result<Vec<u8>> {
        match self.export.files.get(file) {
            Some(file) if part < file.parts() => file.part(part, self.clip.source().as_ref()),
            _ => Err(Error::Option {
                name: "part".into(),
                expected: "a part of a file".into(),
                got: format!("part {part} of file {file}"),
            }),
        }
    }
}

/// Lays out one graph. Values are read when its parts are asked for. `info` is the model's `ModelInfo`.
/// # Errors
/// [`Error::MissingTensor`] or [`Error::Shape`] if the tower is not there; [`Error::ModelMismatch`] and [`Error::Bundle`]
/// for a classifier whose bundle is for another model, or whose text features depend on the image.
pub fn export(
    weights: &dyn Weights,
    config: &Config,
    info: &Value,
    what: What,
    dtype: Dtype,
) -> Result<Export> {
    let mut graph = Graph::new(weights, dtype);
    let embeds = [Free("batch"), Fixed(config.embed_dim)];
    let mut metadata = vec![("model".to_string(), info.to_string())];
    let mut sees = || metadata.push(("preprocess".into(), preprocess(config).to_string()));
    match what {
        What::Vision => {
            sees();
            let features = vision::build(&mut graph, config)?;
            graph.output("image_embeds", &features, Type::F32, &embeds);
        }
        What::Text => {
            let (tokens, features) = text::from_ids(&mut graph, config)?;
            graph.output("text_embeds", &features, Type::F32, &embeds);
            let rows = [Free("batch"), Free("sequence"), Fixed(config.text.width)];
            graph.output("token_embeds", &tokens, Type::F32, &rows);
        }
        What::Prompt => {
            let features = text::from_embeds(&mut graph, config)?;
            graph.output("text_embeds", &features, Type::F32, &embeds);
        }
        What::Classifier(bundle) => {
            sees();
            classifier(&mut graph, config, info, bundle)?;
            metadata.push(("classnames".into(), json!(bundle.metadata.classnames).to_string()));
            metadata.push(("bundle".into(), bundle.metadata.to_json()));
        }
    }
    Ok(graph.finish(what.name(), &metadata))
}

/// How an image becomes `pixel_values`.
fn preprocess(config: &Config) -> Value {
    let Normalization { mean, std } = config.normalization;
    json!({
        "size": config.image_size, "resize": "shorter side, bicubic, antialiased", "crop": "center",
        "color": "RGB", "range": [0, 1], "mean": mean, "std": std,
    })
}

/// Image tower, cosines with the bundle's text features, scale, softmax.
fn classifier(graph: &mut Graph, config: &Config, info: &Value, bundle: &Bundle) -> Result<()> {
    let model = &bundle.metadata.model;
    let got = info["sha256"].as_str().unwrap_or_default();
    if model.sha256 != got {
        let (id, expected) = (model.id.clone(), model.sha256.clone());
        return Err(Error::ModelMismatch { id, expected, got: got.into() });
    }
    let Some(text) = &bundle.text_features else {
        let why = "its text features depend on the image; one graph holds the prompts of zero-shot \
                   and coop only (export the towers for cocoop)";
        return Err(Error::Bundle { why: why.into() });
    };
    let (n_cls, embed_dim) = (bundle.metadata.classnames.len(), config.embed_dim);
    let image = vision::build(graph, config)?;
    let axes = [("axes", Attribute::Ints(&[1])), ("keepdims", Attribute::Int(1))];
    let length = graph.op("ReduceL2", &[&image], &axes);
    let image = graph.op("Div", &[&image, &length], &[]);
    let columns: Vec<f32> =
        (0..embed_dim * n_cls).map(|i| text[i % n_cls * embed_dim + i / n_cls]).collect();
    let text = graph.floats(&columns, vec![embed_dim, n_cls]);
    let cosines = graph.op("MatMul", &[&image, &text], &[]);
    let log_scale = graph.weights().get("logit_scale", &[])?[0];
    let scale = graph.scalar(log_scale.exp());
    let logits = graph.op("Mul", &[&cosines, &scale], &[]);
    let probs = graph.op("Softmax", &[&logits], &[("axis", Attribute::Int(1))]);
    let scores = [Free("batch"), Fixed(n_cls)];
    graph.output("probs", &probs, Type::F32, &scores);
    graph.output("logits", &logits, Type::F32, &scores);
    Ok(())
}
