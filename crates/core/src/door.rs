//! What both doors say in JSON, so that neither adds anything of its own: ARCHITECTURE.md, "The doors".

use crate::bundle::{Bundle, Metadata, Method, ModelId, Prompt};
use crate::classifier;
use crate::input::{image, tokenizer};
use crate::model::block::Workspace;
use crate::model::clip::Clip;
use crate::model::config::Config;
use crate::model::weights::convert::Target;
use crate::ops::normalize;
use crate::original::{self, ImportSpec};
use crate::pack::{self, Pack, Sink, Wanted};
use crate::prompt::interpret::{self, Near};
use crate::prompt::learner::Learner;
use crate::prompt::template::{ClassTokenPosition, TooLong};
use crate::prompt::zero_shot;
use crate::train::linear_probe::{self, LinearProbe};
use crate::train::sampling::{Half, few_shot, shuffles, subsample};
use crate::train::session::About;
use crate::train::views;
use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ZeroShotSpec {
    classnames: Vec<String>,
    templates: Vec<String>,
    metadata: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FewShotSpec {
    labels: Vec<usize>,
    val_labels: Vec<usize>,
    shots: usize,
    seed: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShuffleSpec {
    sizes: Vec<usize>,
    seed: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinearProbeSpec {
    n_cls: usize,
    c: f64,
    max_iter: usize,
}

/// The bytes of a zero-shot bundle: `{classnames, templates, metadata: {name, model_id, training, metrics}}`;
/// `text_features` as of [`classifier::zero_shot_bundle`].
/// # Errors
/// [`Error::Option`] if `spec` is not that; of [`classifier::zero_shot_bundle`].
pub fn zero_shot_bundle(
    clip: &Arc<Clip>,
    spec: &str,
    text_features: Option<Vec<f32>>,
) -> Result<Vec<u8>> {
    let Config { embed_dim, image_size, .. } = clip.config;
    let metadata = zero_shot_metadata(spec, clip.sha256(), embed_dim, image_size)?;
    classifier::zero_shot_bundle(clip, metadata, text_features)?.write()
}

/// What a zero-shot bundle says of itself, by the `spec` of [`zero_shot_bundle`] and the model's hash and lengths.
/// # Errors
/// [`Error::Option`] if `spec` is not that.
pub fn zero_shot_metadata(
    spec: &str,
    sha256: &str,
    embed_dim: usize,
    image_size: usize,
) -> Result<Metadata> {
    let ZeroShotSpec { classnames, templates, metadata } = parse("spec", spec)?;
    let about = About::from_value(metadata)?;
    let prompt = Prompt {
        n_ctx: 0,
        ctx_init: None,
        csc: false,
        class_token_position: ClassTokenPosition::End,
        templates,
    };
    let model = ModelId { id: about.model_id, sha256: sha256.into(), embed_dim, image_size };
    Ok(Metadata {
        name: about.name,
        method: Method::ZeroShot,
        classnames,
        prompt,
        model,
        training: about.training,
        metrics: about.metrics,
    })
}

/// What a run says of itself for its bundle: `{name, model_id, training, metrics}`.
/// # Errors
/// [`Error::Option`].
pub fn about(metadata: &str) -> Result<About> {
    About::from_value(parse("metadata", metadata)?)
}

/// What a conversion is to write: `{dtype, names}`.
/// # Errors
/// [`Error::Option`].
pub fn target(json: &str) -> Result<Target> {
    parse("target", json)
}

/// A bundle's metadata, read strictly.
/// # Errors
/// Of [`Bundle::read`].
pub fn bundle_metadata(bytes: &[u8]) -> Result<String> {
    Ok(Bundle::read(bytes)?.metadata.to_json())
}

/// `{train, val}` of `{labels, val_labels, shots, seed}`: indices, as the original samples them.
/// # Errors
/// [`Error::Option`].
pub fn few_shot_indices(spec: &str) -> Result<String> {
    let FewShotSpec { labels, val_labels, shots, seed } = parse("spec", spec)?;
    let (train, val) = few_shot(&labels, &val_labels, shots, seed);
    Ok(json!({"train": train, "val": val}).to_string())
}

/// Permutations of 0..n for each n of `{sizes, seed}`: `CPython`'s shuffles, one after the other.
/// # Errors
/// [`Error::Option`].
pub fn shuffle_indices(spec: &str) -> Result<String> {
    let ShuffleSpec { sizes, seed } = parse("spec", spec)?;
    Ok(json!(shuffles(&sizes, seed)).to_string())
}

/// `{indices, classes}` of the images whose class is in the first ("base") or second ("new") half of the labels.
/// # Errors
/// [`Error::Option`] if `half` is neither.
pub fn subsample_indices(labels: &[u32], half: &str) -> Result<String> {
    let half = match half {
        "base" => Half::Base,
        "new" => Half::New,
        _ => {
            return Err(Error::Option {
                name: "half".into(),
                expected: "base or new".into(),
                got: half.into(),
            });
        }
    };
    let labels: Vec<usize> = labels.iter().map(|&label| label as usize).collect();
    let cut = subsample(&labels, half);
    Ok(json!({"indices": cut.indices, "classes": cut.classes}).to_string())
}

/// Features of encoded images: (n, `embed_dim`), L2-normalised or as they leave the tower, the rows of unreadable ones 0,
/// and JSON `[{index, code, message}]` of those. `cancelled` is asked between batches.
/// # Errors
/// [`Error::Cancelled`]; of [`Clip::image`].
pub fn embed_images(
    clip: &Clip,
    work: &mut Workspace<crate::ops::Cpu>,
    images: &[Vec<u8>],
    normalized: bool,
    cancelled: &dyn Fn() -> bool,
) -> Result<(Vec<f32>, String)> {
    let (mut features, mut bad) = (Vec::new(), Vec::new());
    for (first, images) in images.chunks(BATCH).enumerate().map(|(i, images)| (i * BATCH, images)) {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let mut pixels = Vec::new();
        let mut good = vec![false; images.len()];
        for (i, view) in decode_all(clip, images).into_iter().enumerate() {
            match view {
                Ok(view) => {
                    pixels.extend(view);
                    good[i] = true;
                }
                Err(error) => bad.push(refusal(first + i, &error)),
            }
        }
        let mut encoded = Vec::new();
        clip.image()?.encode(&clip.ops, work, &mut encoded, &pixels);
        if normalized {
            normalize::forward(&mut encoded, clip.config.embed_dim);
        }
        let mut rows = encoded.chunks_exact(clip.config.embed_dim);
        for good in good {
            let row = if good { rows.next() } else { None };
            match row {
                Some(row) => features.extend_from_slice(row),
                None => features.resize(features.len() + clip.config.embed_dim, 0.0),
            }
        }
    }
    Ok((features, Value::from(bad).to_string()))
}

/// The bundle of one of the originals' checkpoints, by an [`ImportSpec`] in JSON.
/// # Errors
/// [`Error::Option`] if `spec` is none; of [`original::import`].
pub fn import_checkpoint(clip: &Arc<Clip>, file: Vec<u8>, spec: &str) -> Result<Vec<u8>> {
    let spec: ImportSpec = parse("spec", spec)?;
    original::import(clip, &file.into(), spec)?.write()
}

/// The nearest `k` tokens of each of `vectors` (n, width): JSON `[[{id, token, distance}]]`.
/// # Errors
/// Of [`interpret::nearest_tokens`].
pub fn nearest_tokens(clip: &Clip, vectors: &[f32], k: usize) -> Result<String> {
    let near = interpret::nearest_tokens(clip, vectors, k)?;
    let token = |near: &Near| json!({"id": near.id, "token": tokenizer::decode(near.id), "distance": near.distance});
    let row = |near: &Vec<Near>| near.iter().map(token).collect::<Value>();
    Ok(near.iter().map(row).collect::<Value>().to_string())
}

/// The vectors that a bundle of `clip` learned: [`Learner`]'s `ctx`, and the shift that they have for each of
/// `image_features` (n, `embed_dim`), empty without a Meta-Net.
/// # Errors
/// [`Error::Bundle`] if nothing was learned; of [`Bundle::check_fits`] and [`interpret::shifts`].
pub fn prompt_vectors(
    clip: &Clip,
    bundle: &[u8],
    image_features: &[f32],
) -> Result<(Learner, Vec<f32>)> {
    let bundle = Bundle::read(bundle)?;
    bundle.check_fits(clip.sha256(), clip.config.embed_dim, clip.config.text.width)?;
    let learner = bundle.learner.ok_or_else(|| Error::Bundle {
        why: "a prompt of templates, in which nothing was learned".into(),
    })?;
    let shift = interpret::shifts(&learner, image_features)?;
    Ok((learner, shift))
}

/// Learns a linear probe from `features` (n, dim) and `labels` (n): `{n_cls, c, max_iter}`.
/// # Errors
/// [`Error::Option`] if `spec` is not that; of [`linear_probe::fit`].
pub fn fit_linear_probe(
    features: &[f32],
    labels: &[u32],
    spec: &str,
    start: Option<&LinearProbe>,
    cancelled: &dyn Fn() -> bool,
) -> Result<linear_probe::Fit> {
    let LinearProbeSpec { n_cls, c, max_iter } = parse("spec", spec)?;
    let labels: Vec<usize> = labels.iter().map(|&label| label as usize).collect();
    let tolerance = linear_probe::TOLERANCE;
    let labels = labels.as_slice();
    let problem = linear_probe::Problem { features, labels, n_cls, c, tolerance, max_iter };
    linear_probe::fit(&problem, start, cancelled)
}

/// Features of views of encoded images: (n, to - from, `embed_dim`), and JSON `[{index, code, message}]` of those that
/// cannot be read; `spec` is JSON {augment, seed, first, from, to}.
/// # Errors
/// [`Error::Option`]; of [`views::embed`].
pub fn embed_views(
    clip: &Clip,
    images: &[Vec<u8>],
    spec: &str,
    cancelled: &dyn Fn() -> bool,
) -> Result<(Vec<f32>, String)> {
    let (features, bad) = views::embed(clip, images, &parse("spec", spec)?, cancelled)?;
    let bad: Vec<Value> = bad.iter().map(|(index, error)| refusal(*index, error)).collect();
    Ok((features, Value::from(bad).to_string()))
}

/// Features of texts as they stand: (n, `embed_dim`). With `truncate`, a text that is too long loses its end.
/// # Errors
/// Of [`zero_shot::embed_texts`].
pub fn embed_texts(
    clip: &Clip,
    texts: &[String],
    truncate: bool,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<f32>> {
    let too_long = if truncate { TooLong::Truncate } else { TooLong::Refuse };
    zero_shot::embed_texts(clip, &mut Workspace::inference(), texts, too_long, cancelled)
}

/// Features of class names in templates: (`n_cls`, `embed_dim`).
/// # Errors
/// Of [`zero_shot::text_features`].
pub fn text_features(
    clip: &Clip,
    classnames: &[String],
    templates: &[String],
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<f32>> {
    let mut work = Workspace::inference();
    zero_shot::text_features(clip, &mut work, classnames, templates, cancelled)
}

/// JSON {towers, shards}: what calls of a model on `pack` could not do without since it was last brought.
pub fn wanted(pack: &Pack) -> String {
    let Wanted { towers, rows } = pack.wanted();
    json!({"towers": towers, "shards": pack.token_shards(&rows)}).to_string()
}

/// JSON {vision, text, work}: bytes that a pack takes in memory, by the text of its manifest.
/// # Errors
/// Of [`Pack::open`] and [`pack::memory`].
pub fn pack_memory(manifest: &str) -> Result<String> {
    Ok(json!(pack::memory(&Pack::open(manifest)?)?).to_string())
}

/// Writes `clip` as `spec` (JSON {id, bits, towers}) says: the manifest's JSON, which the caller stores last.
/// # Errors
/// [`Error::Option`]; of [`pack::write()`].
pub fn write_pack(clip: &Clip, spec: &str, sink: &mut dyn Sink) -> Result<String> {
    Ok(pack::write(clip, &parse("spec", spec)?, sink)?.to_json())
}

/// JSON `[{index, width, height} | {index, code, message}]` of encoded images.
pub fn inspect_images(images: &[Vec<u8>]) -> String {
    let inspect = |(index, bytes): (usize, &Vec<u8>)| match image::inspect(
        bytes,
        &image::Limits::default(),
    ) {
        Ok((width, height)) => json!({"index": index, "width": width, "height": height}),
        Err(error) => refusal(index, &error),
    };
    images.iter().enumerate().map(inspect).collect::<Value>().to_string()
}

/// Images that are decoded and encoded together.
const BATCH: usize = 32;

fn refusal(index: usize, error: &Error) -> Value {
    json!({"index": index, "code": error.code(), "message": error.to_string()})
}

fn decode_all(clip: &Clip, images: &[Vec<u8>]) -> Vec<Result<Vec<f32>>> {
    let pixels = |bytes: &Vec<u8>| Ok(clip.pixels(&clip.view(bytes)?));
    #[cfg(feature = "parallel")]
    {
        use rayon::prelude::*;
        images.par_iter().map(pixels).collect()
    }
    #[cfg(not(feature = "parallel"))]
    images.iter().map(pixels).collect()
}

fn parse<T: DeserializeOwned>(name: &str, json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::Option {
        name: name.into(),
        expected: "the JSON that the documentation names".into(),
        got: error.to_string(),
    })
}
