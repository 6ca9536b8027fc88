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
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// An opened model. Shapes are checked when it is opened; a tower is read and prepared when it is first used.
pub struct Clip<O: Ops = Cpu> {
    /// Its dimensions.
    pub config: Config,
    /// The log of the logits' scale, as in the checkpoint.
    pub logit_scale: f32,
    /// Where it computes.
    pub ops: O,
    /// Rows of the token table that the source holds.
    tokens: usize,
    source: Mutex<Option<Arc<dyn Weights>>>,
    image: OnceLock<Result<Vision<O>>>,
    text: OnceLock<Result<Text<O>>>,
    sha256: OnceLock<String>,
}

impl Clip<Cpu> {
    /// Opens a model from the bytes of a safetensors file (`OpenAI`'s or Hugging Face's names; f32, f16, bf16) and the
    /// text of its `config.json` (or "").
    /// # Errors
    /// [`Error::Safetensors`], [`Error::Model`], or of [`Weights::get`].
    pub fn open(bytes: Bytes, config_json: &str) -> Result<Self> {
        Self::load(Cpu, Arc::new(File::open(bytes)?), config_json)
    }
}

impl<O: Ops> Clip<O> {
    /// Opens a model from any source of tensors.
    /// # Errors
    /// [`Error::Model`], or of [`Weights::get`].
    pub fn load(ops: O, weights: Arc<dyn Weights>, config_json: &str) -> Result<Self> {
        let config = Config::read(weights.as_ref(), config_json)?;
        let logit_scale = weights.get("logit_scale", &[])?[0];
        let tokens = weights.shape("token_embedding.weight").map_or(0, |shape| shape[0]);
        Ok(Self {
            config,
            logit_scale,
            ops,
            tokens,
            source: Mutex::new(Some(weights)),
            image: OnceLock::new(),
            text: OnceLock::new(),
            sha256: OnceLock::new(),
        })
    }

    fn source(&self) -> Arc<dyn Weights> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(source.as_ref().expect("only a settled model has given up its source"))
    }

    /// The image tower.
    /// # Errors
    /// Of [`Weights::get`], when it is first used.
    pub fn image(&self) -> Result<&Vision<O>> {
        let load = || Vision::load(&self.ops, self.source().as_ref(), &self.config);
        self.image.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    /// The text tower.
    /// # Errors
    /// Of [`Weights::get`], when it is first used.
    pub fn text(&self) -> Result<&Text<O>> {
        let load = || Text::load(&self.ops, self.source().as_ref(), &self.config);
        self.text.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    /// SHA-256 of the weights' file, in hexadecimal: what a bundle names its model by.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| self.source().sha256())
    }

    /// Reads all that is needed and gives the source up, where memory must not hold both.
    /// # Errors
    /// Of [`Weights::get`].
    pub fn settle(&self) -> Result<()> {
        self.image()?;
        self.text()?;
        self.sha256();
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// L2-normalised `image_features` (batch, `embed_dim`) of `pixels` (batch, 3, `image_size`, `image_size`).
    /// # Errors
    /// As [`Self::image`].
    pub fn image_features(&self, work: &mut Workspace<O>, pixels: &[f32]) -> Result<Vec<f32>> {
        let mut features = self.image()?.encode(&self.ops, work, pixels);
        normalize::forward(&mut features, self.config.embed_dim);
        Ok(features)
    }

    /// L2-normalised `image_features` (`embed_dim`) of one encoded image file.
    /// # Errors
    /// [`Error::Image`], [`Error::ImageTooLarge`], [`Error::ImageFormat`].
    pub fn embed(&self, work: &mut Workspace<O>, bytes: &[u8]) -> Result<Vec<f32>> {
        self.image_features(work, &self.pixels(&self.view(bytes)?))
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

    /// Numbers in the checkpoint; of the token table, the `tokens` rows that are there.
    fn parameters(&self, tokens: usize) -> usize {
        let Config { image_size, embed_dim, context_length, vision, text } = &self.config;
        let tower = |layers: usize, w: usize| layers * (12 * w * w + 13 * w);
        let patches = 3 * vision.patch_size.pow(2) + (image_size / vision.patch_size).pow(2) + 2;
        tower(vision.layers, vision.width)
            + vision.width * (patches + 4 + embed_dim)
            + tower(text.layers, text.width)
            + text.width * (tokens + context_length + 2 + embed_dim)
            + 1
    }

    /// `ModelInfo` of the doors (ARCHITECTURE.md).
    pub fn info(&self) -> Value {
        let mut info = json!(self.config);
        let tokens = self.tokens;
        info["sha256"] = json!(self.sha256());
        info["logit_scale"] = json!(self.logit_scale);
        info["parameters"] = json!(self.parameters(tokens));
        info["text"]["vocab_size"] = json!((tokenizer::EOT as usize + 1).max(tokens));
        info["text"]["tokens_known"] = json!(tokens);
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
