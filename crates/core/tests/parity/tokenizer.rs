//! `tokenizer.json` and `tokenizer-extra.json` (damaged texts, made by `scripts/make-tokenizer-extra.py`): lists of
//! `{text, ids}`, ids without start and end token. All must agree exactly.

use crate::{Case, Outcome, read_json};
use cocoop_core::input::tokenizer::encode;
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

pub fn cases(directory: &Path) -> Vec<Case> {
    ["tokenizer", "tokenizer-extra"]
        .into_iter()
        .flat_map(|file| cases_of(directory, file))
        .collect()
}

fn cases_of(directory: &Path, file: &str) -> Vec<Case> {
    match read_json::<Vec<Text>>(&directory.join(file).with_extension("json")) {
        None => Vec::new(),
        Some(Err(why)) => vec![Case::unreadable(file, why)],
        Some(Ok(texts)) => texts
            .into_iter()
            .enumerate()
            .map(|(i, text)| case(&format!("{file} {i}"), text))
            .collect(),
    }
}

/// The error is the number of places at which the ids differ.
fn case(name: &str, Text { text, ids }: Text) -> Case {
    let shown: String = text.chars().take(40).collect();
    Case::new(format!("{name} {shown:?}"), move || {
        let got = encode(&text);
        let common = got.iter().zip(&ids).filter(|(a, b)| a == b).count();
        let error = (got.len().max(ids.len()) - common) as f64;
        let note =
            if error > 0.0 { format!("expected {ids:?}, got {got:?}") } else { String::new() };
        Outcome { error, limit: 0.0, note }
    })
}
