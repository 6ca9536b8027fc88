//! Text features as CLIP defines them: one text at a time, padded rows, means of normalised features. What is computed in
//! shared batches must be that.

#[path = "parity/synthetic.rs"]
mod synthetic;

use cocoop_core::classifier;
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::prompt::plan::Rows;
use cocoop_core::prompt::template::{TooLong, plain, token_ids};
use cocoop_core::prompt::trie::{Sharing, Trie};
use cocoop_core::prompt::zero_shot::{embed_texts, text_features};
use cocoop_core::{Error, door};
use std::cell::Cell;
use std::sync::LazyLock;

static CLIP: LazyLock<Clip> =
    LazyLock::new(|| synthetic::clip(&synthetic::dims("tiny-vit").unwrap(), "synthetic"));
const WIDTH: usize = 64;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn unit(x: &[f32]) -> Vec<f32> {
    let length = x.iter().map(|x| x * x).sum::<f32>().sqrt();
    x.iter().map(|x| x / length).collect()
}

/// The definition: one text, 77 rows.
fn alone(text: &str) -> Vec<f32> {
    let prompt = vec![plain(text, 77, TooLong::Refuse).unwrap()];
    let rows = Rows::new(&CLIP.ops, &Trie::new(&prompt, Sharing::Padded(77)), 1, false);
    let (tower, tokens) = (CLIP.text().unwrap(), CLIP.tokens(&token_ids(&prompt)).unwrap());
    let (mut x, mut features) = (Vec::new(), Vec::new());
    rows.embed(&mut x, tower, &tokens, &[], 0, &[]);
    tower.encode(&CLIP.ops, &mut Workspace::inference(), &mut features, &x, &rows.plan);
    unit(&features)
}

fn embed(texts: &[String]) -> Vec<f32> {
    let mut work = Workspace::inference();
    embed_texts(&CLIP, &mut work, texts, TooLong::Refuse, &|| false).unwrap()
}

fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn texts_in_one_batch_are_as_each_alone() {
    let texts = strings(&["a photo of a dog.", "a photo of a cat.", "dog", "a_b <i>", "dog"]);
    let together = embed(&texts);
    for (text, features) in texts.iter().zip(together.chunks_exact(WIDTH)) {
        assert!(largest(features, &alone(text)) < 1e-5, "{text}"); // rounding
    }
    assert_eq!(together[2 * WIDTH..3 * WIDTH], together[4 * WIDTH..]);
    assert!(embed(&[]).is_empty());
}

#[test]
fn many_texts_go_through_in_batches_of_the_same_bits_and_can_be_stopped() {
    let texts: Vec<String> = (0..1500).map(|i| format!("picture {i} of many")).collect();
    let all = embed(&texts);
    assert_eq!(all[700 * WIDTH..701 * WIDTH], embed(&texts[700..701]));
    assert_eq!(all[1499 * WIDTH..], embed(&texts[1499..]));
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 1;
    let mut work = Workspace::inference();
    let stopped = embed_texts(&CLIP, &mut work, &texts, TooLong::Refuse, &stop);
    assert_eq!(stopped, Err(Error::Cancelled));
    assert_eq!(asked.get(), 2); // so there was a second batch
}

#[test]
fn an_ensemble_is_the_normalised_mean_of_normalised_features() {
    let (names, templates) =
        (strings(&["red_panda", "dog"]), strings(&["a photo of a {}.", "itap of my {}.", "{}"]));
    let got =
        text_features(&CLIP, &mut Workspace::inference(), &names, &templates, &|| false).unwrap();
    for (name, features) in ["red panda", "dog"].iter().zip(got.chunks_exact(WIDTH)) {
        let mut mean = vec![0.0; WIDTH];
        for template in &templates {
            let feature = alone(&template.replace("{}", name));
            mean.iter_mut().zip(feature).for_each(|(m, x)| *m += x / templates.len() as f32);
        }
        assert!(largest(features, &unit(&mean)) < 1e-5, "{name}"); // rounding
    }
}

#[test]
fn a_text_that_is_too_long_is_named_or_cut() {
    let texts = strings(&["dog", &"dog ".repeat(100)]);
    assert_eq!(
        door::embed_texts(&CLIP, &texts, false, &|| false),
        Err(Error::TextTooLong { text: texts[1].clone(), got: 102, limit: 77 })
    );
    let cut = door::embed_texts(&CLIP, &texts, true, &|| false).unwrap();
    assert_eq!(cut[..WIDTH], embed(&texts[..1]));
    assert!(largest(&cut[WIDTH..], &alone(&"dog ".repeat(75))) < 1e-5);
}

#[test]
fn scores_are_cosines_and_their_softmax() {
    let texts = embed(&strings(&["dog", "cat", "car"]));
    let pixels = [synthetic::image(0, 32), synthetic::image(1, 32)].concat();
    let images = CLIP.image_features(&mut Workspace::inference(), &pixels).unwrap();
    let scores = classifier::scores(&CLIP, &images, &texts).unwrap();
    let scale = CLIP.logit_scale.exp();
    for (i, image) in images.chunks_exact(WIDTH).enumerate() {
        let cosines: Vec<f32> = texts
            .chunks_exact(WIDTH)
            .map(|text| text.iter().zip(image).map(|(a, b)| a * b).sum())
            .collect();
        assert!(largest(&scores.cosines[i * 3..][..3], &cosines) < 1e-5);
        let weights: Vec<f64> = cosines.iter().map(|c| f64::from(c * scale).exp()).collect();
        let total: f64 = weights.iter().sum();
        let probs: Vec<f32> = weights.iter().map(|w| (w / total) as f32).collect();
        assert!(largest(&scores.probs[i * 3..][..3], &probs) < 1e-4); // 1e-6 of a cosine, times the scale
    }
    assert!(matches!(
        classifier::scores(&CLIP, &texts[1..], &texts),
        Err(Error::Shape { name, .. }) if name == "image_features"
    ));
    assert!(matches!(classifier::scores(&CLIP, &texts, &[]), Err(Error::Classes { .. })));
}

#[test]
fn prompts_that_share_nothing_are_bounded_too() {
    // 60 different words first: nothing is shared between texts, so that a batch holds some thirty of them.
    let words =
        |i: usize| (0..60).map(move |j| format!("{} ", (b'a' + ((i + j) % 26) as u8) as char));
    let texts: Vec<String> = (0..100).map(|i| words(i).collect()).collect();
    let (batches, mut work) = (Cell::new(0), Workspace::inference());
    let count = || {
        batches.set(batches.get() + 1);
        false
    };
    embed_texts(&CLIP, &mut work, &texts, TooLong::Refuse, &count).unwrap();
    assert!((3..=4).contains(&batches.get()), "{}", batches.get()); // 100 x 62 rows, 2048 at a time
}
