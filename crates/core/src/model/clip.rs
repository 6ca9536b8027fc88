//! A whole CLIP: both towers and the scale of their logits. Image features leave it L2-normalised, because every user
//! of them (logits, CoCoOp's Meta-Net) normalises first.

use super::block::Workspace;
use super::config::Config;
use super::text::Text;
use super::vit::Vision;
use super::weights::{File, Weights};
use crate::Result;
use crate::input::{image, tokenizer, transform};
use crate::ops::{Cpu, Ops, normalize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A loaded model.
pub struct Clip<O: Ops = Cpu> {
    /// Its dimensions.
    pub config: Config,
    /// The image tower.
    pub vision: Vision<O>,
    /// The text tower.
    pub text: Text<O>,
    /// The log of the logits' scale, as in the checkpoint.
    pub logit_scale: f32,
    /// SHA-256 of the weights' file, in hexadecimal: what a bundle names its model by.
    pub sha256: String,
    /// Where it computes.
    pub ops: O,
}

impl Clip<Cpu> {
    /// Reads a model from the bytes of a safetensors file (`OpenAI`'s or Hugging Face's names; f32, f16, bf16) and the
    /// text of its `config.json` (or "").
    /// # Errors
    /// [`Error::Safetensors`], [`Error::Model`], or of [`Weights::get`].
    pub fn open(bytes: &[u8], config_json: &str) -> Result<Self> {
        Self::load(Cpu, &File::open(bytes)?, config_json, hex(&Sha256::digest(bytes)))
    }
}

impl<O: Ops> Clip<O> {
    /// Reads a model from any source of tensors.
    /// # Errors
    /// [`Error::Model`], or of [`Weights::get`].
    pub fn load(ops: O, weights: &dyn Weights, config_json: &str, sha256: String) -> Result<Self> {
        let config = Config::read(weights, config_json)?;
        let logit_scale = weights.get("logit_scale", &[])?[0];
        let (vision, text) =
            (Vision::load(&ops, weights, &config)?, Text::load(&ops, weights, &config)?);
        Ok(Self { config, vision, text, logit_scale, sha256, ops })
    }

    /// L2-normalised `image_features` (batch, `embed_dim`) of `pixels` (batch, 3, `image_size`, `image_size`).
    pub fn image_features(&self, work: &mut Workspace<O>, pixels: &[f32]) -> Vec<f32> {
        let mut features = self.vision.encode(&self.ops, work, pixels);
        normalize::forward(&mut features, self.config.embed_dim);
        features
    }

    /// L2-normalised `image_features` (`embed_dim`) of one encoded image file.
    /// # Errors
    /// [`Error::Image`], [`Error::ImageTooLarge`], [`Error::ImageFormat`].
    pub fn embed(&self, work: &mut Workspace<O>, bytes: &[u8]) -> Result<Vec<f32>> {
        Ok(self.image_features(work, &self.pixels(&self.view(bytes)?)))
    }

    /// What the model sees of one encoded image file: RGB (`image_size`, `image_size`, 3).
    /// # Errors
    /// As [`Self::embed`].
    pub fn view(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let image = image::decode(bytes, &image::Limits::default())?;
        Ok(transform::test_view(&image, self.config.image_size))
    }

    /// A square RGB view (`image_size`, `image_size`, 3) as the tower's input (3, `image_size`, `image_size`).
    pub fn pixels(&self, view: &[u8]) -> Vec<f32> {
        let mut pixels = vec![0.0; view.len()];
        transform::normalize(view, self.config.image_size, &mut pixels);
        pixels
    }

    /// Numbers in the checkpoint; of the token table, the rows that are there.
    fn parameters(&self) -> usize {
        let Config { image_size, embed_dim, context_length, vision, text } = &self.config;
        let tower = |layers: usize, w: usize| layers * (12 * w * w + 13 * w);
        let patches = 3 * vision.patch_size.pow(2) + (image_size / vision.patch_size).pow(2) + 2;
        tower(vision.layers, vision.width)
            + vision.width * (patches + 4 + embed_dim)
            + tower(text.layers, text.width)
            + text.width * (self.text.tokens.len() + context_length + 2 + embed_dim)
            + 1
    }

    /// `ModelInfo` of the doors (ARCHITECTURE.md).
    pub fn info(&self) -> Value {
        let mut info = json!(self.config);
        info["sha256"] = json!(self.sha256);
        info["logit_scale"] = json!(self.logit_scale);
        info["parameters"] = json!(self.parameters());
        info["text"]["vocab_size"] =
            json!((tokenizer::EOT as usize + 1).max(self.text.tokens.len()));
        info["text"]["tokens_known"] = json!(self.text.tokens.len());
        info
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}
