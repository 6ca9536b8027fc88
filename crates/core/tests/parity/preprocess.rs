//! `preprocess/index.json` and `images/index.json`: images and what torchvision's bicubic resize, centre crop and RGB
//! conversion make of them.
//! All formats must agree exactly: the decoders of the lossy ones have the reference's arithmetic as well.

use crate::{Case, Outcome, read_json};
use cocoop_core::input::image::{Limits, decode};
use cocoop_core::input::transform::{test_view, view_of_file};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Pair {
    input: String,
    px: usize,
    expected: String,
}

pub fn cases(directory: &Path) -> Vec<Case> {
    ["preprocess", "images"].iter().flat_map(|folder| cases_in(&directory.join(folder))).collect()
}

fn cases_in(directory: &Path) -> Vec<Case> {
    match read_json::<Vec<Pair>>(&directory.join("index.json")) {
        None => Vec::new(),
        Some(Err(why)) => vec![Case::unreadable("index.json", why)],
        Some(Ok(pairs)) => pairs.into_iter().map(|pair| case(directory, pair)).collect(),
    }
}

fn case(directory: &Path, Pair { input, px, expected }: Pair) -> Case {
    let directory = directory.to_owned();
    Case::new(format!("{input} {px}"), move || {
        let read = |folder: &str, name: &str| {
            std::fs::read(directory.join(folder).join(name)).expect(name)
        };
        let file = read("in", &input);
        let image = decode(&file, &Limits::default()).expect("the input decodes");
        let want = decode(&read("expected", &expected), &Limits::default())
            .expect("the expected image decodes");
        let got = view_of_file(&file, &Limits::default(), px).expect("the input decodes");
        assert!(got == test_view(&image, px), "the whole picture and its rows give the same view");
        let want = want.to_rgb();
        assert_eq!(got.len(), want.data.len(), "bytes of the result");
        let difference = got.iter().zip(&want.data).map(|(&a, &b)| f64::from(a.abs_diff(b)));
        let mean = difference.clone().sum::<f64>() / got.len() as f64;
        let error = difference.fold(0.0, f64::max);
        Outcome { error, limit: 0.0, note: format!("mean {mean:.4} of 255") }
    })
}
