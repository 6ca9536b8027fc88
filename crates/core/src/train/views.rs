//! The views of the training images and their features. View `v` of image `i` is a function of (seed, `v`, `i`) alone, so
//! that it is the same features whoever computes them, in whatever company: the run itself or someone before it.

use super::augment::{Augment, train_view, train_view_of_file};
use super::spec::TrainSpec;
use crate::input::image::{Image, Limits, decode};
use crate::model::block::Workspace;
use crate::model::clip::Clip;
use crate::ops::Ops;
use crate::random::{Purpose, Random};
use crate::{Error, Result};
use serde::Deserialize;

/// Views whose features are computed at a time: the frozen tower does not care which step they are for. More would not be faster,
/// and each takes 10 MB of activations (ViT-B/16).
pub const VIEWS_AT_A_TIME: usize = 8;
/// Decoded images are kept while they take less than this; larger sets are decoded again for each view.
const MAX_DECODED_BYTES: usize = 512 << 20;

/// Which views [`embed`] computes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// How an image becomes a view.
    pub augment: Augment,
    /// The run's.
    pub seed: u64,
    /// The number of the first image among those of the run.
    pub first: usize,
    /// The first view.
    pub from: usize,
    /// Behind the last view.
    pub to: usize,
}

/// Images that cannot be decoded, by their place, and why not.
pub type Bad = Vec<(usize, Error)>;

/// Features (n, `to - from`, `embed_dim`) of views of encoded images, L2-normalised, as a run with this `seed` and
/// `augment` sees them; those of images that cannot be decoded are 0, and named with the reason.
/// `cancelled` is asked between batches.
/// # Errors
/// [`Error::Option`] if no views are wanted; [`Error::Cancelled`]; of [`Clip::image`].
pub fn embed<O: Ops>(
    clip: &Clip<O>,
    images: &[Vec<u8>],
    wanted: &Wanted,
    cancelled: &dyn Fn() -> bool,
) -> Result<(Vec<f32>, Bad)> {
    let Wanted { augment, seed, first, from, to } = *wanted;
    let Some(views) = to.checked_sub(from).filter(|views| *views > 0) else {
        return Err(Error::Option {
            name: "views".into(),
            expected: "from below to".into(),
            got: format!("from {from} to {to}"),
        });
    };
    clip.image()?;
    let embed_dim = clip.config.embed_dim;
    // All views of an image are one where nothing is drawn.
    let distinct = if augment == Augment::None { 1 } else { views };
    let mut work = Workspace::inference();
    let mut features = vec![0.0; images.len() * views * embed_dim];
    let mut bad = Vec::new();
    let at_a_time = (VIEWS_AT_A_TIME / distinct).max(4); // some for each core, few enough to hold their pixels
    let numbers: Vec<usize> = (0..images.len()).collect();
    for part in numbers.chunks(at_a_time) {
        // An image of very many views is decoded again for each so many of them: that is little beside the tower.
        for start in (0..distinct).step_by(VIEWS_AT_A_TIME) {
            let end = distinct.min(start + VIEWS_AT_A_TIME);
            let draw = |image: usize| {
                let picture = decode(&images[image], &Limits::default())?;
                let view = |view| pixels(clip, augment, seed, first + image, from + view, &picture);
                Ok((start..end).flat_map(view).collect::<Vec<f32>>())
            };
            let (mut rows, mut drawn) = (Vec::new(), Vec::new());
            for (&image, result) in part.iter().zip(map_all(part, draw)) {
                match result {
                    Ok(pixels) => {
                        rows.extend((start..end).map(|view| image * views + view));
                        drawn.extend(pixels);
                    }
                    Err(error) if start == 0 => bad.push((image, error)),
                    Err(_) => {}
                }
            }
            let one = 3 * clip.config.image_size * clip.config.image_size;
            let batches = rows.chunks(VIEWS_AT_A_TIME).zip(drawn.chunks(VIEWS_AT_A_TIME * one));
            for (rows, pixels) in batches {
                if cancelled() {
                    return Err(Error::Cancelled);
                }
                let encoded = clip.image_features(&mut work, pixels)?;
                for (row, encoded) in rows.iter().zip(encoded.chunks_exact(embed_dim)) {
                    for copy in 0..views / distinct {
                        features[(row + copy) * embed_dim..][..embed_dim].copy_from_slice(encoded);
                    }
                }
            }
        }
    }
    Ok((features, bad))
}

/// What a run trains on.
pub enum Source<O: Ops> {
    /// Images, whose views go through the image tower.
    Images {
        /// The images.
        images: Images,
        /// Of the tower.
        work: Box<Workspace<O>>,
        /// Features (n, `embed_dim`) of each view that the run will see again.
        known: Vec<Option<Vec<f32>>>,
    },
    /// Features (n, views, `embed_dim`) that were computed before.
    Features(Vec<f32>),
}

impl<O: Ops> Source<O> {
    /// Encoded images, each of which is decoded once to know that it can be.
    /// # Errors
    /// [`Error::Image`] and its kin, prefixed with the image's index.
    pub fn of_images(encoded: Vec<Vec<u8>>) -> Result<Self> {
        let images = Images::open(encoded)?;
        Ok(Self::Images { images, work: Box::new(Workspace::inference()), known: Vec::new() })
    }

    /// Features (n, [`TrainSpec::views`], `embed_dim`), as of [`embed`].
    /// # Errors
    /// [`Error::Shape`], [`Error::NotFinite`].
    pub fn of_features(
        features: Vec<f32>,
        spec: &TrainSpec,
        n: usize,
        embed_dim: usize,
    ) -> Result<Self> {
        let (name, expected) = ("features".into(), vec![n, spec.views(), embed_dim]);
        if features.len() != expected.iter().product::<usize>() {
            return Err(Error::Shape { name, expected, got: vec![features.len()] });
        }
        if features.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite { name });
        }
        Ok(Self::Features(features))
    }

    /// Features (`images`, `embed_dim`) of what `epoch` sees of these images. Some [`VIEWS_AT_A_TIME`] are a good number
    /// to ask for, as none are kept of a view that does not return.
    /// # Errors
    /// [`Error::Cancelled`]; of [`Clip::image`].
    /// # Panics
    /// If an image is not one of the source's.
    pub fn of_epoch(
        &mut self,
        clip: &Clip<O>,
        spec: &TrainSpec,
        epoch: usize,
        wanted: &[usize],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>> {
        let (embed_dim, views) = (clip.config.embed_dim, spec.views());
        let view = epoch % views;
        match self {
            Self::Features(features) => {
                Ok(rows(features, embed_dim, wanted.iter().map(|image| image * views + view)))
            }
            Self::Images { images, work, .. } if views >= spec.epochs => {
                images.encode(clip, work, spec, view, wanted)
            }
            Self::Images { images, work, known } => {
                known.resize_with(views, || None);
                if known[view].is_none() {
                    let all: Vec<usize> = (0..images.len()).collect();
                    let mut features = Vec::with_capacity(all.len() * embed_dim);
                    for part in all.chunks(VIEWS_AT_A_TIME) {
                        if cancelled() {
                            return Err(Error::Cancelled);
                        }
                        features.extend(images.encode(clip, work, spec, view, part)?);
                    }
                    known[view] = Some(features);
                }
                let features = known[view].as_ref().expect("just made");
                Ok(rows(features, embed_dim, wanted.iter().copied()))
            }
        }
    }
}

fn rows(features: &[f32], embed_dim: usize, rows: impl Iterator<Item = usize>) -> Vec<f32> {
    rows.flat_map(|row| &features[row * embed_dim..][..embed_dim]).copied().collect()
}

/// The training images.
pub enum Images {
    /// They take less than [`MAX_DECODED_BYTES`].
    Decoded(Vec<Image>),
    /// They would take more.
    Encoded(Vec<Vec<u8>>),
}

impl Images {
    /// Decodes every image once, to know that it can be, and keeps them if they are not too much.
    fn open(encoded: Vec<Vec<u8>>) -> Result<Self> {
        let (mut decoded, mut bytes) = (Vec::with_capacity(encoded.len()), 0);
        let indices: Vec<usize> = (0..encoded.len()).collect();
        for part in indices.chunks(VIEWS_AT_A_TIME) {
            let images = map_all(part, |i| {
                decode(&encoded[i], &Limits::default()).map_err(|error| at(i, error))
            });
            for image in images {
                let image = image?;
                bytes += image.data.len();
                if bytes <= MAX_DECODED_BYTES {
                    decoded.push(image);
                }
            }
        }
        Ok(if bytes <= MAX_DECODED_BYTES { Self::Decoded(decoded) } else { Self::Encoded(encoded) })
    }

    fn len(&self) -> usize {
        match self {
            Self::Decoded(images) => images.len(),
            Self::Encoded(files) => files.len(),
        }
    }

    /// Features (`wanted`, `embed_dim`) of one view of these images.
    fn encode<O: Ops>(
        &self,
        clip: &Clip<O>,
        work: &mut Workspace<O>,
        spec: &TrainSpec,
        view: usize,
        wanted: &[usize],
    ) -> Result<Vec<f32>> {
        let mut features = Vec::with_capacity(wanted.len() * clip.config.embed_dim);
        for part in wanted.chunks(VIEWS_AT_A_TIME) {
            let drawn = map_all(part, |image| self.pixels(clip, spec, image, view));
            let drawn: Result<Vec<Vec<f32>>> = drawn.into_iter().collect();
            features.extend(clip.image_features(work, &drawn?.concat())?);
        }
        Ok(features)
    }

    fn pixels<O: Ops>(
        &self,
        clip: &Clip<O>,
        spec: &TrainSpec,
        image: usize,
        view: usize,
    ) -> Result<Vec<f32>> {
        match self {
            Self::Decoded(images) => {
                Ok(pixels(clip, spec.augment, spec.seed, image, view, &images[image]))
            }
            Self::Encoded(files) => {
                let (size, random) = (clip.config.image_size, &mut drawing(spec.seed, view, image));
                let limits = Limits::default();
                let view = train_view_of_file(&files[image], &limits, size, spec.augment, random);
                Ok(clip.pixels(&view.map_err(|error| at(image, error))?))
            }
        }
    }
}

/// View number `view` of the run's image number `image`: the image tower's input.
fn pixels<O: Ops>(
    clip: &Clip<O>,
    augment: Augment,
    seed: u64,
    image: usize,
    view: usize,
    picture: &Image,
) -> Vec<f32> {
    let random = &mut drawing(seed, view, image);
    clip.pixels(&train_view(picture, clip.config.image_size, augment, random))
}

/// What a view draws from.
fn drawing(seed: u64, view: usize, image: usize) -> Random {
    Random::new(seed, Purpose::Augment, [view as u64, image as u64])
}

/// The same error, naming the image.
fn at(index: usize, error: Error) -> Error {
    match error {
        Error::Image { why } => Error::Image { why: format!("number {index}: {why}") },
        other => other,
    }
}

/// `work` of each item, in order, on all cores.
fn map_all<T: Send>(items: &[usize], work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    #[cfg(feature = "parallel")]
    {
        use rayon::prelude::*;
        items.par_iter().map(|&item| work(item)).collect()
    }
    #[cfg(not(feature = "parallel"))]
    items.iter().map(|&item| work(item)).collect()
}
