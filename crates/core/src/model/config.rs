//! What a CLIP looks like, read from its tensors' shapes as `OpenAI`'s `build_model` does; only the activation is not
//! in the tensors and comes from `config.json`.

use super::resnet::REDUCTION;
use super::weights::Weights;
use crate::kernels::attention::HEAD;
use crate::ops::Activation;
use crate::{Error, Result};
use serde::Serialize;

/// More blocks than any CLIP has.
const MAX_LAYERS: usize = 1000;

/// The dimensions of a CLIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Side of the square image, pixels.
    pub image_size: usize,
    /// Length of the features.
    pub embed_dim: usize,
    /// Tokens that a text may have, start and end included.
    pub context_length: usize,
    /// The image tower.
    pub vision: Vision,
    /// The text tower.
    pub text: Text,
}

/// The dimensions of the image tower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Vision {
    /// A vision transformer.
    Vit(Vit),
    /// A ResNet with anti-aliased strides and attention pooling.
    Resnet(Resnet),
}

/// The dimensions of a vision transformer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vit {
    /// Number of blocks.
    pub layers: usize,
    /// Length of a row.
    pub width: usize,
    /// Attention heads, 64 wide each.
    pub heads: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    /// Of its MLPs.
    pub activation: Activation,
}

/// The dimensions of a ResNet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resnet {
    /// Number of blocks in each stage.
    pub layers: [usize; 4],
    /// Channels behind the stem; the last map has 32 times as many.
    pub width: usize,
    /// Heads of the attention pool, 64 wide each.
    pub heads: usize,
}

/// The dimensions of the text tower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Text {
    /// Number of blocks.
    pub layers: usize,
    /// Length of a row: `ctx_dim`.
    pub width: usize,
    /// Attention heads, 64 wide each.
    pub heads: usize,
    /// Of its MLPs.
    pub activation: Activation,
}

impl Config {
    /// Reads the dimensions from the shapes in `weights`; `json` is the text of `config.json`, or empty, which means
    /// `OpenAI`'s own activation.
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::Model`] if the architecture is not one that this crate runs.
    pub fn read(weights: &dyn Weights, json: &str) -> Result<Self> {
        let activation = activations(json)?;
        let vision = Vision::read(weights, activation.vision)?;
        let text_width = head_multiple(shape(weights, "ln_final.weight", 1)?[0])?;
        Ok(Self {
            image_size: vision.image_size(weights)?,
            embed_dim: shape(weights, "text_projection", 2)?[1],
            context_length: shape(weights, "positional_embedding", 2)?[0],
            vision,
            text: Text {
                layers: blocks(weights, "transformer.resblocks", "ln_1.weight")?,
                width: text_width,
                heads: text_width / HEAD,
                activation: activation.text,
            },
        })
    }

    /// Numbers in the checkpoint, of the token table's rows only `tokens`. Running statistics do not count.
    pub fn parameters(&self, tokens: usize) -> usize {
        let Self { image_size, embed_dim, context_length, vision, text } = self;
        let transformer = |layers: usize, w: usize| layers * (12 * w * w + 13 * w);
        let vision = match vision {
            Vision::Vit(Vit { layers, width, patch_size, .. }) => {
                let patches = 3 * patch_size.pow(2) + (image_size / patch_size).pow(2) + 2;
                transformer(*layers, *width) + width * (patches + 4 + embed_dim)
            }
            Vision::Resnet(Resnet { layers, width: w, .. }) => {
                let (stem, last) = (27 * w / 2 + 27 * w * w / 4 + 4 * w, 32 * w);
                let stages = layers.iter().enumerate().map(|(stage, blocks)| {
                    let (planes, before) =
                        (w << stage, if stage == 0 { *w } else { (2 * w) << stage });
                    let block = |inputs: usize| planes * (inputs + 13 * planes + 12);
                    block(before) + 4 * planes * (before + 2) + (blocks - 1) * block(4 * planes)
                });
                let rows = (image_size / REDUCTION).pow(2) + 1 + 3 * (last + 1) + embed_dim;
                stem + stages.sum::<usize>() + last * rows + embed_dim
            }
        };
        vision
            + transformer(text.layers, text.width)
            + text.width * (tokens + context_length + 2 + embed_dim)
            + 1
    }
}

impl Vision {
    fn read(weights: &dyn Weights, activation: Activation) -> Result<Self> {
        let resnet = "visual.layer1.0.conv1.weight";
        if weights.shape(resnet).is_none() {
            let conv = shape(weights, "visual.conv1.weight", 4)?;
            let width = head_multiple(conv[0])?;
            return Ok(Self::Vit(Vit {
                layers: blocks(weights, "visual.transformer.resblocks", "ln_1.weight")?,
                width,
                heads: width / HEAD,
                patch_size: conv[3],
                activation,
            }));
        }
        let width = shape(weights, resnet, 4)?[0];
        let heads = head_multiple(REDUCTION * width)? / HEAD;
        let mut layers = [0; 4];
        for (stage, layers) in (1..).zip(&mut layers) {
            *layers = blocks(weights, &format!("visual.layer{stage}"), "conv1.weight")?;
        }
        Ok(Self::Resnet(Resnet { layers, width, heads }))
    }

    /// Side of the image: it follows from the number of positions.
    fn image_size(&self, weights: &dyn Weights) -> Result<usize> {
        let (name, side) = match self {
            Self::Vit(vit) => ("visual.positional_embedding", vit.patch_size),
            Self::Resnet(_) => ("visual.attnpool.positional_embedding", REDUCTION),
        };
        let rows = shape(weights, name, 2)?[0];
        let grid = rows.saturating_sub(1).isqrt();
        if grid == 0 || grid * grid + 1 != rows {
            let why = format!("{name} has {rows} rows, expected a square number plus 1");
            return Err(Error::Model { why });
        }
        Ok(grid * side)
    }
}

/// The shape of `name`, which must have so many dimensions.
fn shape(weights: &dyn Weights, name: &str, dims: usize) -> Result<Vec<usize>> {
    let got = weights.shape(name).ok_or_else(|| Error::MissingTensor { name: name.into() })?;
    if got.len() == dims {
        Ok(got)
    } else {
        Err(Error::Shape { name: name.into(), expected: vec![0; dims], got })
    }
}

/// How many blocks `{prefix}.{i}` there are, each with a tensor `leaf`.
fn blocks(weights: &dyn Weights, prefix: &str, leaf: &str) -> Result<usize> {
    let there = |i: &usize| weights.shape(&format!("{prefix}.{i}.{leaf}")).is_some();
    match (0..MAX_LAYERS).take_while(there).count() {
        0 => Err(Error::MissingTensor { name: format!("{prefix}.0.{leaf}") }),
        count => Ok(count),
    }
}

/// `width` if it is one or more whole heads.
fn head_multiple(width: usize) -> Result<usize> {
    if width == 0 || !width.is_multiple_of(HEAD) {
        let why = format!("width {width} is no multiple of the head width {HEAD}");
        return Err(Error::Model { why });
    }
    Ok(width)
}

/// What the tensors do not say.
#[derive(Debug, PartialEq, Eq)]
struct Activations {
    vision: Activation,
    text: Activation,
}

/// The activations that a `config.json` names: `hidden_act` of each tower. A tower without one, or no file at all, means
/// `OpenAI`'s own.
fn activations(json: &str) -> Result<Activations> {
    let config: serde_json::Value = if json.trim().is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_str(json)
            .map_err(|error| Error::Model { why: format!("config.json: {error}") })?
    };
    let of = |tower: &str| match config.pointer(&format!("/{tower}/hidden_act")) {
        None => Ok(Activation::QuickGelu),
        Some(act) => match act.as_str() {
            Some("quick_gelu") => Ok(Activation::QuickGelu),
            Some("gelu") => Ok(Activation::Gelu),
            _ => {
                let why = format!("{tower}.hidden_act: expected quick_gelu or gelu, got {act}");
                Err(Error::Model { why })
            }
        },
    };
    Ok(Activations { vision: of("vision_config")?, text: of("text_config")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Activation::{Gelu, QuickGelu};

    #[test]
    fn each_tower_has_the_activation_that_the_config_names() {
        let read = |json: &str| activations(json).map(|both| (both.vision, both.text));
        assert_eq!(read(""), Ok((QuickGelu, QuickGelu)));
        let gelu = r#"{"text_config": {"hidden_act": "gelu"}, "vision_config": {}}"#;
        assert_eq!(read(gelu), Ok((QuickGelu, Gelu)));
        let refused = read(r#"{"vision_config": {"hidden_act": "relu"}}"#).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "model: vision_config.hidden_act: expected quick_gelu or gelu, got \"relu\""
        );
        assert!(read("{").is_err());
    }
}
