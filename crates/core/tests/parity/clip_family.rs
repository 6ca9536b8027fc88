//! `clip_family.json`: features and logits of the original CLIP on synthetic weights. The error is relative to the
//! largest magnitude of each vector. Where `clip_family_exact.json` has a vector in f64, that is the golden one: the
//! recorded one is mostly rounding (scripts/make-clip-family-exact.py says why).

use crate::synthetic::{clip, dims, image};
use crate::{Case, Outcome, read_json, relative_error};
use cocoop_core::model::block::Workspace;
use cocoop_core::ops::{Cpu, normalize};
use cocoop_core::prompt::learned::logits;
use cocoop_core::prompt::plan::Rows;
use cocoop_core::prompt::template::{Symbol, token_ids};
use cocoop_core::prompt::trie::{Sharing, Trie};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// What the issue of faithfulness asks for.
const LIMIT: f64 = 1e-4;

#[derive(Deserialize)]
struct File {
    tokens: Vec<Vec<u32>>,
    models: BTreeMap<String, Model>,
}

#[derive(Deserialize)]
struct Model {
    image_features: Vec<Vec<f32>>,
    text_features: Vec<Vec<f32>>,
    logits_per_image: Vec<Vec<f32>>,
}

/// Vectors in f64, by the image's number.
#[derive(Default, Deserialize)]
struct Exact {
    image_features: BTreeMap<usize, Vec<f32>>,
}

pub fn cases(directory: &Path) -> Vec<Case> {
    let exact: Result<BTreeMap<String, Exact>, String> =
        read_json(&directory.join("clip_family_exact.json")).unwrap_or_else(|| Ok(BTreeMap::new()));
    match (read_json::<File>(&directory.join("clip_family.json")), exact) {
        (None, _) => Vec::new(),
        (Some(Err(why)), _) | (_, Err(why)) => vec![Case::unreadable("clip_family", why)],
        (Some(Ok(File { tokens, models })), Ok(mut exact)) => {
            let tokens = Rc::new(tokens);
            let case = |(name, model): (String, Model)| {
                let exact = exact.remove(&name).unwrap_or_default();
                case(Rc::clone(&tokens), name, model, exact)
            };
            models.into_iter().map(case).collect()
        }
    }
}

impl Model {
    /// Puts the exact vectors and the logits that follow from them in the place of the recorded ones. Returns how far
    /// from the truth each image's recorded features and logits are: no more is asked of ours.
    fn correct(&mut self, exact: Exact, logit_scale: f32) -> [Vec<f64>; 2] {
        let mut off = [vec![0.0; self.image_features.len()], vec![0.0; self.image_features.len()]];
        let texts = self.text_features.concat();
        for (k, features) in exact.image_features {
            let (n_cls, embed_dim) = (self.text_features.len(), features.len());
            let [mut image, mut texts] = [features.clone(), texts.clone()];
            normalize::forward(&mut image, embed_dim);
            normalize::forward(&mut texts, embed_dim);
            let mut exact_logits = Vec::new();
            logits(&mut exact_logits, logit_scale, &image, &texts, n_cls, embed_dim);
            off[0][k] = relative_error(&self.image_features[k], &features);
            off[1][k] = relative_error(&self.logits_per_image[k], &exact_logits);
            (self.image_features[k], self.logits_per_image[k]) = (features, exact_logits);
        }
        off
    }
}

fn case(tokens: Rc<Vec<Vec<u32>>>, name: String, mut model: Model, exact: Exact) -> Case {
    let Some(dims) = dims(&name) else {
        return Case::unreadable(name.clone(), format!("no synthetic model {name}"));
    };
    let slow = !matches!(&*name, "tiny-vit" | "tiny-rn" | "ViT-B/32" | "ViT-B/16" | "RN50");
    let case = Case::new(name, move || {
        let clip = clip(&dims, "");
        let text = clip.text().expect("the synthetic tensors are whole");
        let mut work = Workspace::inference();
        let pixels: Vec<f32> =
            (0..model.image_features.len()).flat_map(|k| image(k, dims.image_size)).collect();
        let (mut images, mut texts, mut x) = (Vec::new(), Vec::new(), Vec::new());
        clip.image().expect("as above").encode(&Cpu, &mut work, &mut images, &pixels);
        let prompts: Vec<Vec<Symbol>> =
            tokens.iter().map(|ids| ids.iter().copied().map(Symbol::Token).collect()).collect();
        let rows = Rows::new(&Cpu, &Trie::new(&prompts, Sharing::Trie), 1, false);
        let tokens = clip.tokens(&token_ids(&prompts)).expect("as above");
        rows.embed(&mut x, text, &tokens, &[], 0, &[]);
        text.encode(&Cpu, &mut work, &mut texts, &x, &rows.plan);
        let (mut images_1, mut texts_1) = (images.clone(), texts.clone());
        normalize::forward(&mut images_1, clip.config.embed_dim);
        normalize::forward(&mut texts_1, clip.config.embed_dim);
        let mut ours = Vec::new();
        let (n_cls, embed_dim) = (prompts.len(), clip.config.embed_dim);
        logits(&mut ours, clip.logit_scale, &images_1, &texts_1, n_cls, embed_dim);
        let [images_off, logits_off] = model.correct(exact, clip.logit_scale);
        let errors = [
            ("image", error(&images, &model.image_features, &images_off)),
            ("text", error(&texts, &model.text_features, &[])),
            ("logits", error(&ours, &model.logits_per_image, &logits_off)),
        ];
        let note = errors.map(|(what, (error, _))| format!("{what} {error:.1e}")).join(", ");
        let (error, limit) = errors.into_iter().map(|(_, error)| error).fold((0.0, LIMIT), worse);
        Outcome { error, limit, note }
    });
    Case { slow, ..case }
}

/// The vector whose largest difference, relative to its largest magnitude, is the largest part of its limit: both.
fn error(ours: &[f32], theirs: &[Vec<f32>], off: &[f64]) -> (f64, f64) {
    assert_eq!(ours.len(), theirs.iter().map(Vec::len).sum::<usize>());
    let vectors = ours.chunks(theirs[0].len()).zip(theirs).enumerate();
    let errors = vectors.map(|(k, (ours, theirs))| {
        let limit = off.get(k).copied().unwrap_or_default().max(LIMIT);
        (relative_error(ours, theirs), limit)
    });
    errors.fold((0.0, LIMIT), worse)
}

/// Of two (error, limit) the one that is nearer to its limit; NaN is worst.
fn worse(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    if a.0.is_nan() || b.0 / b.1 <= a.0 / a.1 { a } else { b }
}
