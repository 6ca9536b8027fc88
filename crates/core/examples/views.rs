//! Views of a folder's images as training makes them: decoded, randomly cropped and mirrored, normalised, on all cores.
//! `cargo run --release -p cocoop-core --example views -- FOLDER`; each line of the input is one pass over the folder, answered
//! with `{"ms": ...}`. bench/train.mjs compares it with torchvision.

use cocoop_core::input::image::Limits;
use cocoop_core::input::transform::{self, CLIP};
use cocoop_core::random::{Purpose, Random};
use cocoop_core::train::augment::{Augment, train_view_of_file};
use rayon::prelude::*;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

const SIZE: usize = 224;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: views FOLDER")?;
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    paths.sort();
    for (pass, line) in std::io::stdin().lines().enumerate() {
        line?;
        let start = Instant::now();
        let views: Vec<Vec<f32>> = paths
            .par_iter()
            .enumerate()
            .map(|(i, path)| {
                let file = std::fs::read(path).expect("a file that was just listed");
                let random = &mut Random::new(1, Purpose::Augment, [pass as u64, i as u64]);
                let view =
                    train_view_of_file(&file, &Limits::default(), SIZE, Augment::CropFlip, random)
                        .expect("an image");
                let mut pixels = vec![0.0; view.len()];
                transform::normalize(&view, SIZE, &CLIP, &mut pixels);
                pixels
            })
            .collect();
        assert!(views.iter().flatten().all(|x| x.is_finite()));
        println!("{{\"ms\":{}}}", start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
