//! The WASM door: converts, calls the core once, converts back. Everything is synchronous; errors are `Error` objects
//! whose `code` is the core's word.
#![expect(clippy::needless_pass_by_value, reason = "wasm-bindgen hands values over")]
#![expect(
    clippy::missing_errors_doc,
    reason = "the callers are in JavaScript: every error carries the core's word"
)]

mod pack;

use cocoop_core::bundle::Bundle;
use cocoop_core::classifier;
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::onnx::{Exporter, host};
use cocoop_core::pack::Pack;
use cocoop_core::prompt::template::TooLong;
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
    /// Where the clip was opened from a pack: what it reads.
    pack: Option<Arc<Pack>>,
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
            Ok(Self { clip: Arc::new(clip), pack: None })
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

/// An ONNX graph to be written.
#[wasm_bindgen]
pub struct OnnxExport(Exporter);

#[wasm_bindgen]
impl OnnxExport {
    /// Lays out a graph of the model: JSON {graph, dtype}; `classifier` needs a bundle.
    #[wasm_bindgen(constructor)]
    pub fn new(
        weights: Vec<u8>,
        config: &str,
        spec: &str,
        bundle: Option<Vec<u8>>,
    ) -> Result<OnnxExport> {
        let open = || {
            let clip = Arc::new(Clip::open(weights.into(), config)?);
            Exporter::open(clip, spec, bundle.as_deref())
        };
        Ok(Self(open().map_err(thrown)?))
    }

    /// JSON `ModelInfo`.
    #[wasm_bindgen(getter)]
    pub fn info(&self) -> String {
        self.0.info().to_string()
    }

    /// JSON [{name, bytes, parts}]: the graph's file, and where it needs one a second with its values.
    #[wasm_bindgen(getter)]
    pub fn files(&self) -> String {
        self.0.files()
    }

    /// Some bytes of a file, to be written behind those of the parts before.
    pub fn part(&self, file: usize, part: usize) -> Result<Vec<u8>> {
        self.0.part(file, part).map_err(thrown)
    }
}

/// A model whose towers another runtime computes: what stands around them.
#[wasm_bindgen]
pub struct Host(host::Host);

#[wasm_bindgen]
impl Host {
    /// Of a JSON `ModelInfo`.
    #[wasm_bindgen(constructor)]
    pub fn new(info: &str) -> Result<Host> {
        host::Host::open(info).map(Self).map_err(thrown)
    }

    /// The image tower's input (3, `image_size`, `image_size`) of one encoded image file.
    pub fn pixels(&self, image: &[u8]) -> Result<Vec<f32>> {
        self.0.pixels(image).map_err(thrown)
    }

    /// The image tower's input of the probe image.
    #[wasm_bindgen(js_name = probePixels)]
    pub fn probe_pixels(&self) -> Result<Vec<f32>> {
        self.0.probe_pixels().map_err(thrown)
    }

    /// L2-normalised features (n, `embed_dim`) of what a tower returned.
    pub fn features(&self, embeds: &[f32]) -> Result<Vec<f32>> {
        self.0.features(embeds).map_err(thrown)
    }

    /// Features (`n_cls`, `embed_dim`) of what the text tower returned for `templates`.
    #[wasm_bindgen(js_name = classFeatures)]
    pub fn class_features(&self, embeds: &[f32], n_cls: usize) -> Result<Vec<f32>> {
        self.0.class_features(embeds, n_cls).map_err(thrown)
    }

    /// Scores of image features (n, `embed_dim`) against text features (`n_cls`, `embed_dim`).
    pub fn score(&self, image_features: &[f32], text_features: &[f32]) -> Result<Scores> {
        self.0.score(image_features, text_features).map(Scores).map_err(thrown)
    }

    /// JSON {metadata, head}: `own`, `templates`, `learned` or `conditional` text features.
    #[wasm_bindgen(js_name = openBundle)]
    pub fn open_bundle(&self, bundle: &[u8], classnames: Option<Vec<String>>) -> Result<String> {
        let open = || self.0.open_bundle(&Bundle::read(bundle)?, classnames);
        open().map_err(thrown)
    }

    /// The text features (`n_cls`, `embed_dim`) in a bundle.
    #[wasm_bindgen(js_name = ownFeatures)]
    pub fn own_features(&self, bundle: &[u8]) -> Result<Vec<f32>> {
        Ok(Bundle::read(bundle).map_err(thrown)?.text_features.unwrap_or_default())
    }

    /// The prompts of a learned bundle for these classes.
    pub fn learned(&self, bundle: &[u8], classnames: Vec<String>) -> Result<Prompts> {
        let open = || self.0.learned(&Bundle::read(bundle)?, &classnames);
        open().map(Prompts).map_err(thrown)
    }

    /// The prompts of class names in templates.
    pub fn templates(&self, classnames: Vec<String>, templates: Vec<String>) -> Result<Prompts> {
        self.0.templates(&classnames, &templates).map(Prompts).map_err(thrown)
    }

    /// The prompts of texts as they stand; with `truncate` a text that is too long loses its end.
    pub fn texts(&self, texts: Vec<String>, truncate: bool) -> Result<Prompts> {
        let too_long = if truncate { TooLong::Truncate } else { TooLong::Refuse };
        self.0.texts(&texts, too_long).map(Prompts).map_err(thrown)
    }

    /// How far the probe image's cosines are from the logits in the bundle, as of `Classifier.probe`.
    pub fn probe(&self, bundle: &[u8], cosines: &[f32]) -> Result<f32> {
        let probe = || self.0.probe(&Bundle::read(bundle)?, cosines);
        probe().map_err(thrown)
    }

    /// The bytes of a bundle of templates, of its text features and the probe image's cosines.
    #[wasm_bindgen(js_name = zeroShotBundle)]
    pub fn zero_shot_bundle(
        &self,
        spec: &str,
        text_features: Vec<f32>,
        cosines: &[f32],
    ) -> Result<Vec<u8>> {
        self.0.zero_shot_bundle(spec, text_features, cosines).map_err(thrown)
    }
}

/// Prompts as the text graphs take them.
#[wasm_bindgen]
pub struct Prompts(host::Prompts);

#[wasm_bindgen]
impl Prompts {
    /// How many.
    #[wasm_bindgen(getter)]
    pub fn count(&self) -> usize {
        self.0.count()
    }

    /// Length of each, filled up behind its end, tokens.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> usize {
        self.0.length()
    }

    /// (count) where each ends.
    pub fn ends(&self) -> Vec<i64> {
        self.0.ends()
    }

    /// (count, length) token ids.
    pub fn ids(&self) -> Vec<i64> {
        self.0.ids()
    }

    /// The ids whose embeddings are wanted before `embeds`.
    pub fn wanted(&self) -> Vec<u32> {
        self.0.wanted()
    }

    /// Takes the embeddings (n, width) of the wanted ids.
    #[wasm_bindgen(js_name = setTokens)]
    pub fn set_tokens(&mut self, rows: Vec<f32>) -> Result<()> {
        self.0.set_tokens(rows).map_err(thrown)
    }

    /// (count, length, width) embeddings without positions, for one image (`embed_dim`) where they depend on it.
    pub fn embeds(&self, image_features: &[f32]) -> Result<Vec<f32>> {
        self.0.embeds(image_features).map_err(thrown)
    }
}

/// JSON [{index, width, height} | {index, code, message}]: no model is needed.
#[wasm_bindgen(js_name = inspectImages)]
pub fn inspect_images(images: Vec<Uint8Array>) -> String {
    door::inspect_images(&images.iter().map(Uint8Array::to_vec).collect::<Vec<_>>())
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
