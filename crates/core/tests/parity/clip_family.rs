//! `clip_family.json`: features and logits of the original CLIP on synthetic weights. The error is relative to the
//! largest magnitude of each vector. Where `clip_family_exact.json` has a vector in f64, that is the golden one: the
//! recorded one is mostly rounding (scripts/make-clip-family-exact.py says why).

use crate::synthetic::{clip, dims, image};
use crate::{Case, Outcome, read_json};
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
    /// Puts the exact vectors and the logits that follow from them in the place of the recorded ones.
    fn correct(&mut self, exact: Exact, logit_scale: f32) {
        let texts = self.text_features.concat();
        for (k, features) in exact.image_features {
            let (n_cls, embed_dim) = (self.text_features.len(), features.len());
            let [mut image, mut texts] = [features.clone(), texts.clone()];
            normalize::forward(&mut image, embed_dim);
            normalize::forward(&mut texts, embed_dim);
            self.logits_per_image[k].clear();
            let logits_of_image = &mut self.logits_per_image[k];
            logits(logits_of_image, logit_scale, &image, &texts, n_cls, embed_dim);
            self.image_features[k] = features;
        }
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
        let recorded = error(&images, &model.image_features);
        let corrected = !exact.image_features.is_empty();
        model.correct(exact, clip.logit_scale);
        let errors = [
            ("image", error(&images, &model.image_features)),
            ("text", error(&texts, &model.text_features)),
            ("logits", error(&ours, &model.logits_per_image)),
        ];
        let note = errors.map(|(what, error)| format!("{what} {error:.1e}")).join(", ");
        let note =
            if corrected { format!("{note}; image as recorded {recorded:.1e}") } else { note };
        Outcome {
            error: errors.iter().fold(0.0, |max, (_, error)| error.max(max)),
            limit: LIMIT,
            note,
        }
    });
    Case { slow, ..case }
}

/// The largest difference of each vector, relative to its largest magnitude.
fn error(ours: &[f32], theirs: &[Vec<f32>]) -> f64 {
    assert_eq!(ours.len(), theirs.iter().map(Vec::len).sum::<usize>());
    ours.chunks(theirs[0].len())
        .zip(theirs)
        .map(|(a, b)| crate::relative_error(a, b))
        .fold(0.0, f64::max)
}
