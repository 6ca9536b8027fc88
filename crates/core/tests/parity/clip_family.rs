//! `clip_family.json`: features and logits of the original CLIP on synthetic weights. The error is relative to the
//! largest magnitude of each vector.

use crate::synthetic::{clip, dims, image};
use crate::{Case, Outcome, read_json};
use cocoop_core::model::block::Workspace;
use cocoop_core::ops::{Cpu, normalize};
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

pub fn cases(directory: &Path) -> Vec<Case> {
    match read_json::<File>(&directory.join("clip_family.json")) {
        None => Vec::new(),
        Some(Err(why)) => vec![Case::unreadable("clip_family.json", why)],
        Some(Ok(File { tokens, models })) => {
            let tokens = Rc::new(tokens);
            models.into_iter().map(|(name, model)| case(Rc::clone(&tokens), name, model)).collect()
        }
    }
}

fn case(tokens: Rc<Vec<Vec<u32>>>, name: String, model: Model) -> Case {
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
        let mut logits = Vec::new();
        cocoop_core::prompt::learned::logits(
            &mut logits,
            clip.logit_scale,
            &images_1,
            &texts_1,
            prompts.len(),
            clip.config.embed_dim,
        );
        let errors = [
            ("image", error(&images, &model.image_features)),
            ("text", error(&texts, &model.text_features)),
            ("logits", error(&logits, &model.logits_per_image)),
        ];
        let note = errors.map(|(what, error)| format!("{what} {error:.1e}")).join(", ");
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
