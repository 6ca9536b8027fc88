//! A whole CLIP: both towers and the scale of their logits. Image features leave it L2-normalised, because every user
//! of them (logits, CoCoOp's Meta-Net) normalises first.

use super::block::Workspace;
use super::config::Config;
use super::text::{Text, TokenTable};
use super::vision::Vision;
use super::weights::{File, TOKEN_TABLE, Weights};
use crate::input::{image, tokenizer, transform};
use crate::ops::{Cpu, Ops, normalize};
use crate::{Error, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeSet;
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
    /// Ids of the rows, where the table is sparse.
    token_ids: OnceLock<Option<Vec<u32>>>,
    /// The text of its `config.json`, or empty.
    pub config_json: String,
    source: Mutex<Arc<dyn Weights>>,
    image: OnceLock<Vision<O>>,
    text: OnceLock<Text<O>>,
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
        let tokens =
            weights.shape(TOKEN_TABLE).and_then(|shape| shape.first().copied()).unwrap_or(0);
        Ok(Self {
            config,
            logit_scale,
            ops,
            tokens,
            token_ids: OnceLock::new(),
            config_json: config_json.into(),
            source: Mutex::new(weights),
            image: OnceLock::new(),
            text: OnceLock::new(),
            sha256: OnceLock::new(),
        })
    }

    /// Where its tensors come from.
    pub fn source(&self) -> Arc<dyn Weights> {
        Arc::clone(&self.source.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The image tower.
    /// # Errors
    /// Of [`Weights::get`], until it could be loaded.
    pub fn image(&self) -> Result<&Vision<O>> {
        loaded(&self.image, || Vision::load(&self.ops, self.source().as_ref(), &self.config))
    }

    /// The text tower.
    /// # Errors
    /// As [`Self::image`].
    pub fn text(&self) -> Result<&Text<O>> {
        loaded(&self.text, || Text::load(&self.ops, self.source().as_ref(), &self.config))
    }

    /// The embeddings of the tokens `ids`, read now; those that the model does not know are zeros.
    /// # Errors
    /// Of [`Weights::token_rows`]; [`Error::Model`] if a sparse table contradicts itself.
    pub fn tokens(&self, ids: &BTreeSet<u32>) -> Result<TokenTable> {
        let (source, width) = (self.source(), self.config.text.width);
        let known = loaded(&self.token_ids, || {
            let known = source.token_ids()?;
            match &known {
                Some(ids) if ids.len() != self.tokens || !ids.is_sorted_by(|a, b| a < b) => {
                    let why =
                        "the token table's ids do not ascend, or are not one for each row".into();
                    Err(Error::Model { why })
                }
                _ => Ok(known),
            }
        })?;
        let row = |id: &u32| match known {
            Some(known) => known.binary_search(id).ok(),
            None => (*id as usize).lt(&self.tokens).then_some(*id as usize),
        };
        let mut rows = source.token_rows(&ids.iter().filter_map(row).collect(), width)?;
        for (i, _) in ids.iter().enumerate().filter(|(_, id)| row(id).is_none()) {
            rows.splice(i * width..i * width, std::iter::repeat_n(0.0, width));
        }
        TokenTable::some(ids.iter().copied().collect(), rows, width)
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
        let (source, width) = (self.source(), self.config.text.width);
        let kept = Kept {
            shape: vec![self.tokens, width],
            ids: source.token_ids()?,
            table: source.get(TOKEN_TABLE, &[self.tokens, width])?,
            sha256: self.sha256().into(),
        };
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(kept);
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
        transform::view_of_file(bytes, &image::Limits::default(), self.config.image_size)
    }

    /// A square RGB view (`image_size`, `image_size`, 3) as the tower's input (3, `image_size`, `image_size`).
    pub fn pixels(&self, view: &[u8]) -> Vec<f32> {
        let mut pixels = vec![0.0; view.len()];
        transform::normalize(view, self.config.image_size, &mut pixels);
        pixels
    }

    /// `ModelInfo` of the doors (ARCHITECTURE.md).
    pub fn info(&self) -> Value {
        let mut info = json!(self.config);
        let tokens = self.tokens;
        info["sha256"] = json!(self.sha256());
        if let Some((bits, sha256)) = self.source().pack() {
            info["pack"] = json!({"bits": bits, "sha256": sha256});
        }
        info["logit_scale"] = json!(self.logit_scale);
        info["parameters"] = json!(self.config.parameters(tokens));
        info["text"]["vocab_size"] = json!((tokenizer::EOT as usize + 1).max(tokens));
        info["text"]["tokens_known"] = json!(tokens);
        info
    }
}

/// What is in `cell`, or what `load` gives now. A failure is not kept: what was missing may come.
fn loaded<T>(cell: &OnceLock<T>, load: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = load()?;
            Ok(cell.get_or_init(|| value)) // another thread may have been faster
        }
    }
}

/// What a settled model still needs of its source.
struct Kept {
    shape: Vec<usize>,
    ids: Option<Vec<u32>>,
    table: Vec<f32>,
    sha256: String,
}

impl Weights for Kept {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        (name == TOKEN_TABLE).then(|| self.shape.clone())
    }

    fn get(&self, name: &str, _: &[usize]) -> Result<Vec<f32>> {
        Err(Error::MissingTensor { name: name.into() }) // the towers were loaded, and nothing else asks
    }

    fn token_rows(&self, rows: &BTreeSet<usize>, width: usize) -> Result<Vec<f32>> {
        Ok(rows.iter().flat_map(|row| &self.table[row * width..][..width]).copied().collect())
    }

    fn token_ids(&self) -> Result<Option<Vec<u32>>> {
        Ok(self.ids.clone())
    }

    fn sha256(&self) -> String {
        self.sha256.clone()
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
