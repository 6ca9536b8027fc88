//! What a CLIP looks like, read from its tensors' shapes as `OpenAI`'s `build_model` does; only the activation is not
//! in the tensors and comes from `config.json`.

use super::resnet::REDUCTION;
use super::stated;
use super::tensors::tensors;
use super::weights::{TOKEN_TABLE, Weights};
use crate::input::transform::{CLIP, Normalization};
use crate::kernels::attention::{HEAD, HEAD_MULTIPLE, MAX_HEAD};
use crate::ops::Activation;
use crate::{Error, Result};
use serde::Serialize;
use std::ops::RangeInclusive;

/// More blocks than any CLIP has.
const MAX_LAYERS: usize = 1000;

/// The dimensions of a CLIP.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// Of the pixels.
    pub normalization: Normalization,
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
    /// Attention heads.
    pub heads: usize,
    /// Length of a row inside the MLPs, four widths in most models.
    #[serde(skip)]
    pub mlp: usize,
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
    /// Attention heads.
    pub heads: usize,
    /// As of the image tower.
    #[serde(skip)]
    pub mlp: usize,
    /// Of its MLPs.
    pub activation: Activation,
}

impl Config {
    /// Reads the dimensions from the shapes in `weights`, and what they do not say from `json`, the text of a config
    /// ([`stated`]); without one it is as in `OpenAI`'s own models. Of a file of one tower, the other has no layers.
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::Model`] if the architecture is not one that this crate runs, or the config is
    /// another model's.
    pub fn read(weights: &dyn Weights, json: &str) -> Result<Self> {
        let any = |names: [&str; 3]| names.iter().any(|name| weights.shape(name).is_some());
        let mut config = Self {
            image_size: 0,
            embed_dim: 0,
            context_length: 0,
            vision: Vision::Vit(Vit {
                layers: 0,
                width: 0,
                heads: 0,
                mlp: 0,
                patch_size: 0,
                activation: Activation::QuickGelu,
            }),
            text: Text { layers: 0, width: 0, heads: 0, mlp: 0, activation: Activation::QuickGelu },
            normalization: CLIP,
        };
        let text = any([TOKEN_TABLE, "ln_final.weight", "text_projection"]);
        if !text
            || any([
                "visual.conv1.weight",
                "visual.ln_post.weight",
                "visual.attnpool.c_proj.weight",
            ])
        {
            config.vision = Vision::read(weights)?;
            config.image_size = config.vision.image_size(weights)?;
            config.embed_dim = match config.vision {
                Vision::Vit(_) => shape(weights, "visual.proj", 2)?[1],
                Vision::Resnet(_) => shape(weights, "visual.attnpool.c_proj.weight", 2)?[0],
            };
        }
        if text {
            config.embed_dim = shape(weights, "text_projection", 2)?[1];
            config.context_length = shape(weights, "positional_embedding", 2)?[0];
            let width = head_multiple(shape(weights, "ln_final.weight", 1)?[0])?;
            let layers = blocks(weights, "transformer.resblocks", "ln_1.weight")?;
            let mlp = mlp(weights, "transformer")?;
            config.text = Text { layers, width, heads: width / HEAD, mlp, ..config.text };
        }
        if let Some(stated) = stated::read(json)? {
            stated.settle(&mut config)?;
        }
        match &config.vision {
            Vision::Vit(tower) => fits(tower.width, tower.heads, HEAD_MULTIPLE..=MAX_HEAD)?,
            Vision::Resnet(tower) => fits(REDUCTION * tower.width, tower.heads, HEAD..=HEAD)?,
        }
        fits(config.text.width, config.text.heads, HEAD_MULTIPLE..=MAX_HEAD)?;
        Ok(config)
    }

    /// Numbers in the checkpoint, of the token table's rows only `tokens`. Running statistics do not count.
    pub fn parameters(&self, tokens: usize) -> usize {
        let counted =
            tensors(self, tokens).into_iter().filter(|(name, _)| !name.contains(".running_"));
        counted.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

impl Vision {
    fn read(weights: &dyn Weights) -> Result<Self> {
        let resnet = "visual.layer1.0.conv1.weight";
        if weights.shape(resnet).is_none() {
            let conv = shape(weights, "visual.conv1.weight", 4)?;
            let width = head_multiple(conv[0])?;
            return Ok(Self::Vit(Vit {
                layers: blocks(weights, "visual.transformer.resblocks", "ln_1.weight")?,
                width,
                heads: width / HEAD,
                mlp: mlp(weights, "visual.transformer")?,
                patch_size: conv[3],
                activation: Activation::QuickGelu,
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

/// The length of a row inside the MLPs of a transformer.
fn mlp(weights: &dyn Weights, transformer: &str) -> Result<usize> {
    Ok(shape(weights, &format!("{transformer}.resblocks.0.mlp.c_fc.weight"), 2)?[0])
}

/// Whether attention computes so many heads in such a width; a tower that is not there has none.
fn fits(width: usize, heads: usize, lengths: RangeInclusive<usize>) -> Result<()> {
    let length = width.checked_div(heads).unwrap_or(0);
    if width == 0
        || length * heads == width
            && lengths.contains(&length)
            && length.is_multiple_of(HEAD_MULTIPLE)
    {
        return Ok(());
    }
    let (least, most) = lengths.into_inner();
    let why = format!(
        "{heads} heads in a width of {width}, expected heads that are {least} to {most} wide, a multiple of {HEAD_MULTIPLE}"
    );
    Err(Error::Model { why })
}

/// `width` if it is one or more whole heads of the usual width.
fn head_multiple(width: usize) -> Result<usize> {
    if width == 0 || !width.is_multiple_of(HEAD) {
        let why = format!("width {width} is no multiple of the head width {HEAD}");
        return Err(Error::Model { why });
    }
    Ok(width)
}
