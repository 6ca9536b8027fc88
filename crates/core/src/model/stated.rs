//! What a model's `config.json` states: Hugging Face's, or open_clip's (`open_clip_config.json`, a `model_cfg` alone).
//! Shapes come from the tensors; here is what tensors cannot say (activation, heads, normalisation of pixels) and what
//! must agree with them. What this crate does not compute is refused by its name, never left out.

use super::config::{Config, Vision};
use super::resnet::REDUCTION;
use crate::input::tokenizer;
use crate::kernels::attention::HEAD;
use crate::ops::Activation;
use crate::{Error, Result};
use serde_json::{Map, Value};

/// What is stated; nothing where the file is silent and its tool has no default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stated {
    /// Length of the features.
    pub embed_dim: Option<usize>,
    /// The image tower, if the file has one.
    pub vision: Option<Tower>,
    /// The text tower, if the file has one.
    pub text: Option<Tower>,
    /// Side of the image, pixels.
    pub image_size: Option<usize>,
    /// Side of a patch, pixels.
    pub patch_size: Option<usize>,
    /// Blocks in each stage of a ResNet.
    pub stages: Option<[usize; 4]>,
    /// Tokens of a text.
    pub context_length: Option<usize>,
    /// Rows of the token table.
    pub vocab_size: Option<usize>,
    /// Mean of each channel, of values in 0..=1.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of each channel.
    pub std: Option<[f32; 3]>,
}

/// What is stated of a tower.
#[derive(Clone, Debug, PartialEq)]
pub struct Tower {
    /// Of the blocks' MLP.
    pub activation: Activation,
    /// Of its attention.
    pub heads: Heads,
    /// Length of a row.
    pub width: Option<usize>,
    /// Blocks; nothing for a `ResNet`, which has stages.
    pub layers: Option<usize>,
}

/// Rows of the token table: there is one tokenizer.
const VOCABULARY: usize = tokenizer::EOT as usize + 1;

/// How the attention heads are stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// How many.
    Count(usize),
    /// How wide each is.
    Width(usize),
}

impl Stated {
    /// Takes into `config`, read from the tensors, what they do not say, and compares the rest.
    /// # Errors
    /// [`Error::Model`] where both disagree.
    pub fn settle(&self, config: &mut Config) -> Result<()> {
        let agree = |what: &str, stated: Option<usize>, tensors: usize| match stated {
            Some(stated) if stated != tensors => {
                Err(bad(format!("{what} is {stated}, the tensors have {tensors}")))
            }
            _ => Ok(()),
        };
        if let Some(mean) = self.mean {
            config.normalization.mean = mean;
        }
        if let Some(std) = self.std {
            config.normalization.std = std;
        }
        agree("the length of the features", self.embed_dim, config.embed_dim)?;
        if let Some(stated) = &self.vision
            && config.image_size > 0
        {
            agree("the image size", self.image_size, config.image_size)?;
            match &mut config.vision {
                Vision::Vit(tower) => {
                    agree("the patch size", self.patch_size, tower.patch_size)?;
                    agree("the image tower's width", stated.width, tower.width)?;
                    agree("the image tower's number of blocks", stated.layers, tower.layers)?;
                    tower.activation = stated.activation;
                    tower.heads = stated.heads(tower.width)?;
                }
                Vision::Resnet(tower) => {
                    agree("the image tower's width", stated.width, tower.width)?;
                    if let Some(stages) = self.stages
                        && stages != tower.layers
                    {
                        let got = tower.layers;
                        return Err(bad(format!(
                            "the stages are {stages:?}, the tensors have {got:?}"
                        )));
                    }
                    tower.heads = stated.heads(REDUCTION * tower.width)?;
                }
            }
        }
        if let Some(stated) = &self.text
            && config.text.layers > 0
        {
            let tower = &mut config.text;
            agree("the context length", self.context_length, config.context_length)?;
            agree("the size of the vocabulary", self.vocab_size, VOCABULARY)?;
            agree("the text tower's width", stated.width, tower.width)?;
            agree("the text tower's number of blocks", stated.layers, tower.layers)?;
            tower.activation = stated.activation;
            tower.heads = stated.heads(tower.width)?;
        }
        Ok(())
    }
}

impl Tower {
    /// The number of heads of a tower that is `width` wide.
    fn heads(&self, width: usize) -> Result<usize> {
        let (heads, fits) = match self.heads {
            Heads::Count(heads) => (heads, width.is_multiple_of(heads)),
            Heads::Width(head) => (width / head, width.is_multiple_of(head)),
        };
        if fits {
            Ok(heads)
        } else {
            Err(bad(format!("{:?} does not divide a width of {width}", self.heads)))
        }
    }
}

/// Reads the text of a config; nothing if it is empty.
/// # Errors
/// [`Error::Model`] if it is no config of a CLIP, or of one that this crate does not compute.
pub fn read(json: &str) -> Result<Option<Stated>> {
    if json.trim().is_empty() {
        return Ok(None);
    }
    let config: Value = serde_json::from_str(json).map_err(|error| bad(error.to_string()))?;
    let config = Reader::new("", &config)?;
    let stated = if config.has("model_cfg") || config.has("vision_cfg") || config.has("quick_gelu")
    {
        open_clip(&config)?
    } else {
        hugging_face(&config)?
    };
    Ok(Some(stated))
}

fn bad(why: impl AsRef<str>) -> Error {
    Error::Model { why: format!("config.json: {}", why.as_ref()) }
}

/// An object of the file and its place in it.
struct Reader<'a> {
    path: String,
    fields: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    fn new(path: &str, value: &'a Value) -> Result<Self> {
        match value {
            Value::Object(fields) => Ok(Self { path: path.into(), fields }),
            _ => Err(bad(format!("{path} is no object"))),
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn object(&self, key: &str) -> Result<Option<Reader<'a>>> {
        self.get(key).map(|value| Reader::new(&format!("{}{key}.", self.path), value)).transpose()
    }

    fn refuse<T>(&self, key: &str, expected: &str) -> Result<T> {
        let got = self.get(key).map_or_else(String::new, ToString::to_string);
        Err(bad(format!("{}{key}: expected {expected}, got {got}", self.path)))
    }

    fn size(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key).map(|value| value.as_u64().and_then(|size| usize::try_from(size).ok()))
        {
            None => Ok(None),
            Some(Some(size)) if size > 0 => Ok(Some(size)),
            Some(_) => self.refuse(key, "a positive integer"),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.refuse(key, "a text"),
        }
    }

    fn stages(&self, key: &str) -> Result<[usize; 4]> {
        match self.get(key).map(|value| serde_json::from_value(value.clone())) {
            Some(Ok(stages)) => Ok(stages),
            _ => self.refuse(key, "four integers"),
        }
    }

    /// Red, green and blue.
    fn channels(&self, key: &str) -> Result<Option<[f32; 3]>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match serde_json::from_value::<[f32; 3]>(value.clone()) {
            Ok(values) if values.iter().all(|value| value.is_finite()) => Ok(Some(values)),
            _ => self.refuse(key, "three numbers"),
        }
    }

    /// Refuses all fields that change what is computed: those not in `known` that are not switched off.
    fn only(&self, known: &[&str]) -> Result<()> {
        let off = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(true) => false,
        };
        match self.fields.iter().find(|(key, value)| !known.contains(&key.as_str()) && !off(value))
        {
            None => Ok(()),
            Some((key, value)) => {
                Err(bad(format!("{}{key} is {value}, which is not supported", self.path)))
            }
        }
    }
}

/// transformers' `CLIPConfig`, or that of one tower. What it leaves out has transformers' default.
fn hugging_face(config: &Reader<'_>) -> Result<Stated> {
    let model_type = config.text("model_type")?;
    if model_type
        .is_some_and(|kind| !["clip", "clip_text_model", "clip_vision_model"].contains(&kind))
    {
        return config.refuse("model_type", "clip");
    }
    let architecture = config.get("architectures").and_then(|names| names.get(0)?.as_str());
    let is_tower = |kind: &str, class: &str| {
        model_type == Some(kind) || architecture.is_some_and(|name| name.starts_with(class))
    };
    let both = config.has("text_config") || config.has("vision_config");
    let mut stated = Stated { embed_dim: config.size("projection_dim")?, ..Stated::default() };
    if both {
        // An old spelling, which wins where both are given.
        let tower = |key: &str| -> Result<Vec<Reader<'_>>> {
            let readers = [config.object(&format!("{key}_dict"))?, config.object(key)?];
            Ok(readers.into_iter().flatten().collect())
        };
        hf_vision(&tower("vision_config")?, &mut stated)?;
        hf_text(&tower("text_config")?, &mut stated)?;
    } else if is_tower("clip_vision_model", "CLIPVision") {
        hf_vision(&[Reader { path: String::new(), fields: config.fields }], &mut stated)?;
    } else if is_tower("clip_text_model", "CLIPText") {
        hf_text(&[Reader { path: String::new(), fields: config.fields }], &mut stated)?;
    } else {
        return Err(bad(
            "neither a config of Hugging Face's CLIPModel (text_config, vision_config) nor one of open_clip (model_cfg)",
        ));
    }
    // Hugging Face keeps the pixels' normalisation in preprocessor_config.json; `cocoop-train` puts it beside.
    if let Some(pixels) = config.object("preprocessor_config")? {
        stated.mean = pixels.channels("image_mean")?;
        stated.std = pixels.channels("image_std")?;
        if pixels.size("resample")?.is_some_and(|filter| filter != 3) {
            return pixels.refuse("resample", "3 (bicubic)");
        }
    }
    Ok(stated)
}

/// The first of `readers` that has `key` answers.
fn first<'a, 'r, T>(
    readers: &'r [Reader<'a>],
    key: &str,
    read: impl Fn(&'r Reader<'a>, &str) -> Result<Option<T>>,
) -> Result<Option<T>> {
    readers.iter().find(|reader| reader.has(key)).map_or(Ok(None), |reader| read(reader, key))
}

fn hf_tower(readers: &[Reader<'_>]) -> Result<Tower> {
    let epsilon = first(readers, "layer_norm_eps", |reader, key| Ok(reader.get(key)))?;
    if let Some(epsilon) = epsilon.filter(|epsilon| epsilon.as_f64() != Some(1e-5)) {
        return Err(bad(format!("layer_norm_eps: expected 1e-5, got {epsilon}")));
    }
    let activation = match first(readers, "hidden_act", Reader::text)? {
        None | Some("quick_gelu") => Activation::QuickGelu,
        Some("gelu") => Activation::Gelu,
        Some(other) => {
            return Err(bad(format!("hidden_act: expected quick_gelu or gelu, got {other}")));
        }
    };
    Ok(Tower {
        activation,
        heads: first(readers, "num_attention_heads", Reader::size)?
            .map_or(Heads::Width(HEAD), Heads::Count),
        width: first(readers, "hidden_size", Reader::size)?,
        layers: first(readers, "num_hidden_layers", Reader::size)?,
    })
}

fn hf_vision(readers: &[Reader<'_>], stated: &mut Stated) -> Result<()> {
    stated.vision = Some(hf_tower(readers)?);
    stated.image_size = first(readers, "image_size", Reader::size)?;
    stated.patch_size = first(readers, "patch_size", Reader::size)?;
    Ok(())
}

fn hf_text(readers: &[Reader<'_>], stated: &mut Stated) -> Result<()> {
    stated.text = Some(hf_tower(readers)?);
    stated.context_length = first(readers, "max_position_embeddings", Reader::size)?;
    stated.vocab_size = first(readers, "vocab_size", Reader::size)?;
    Ok(())
}

/// open_clip's config: without `quick_gelu`, its models have GELU; without heads, 64 wide ones in the image tower.
fn open_clip(config: &Reader<'_>) -> Result<Stated> {
    let nested = config.object("model_cfg")?;
    let model = nested.as_ref().unwrap_or(config);
    model.only(&[
        "embed_dim",
        "quick_gelu",
        "vision_cfg",
        "text_cfg",
        "custom_text",
        "init_logit_scale",
        "preprocess_cfg",
    ])?;
    let activation = match model.get("quick_gelu") {
        None | Some(Value::Bool(false)) => Activation::Gelu,
        Some(Value::Bool(true)) => Activation::QuickGelu,
        Some(_) => return model.refuse("quick_gelu", "true or false"),
    };
    let mut stated = Stated { embed_dim: model.size("embed_dim")?, ..Stated::default() };
    let mut vision = Tower { activation, heads: Heads::Width(HEAD), width: None, layers: None };
    let mut text = vision.clone();
    if let Some(cfg) = model.object("vision_cfg")? {
        cfg.only(&[
            "image_size",
            "layers",
            "width",
            "head_width",
            "mlp_ratio",
            "patch_size",
            "patch_dropout",
            "pool_type",
            "attn_pooler_queries",
            "attn_pooler_heads",
            "output_tokens",
        ])?;
        if cfg.text("pool_type")?.is_some_and(|kind| kind != "tok") {
            return cfg.refuse("pool_type", "tok");
        }
        vision.heads = Heads::Width(cfg.size("head_width")?.unwrap_or(HEAD));
        vision.width = cfg.size("width")?;
        match cfg.get("layers") {
            Some(Value::Array(_)) => stated.stages = Some(cfg.stages("layers")?),
            _ => vision.layers = cfg.size("layers")?,
        }
        stated.image_size = cfg.size("image_size")?;
        stated.patch_size = cfg.size("patch_size")?;
    }
    if let Some(cfg) = model.object("text_cfg")? {
        cfg.only(&[
            "context_length",
            "vocab_size",
            "width",
            "heads",
            "layers",
            "mlp_ratio",
            "pool_type",
            "proj_type",
            "pad_id",
            "bos_id",
            "eos_id",
            "output_tokens",
        ])?;
        if cfg.text("pool_type")?.is_some_and(|kind| kind != "argmax") {
            return cfg.refuse("pool_type", "argmax");
        }
        if cfg.text("proj_type")?.is_some_and(|kind| kind != "linear") {
            return cfg.refuse("proj_type", "linear");
        }
        text.heads = Heads::Count(cfg.size("heads")?.unwrap_or(8));
        text.width = cfg.size("width")?;
        text.layers = cfg.size("layers")?;
        stated.context_length = cfg.size("context_length")?;
        stated.vocab_size = cfg.size("vocab_size")?;
    }
    if let Some(pixels) = config.object("preprocess_cfg")? {
        stated.mean = pixels.channels("mean")?;
        stated.std = pixels.channels("std")?;
        for (key, expected) in [("interpolation", "bicubic"), ("resize_mode", "shortest")] {
            if pixels.text(key)?.is_some_and(|got| got != expected) {
                return pixels.refuse(key, expected);
            }
        }
    }
    (stated.vision, stated.text) = (Some(vision), Some(text));
    Ok(stated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Stated {
        super::read(json).unwrap().unwrap()
    }

    fn why(json: &str) -> String {
        super::read(json).unwrap_err().to_string()
    }

    #[test]
    fn hugging_face_states_each_tower() {
        let stated = read(
            r#"{"model_type": "clip", "projection_dim": 512,
            "text_config": {"hidden_act": "gelu", "num_attention_heads": 8, "max_position_embeddings": 77},
            "vision_config": {"hidden_size": 1280, "num_attention_heads": 16, "image_size": 224, "patch_size": 14},
            "preprocessor_config": {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "resample": 3}}"#,
        );
        let (vision, text) = (stated.vision.unwrap(), stated.text.unwrap());
        assert_eq!(text.activation, Activation::Gelu);
        assert_eq!(vision.activation, Activation::QuickGelu); // transformers' default
        assert_eq!(vision.heads, Heads::Count(16));
        assert_eq!((stated.image_size, stated.context_length), (Some(224), Some(77)));
        assert_eq!((stated.embed_dim, stated.mean), (Some(512), Some([0.5; 3])));
        let old = read(
            r#"{"text_config": {"hidden_act": "quick_gelu"}, "vision_config": {},
            "text_config_dict": {"hidden_act": "gelu"}, "vision_config_dict": null}"#,
        );
        assert_eq!(old.text.unwrap().activation, Activation::Gelu);
        let tower =
            read(r#"{"model_type": "clip_vision_model", "hidden_act": "gelu", "patch_size": 32}"#);
        assert_eq!(tower.vision.unwrap().activation, Activation::Gelu);
        assert_eq!((tower.text, tower.patch_size), (None, Some(32)));
        let tower = read(r#"{"model_type": "clip", "architectures": ["CLIPTextModel"]}"#);
        assert!(tower.text.is_some() && tower.vision.is_none());
    }

    #[test]
    fn open_clip_states_quick_gelu_or_means_gelu() {
        let plain = r#"{"model_cfg": {"embed_dim": 1280, "vision_cfg": {"image_size": 224, "layers": 48, "width": 1664,
            "head_width": 104, "mlp_ratio": 4.9231, "patch_size": 14}, "text_cfg": {"heads": 20, "layers": 32,
            "width": 1280, "context_length": 77, "vocab_size": 49408}},
            "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}"#;
        let stated = read(plain);
        let vision = stated.vision.unwrap();
        assert_eq!((vision.activation, vision.heads), (Activation::Gelu, Heads::Width(104)));
        assert_eq!((stated.text.unwrap().layers, stated.std), (Some(32), Some([0.5; 3])));
        let resnet = read(
            r#"{"embed_dim": 1024, "quick_gelu": true, "vision_cfg": {"image_size": 224, "layers": [3, 4, 6, 3],
            "width": 64, "patch_size": null}, "text_cfg": {"width": 512}}"#,
        );
        let vision = resnet.vision.unwrap();
        assert_eq!((vision.activation, vision.layers), (Activation::QuickGelu, None));
        assert_eq!(resnet.stages, Some([3, 4, 6, 3]));
        assert_eq!(vision.heads, Heads::Width(64));
        let only = read(r#"{"quick_gelu": false}"#);
        assert_eq!(only.text.unwrap().activation, Activation::Gelu);
    }

    #[test]
    fn what_is_not_computed_is_named() {
        for (json, expected) in [
            ("{", "config.json: EOF"),
            ("[]", "is no object"),
            ("{}", "neither a config of"),
            (
                r#"{"model_type": "siglip", "text_config": {}}"#,
                r#"model_type: expected clip, got "siglip""#,
            ),
            (
                r#"{"text_config": {"hidden_act": "gelu_new"}}"#,
                "hidden_act: expected quick_gelu or gelu",
            ),
            (r#"{"text_config": {"layer_norm_eps": 1e-6}}"#, "layer_norm_eps"),
            (
                r#"{"text_config": {"num_attention_heads": 0}}"#,
                "text_config.num_attention_heads: expected a positive",
            ),
            (r#"{"text_config": 1}"#, "text_config. is no object"),
            (r#"{"model_cfg": {"quick_gelu": 1}}"#, "quick_gelu: expected true or false"),
            (
                r#"{"model_cfg": {"vision_cfg": {"timm_model_name": "x"}}}"#,
                "vision_cfg.timm_model_name",
            ),
            (r#"{"model_cfg": {"vision_cfg": {"pool_type": "avg"}}}"#, "expected tok"),
            (r#"{"model_cfg": {"vision_cfg": {"image_size": [224, 448]}}}"#, "image_size"),
            (r#"{"model_cfg": {"text_cfg": {"hf_tokenizer_name": "bert"}}}"#, "hf_tokenizer_name"),
            (r#"{"model_cfg": {"text_cfg": {"no_causal_mask": true}}}"#, "no_causal_mask"),
            (
                r#"{"model_cfg": {"text_cfg": {"act_kwargs": {"approximate": "tanh"}}}}"#,
                "act_kwargs",
            ),
            (
                r#"{"model_cfg": {}, "preprocess_cfg": {"resize_mode": "squash"}}"#,
                "expected shortest",
            ),
            (r#"{"model_cfg": {}, "preprocess_cfg": {"mean": [1, 2]}}"#, "three numbers"),
        ] {
            let got = why(json);
            assert!(got.contains(expected), "{got}, expected {expected}");
        }
        assert!(read(r#"{"model_cfg": {"text_cfg": {"no_causal_mask": false}}}"#).text.is_some());
        assert_eq!(super::read(" "), Ok(None));
    }
}
