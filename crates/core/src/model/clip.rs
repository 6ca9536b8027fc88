//! A whole CLIP: both towers and the scale of their logits. Image features leave it L2-normalised, because every user
//! of them (logits, CoCoOp's Meta-Net) normalises first.

use super::block::Workspace;
use super::config::Config;
use super::tensors::tensors;
use super::text::{Text, TokenTable};
use super::vision::Vision;
use super::weights::{Files, Part, TOKEN_TABLE, Weights};
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
    /// The log of the logits' scale, as in the checkpoint; NaN if that is one tower alone.
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
    /// Opens a model from the bytes of one file and the text of its config: [`Self::open_parts`].
    /// # Errors
    /// As [`Self::open_parts`].
    pub fn open(bytes: Bytes, config_json: &str) -> Result<Self> {
        Self::open_parts(vec![Part::new("", bytes)], config_json)
    }

    /// Opens a model from its files (safetensors, sharded or not, or a PyTorch archive; all names of
    /// [`super::weights::names`]; f32, f16, bf16) and the text of its config: Hugging Face's `config.json`,
    /// `open_clip_config.json`, or nothing for `OpenAI`'s own files.
    /// # Errors
    /// [`Error::Safetensors`], [`Error::Model`]; of [`Weights::get`]; of [`Files::check`].
    pub fn open_parts(parts: Vec<Part>, config_json: &str) -> Result<Self> {
        let files = Files::open(parts)?;
        files.check_config(config_json)?;
        let config = Config::read(&files, config_json)?;
        files.check(&tensors(&config, files.tokens()))?;
        Self::load(Cpu, Arc::new(files), config_json)
    }
}

impl<O: Ops> Clip<O> {
    /// Opens a model from any source of tensors.
    /// # Errors
    /// [`Error::Model`], or of [`Weights::get`].
    pub fn load(ops: O, weights: Arc<dyn Weights>, config_json: &str) -> Result<Self> {
        let config = Config::read(weights.as_ref(), config_json)?;
        let one_tower = config.image_size == 0 || config.text.layers == 0;
        let logit_scale = match weights.shape("logit_scale") {
            None if one_tower => f32::NAN,
            _ => weights.get("logit_scale", &[])?[0],
        };
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
        require(self.config.image_size, "visual.conv1.weight")?;
        loaded(&self.image, || Vision::load(&self.ops, self.source().as_ref(), &self.config))
    }

    /// The text tower.
    /// # Errors
    /// As [`Self::image`].
    pub fn text(&self) -> Result<&Text<O>> {
        require(self.config.text.layers, TOKEN_TABLE)?;
        loaded(&self.text, || Text::load(&self.ops, self.source().as_ref(), &self.config))
    }

    /// The embeddings of the tokens `ids`, read now; those that the model does not know are zeros.
    /// # Errors
    /// Of [`Weights::token_rows`]; [`Error::Model`] if a sparse table contradicts itself.
    /// # Panics
    /// If the source gives another number of rows than it was asked for: a fault of its own.
    pub fn tokens(&self, ids: &BTreeSet<u32>) -> Result<TokenTable> {
        let (known, source, width) = (self.ids()?, self.source(), self.config.text.width);
        let row = |id: &u32| match known {
            Some(known) => known.binary_search(id).ok(),
            None => (*id as usize).lt(&self.tokens).then_some(*id as usize),
        };
        let found = source.token_rows(&crate::set_of(ids.iter().filter_map(row)), width)?;
        let mut found = found.chunks_exact(width);
        let mut rows = vec![0.0; ids.len() * width];
        for (to, id) in rows.chunks_exact_mut(width).zip(ids) {
            if row(id).is_some() {
                to.copy_from_slice(found.next().expect("a row for each index"));
            }
        }
        TokenTable::some(ids.iter().copied().collect(), rows, width)
    }

    /// The embeddings of all tokens that the model knows, read now.
    /// # Errors
    /// As [`Self::tokens`].
    pub fn known_tokens(&self) -> Result<TokenTable> {
        let ids = match self.ids()? {
            Some(ids) => ids.clone(),
            None => (0..self.tokens as u32).collect(),
        };
        let (rows, width) = ((0..self.tokens).collect(), self.config.text.width);
        TokenTable::some(ids, self.source().token_rows(&rows, width)?, width)
    }

    /// The ids of a sparse token table's rows; nothing if the table is whole.
    fn ids(&self) -> Result<&Option<Vec<u32>>> {
        require(self.config.text.layers, TOKEN_TABLE)?;
        loaded(&self.token_ids, || {
            let known = self.source().token_ids()?;
            match &known {
                Some(ids) if ids.len() != self.tokens || !ids.is_sorted_by(|a, b| a < b) => {
                    let why =
                        "the token table's ids do not ascend, or are not one for each row".into();
                    Err(Error::Model { why })
                }
                _ => Ok(known),
            }
        })
    }

    /// SHA-256 of the weights' file, in hexadecimal: what a bundle names its model by.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| self.source().sha256())
    }

    /// Reads all that is needed and gives the source up, where memory must not hold both.
    /// # Errors
    /// Of [`Weights::get`].
    pub fn settle(&self) -> Result<()> {
        let (source, width) = (self.source(), self.config.text.width);
        if self.config.image_size > 0 {
            self.image()?;
        }
        let mut table = Vec::new();
        if width > 0 {
            self.text()?;
            table = source.get(TOKEN_TABLE, &[self.tokens, width])?;
        }
        let kept = Kept {
            shape: vec![self.tokens, width],
            ids: source.token_ids()?,
            table,
            sha256: self.sha256().into(),
        };
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(kept);
        Ok(())
    }

    /// L2-normalised `image_features` (batch, `embed_dim`) of `pixels` (batch, 3, `image_size`, `image_size`).
    /// # Errors
    /// As [`Self::image`].
    pub fn image_features(&self, work: &mut Workspace<O>, pixels: &[f32]) -> Result<Vec<f32>> {
        let mut features = Vec::new();
        self.image_features_to(work, &mut features, pixels)?;
        Ok(features)
    }

    /// As [`Self::image_features`], into `features`, whose room is used again.
    /// # Errors
    /// As [`Self::image`].
    pub fn image_features_to(
        &self,
        work: &mut Workspace<O>,
        features: &mut Vec<f32>,
        pixels: &[f32],
    ) -> Result<()> {
        self.image()?.encode(&self.ops, work, features, pixels);
        normalize::forward(features, self.config.embed_dim);
        Ok(())
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
        require(self.config.image_size, "visual.conv1.weight")?;
        transform::view_of_file(bytes, &image::Limits::default(), self.config.image_size)
    }

    /// A square RGB view (`image_size`, `image_size`, 3) as the tower's input (3, `image_size`, `image_size`).
    pub fn pixels(&self, view: &[u8]) -> Vec<f32> {
        let mut pixels = vec![0.0; view.len()];
        transform::normalize(view, self.config.image_size, &self.config.normalization, &mut pixels);
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

/// Refuses to use a tower that the files do not hold: its `size` is 0, and `tensor` is missing.
pub(crate) fn require(size: usize, tensor: &str) -> Result<()> {
    if size > 0 { Ok(()) } else { Err(Error::MissingTensor { name: tensor.into() }) }
}

/// What is in `cell`, or what `load` gives now. A failure is not kept: what was missing may come.
fn loaded<T>(cell: &OnceLock<T>, load: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = load()?;
    Ok(cell.get_or_init(|| value)) // another thread may have been faster
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
