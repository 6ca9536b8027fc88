//! What a bundle says of itself: the JSON in its metadata.

use crate::prompt::template::ClassTokenPosition;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const FORMAT: &str = "cocoop-bundle";
const VERSION: u64 = 1;
/// The most classes a bundle may have.
const MAX_CLASSES: usize = 10_000;

/// How the prompt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Hand-written templates.
    ZeroShot,
    /// Learned vectors.
    Coop,
    /// Learned vectors, shifted by the image.
    Cocoop,
}

/// docs/bundle-format.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The name it is published under.
    pub name: String,
    /// How the prompt was made.
    pub method: Method,
    /// The classes, in the order of the logits.
    pub classnames: Vec<String>,
    /// The prompt's layout.
    pub prompt: Prompt,
    /// The model it was made for.
    pub model: ModelId,
    /// Whatever the trainer says of the run.
    pub training: Map<String, Value>,
    /// Whatever the trainer measured.
    pub metrics: Map<String, Value>,
}

/// The prompt's layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// Learned vectors; 0 for zero-shot.
    pub n_ctx: usize,
    /// The words the vectors started at.
    pub ctx_init: Option<String>,
    /// Whether each class has vectors of its own.
    pub csc: bool,
    /// Where the class name stands.
    pub class_token_position: ClassTokenPosition,
    /// Of zero-shot only.
    pub templates: Vec<String>,
}

/// The model a bundle was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelId {
    /// A name for people.
    pub id: String,
    /// SHA-256 of the weights' file.
    pub sha256: String,
    /// Length of the features.
    pub embed_dim: usize,
    /// Side of the image, pixels.
    pub image_size: usize,
}

impl Metadata {
    /// JSON with sorted keys, format and version among them.
    /// # Panics
    /// Never: the metadata is plain data.
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(self).expect("strings, numbers and lists are JSON");
        value["format"] = FORMAT.into();
        value["version"] = VERSION.into();
        value.to_string() // serde_json's maps are sorted
    }

    /// # Errors
    /// [`Error::Bundle`] if this is no metadata of this format and version, or contradicts itself.
    pub(super) fn from_json(json: &str) -> Result<Self> {
        let bad = |why: String| Error::Bundle { why };
        let mut value: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| bad(format!("metadata: {error}")))?;
        let (format, version) = (value.remove("format"), value.remove("version"));
        if format.as_ref().and_then(Value::as_str) != Some(FORMAT) {
            return Err(bad(format!(
                "format: expected {FORMAT}, got {}",
                format.unwrap_or_default()
            )));
        }
        if version.as_ref().and_then(Value::as_u64) != Some(VERSION) {
            return Err(bad(format!(
                "version: expected {VERSION}, got {}",
                version.unwrap_or_default()
            )));
        }
        let metadata: Self = serde_json::from_value(Value::Object(value))
            .map_err(|error| bad(format!("metadata: {error}")))?;
        metadata.check()?;
        Ok(metadata)
    }

    fn check(&self) -> Result<()> {
        let bad = |why: String| Err(Error::Bundle { why });
        let (n_cls, prompt) = (self.classnames.len(), &self.prompt);
        if n_cls == 0 || n_cls > MAX_CLASSES {
            return bad(format!("classnames: expected 1 to {MAX_CLASSES}, got {n_cls}"));
        }
        if self.model.sha256.len() != 64
            || !self.model.sha256.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return bad(format!(
                "model.sha256: expected 64 hexadecimal digits, got {:?}",
                self.model.sha256
            ));
        }
        let zero_shot = self.method == Method::ZeroShot;
        if zero_shot != (prompt.n_ctx == 0) || zero_shot == prompt.templates.is_empty() {
            return bad(
                "prompt: templates are of zero-shot alone, n_ctx of the learned methods".into()
            );
        }
        if prompt.csc && self.method != Method::Coop {
            return bad("prompt.csc: only coop has class-specific vectors".into());
        }
        Ok(())
    }
}
