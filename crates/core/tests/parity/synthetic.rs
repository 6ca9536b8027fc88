//! The synthetic models and images of `fixtures/README.md`: every value is a function of its tensor's name.

use cocoop_core::model::clip::Clip;
use cocoop_core::model::weights::Weights;
use cocoop_core::ops::Cpu;
use cocoop_core::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A CLIP: resolution, `embed_dim`, image tower, text (layers, width).
pub struct Dims {
    pub image_size: usize,
    pub embed_dim: usize,
    pub vision: Vision,
    pub text: (usize, usize),
    pub context_length: usize,
}

/// The image tower.
#[derive(Clone, Copy)]
pub enum Vision {
    /// (layers, width, patch)
    Vit(usize, usize, usize),
    /// (blocks of each stage, width)
    Resnet([usize; 4], usize),
}

/// The dimensions of the models that the cases name.
pub fn dims(model: &str) -> Option<Dims> {
    use Vision::{Resnet, Vit};
    let (image_size, embed_dim, vision, text) = match model {
        "tiny-vit" => (32, 64, Vit(3, 128, 8), (3, 128)),
        "tiny-rn" => (64, 64, Resnet([1, 2, 1, 1], 16), (3, 128)),
        "ViT-B/32" => (224, 512, Vit(12, 768, 32), (12, 512)),
        "ViT-B/16" => (224, 512, Vit(12, 768, 16), (12, 512)),
        "ViT-L/14" => (224, 768, Vit(24, 1024, 14), (12, 768)),
        "ViT-L/14@336px" => (336, 768, Vit(24, 1024, 14), (12, 768)),
        "RN50" => (224, 1024, Resnet([3, 4, 6, 3], 64), (12, 512)),
        "RN101" => (224, 512, Resnet([3, 4, 23, 3], 64), (12, 512)),
        "RN50x4" => (288, 640, Resnet([4, 6, 10, 6], 80), (12, 640)),
        "RN50x16" => (384, 768, Resnet([6, 8, 18, 8], 96), (12, 768)),
        "RN50x64" => (448, 1024, Resnet([3, 15, 36, 10], 128), (12, 1024)),
        _ => return None,
    };
    Some(Dims { image_size, embed_dim, vision, text, context_length: 77 })
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

impl Synthetic {
    /// Every tensor's name and shape, sorted by name.
    #[allow(dead_code, reason = "only an example lists them")]
    pub fn shapes(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.0
    }

    /// The same with rows of another length inside the MLPs of `transformer`.
    #[allow(dead_code, reason = "only the test of other architectures wants it")]
    #[must_use]
    pub fn with_mlp(mut self, transformer: &str, mlp: usize) -> Self {
        let of_blocks = |name: &&String| name.starts_with(&format!("{transformer}.resblocks."));
        let names: Vec<String> = self.0.keys().filter(of_blocks).cloned().collect();
        for name in names {
            match (name.rsplit_once(".mlp.").map(|(_, leaf)| leaf), self.0.get_mut(&name)) {
                (Some("c_fc.weight" | "c_fc.bias"), Some(shape)) => shape[0] = mlp,
                (Some("c_proj.weight"), Some(shape)) => shape[1] = mlp,
                _ => {}
            }
        }
        self
    }
}

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
    add("logit_scale", &[]);
    match dims.vision {
        Vision::Vit(layers, width, patch) => vit(&mut add, dims, layers, width, patch),
        Vision::Resnet(layers, width) => resnet(&mut add, dims, layers, width),
    }
    let (text_layers, text_width) = dims.text;
    add("token_embedding.weight", &[49408, text_width]);
    add("positional_embedding", &[dims.context_length, text_width]);
    add("ln_final.weight", &[text_width]);
    add("ln_final.bias", &[text_width]);
    add("text_projection", &[text_width, dims.embed_dim]);
    transformer(&mut add, "transformer", text_layers, text_width);
    shapes
}

fn norm(add: &mut impl FnMut(&str, &[usize]), name: &str, width: usize) {
    add(&format!("{name}.weight"), &[width]);
    add(&format!("{name}.bias"), &[width]);
}

fn vit(
    add: &mut impl FnMut(&str, &[usize]),
    dims: &Dims,
    layers: usize,
    width: usize,
    patch: usize,
) {
    let grid = dims.image_size / patch;
    add("visual.conv1.weight", &[width, 3, patch, patch]);
    add("visual.class_embedding", &[width]);
    add("visual.positional_embedding", &[grid * grid + 1, width]);
    add("visual.proj", &[width, dims.embed_dim]);
    norm(add, "visual.ln_pre", width);
    norm(add, "visual.ln_post", width);
    transformer(add, "visual.transformer", layers, width);
}

fn transformer(add: &mut impl FnMut(&str, &[usize]), prefix: &str, layers: usize, w: usize) {
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

fn resnet(add: &mut impl FnMut(&str, &[usize]), dims: &Dims, layers: [usize; 4], width: usize) {
    let mut conv = |name: &str, bn: &str, [out, inputs, kernel]: [usize; 3]| {
        add(&format!("visual.{name}.weight"), &[out, inputs, kernel, kernel]);
        for leaf in ["weight", "bias", "running_mean", "running_var"] {
            add(&format!("visual.{bn}.{leaf}"), &[out]);
        }
    };
    conv("conv1", "bn1", [width / 2, 3, 3]);
    conv("conv2", "bn2", [width / 2, width / 2, 3]);
    conv("conv3", "bn3", [width, width / 2, 3]);
    let mut channels = width;
    for (stage, blocks) in layers.into_iter().enumerate() {
        let planes = width << stage;
        for i in 0..blocks {
            let block = format!("layer{}.{i}", stage + 1);
            for (conv_leaf, bn, shape) in [
                ("conv1", "bn1", [planes, channels, 1]),
                ("conv2", "bn2", [planes, planes, 3]),
                ("conv3", "bn3", [4 * planes, planes, 1]),
                ("downsample.0", "downsample.1", [4 * planes, channels, 1]),
            ] {
                if i == 0 || conv_leaf != "downsample.0" {
                    conv(&format!("{block}.{conv_leaf}"), &format!("{block}.{bn}"), shape);
                }
            }
            channels = 4 * planes;
        }
    }
    let grid = dims.image_size / 32;
    add("visual.attnpool.positional_embedding", &[grid * grid + 1, channels]);
    for (leaf, out) in [("q", channels), ("k", channels), ("v", channels), ("c", dims.embed_dim)] {
        add(&format!("visual.attnpool.{leaf}_proj.weight"), &[out, channels]);
        add(&format!("visual.attnpool.{leaf}_proj.bias"), &[out]);
    }
}

/// The values of tensor `name`, by the rules of `fixtures/README.md`.
pub fn tensor(name: &str, shape: &[usize]) -> Vec<f32> {
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
        // 0.5 + u, where s = 2u - 1
        "running_var" => signed(name, len).into_iter().map(|s| 0.5 + 0.5 * (s + 1.0)).collect(),
        "running_mean" => uniform(0.1),
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
