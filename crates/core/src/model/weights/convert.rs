//! What a model's files hold, and the same model under other names and in another type: one tensor at a time, so that
//! it is never in memory twice.

use super::Weights;
use super::files::Files;
use super::names::{Family, Part, Recipe};
use crate::input::tokenizer;
use crate::input::transform::Normalization;
use crate::model::config::{Config, Resnet, Vision, Vit};
use crate::model::resnet::REDUCTION;
use crate::model::tensors::tensors;
use crate::ops::{Activation, Matrix};
use crate::{Error, Result};
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Takes the next bytes of a file.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// What [`Conversion`] writes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Of all values.
    pub dtype: Type,
    /// Whose names and config; TinyCLIP's are read only.
    pub names: Family,
}

/// A type that models are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// 32 bits.
    F32,
    /// 16 bits, 10 of them behind the point: the values up to 65,504.
    F16,
    /// The upper half of an f32.
    Bf16,
}

/// What `files` hold: format, names, types, dimensions, and what is missing or too much. A model that cannot be used is
/// described as far as it can be, and `problem` says why: `{code, message}`.
pub fn inspect(files: &Files, config_json: &str) -> Value {
    let mut dtypes: BTreeMap<String, usize> = BTreeMap::new();
    for tensor in files.tensors.values() {
        *dtypes.entry(format!("{:?}", tensor.dtype).to_lowercase()).or_default() += tensor.numel();
    }
    let mut told = json!({
        "format": files.format,
        "names": files.family,
        "tensors": files.tensors.len(),
        "dtypes": dtypes,
        "sha256": files.sha256(),
        "problem": null,
    });
    let described = files.check_config(config_json).and_then(|()| {
        let config = Config::read(files, config_json)?;
        let all = tensors(&config, files.tokens());
        let names = || all.iter().map(|(name, _)| name.as_str());
        told["parameters"] = json!(config.parameters(files.tokens()));
        told["image_tower"] = json!(config.image_size > 0);
        told["text_tower"] = json!(config.text.layers > 0);
        told["missing"] =
            json!(names().filter(|name| files.shape(name).is_none()).collect::<Vec<_>>());
        told["unexpected"] = json!(files.unexpected(names()));
        told["config"] = json!(config);
        files.check(&all)
    });
    if let Err(error) = described {
        told["problem"] = json!({"code": error.code(), "message": error.to_string()});
    }
    told
}

/// A model on its way into other names and another type.
pub struct Conversion<'a> {
    files: &'a Files,
    config: Config,
    target: Target,
    /// Rows of a sparse token table, under that name: first in the file, as its values need 4 bytes.
    ids: Option<(String, Vec<u32>)>,
    /// In the order of the file.
    plan: Vec<Planned>,
}

/// One tensor of the new file: its name and shape there, and the tensor (`OpenAI`'s name, shape) that it is of.
struct Planned {
    name: String,
    shape: Vec<usize>,
    canonical: String,
    whole: Vec<usize>,
    part: Part,
}

impl<'a> Conversion<'a> {
    /// Prepares to convert `files`.
    /// # Errors
    /// Of [`Files::check`]; [`Error::Model`] if the target cannot hold the model.
    pub fn new(files: &'a Files, config_json: &str, target: Target) -> Result<Self> {
        files.check_config(config_json)?;
        let config = Config::read(files, config_json)?;
        let all = tensors(&config, files.tokens());
        files.check(&all)?;
        let refuse = |why: &str| Err(Error::Model { why: why.into() });
        match (target.names, &config.vision) {
            (Family::TinyClip, _) => return refuse("TinyCLIP's names are read, not written"),
            (Family::HuggingFace, Vision::Resnet(_)) => {
                return refuse(
                    "Hugging Face's CLIP has no ResNet; the names openai and open_clip can hold one",
                );
            }
            _ => {}
        }
        let ids = files.token_ids()?.map(|ids| {
            let table = target.names.recipe("token_embedding.ids");
            (table.sources().collect(), ids)
        });
        let mut plan: Vec<Planned> = all
            .into_iter()
            .flat_map(|(name, shape)| planned(target.names, &name, &shape))
            .collect();
        plan.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { files, config, target, ids, plan })
    }

    /// What the target's tools call the weights' file, and their config's.
    pub fn file_names(&self) -> (&'static str, &'static str) {
        match self.target.names {
            Family::HuggingFace => ("model.safetensors", "config.json"),
            _ => ("open_clip_model.safetensors", "open_clip_config.json"),
        }
    }

    /// Writes the safetensors file: its header, then tensor after tensor.
    /// # Errors
    /// Of [`Weights::get`]; [`Error::NotFinite`] where a value does not fit into the target's type; of `sink`.
    pub fn write(&self, sink: Sink<'_>) -> Result<()> {
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!({"format": "pt"}));
        let mut at = 0;
        let mut add = |name: &str, dtype: &str, shape: &[usize], size: usize| {
            let end = at + size * shape.iter().product::<usize>();
            header.insert(
                name.into(),
                json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]}),
            );
            at = end;
        };
        if let Some((name, ids)) = &self.ids {
            add(name, "U32", &[ids.len()], 4);
        }
        let (dtype, size) = match self.target.dtype {
            Type::F32 => ("F32", 4),
            Type::F16 => ("F16", 2),
            Type::Bf16 => ("BF16", 2),
        };
        self.plan.iter().for_each(|planned| add(&planned.name, dtype, &planned.shape, size));
        let mut header = Value::Object(header).to_string();
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        sink(&(header.len() as u64).to_le_bytes())?;
        sink(header.as_bytes())?;
        if let Some((_, ids)) = &self.ids {
            sink(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>())?;
        }
        for planned in &self.plan {
            sink(&encode(self.target.dtype, &self.values(planned)?, &planned.name)?)?;
        }
        Ok(())
    }

    fn values(&self, planned: &Planned) -> Result<Vec<f32>> {
        let Planned { canonical, whole, shape, part, .. } = planned;
        let matrix = match part {
            Part::Whole => return self.files.get(canonical, whole),
            Part::Transposed => self.files.projection(canonical, whole[0], whole[1])?,
            Part::Third(i) => {
                self.files.matrix(canonical, whole, i * shape[0]..(i + 1) * shape[0])?
            }
        };
        match matrix {
            Matrix::F32 { values, .. } => Ok(values),
            Matrix::Packed(_) => unreachable!("files hold plain numbers"),
        }
    }

    /// The text of the config beside the weights: Hugging Face's, or open_clip's, which also says what `OpenAI`'s names
    /// do not.
    pub fn config(&self) -> String {
        let config = match self.target.names {
            Family::HuggingFace => self.hugging_face_config(),
            _ => self.open_clip_config(),
        };
        format!("{config:#}\n")
    }

    fn hugging_face_config(&self) -> Value {
        let Config { image_size, embed_dim, context_length, vision, text, .. } = &self.config;
        let tower =
            |kind: &str, layers: usize, [width, heads, mlp]: [usize; 3], act: Activation| {
                json!({
                    "model_type": kind,
                    "hidden_size": width,
                    "intermediate_size": mlp,
                    "num_hidden_layers": layers,
                    "num_attention_heads": heads,
                    "hidden_act": act,
                    "layer_norm_eps": 1e-5,
                    "projection_dim": embed_dim,
                })
            };
        let Normalization { mean, std } = self.config.normalization;
        let mut config = json!({
            "architectures": ["CLIPModel"],
            "preprocessor_config": {"image_mean": mean, "image_std": std, "resample": 3},
            "model_type": "clip",
            "projection_dim": embed_dim,
            "torch_dtype": match self.target.dtype {
                Type::F32 => "float32",
                Type::F16 => "float16",
                Type::Bf16 => "bfloat16",
            },
        });
        if let Vision::Vit(vit) = vision
            && vit.layers > 0
        {
            let mut vision = tower(
                "clip_vision_model",
                vit.layers,
                [vit.width, vit.heads, vit.mlp],
                vit.activation,
            );
            vision["image_size"] = json!(image_size);
            vision["patch_size"] = json!(vit.patch_size);
            vision["num_channels"] = json!(3);
            config["vision_config"] = vision;
        }
        if text.layers > 0 {
            let mut tower = tower(
                "clip_text_model",
                text.layers,
                [text.width, text.heads, text.mlp],
                text.activation,
            );
            tower["max_position_embeddings"] = json!(context_length);
            tower["vocab_size"] = json!(tokenizer::EOT + 1);
            tower["bos_token_id"] = json!(tokenizer::EOT - 1);
            tower["eos_token_id"] = json!(tokenizer::EOT);
            config["text_config"] = tower;
        }
        config
    }

    fn open_clip_config(&self) -> Value {
        let Config { image_size, embed_dim, context_length, vision, text, normalization } =
            &self.config;
        let mut cfg = json!({
            "embed_dim": embed_dim,
            "quick_gelu": text.activation == Activation::QuickGelu,
        });
        cfg["vision_cfg"] = match vision {
            Vision::Vit(Vit { layers: 0, .. }) => Value::Null,
            Vision::Vit(vit) => json!({
                "image_size": image_size,
                "layers": vit.layers,
                "width": vit.width,
                "head_width": vit.width / vit.heads,
                "mlp_ratio": vit.mlp as f64 / vit.width as f64,
                "patch_size": vit.patch_size,
            }),
            Vision::Resnet(Resnet { layers, width, heads }) => json!({
                "image_size": image_size,
                "layers": layers,
                "width": width,
                "head_width": REDUCTION * width / heads,
                "patch_size": null,
            }),
        };
        if let Vision::Vit(vit) = vision
            && text.layers == 0
        {
            cfg["quick_gelu"] = json!(vit.activation == Activation::QuickGelu);
        }
        if text.layers > 0 {
            cfg["text_cfg"] = json!({
                "context_length": context_length,
                "vocab_size": tokenizer::EOT + 1,
                "width": text.width,
                "heads": text.heads,
                "layers": text.layers,
                "mlp_ratio": text.mlp as f64 / text.width as f64,
            });
        }
        if self.target.names == Family::CustomText {
            cfg["custom_text"] = json!(true);
        }
        json!({"model_cfg": cfg, "preprocess_cfg": {
            "mean": normalization.mean,
            "std": normalization.std,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        }})
    }
}

/// `OpenAI`'s tensor `canonical` as the tensors of `family`.
fn planned(family: Family, canonical: &str, whole: &[usize]) -> Vec<Planned> {
    let plan = |name: String, shape: Vec<usize>, part: Part| {
        let (canonical, whole) = (canonical.to_string(), whole.to_vec());
        Planned { name, shape, canonical, whole, part }
    };
    match family.recipe(canonical) {
        Recipe::Same(name) => vec![plan(name, whole.to_vec(), Part::Whole)],
        Recipe::Transposed(name) => {
            vec![plan(name, whole.iter().rev().copied().collect(), Part::Transposed)]
        }
        Recipe::Stacked(names) => {
            let mut shape = whole.to_vec();
            shape[0] /= 3;
            let third = |(i, name)| plan(name, shape.clone(), Part::Third(i));
            names.into_iter().enumerate().map(third).collect()
        }
    }
}

/// Little-endian bytes of `values`.
fn encode(dtype: Type, values: &[f32], name: &str) -> Result<Vec<u8>> {
    Ok(match dtype {
        Type::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Type::F16 => {
            let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
            if halves.iter().any(|half| half.is_infinite()) {
                return Err(Error::NotFinite { name: name.into() });
            }
            halves.iter().flat_map(|half| half.to_le_bytes()).collect()
        }
        Type::Bf16 => {
            values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect()
        }
    })
}

#[cfg(all(test, not(target_family = "wasm")))] // they read files
mod tests {
    use super::*;
    use crate::model::weights::Part as FilePart;
    use bytes::Bytes;

    /// The embedded model: Hugging Face's names, f16, a sparse token table.
    fn embedded() -> (Bytes, String) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/emoji-clip");
        let weights = std::fs::read(format!("{folder}/model.safetensors")).unwrap();
        (weights.into(), std::fs::read_to_string(format!("{folder}/config.json")).unwrap())
    }

    fn convert(
        weights: &Bytes,
        config: &str,
        names: Family,
        dtype: Type,
    ) -> Result<(Bytes, String)> {
        let files = Files::one(weights.clone())?;
        let conversion = Conversion::new(&files, config, Target { dtype, names })?;
        let mut file = Vec::new();
        let mut largest = 0;
        conversion.write(&mut |bytes| {
            largest = largest.max(bytes.len());
            file.extend_from_slice(bytes);
            Ok(())
        })?;
        assert!(largest < file.len() / 2, "written in pieces");
        Ok((file.into(), conversion.config()))
    }

    fn every_tensor(weights: &Bytes, config: &str) -> Vec<(String, Vec<f32>)> {
        let files = Files::one(weights.clone()).unwrap();
        let config = Config::read(&files, config).unwrap();
        let value = |(name, shape): (String, Vec<usize>)| {
            let values = files.get(&name, &shape).unwrap();
            (name, values)
        };
        tensors(&config, files.tokens()).into_iter().map(value).collect()
    }

    #[test]
    fn every_family_and_type_holds_the_same_model() {
        let (weights, config) = embedded();
        let expected = every_tensor(&weights, &config);
        let ids = Files::one(weights.clone()).unwrap().token_ids().unwrap();
        let dimensions = Config::read(&Files::one(weights.clone()).unwrap(), &config).unwrap();
        let mut back = (weights.clone(), config.clone());
        // f16 to f32 and back loses nothing; each step starts from the one before.
        for (names, dtype) in [
            (Family::OpenAi, Type::F32),
            (Family::CustomText, Type::F16),
            (Family::HuggingFace, Type::F32),
            (Family::CustomText, Type::F32),
            (Family::OpenAi, Type::F16),
            (Family::HuggingFace, Type::F16),
        ] {
            back = convert(&back.0, &back.1, names, dtype).unwrap();
            let files = Files::one(back.0.clone()).unwrap();
            assert_eq!(files.family, names);
            assert_eq!(files.token_ids().unwrap(), ids);
            assert_eq!(Config::read(&files, &back.1).unwrap(), dimensions);
            assert!(every_tensor(&back.0, &back.1) == expected, "{names:?} {dtype:?}");
        }
        let again = convert(&back.0, &back.1, Family::HuggingFace, Type::F16).unwrap();
        assert!(again == back, "the same bytes whatever they came from");

        let (brief, brief_config) = convert(&weights, &config, Family::OpenAi, Type::Bf16).unwrap();
        for ((name, got), (_, expected)) in
            every_tensor(&brief, &brief_config).iter().zip(&expected)
        {
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() <= expected.abs() / 256.0, "{name}: 8 bits");
            }
        }
    }

    #[test]
    fn a_tower_alone_is_a_model_of_one_tower() {
        let (weights, config) = embedded();
        let (weights, _) = convert(&weights, &config, Family::OpenAi, Type::F32).unwrap();
        let whole = ::safetensors::SafeTensors::deserialize(&weights).unwrap();
        let only = |keep: fn(&str) -> bool| -> Bytes {
            let views = whole.iter().filter(|(name, _)| keep(name));
            ::safetensors::serialize(views, None).unwrap().into()
        };
        let image = Files::one(only(|name| name.starts_with("visual."))).unwrap();
        let told = inspect(&image, "");
        assert_eq!((&told["image_tower"], &told["text_tower"]), (&json!(true), &json!(false)));
        assert_eq!(told["problem"], Value::Null);
        let text = Files::one(only(|name| !name.starts_with("visual."))).unwrap();
        let told = inspect(&text, "");
        assert_eq!((&told["image_tower"], &told["text_tower"]), (&json!(false), &json!(true)));
        assert_eq!(told["problem"], Value::Null);
    }

    #[test]
    fn inspecting_names_what_is_wrong() {
        let (weights, config) = embedded();
        let files = Files::one(weights.clone()).unwrap();
        let told = inspect(&files, &config);
        assert_eq!((&told["names"], &told["format"]), (&json!("hf"), &json!("safetensors")));
        assert_eq!((&told["missing"], &told["unexpected"]), (&json!([]), &json!([])));
        assert_eq!(told["problem"], Value::Null);
        assert_eq!(inspect(&files, "")["problem"]["code"], "bad_model");
        let wrong = config.replace("\"image_size\": 64", "\"image_size\": 96");
        let message = inspect(&files, &wrong)["problem"]["message"].to_string();
        assert!(message.contains("the image size is 96, the tensors have 64"), "{message}");

        let whole = ::safetensors::SafeTensors::deserialize(&weights).unwrap();
        let odd = whole.tensor("logit_scale").unwrap();
        let views = whole.iter().filter(|(name, _)| *name != "visual_projection.weight");
        let views = views.chain([("vision_model.odd", odd)]);
        let file: Bytes = ::safetensors::serialize(views, None).unwrap().into();
        let part = FilePart::new("", file);
        let told = inspect(&Files::open(vec![part]).unwrap(), &config);
        assert_eq!(told["problem"]["code"], "missing_tensor");
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        assert!(encode(Type::F16, &[65_504.0], "x").is_ok());
        let refused = encode(Type::F16, &[65_520.0], "ln_final.weight");
        assert_eq!(refused, Err(Error::NotFinite { name: "ln_final.weight".into() }));
        let (weights, config) = embedded();
        let tiny = convert(&weights, &config, Family::TinyClip, Type::F32);
        assert!(tiny.unwrap_err().to_string().contains("TinyCLIP's names are read"));
    }
}
