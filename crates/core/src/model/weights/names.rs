//! What the files that exist call CLIP's tensors. Inside, a tensor has `OpenAI`'s `state_dict` name; here each other
//! family's names are mapped to those and back. References: transformers' `CLIPModel`, open_clip's `CustomTextCLIP`,
//! TinyCLIP's `CLIPBase`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whose names a file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// `OpenAI`'s own, also those of open_clip's `CLIP`: `visual.*`, `transformer.*`.
    #[serde(rename = "openai")]
    OpenAi,
    /// Hugging Face's `CLIPModel` and its single towers: `vision_model.*`, `text_model.*`.
    #[serde(rename = "hf")]
    HuggingFace,
    /// open_clip's `CustomTextCLIP`: the text tower's names begin with `text.`.
    #[serde(rename = "open_clip")]
    CustomText,
    /// TinyCLIP's checkpoints: `_image_encoder.visual.*`, `_text_encoder.*`.
    #[serde(rename = "tinyclip")]
    TinyClip,
}

/// How a tensor lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Whole,
    /// (cols, rows).
    Transposed,
    /// The query's, key's or value's third of the rows.
    Third(usize),
}

/// How one tensor is made of those in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// It is there.
    Same(String),
    /// It is there, turned.
    Transposed(String),
    /// Query, key and value are there.
    Stacked([String; 3]),
}

impl Recipe {
    /// The tensors in the file.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::Same(name) | Self::Transposed(name) => std::slice::from_ref(name),
            Self::Stacked(names) => &names[..],
        }
        .iter()
        .map(String::as_str)
    }
}

/// What training wraps a model in, and TinyCLIP its halves.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
const TINY_HALVES: [&str; 5] = [
    "_image_encoder.",
    "_text_encoder.",
    "_logit_scale.",
    "image_encoder_without_ddp.",
    "text_encoder_without_ddp.",
];
/// `OpenAI`'s and Hugging Face's words within a tower.
const HF_WORDS: [(&str, &str); 13] = [
    ("transformer.resblocks.", "encoder.layers."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".attn.", ".self_attn."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    ("ln_pre.", "pre_layrnorm."), // the original's own spelling
    ("ln_post.", "post_layernorm."),
    ("ln_final.", "final_layer_norm."),
    ("conv1.", "embeddings.patch_embedding."),
    ("class_embedding", "embeddings.class_embedding"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("token_embedding.", "embeddings.token_embedding."),
];
const THIRDS: [&str; 3] = ["q", "k", "v"];

impl Family {
    /// Whose names these are.
    pub fn of<'a>(names: &(impl Iterator<Item = &'a str> + Clone)) -> Self {
        let any = |test: fn(&str) -> bool| names.clone().map(unwrapped).any(test);
        if any(|name| name.starts_with("vision_model.") || name.starts_with("text_model.")) {
            Self::HuggingFace
        } else if any(|name| TINY_HALVES.iter().any(|half| name.starts_with(half))) {
            Self::TinyClip
        } else if any(|name| name.starts_with("text.")) {
            Self::CustomText
        } else {
            Self::OpenAi
        }
    }

    /// `OpenAI`'s name of the tensor that this family's files call `name`, and how it lies there.
    /// Names of neither come out as they are.
    pub fn canonical(self, name: &str) -> (String, Part) {
        let name = unwrapped(name);
        let whole = |name: &str| (name.to_string(), Part::Whole);
        match self {
            Self::OpenAi => whole(name),
            Self::CustomText => whole(name.strip_prefix("text.").unwrap_or(name)),
            Self::TinyClip => {
                let half = TINY_HALVES.iter().find_map(|half| name.strip_prefix(half));
                whole(half.map_or(name, unwrapped))
            }
            Self::HuggingFace => from_hf(name),
        }
    }

    /// How `OpenAI`'s tensor `name` is made of this family's, without wrappers.
    pub fn recipe(self, name: &str) -> Recipe {
        let visual = name.starts_with("visual.");
        match self {
            Self::OpenAi => Recipe::Same(name.into()),
            Self::CustomText if visual || name == "logit_scale" => Recipe::Same(name.into()),
            Self::CustomText => Recipe::Same(format!("text.{name}")),
            Self::TinyClip if visual => Recipe::Same(format!("_image_encoder.{name}")),
            Self::TinyClip if name == "logit_scale" => {
                Recipe::Same("_logit_scale.logit_scale".into())
            }
            Self::TinyClip => Recipe::Same(format!("_text_encoder.{name}")),
            Self::HuggingFace => to_hf(name),
        }
    }
}

/// How every tensor is made of those that a file of this family calls `names`.
pub fn recipes<'a>(
    family: Family,
    names: impl Iterator<Item = &'a str>,
) -> BTreeMap<String, Recipe> {
    let mut recipes = BTreeMap::new();
    for name in names {
        let (canonical, part) = family.canonical(name);
        match part {
            Part::Whole => drop(recipes.insert(canonical, Recipe::Same(name.into()))),
            Part::Transposed => drop(recipes.insert(canonical, Recipe::Transposed(name.into()))),
            Part::Third(third) => {
                // A third that is missing is then missed under its own name.
                let thirds = || {
                    THIRDS.map(|part| {
                        name.replacen(
                            &format!(".{}_proj.", THIRDS[third]),
                            &format!(".{part}_proj."),
                            1,
                        )
                    })
                };
                recipes.entry(canonical).or_insert_with(|| Recipe::Stacked(thirds()));
            }
        }
    }
    recipes
}

/// `name` without what training wrapped the model in.
fn unwrapped(mut name: &str) -> &str {
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = rest;
    }
    name
}

fn from_hf(name: &str) -> (String, Part) {
    match name {
        "visual_projection.weight" => return ("visual.proj".into(), Part::Transposed),
        "text_projection.weight" => return ("text_projection".into(), Part::Transposed),
        _ => {}
    }
    let (tower, rest) = match name.split_once('.') {
        Some(("vision_model", rest)) => ("visual.", rest),
        Some(("text_model", rest)) => ("", rest),
        _ => return (name.into(), Part::Whole),
    };
    let name =
        HF_WORDS.iter().fold(format!("{tower}{rest}"), |name, (ours, hf)| name.replace(hf, ours));
    for (third, part) in THIRDS.iter().enumerate() {
        if let Some((block, leaf)) = name.split_once(&format!(".attn.{part}_proj.")) {
            return (format!("{block}.attn.in_proj_{leaf}"), Part::Third(third));
        }
    }
    (name, Part::Whole)
}

fn to_hf(name: &str) -> Recipe {
    match name {
        "visual.proj" => return Recipe::Transposed("visual_projection.weight".into()),
        "text_projection" => return Recipe::Transposed("text_projection.weight".into()),
        "logit_scale" => return Recipe::Same(name.into()),
        _ => {}
    }
    let (tower, rest) = match name.strip_prefix("visual.") {
        Some(rest) => ("vision_model", rest),
        None => ("text_model", name),
    };
    let leaf = HF_WORDS.iter().fold(rest.to_string(), |name, (ours, hf)| name.replace(ours, hf));
    let name = format!("{tower}.{leaf}");
    match name.split_once(".self_attn.in_proj_") {
        Some((block, leaf)) => {
            Recipe::Stacked(THIRDS.map(|part| format!("{block}.self_attn.{part}_proj.{leaf}")))
        }
        None => Recipe::Same(name),
    }
}

/// Whether files may hold `name` beside a model's tensors: buffers that say nothing of their own, and the scalars of
/// `OpenAI`'s archives.
pub fn is_known_buffer(name: &str) -> bool {
    const LEAVES: [&str; 3] = ["position_ids", "attn_mask", "num_batches_tracked"];
    const SCALARS: [&str; 3] = ["input_resolution", "context_length", "vocab_size"];
    let leaf = name.rsplit('.').next().unwrap_or(name);
    LEAVES.contains(&leaf) || SCALARS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 16] = [
        "logit_scale",
        "visual.conv1.weight",
        "visual.class_embedding",
        "visual.positional_embedding",
        "visual.ln_pre.weight",
        "visual.ln_post.bias",
        "visual.proj",
        "visual.transformer.resblocks.11.ln_1.weight",
        "visual.transformer.resblocks.0.attn.in_proj_weight",
        "token_embedding.weight",
        "positional_embedding",
        "text_projection",
        "ln_final.bias",
        "transformer.resblocks.0.attn.in_proj_bias",
        "transformer.resblocks.0.attn.out_proj.weight",
        "transformer.resblocks.10.mlp.c_proj.bias",
    ];
    const FAMILIES: [Family; 4] =
        [Family::OpenAi, Family::HuggingFace, Family::CustomText, Family::TinyClip];

    #[test]
    fn every_family_names_every_tensor_and_back() {
        for family in FAMILIES {
            let files: Vec<String> = NAMES
                .iter()
                .flat_map(|name| {
                    family.recipe(name).sources().map(String::from).collect::<Vec<_>>()
                })
                .collect();
            for wrapper in ["", "module.", "module._orig_mod."] {
                let wrapped: Vec<String> =
                    files.iter().map(|name| format!("{wrapper}{name}")).collect();
                let names = wrapped.iter().map(String::as_str);
                assert_eq!(Family::of(&names), family);
                let recipes = recipes(family, names);
                assert_eq!(recipes.len(), NAMES.len());
                for name in NAMES {
                    let recipe = family.recipe(name);
                    let expected = recipe.sources().map(|name| format!("{wrapper}{name}"));
                    assert!(recipes[name].sources().eq(expected));
                }
            }
        }
    }

    #[test]
    fn names_are_those_of_the_files() {
        let same = |name: &str| Recipe::Same(name.into());
        for (name, hf) in [
            ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
            ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
            ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
            ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
            ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
            ("visual.ln_pre.bias", "vision_model.pre_layrnorm.bias"),
            (
                "visual.transformer.resblocks.3.mlp.c_fc.weight",
                "vision_model.encoder.layers.3.mlp.fc1.weight",
            ),
            (
                "transformer.resblocks.3.attn.out_proj.bias",
                "text_model.encoder.layers.3.self_attn.out_proj.bias",
            ),
            ("ln_final.weight", "text_model.final_layer_norm.weight"),
        ] {
            assert_eq!(Family::HuggingFace.recipe(name), same(hf));
        }
        let in_proj =
            Family::HuggingFace.canonical("vision_model.encoder.layers.0.self_attn.v_proj.bias");
        assert_eq!(
            in_proj,
            ("visual.transformer.resblocks.0.attn.in_proj_bias".into(), Part::Third(2))
        );
        let tiny = Family::TinyClip.canonical("_logit_scale.module.logit_scale");
        assert_eq!(tiny, ("logit_scale".into(), Part::Whole));
    }
}
