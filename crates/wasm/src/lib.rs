//! The WASM door: converts, calls the core once, converts back. Everything is synchronous; errors are `Error` objects
//! whose `code` is the core's word.
#![expect(clippy::needless_pass_by_value, reason = "wasm-bindgen hands values over")]
#![expect(
    clippy::missing_errors_doc,
    reason = "the callers are in JavaScript: every error carries the core's word"
)]

use cocoop_core::bundle::Bundle;
use cocoop_core::classifier;
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::{Error, door, input};
use js_sys::{Reflect, Uint8Array};
use std::sync::Arc;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

type Result<T> = std::result::Result<T, JsValue>;

/// The core's error as JavaScript's.
fn thrown(error: Error) -> JsValue {
    let object = js_sys::Error::new(&error.to_string());
    Reflect::set(&object, &"code".into(), &error.code().into())
        .expect("a fresh object takes properties");
    object.into()
}

/// A loaded CLIP.
#[wasm_bindgen]
pub struct Model {
    clip: Arc<Clip>,
}

/// What the classes score, (n, `n_cls`) each.
#[wasm_bindgen]
pub struct Scores(classifier::Scores);

#[wasm_bindgen]
impl Scores {
    /// Probabilities.
    #[wasm_bindgen(getter)]
    pub fn probs(&self) -> Vec<f32> {
        self.0.probs.clone()
    }

    /// Cosines of image and text.
    #[wasm_bindgen(getter)]
    pub fn cosines(&self) -> Vec<f32> {
        self.0.cosines.clone()
    }
}

#[wasm_bindgen]
impl Model {
    /// Reads a model from the bytes of a safetensors file and the text of its config.json.
    #[wasm_bindgen(constructor)]
    pub fn new(weights: &[u8], config: &str) -> Result<Model> {
        let open = || {
            let clip = Clip::open(weights.to_vec().into(), config)?;
            clip.settle()?;
            Ok(Self { clip: Arc::new(clip) })
        };
        open().map_err(thrown)
    }

    /// JSON `ModelInfo`.
    #[wasm_bindgen(getter)]
    pub fn info(&self) -> String {
        self.clip.info().to_string()
    }

    /// Features (`embed_dim`) of one encoded image file, L2-normalised.
    #[wasm_bindgen(js_name = embedImage)]
    pub fn embed_image(&self, image: &[u8]) -> Result<Vec<f32>> {
        self.clip.embed(&mut Workspace::inference(), image).map_err(thrown)
    }

    /// JSON [{index, width, height} | {index, code, message}].
    #[wasm_bindgen(js_name = inspectImages)]
    pub fn inspect_images(&self, images: Vec<Uint8Array>) -> String {
        door::inspect_images(&images.iter().map(Uint8Array::to_vec).collect::<Vec<_>>())
    }

    /// Features (n, `embed_dim`) of texts as they stand, L2-normalised; with `truncate` a text that is too long loses
    /// its end.
    #[wasm_bindgen(js_name = embedTexts)]
    pub fn embed_texts(&self, texts: Vec<String>, truncate: bool) -> Result<Vec<f32>> {
        door::embed_texts(&self.clip, &texts, truncate, &|| false).map_err(thrown)
    }

    /// Features (`n_cls`, `embed_dim`) of class names in templates, L2-normalised.
    #[wasm_bindgen(js_name = textFeatures)]
    pub fn text_features(
        &self,
        classnames: Vec<String>,
        templates: Vec<String>,
    ) -> Result<Vec<f32>> {
        door::text_features(&self.clip, &classnames, &templates, &|| false).map_err(thrown)
    }

    /// Scores of (n, `embed_dim`) image features against (`n_cls`, `embed_dim`) text features, both normalised.
    pub fn score(&self, image_features: &[f32], text_features: &[f32]) -> Result<Scores> {
        classifier::scores(&self.clip, image_features, text_features).map(Scores).map_err(thrown)
    }

    /// The bytes of a bundle of templates: {classnames, templates, metadata}, with their `textFeatures` if they are
    /// known already.
    #[wasm_bindgen(js_name = zeroShotBundle)]
    pub fn zero_shot_bundle(&self, spec: &str, text_features: Option<Vec<f32>>) -> Result<Vec<u8>> {
        door::zero_shot_bundle(&self.clip, spec, text_features).map_err(thrown)
    }

    /// Opens a bundle, for its own classes or for others.
    pub fn classifier(&self, bundle: &[u8], classnames: Option<Vec<String>>) -> Result<Classifier> {
        let open = || {
            classifier::Classifier::open(Arc::clone(&self.clip), Bundle::read(bundle)?, classnames)
        };
        Ok(Classifier(open().map_err(thrown)?))
    }
}

/// An opened bundle.
#[wasm_bindgen]
pub struct Classifier(classifier::Classifier);

#[wasm_bindgen]
impl Classifier {
    /// JSON `BundleMetadata`, with the class names in use.
    #[wasm_bindgen(getter)]
    pub fn metadata(&self) -> String {
        self.0.metadata().to_json()
    }

    /// Scores of one encoded image file.
    pub fn classify(&mut self, image: &[u8]) -> Result<Scores> {
        self.0.classify(image).map(Scores).map_err(thrown)
    }

    /// Scores of (n, `embed_dim`) normalised features.
    pub fn score(&mut self, image_features: &[f32]) -> Result<Scores> {
        self.0.score(image_features, &|| false).map(Scores).map_err(thrown)
    }

    /// Classifies the probe image: the largest difference from the logits in the bundle, relative to the largest.
    pub fn probe(&mut self) -> Result<f32> {
        self.0.probe().map_err(thrown)
    }
}

/// A bundle's metadata, read strictly: JSON.
#[wasm_bindgen(js_name = bundleMetadata)]
pub fn bundle_metadata(bundle: &[u8]) -> Result<String> {
    door::bundle_metadata(bundle).map_err(thrown)
}

/// JSON {train, val} of JSON {labels, `val_labels`, shots, seed}: indices, as the original samples them.
#[wasm_bindgen(js_name = fewShot)]
pub fn few_shot(spec: &str) -> Result<String> {
    door::few_shot_indices(spec).map_err(thrown)
}

/// JSON {indices, classes} of the base or new half of the classes.
#[wasm_bindgen]
pub fn subsample(labels: &[u32], half: &str) -> Result<String> {
    door::subsample_indices(labels, half).map_err(thrown)
}

/// Token ids of a text, without start and end.
#[wasm_bindgen]
pub fn tokenize(text: &str) -> Vec<u32> {
    input::tokenizer::encode(text)
}

/// Every word of the core's errors.
#[wasm_bindgen(js_name = errorCodes)]
pub fn error_codes() -> Vec<String> {
    Error::CODES.map(String::from).to_vec()
}

/// The version of this package.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
