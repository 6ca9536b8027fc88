//! What a CLIP looks like, read from its tensors' shapes as `OpenAI`'s `build_model` does; only the activation is not
//! in the tensors and comes from `config.json`.

use super::weights::Weights;
use crate::kernels::attention::HEAD;
use crate::ops::Activation;
use crate::{Error, Result};
use serde::Serialize;

/// More blocks than any CLIP has.
const MAX_LAYERS: usize = 1000;

/// The dimensions of a CLIP with a vision transformer.
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
pub struct Vision {
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
        let shape = |name: &str, dims: usize| {
            let shape =
                weights.shape(name).ok_or_else(|| Error::MissingTensor { name: name.into() })?;
            let got = shape.clone();
            let expected = vec![0; dims];
            if shape.len() == dims {
                Ok(shape)
            } else {
                Err(Error::Shape { name: name.into(), expected, got })
            }
        };
        if weights.shape("visual.layer1.0.conv1.weight").is_some() {
            return Err(Error::Model {
                why: "a ResNet image tower; only vision transformers are supported".into(),
            });
        }
        let conv = shape("visual.conv1.weight", 4)?;
        let grid_rows = shape("visual.positional_embedding", 2)?[0];
        let grid = grid_rows.saturating_sub(1).isqrt();
        if grid == 0 || grid * grid + 1 != grid_rows {
            let why = format!(
                "visual.positional_embedding has {grid_rows} rows, expected a square number plus 1"
            );
            return Err(Error::Model { why });
        }
        let text_width = shape("ln_final.weight", 1)?[0];
        for width in [conv[0], text_width] {
            if width == 0 || !width.is_multiple_of(HEAD) {
                return Err(Error::Model {
                    why: format!("width {width} is no multiple of the head width {HEAD}"),
                });
            }
        }
        let layers = |prefix: &str| {
            (0..MAX_LAYERS)
                .take_while(|i| {
                    weights.shape(&format!("{prefix}.resblocks.{i}.ln_1.weight")).is_some()
                })
                .count()
        };
        let config = Self {
            image_size: grid * conv[3],
            embed_dim: shape("text_projection", 2)?[1],
            context_length: shape("positional_embedding", 2)?[0],
            vision: Vision {
                layers: layers("visual.transformer"),
                width: conv[0],
                heads: conv[0] / HEAD,
                patch_size: conv[3],
                activation: activation.vision,
            },
            text: Text {
                layers: layers("transformer"),
                width: text_width,
                heads: text_width / HEAD,
                activation: activation.text,
            },
        };
        if config.vision.layers == 0 || config.text.layers == 0 {
            return Err(Error::Model { why: "a tower has no blocks".into() });
        }
        Ok(config)
    }
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
