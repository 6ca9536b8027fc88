//! Shapes other than OpenAI's own, as TinyCLIP, LAION and DataComp have them: widths that differ from `embed_dim`, short
//! contexts, GELU in either tower. Features and the gradient of learned vectors agree with a plain reference in f64.

#[path = "parity/synthetic.rs"]
#[expect(dead_code, reason = "the golden cases need more of it")]
mod synthetic;

use cocoop_core::input::tokenizer;
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::model::config::{self, Config, Resnet, Vit};
use cocoop_core::model::weights::Weights;
use cocoop_core::ops::Activation::{Gelu, QuickGelu};
use cocoop_core::ops::{Activation, Cpu};
use cocoop_core::prompt::learned::Learned;
use cocoop_core::prompt::learner::Learner;
use cocoop_core::prompt::template::ClassTokenPosition;
use cocoop_core::prompt::trie::Sharing;
use cocoop_core::train::step;
use std::sync::Arc;
use synthetic::{Dims, Synthetic, Vision, dims, image, weights};

const HEAD: usize = 64;

fn vit(
    image_size: usize,
    patch: usize,
    vision: [usize; 2],
    text: [usize; 2],
    embed: usize,
) -> Dims {
    Dims {
        image_size,
        embed_dim: embed,
        vision: Vision::Vit(vision[0], vision[1], patch),
        text: (text[0], text[1]),
        context_length: 77,
    }
}

#[test]
fn config_reads_the_shapes_of_other_families() {
    let gelu =
        r#"{"text_config": {"hidden_act": "gelu"}, "vision_config": {"hidden_act": "gelu"}}"#;
    for (name, dims, json, activation) in [
        ("TinyCLIP-ViT-8M-16-Text-3M", vit(224, 16, [10, 256], [3, 256], 512), "", QuickGelu),
        ("TinyCLIP-ViT-39M-16-Text-19M", vit(224, 16, [12, 512], [6, 512], 512), "", QuickGelu),
        ("TinyCLIP-ViT-40M-32-Text-19M", vit(224, 32, [12, 512], [6, 512], 512), "", QuickGelu),
        ("CLIP-ViT-B-32-laion2B", vit(224, 32, [12, 768], [12, 512], 512), gelu, Gelu),
        ("CLIP-ViT-B-32-256x256-DataComp", vit(256, 32, [12, 768], [12, 512], 512), gelu, Gelu),
        ("CLIP-ViT-L-14-laion2B", vit(224, 14, [24, 1024], [12, 768], 768), gelu, Gelu),
        (
            "a short context",
            Dims { context_length: 32, ..vit(64, 8, [2, 128], [2, 64], 96) },
            gelu,
            Gelu,
        ),
    ] {
        let config = Config::read(&weights(&dims, ""), json).unwrap();
        let Vision::Vit(layers, width, patch_size) = dims.vision else { unreachable!() };
        let vision =
            Vit { layers, width, heads: width / HEAD, mlp: 4 * width, patch_size, activation };
        assert_eq!(config.vision, config::Vision::Vit(vision), "{name}");
        let (layers, width) = dims.text;
        let text = config::Text { layers, width, heads: width / HEAD, mlp: 4 * width, activation };
        assert_eq!(config.text, text, "{name}");
        let sizes = (config.image_size, config.embed_dim, config.context_length);
        assert_eq!(sizes, (dims.image_size, dims.embed_dim, dims.context_length), "{name}");
    }
    for (name, layers, width, heads) in [
        ("RN50x4", [4, 6, 10, 6], 80, 40),
        ("RN50x64", [3, 15, 36, 10], 128, 64),
        ("tiny-rn", [1, 2, 1, 1], 16, 8),
    ] {
        let dims = dims(name).unwrap();
        let config = Config::read(&weights(&dims, ""), "").unwrap();
        assert_eq!(config.vision, config::Vision::Resnet(Resnet { layers, width, heads }));
        assert_eq!(config.image_size, dims.image_size);
    }
}

/// LAION's largest: heads 80, 88 and 104 wide, MLPs of other than four widths.
#[test]
fn config_reads_the_heads_and_mlps_of_the_largest_models() {
    for (name, vision, text, [head, mlp]) in [
        ("ViT-H-14", [2, 1280], [2, 1024], [80, 5120]),
        ("ViT-g-14", [2, 1408], [2, 1024], [88, 6144]),
        ("ViT-bigG-14", [2, 1664], [2, 1280], [104, 8192]),
    ] {
        let heads = text[1] / 64;
        let json = serde_json::json!({"model_cfg": {"embed_dim": 1024,
            "vision_cfg": {"layers": 2, "width": vision[1], "head_width": head, "patch_size": 14},
            "text_cfg": {"layers": 2, "width": text[1], "heads": heads}}});
        let dims = vit(224, 14, vision, text, 1024);
        let weights = weights(&dims, "").with_mlp("visual.transformer", mlp);
        let config = Config::read(&weights, &json.to_string()).unwrap();
        let config::Vision::Vit(vit) = &config.vision else { panic!("{name} is a ViT") };
        assert_eq!((vit.heads, vit.mlp), (vision[1] / head, mlp), "{name}");
        assert_eq!((config.text.heads, config.text.mlp), (heads, 4 * text[1]), "{name}");
        let all: usize = weights.shapes().values().map(|of| of.iter().product::<usize>()).sum();
        assert_eq!(config.parameters(49408), all, "{name}");
    }
    let dims = vit(32, 8, [2, 128], [2, 64], 64);
    for heads in [32, 128, 3] {
        let json = serde_json::json!({"vision_config": {"num_attention_heads": heads}});
        let got = Config::read(&weights(&dims, ""), &json.to_string());
        assert!(matches!(got, Err(cocoop_core::Error::Model { .. })), "{heads} heads: {got:?}");
    }
}

#[test]
fn a_model_counts_its_parameters() {
    let family =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/clip_family.json"));
    let family: serde_json::Value = serde_json::from_slice(&family.unwrap()).unwrap();
    for (name, model) in family["models"].as_object().unwrap() {
        let config = Config::read(&weights(&dims(name).unwrap(), ""), "").unwrap();
        assert_eq!(config.parameters(49408), model["params"], "{name}");
    }
}

/// A model with different activations in its towers.
struct Mixed {
    weights: Arc<Synthetic>,
    tokens: Vec<f64>,
    clip: Clip,
    vision: Activation,
    text: Activation,
    heads: [usize; 2],
}

const MIXED: Dims = Dims {
    image_size: 32,
    embed_dim: 96,
    vision: Vision::Vit(2, 128, 8),
    text: (2, 64),
    context_length: 24,
};

/// Heads, and lengths of rows inside the MLPs, of the image tower and the text tower: the usual ones, and others.
const SHAPES: [[[usize; 2]; 2]; 2] = [[[2, 1], [512, 256]], [[4, 8], [648, 200]]];

fn mixed((vision, text): (Activation, Activation), [heads, mlp]: [[usize; 2]; 2]) -> Mixed {
    let name = |activation| if activation == Gelu { "gelu" } else { "quick_gelu" };
    let json = serde_json::json!({
        "vision_config": {"hidden_act": name(vision), "num_attention_heads": heads[0]},
        "text_config": {"hidden_act": name(text), "num_attention_heads": heads[1]}
    });
    let weights = weights(&MIXED, "").with_mlp("visual.transformer", mlp[0]);
    let weights = Arc::new(weights.with_mlp("transformer", mlp[1]));
    let clip = Clip::load(Cpu, Arc::<Synthetic>::clone(&weights), &json.to_string()).unwrap();
    let mut mixed = Mixed { weights, tokens: Vec::new(), clip, vision, text, heads };
    mixed.tokens = mixed.get("token_embedding.weight");
    mixed
}

type Rows = Vec<Vec<f64>>;

/// The reference: one row after the other, in f64.
impl Mixed {
    fn get(&self, name: &str) -> Vec<f64> {
        let shape = self.weights.shape(name).unwrap();
        self.weights.get(name, &shape).unwrap().into_iter().map(f64::from).collect()
    }

    /// `name` without its end, which is `.weight` and `.bias`, or `_weight` and `_bias`.
    fn linear(&self, x: &Rows, name: &str) -> Rows {
        let [weight, bias] = ["weight", "bias"].map(|leaf| self.get(&format!("{name}{leaf}")));
        let row = |x: &Vec<f64>| {
            let rows = weight.chunks_exact(x.len()).zip(&bias);
            rows.map(|(w, b)| b + dot(w, x)).collect()
        };
        x.iter().map(row).collect()
    }

    fn norm(&self, x: &Rows, name: &str) -> Rows {
        let (weight, bias) =
            (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let deviation = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + 1e-5).sqrt();
            let values = x.iter().zip(&weight).zip(&bias);
            values.map(|((x, w), b)| (x - mean) / deviation * w + b).collect()
        };
        x.iter().map(row).collect()
    }

    fn project(&self, x: &[f64], name: &str) -> Vec<f64> {
        let mut y = vec![0.0; MIXED.embed_dim];
        for (x, row) in x.iter().zip(self.get(name).chunks_exact(MIXED.embed_dim)) {
            y.iter_mut().zip(row).for_each(|(y, w)| *y += x * w);
        }
        y
    }

    fn transformer(&self, mut x: Rows, prefix: &str, act: Activation, causal: bool) -> Rows {
        let heads = self.heads[usize::from(causal)];
        for i in 0..2 {
            let name = |leaf: &str| format!("{prefix}transformer.resblocks.{i}.{leaf}");
            let qkv = self.linear(&self.norm(&x, &name("ln_1")), &name("attn.in_proj_"));
            let attended = (0..x.len()).map(|row| {
                attend(&qkv[..if causal { row + 1 } else { x.len() }], &qkv[row], heads)
            });
            let attended = attended.collect();
            add(&mut x, &self.linear(&attended, &name("attn.out_proj.")));
            let mut wide = self.linear(&self.norm(&x, &name("ln_2")), &name("mlp.c_fc."));
            wide.iter_mut().flatten().for_each(|x| *x *= gate(*x, act));
            add(&mut x, &self.linear(&wide, &name("mlp.c_proj.")));
        }
        x
    }

    /// The features of a picture (3, 32, 32).
    fn image(&self, pixels: &[f32]) -> Vec<f64> {
        let conv1 = self.get("visual.conv1.weight");
        let patch = |i: usize| -> Vec<f64> {
            let at = |c: usize, y: usize, x: usize| {
                pixels[(c * 32 + i / 4 * 8 + y) * 32 + i % 4 * 8 + x]
            };
            let seen: Vec<f64> =
                (0..192).map(|j| f64::from(at(j / 64, j / 8 % 8, j % 8))).collect();
            conv1.chunks_exact(192).map(|filter| dot(filter, &seen)).collect()
        };
        let mut x = vec![self.get("visual.class_embedding")];
        x.extend((0..16).map(patch));
        let positions = self.get("visual.positional_embedding");
        add(&mut x, &positions.chunks_exact(128).map(<[f64]>::to_vec).collect());
        let x = self.transformer(self.norm(&x, "visual.ln_pre"), "visual.", self.vision, false);
        self.project(&self.norm(&x, "visual.ln_post")[0], "visual.proj")
    }

    /// The features of [start] `ctx` (n, 64) [name . end].
    fn text(&self, ctx: &[f64], name: &str) -> Vec<f64> {
        let token = |id: u32| self.tokens[id as usize * 64..][..64].to_vec();
        let mut x = vec![token(tokenizer::SOT)];
        x.extend(ctx.chunks_exact(64).map(<[f64]>::to_vec));
        x.extend(tokenizer::encode(&format!("{name}.")).into_iter().map(token));
        x.push(token(tokenizer::EOT));
        let positions = self.get("positional_embedding");
        add(&mut x, &positions.chunks_exact(64).map(<[f64]>::to_vec).collect());
        let x = self.norm(&self.transformer(x, "", self.text, true), "ln_final");
        self.project(x.last().unwrap(), "text_projection")
    }

    /// Cross-entropy of normalised `image` features with class `label` of `CLASSES`.
    fn loss(&self, ctx: &[f64], image: &[f32], label: usize) -> f64 {
        let image: Vec<f64> = image.iter().copied().map(f64::from).collect();
        let logit = |name: &&str| {
            let text = self.text(ctx, name);
            100.0 * dot(&text, &image) / dot(&text, &text).sqrt()
        };
        let logits: Vec<f64> = CLASSES.iter().map(logit).collect();
        logits.iter().map(|z| (z - logits[label]).exp()).sum::<f64>().ln()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut Rows, y: &Rows) {
    x.iter_mut().flatten().zip(y.iter().flatten()).for_each(|(x, y)| *x += y);
}

/// What `own` sees of the rows `qkv`, head after head.
fn attend(qkv: &[Vec<f64>], own: &[f64], heads: usize) -> Vec<f64> {
    let width = own.len() / 3;
    let len = width / heads;
    let head = |start: usize| {
        let part = |row: &[f64], third: usize| row[third * width + start..][..len].to_vec();
        let score = |row: &Vec<f64>| dot(&part(own, 0), &part(row, 1)) / (len as f64).sqrt();
        let weights: Vec<f64> = qkv.iter().map(|row| score(row).exp()).collect();
        let mut sum = vec![0.0; len];
        for (weight, row) in weights.iter().zip(qkv) {
            sum.iter_mut().zip(part(row, 2)).for_each(|(sum, v)| *sum += weight * v);
        }
        let total: f64 = weights.iter().sum();
        sum.into_iter().map(move |x| x / total)
    };
    (0..width).step_by(len).flat_map(head).collect()
}

/// What `x` is multiplied by: sigmoid(1.702·x), or Φ(x) by its series around 0.
fn gate(x: f64, activation: Activation) -> f64 {
    match activation {
        QuickGelu => 1.0 / (1.0 + (-1.702 * x).exp()),
        Gelu => {
            let terms = (1..200).scan(x, |term, i| {
                let value = *term;
                *term *= x * x / f64::from(2 * i + 1);
                Some(value)
            });
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            0.5 + density * terms.sum::<f64>()
        }
    }
}

const CLASSES: [&str; 3] = ["dog", "red panda", "red square"];
const KINDS: [(Activation, Activation); 4] =
    [(QuickGelu, QuickGelu), (Gelu, Gelu), (QuickGelu, Gelu), (Gelu, QuickGelu)];

/// Every pair of activations, and other heads and MLPs.
fn cases() -> impl Iterator<Item = ((Activation, Activation), [[usize; 2]; 2])> {
    KINDS.into_iter().map(|kind| (kind, SHAPES[0])).chain([(KINDS[0], SHAPES[1])])
}

fn relative_error(ours: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(ours.len(), exact.len());
    let largest = exact.iter().fold(0f64, |max, x| max.max(x.abs()));
    ours.iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).abs() / largest).fold(0.0, f64::max)
}

#[test]
fn features_of_either_activation_agree_with_f64() {
    let pixels = image(3, 32);
    let mut all = Vec::new();
    for ((vision, text), shape) in cases() {
        let model = mixed((vision, text), shape);
        let mut ours = Vec::new();
        let tower = model.clip.image().unwrap();
        tower.encode(&Cpu, &mut Workspace::inference(), &mut ours, &pixels);
        let exact = model.image(&pixels);
        assert!(relative_error(&ours, &exact) < 1e-5, "{vision:?}, {text:?}");
        all.push(exact);
    }
    let differ = all[0].iter().zip(&all[1]).any(|(a, b)| (a - b).abs() > 1e-3);
    assert!(differ && all[0] == all[2] && all[1] == all[3]); // each tower has its own
}

#[test]
fn gradients_of_learned_vectors_through_either_activation_agree_with_f64() {
    for ((vision, text), shape) in cases() {
        let model = mixed((vision, text), shape);
        let ctx: Vec<f32> = Learner::random_ctx(3, 64, 7);
        let learner = Learner::new(ctx.clone(), 3, 64, false, None);
        let names = CLASSES.map(String::from);
        let position = ClassTokenPosition::End;
        let mut learned =
            Learned::new(learner, &names, position, MIXED.context_length, Sharing::Trie).unwrap();
        let tokens = model.clip.tokens(&learned.token_ids()).unwrap();
        let mut work = Workspace::training(2);
        let image = model.clip.image_features(&mut work, &image(3, 32)).unwrap();
        let step =
            step::gradient(&model.clip, &tokens, &mut work, &mut learned, &image, &[1]).unwrap();
        let ctx: Vec<f64> = ctx.into_iter().map(f64::from).collect();
        let loss = model.loss(&ctx, &image, 1);
        assert!((f64::from(step.loss) - loss).abs() < 1e-4 * loss.abs().max(1.0), "{text:?}");
        let (h, at) = (1e-5, (0..ctx.len()).step_by(17));
        let numeric = |i: usize| {
            let moved = |by: f64| {
                let mut ctx = ctx.clone();
                ctx[i] += by;
                model.loss(&ctx, &image, 1)
            };
            (moved(h) - moved(-h)) / (2.0 * h)
        };
        let numeric: Vec<f64> = at.clone().map(numeric).collect();
        let ours: Vec<f32> = at.map(|i| step.gradient.ctx[i]).collect();
        let error = relative_error(&ours, &numeric);
        assert!(error < 1e-4, "{vision:?}, {text:?}: {error}");
    }
}
