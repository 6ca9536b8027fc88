//! The synthetic models and images of `fixtures/README.md`: every value is a function of its tensor's name.

use cocoop_core::model::clip::Clip;
use cocoop_core::model::weights::Weights;
use cocoop_core::ops::Cpu;
use cocoop_core::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A CLIP with a vision transformer: resolution, `embed_dim`, vision (layers, width, patch), text (layers, width).
pub struct Dims {
    pub image_size: usize,
    embed_dim: usize,
    vision: (usize, usize, usize),
    text: (usize, usize),
}

/// The dimensions of the models that the cases name.
pub fn dims(model: &str) -> Option<Dims> {
    let (image_size, embed_dim, vision, text) = match model {
        "tiny-vit" => (32, 64, (3, 128, 8), (3, 128)),
        "ViT-B/32" => (224, 512, (12, 768, 32), (12, 512)),
        "ViT-B/16" => (224, 512, (12, 768, 16), (12, 512)),
        "ViT-L/14" => (224, 768, (24, 1024, 14), (12, 768)),
        "ViT-L/14@336px" => (336, 768, (24, 1024, 14), (12, 768)),
        _ => return None,
    };
    Some(Dims { image_size, embed_dim, vision, text })
}

/// Builds the synthetic model, named by `sha256`.
pub fn clip(dims: &Dims, sha256: &str) -> Clip<Cpu> {
    Clip::load(Cpu, Arc::new(weights(dims, sha256)), "").expect("the synthetic tensors are whole")
}

/// The tensors of the synthetic model, named by `sha256`.
pub fn weights(dims: &Dims, sha256: &str) -> Synthetic {
    Synthetic(shapes(dims), sha256.into())
}

/// Input image `k`, already normalised: (3, size, size).
pub fn image(k: usize, size: usize) -> Vec<f32> {
    let noise = signed(&format!("image.{k}.{size}"), 3 * size * size);
    let r = size as f32;
    let value = |(i, s): (usize, f32)| {
        let (c, y, x) = (i / (size * size), i / size % size, i % size);
        s + (x as f32 / r) * (c + 1) as f32 - (y as f32 / r) * (2.0 - c as f32)
            + 0.25 * (k % 4) as f32
    };
    noise.into_iter().enumerate().map(value).collect()
}

/// Tensors that are made when they are read, and what stands for the file's hash.
pub struct Synthetic(BTreeMap<String, Vec<usize>>, String);

impl Weights for Synthetic {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.get(name).cloned()
    }

    fn get(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>> {
        let shape = self.0.get(name).ok_or_else(|| Error::MissingTensor { name: name.into() })?;
        assert_eq!(shape, expected, "{name}");
        Ok(tensor(name, shape))
    }

    fn sha256(&self) -> String {
        self.1.clone()
    }
}

/// The names and shapes of a whole model.
fn shapes(dims: &Dims) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let mut add = |name: &str, shape: &[usize]| {
        shapes.insert(name.to_string(), shape.to_vec());
    };
    let (layers, width, patch) = dims.vision;
    let grid = dims.image_size / patch;
    add("logit_scale", &[]);
    add("visual.conv1.weight", &[width, 3, patch, patch]);
    add("visual.class_embedding", &[width]);
    add("visual.positional_embedding", &[grid * grid + 1, width]);
    add("visual.proj", &[width, dims.embed_dim]);
    for norm in ["visual.ln_pre", "visual.ln_post"] {
        add(&format!("{norm}.weight"), &[width]);
        add(&format!("{norm}.bias"), &[width]);
    }
    let (text_layers, text_width) = dims.text;
    add("token_embedding.weight", &[49408, text_width]);
    add("positional_embedding", &[77, text_width]);
    add("ln_final.weight", &[text_width]);
    add("ln_final.bias", &[text_width]);
    add("text_projection", &[text_width, dims.embed_dim]);
    for (prefix, layers, w) in
        [("visual.transformer", layers, width), ("transformer", text_layers, text_width)]
    {
        for i in 0..layers {
            for (leaf, shape) in [
                ("ln_1.weight", vec![w]),
                ("ln_1.bias", vec![w]),
                ("attn.in_proj_weight", vec![3 * w, w]),
                ("attn.in_proj_bias", vec![3 * w]),
                ("attn.out_proj.weight", vec![w, w]),
                ("attn.out_proj.bias", vec![w]),
                ("ln_2.weight", vec![w]),
                ("ln_2.bias", vec![w]),
                ("mlp.c_fc.weight", vec![4 * w, w]),
                ("mlp.c_fc.bias", vec![4 * w]),
                ("mlp.c_proj.weight", vec![w, 4 * w]),
                ("mlp.c_proj.bias", vec![w]),
            ] {
                add(&format!("{prefix}.resblocks.{i}.{leaf}"), &shape);
            }
        }
    }
    shapes
}

/// The values of tensor `name`, by the rules of `fixtures/README.md`.
fn tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let len = shape.iter().product();
    if name == "logit_scale" {
        return vec![100f32.ln()];
    }
    let uniform = |scale: f64| {
        let scale = scale as f32;
        signed(name, len).into_iter().map(move |s| scale * s).collect()
    };
    match leaf {
        "weight" if shape.len() == 1 => {
            signed(name, len).into_iter().map(|s| 1.0 + 0.1 * s).collect()
        }
        "bias" | "in_proj_bias" => uniform(0.02),
        "class_embedding" | "positional_embedding" => uniform(0.04),
        _ if name == "token_embedding.weight" => uniform(0.04),
        "proj" | "text_projection" => uniform((3.0 / shape[0] as f64).sqrt()),
        _ => uniform((3.0 / shape[1..].iter().product::<usize>() as f64).sqrt()),
    }
}

/// `len` values s in [-1, 1) of `name`: `SplitMix64` seeded by FNV-1a.
fn signed(name: &str, len: usize) -> Vec<f32> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let value = |i: u64| {
        let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let u = (z >> 40) as f32 * 2f32.powi(-24);
        2.0 * u - 1.0
    };
    (0..len as u64).map(value).collect()
}
