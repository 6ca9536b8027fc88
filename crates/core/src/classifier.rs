//! A bundle on a model: images in, probabilities out. What every door opens on.
//! Zero-shot and CoOp prompts are a matrix; CoCoOp's text features are computed for each image.

use crate::bundle::{Bundle, Metadata, Method};
use crate::input::image::probe;
use crate::input::transform;
use crate::kernels::softmax::softmax;
use crate::model::block::Workspace;
use crate::model::clip::Clip;
use crate::model::config::Config;
use crate::model::text::TokenTable;
use crate::ops::{Cpu, Ops};
use crate::prompt::learned::{Learned, logits, prompts, text_features};
use crate::prompt::learner::Learner;
use crate::prompt::template::token_ids;
use crate::prompt::trie::Sharing;
use crate::prompt::zero_shot;
use crate::{Error, Result};
use std::sync::Arc;

/// Rows of the text tower that a conditional prompt computes at a time: bounds memory for many images and classes.
const ROWS_AT_A_TIME: usize = 4096;

/// An opened bundle.
pub struct Classifier<O: Ops = Cpu> {
    clip: Arc<Clip<O>>,
    bundle: Bundle,
    head: Head<O>,
    work: Workspace<O>,
    buffers: Buffers,
}

/// Room that one request leaves to the next.
#[derive(Default)]
struct Buffers {
    pixels: Vec<f32>,
    image_features: Vec<f32>,
    logits: Vec<f32>,
    part: Vec<f32>,
}

enum Head<O: Ops> {
    /// L2-normalised `text_features` (`n_cls`, `embed_dim`).
    Static(Vec<f32>),
    /// Text features of each image's own.
    Conditional(Box<Learned<O>>, TokenTable),
}

/// What the classes score.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// softmax of the logits (batch, `n_cls`)
    pub probs: Vec<f32>,
    /// image · text (batch, `n_cls`)
    pub cosines: Vec<f32>,
}

impl Scores {
    /// Of `logits` (batch, `n_cls`).
    pub(crate) fn of(logits: &[f32], n_cls: usize, logit_scale: f32) -> Self {
        let mut probs = vec![0.0; logits.len()];
        probs.chunks_exact_mut(n_cls).zip(logits.chunks_exact(n_cls)).for_each(|(p, z)| {
            softmax(p, z);
        });
        let scale = logit_scale.exp();
        Self { probs, cosines: logits.iter().map(|z| z / scale).collect() }
    }
}

impl<O: Ops> Classifier<O> {
    /// Opens `bundle` on `clip`, for the bundle's own classes or for others (open vocabulary).
    /// # Errors
    /// [`Error::ModelMismatch`] if the bundle was made for another model; [`Error::Classes`] if `classnames` are none,
    /// or others than those that class-specific vectors were learned for; [`Error::Text`], [`Error::TextTooLong`].
    pub fn open(
        clip: Arc<Clip<O>>,
        mut bundle: Bundle,
        classnames: Option<Vec<String>>,
    ) -> Result<Self> {
        if clip.logit_scale.is_nan() {
            return Err(Error::MissingTensor { name: "logit_scale".into() });
        }
        let Config { embed_dim, text, .. } = &clip.config;
        bundle.check_fits(clip.sha256(), *embed_dim, text.width)?;
        let other = bundle.other_classes(classnames)?;
        let Metadata { prompt, method, .. } = &bundle.metadata;
        let mut work = Workspace::inference();
        let names = other.as_ref().unwrap_or(&bundle.metadata.classnames);
        let head = match (&bundle.learner, &bundle.text_features) {
            (_, Some(features)) if other.is_none() => Head::Static(features.clone()),
            (None, _) => Head::Static(zero_shot::text_features(
                &clip,
                &mut work,
                names,
                &prompt.templates,
                &|| false,
            )?),
            (Some(learner), _) => {
                let position = prompt.class_token_position;
                let own = bundle.tokens.as_ref().filter(|_| other.is_none());
                if *method == Method::Cocoop {
                    clip.text()?; // each image will need it: now is the time to miss it
                    let (learner, length) = (learner.clone(), clip.config.context_length);
                    let learned = Learned::new(learner, names, position, length, Sharing::Trie)?;
                    let tokens = match own {
                        Some(own) => own.clone(),
                        None => clip.tokens(&learned.token_ids())?,
                    };
                    Head::Conditional(Box::new(learned), tokens)
                } else {
                    let learner = learner.clone();
                    Head::Static(text_features(&clip, learner, names, position, own)?)
                }
            }
        };
        if let Some(names) = other {
            bundle.metadata.classnames = names;
        }
        Ok(Self { clip, bundle, head, work, buffers: Buffers::default() })
    }

    /// What the bundle says of itself, with the classes in use.
    pub fn metadata(&self) -> &Metadata {
        &self.bundle.metadata
    }

    /// Scores of one encoded image file.
    /// # Errors
    /// [`Error::Image`], [`Error::ImageTooLarge`], [`Error::ImageFormat`].
    pub fn classify(&mut self, image: &[u8]) -> Result<Scores> {
        let view = self.clip.view(image)?;
        self.classify_view(&view)
    }

    /// Scores of what the model sees of an image: RGB (`image_size`, `image_size`, 3).
    fn classify_view(&mut self, view: &[u8]) -> Result<Scores> {
        let Self { clip, work, buffers: Buffers { pixels, image_features, .. }, .. } = self;
        pixels.resize(view.len(), 0.0);
        transform::normalize(view, clip.config.image_size, &clip.config.normalization, pixels);
        clip.image_features_to(work, image_features, pixels)?;
        let image_features = std::mem::take(image_features);
        let scores = self.score(&image_features, &|| false);
        self.buffers.image_features = image_features;
        scores
    }

    /// Scores of `image_features` (batch, `embed_dim`), L2-normalised. `cancelled` is asked between batches.
    /// # Errors
    /// [`Error::Shape`] if these are no whole features; [`Error::Cancelled`].
    pub fn score(
        &mut self,
        image_features: &[f32],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Scores> {
        let (embed_dim, n_cls) = (self.clip.config.embed_dim, self.metadata().classnames.len());
        if !image_features.len().is_multiple_of(embed_dim) {
            let (expected, got) = (vec![embed_dim], vec![image_features.len()]);
            return Err(Error::Shape { name: "image_features".into(), expected, got });
        }
        let batch = match &self.head {
            Head::Static(_) => ROWS_AT_A_TIME,
            Head::Conditional(learned, _) => (ROWS_AT_A_TIME / learned.rows_per_image()).max(1),
        };
        self.buffers.logits.clear();
        for features in image_features.chunks(batch * embed_dim) {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let Self { clip, head, work, buffers: Buffers { logits: all, part, .. }, .. } = self;
            match head {
                Head::Static(text) => {
                    logits(part, clip.logit_scale, features, text, n_cls, embed_dim);
                    all.extend_from_slice(part);
                }
                Head::Conditional(learned, tokens) => {
                    all.extend_from_slice(learned.forward(clip, tokens, work, features)?);
                }
            }
        }
        Ok(Scores::of(&self.buffers.logits, n_cls, self.clip.logit_scale))
    }

    /// Classifies the probe image; the largest difference of its logits from those in the bundle, relative to the
    /// largest of them. Small means that this machine serves the bundle as its writer did.
    /// # Errors
    /// [`Error::Classes`] if the classes in use are not the bundle's own.
    pub fn probe(&mut self) -> Result<f32> {
        let logits = probe_logits(&Arc::clone(&self.clip), self)?;
        self.bundle.probe_difference(&logits)
    }
}

/// Completes a bundle with the logits of the probe image, as its writer must.
/// # Errors
/// As [`Classifier::open`].
pub fn with_probe<O: Ops>(clip: &Arc<Clip<O>>, mut bundle: Bundle) -> Result<Bundle> {
    let mut classifier = Classifier::open(Arc::clone(clip), bundle.clone(), None)?;
    bundle.probe_logits = probe_logits(clip, &mut classifier)?;
    Ok(bundle)
}

fn probe_logits<O: Ops>(clip: &Clip<O>, classifier: &mut Classifier<O>) -> Result<Vec<f32>> {
    let size = clip.config.image_size;
    let view = transform::test_view(&probe(size), size);
    let scale = clip.logit_scale.exp();
    Ok(classifier.classify_view(&view)?.cosines.into_iter().map(|cosine| cosine * scale).collect())
}

/// A bundle of hand-written templates. `text_features` (`n_cls`, `embed_dim`) are the templates' own where they were
/// computed before, by [`zero_shot::text_features`]; else they are computed now.
/// # Errors
/// Of [`zero_shot::text_features`]; [`Error::Shape`] if `text_features` are not those of so many classes.
pub fn zero_shot_bundle<O: Ops>(
    clip: &Arc<Clip<O>>,
    metadata: Metadata,
    text_features: Option<Vec<f32>>,
) -> Result<Bundle> {
    let (names, templates) = (&metadata.classnames, &metadata.prompt.templates);
    let features = if let Some(features) = text_features {
        features
    } else {
        let mut work = Workspace::inference();
        zero_shot::text_features(clip, &mut work, names, templates, &|| false)?
    };
    let expected = names.len() * clip.config.embed_dim;
    if features.len() != expected {
        let (expected, got) = (vec![expected], vec![features.len()]);
        return Err(Error::Shape { name: "text_features".into(), expected, got });
    }
    let text_features = Some(features);
    with_probe(
        clip,
        Bundle { metadata, learner: None, text_features, tokens: None, probe_logits: vec![] },
    )
}

/// A bundle of learned vectors, with its probe.
/// # Errors
/// As [`Classifier::open`].
pub fn learned_bundle<O: Ops>(
    clip: &Arc<Clip<O>>,
    metadata: Metadata,
    learner: Learner,
) -> Result<Bundle> {
    let (names, position) = (&metadata.classnames, metadata.prompt.class_token_position);
    let prompts = prompts(&learner, names, position, clip.config.context_length)?;
    let tokens = clip.tokens(&token_ids(&prompts))?;
    let text_features = if learner.meta_net.is_some() {
        None
    } else {
        Some(text_features(clip, learner.clone(), names, position, Some(&tokens))?)
    };
    let (learner, tokens) = (Some(learner), Some(tokens));
    with_probe(clip, Bundle { metadata, learner, text_features, tokens, probe_logits: vec![] })
}

/// Scores of `image_features` (n, `embed_dim`) against `text_features` (`n_cls`, `embed_dim`), both L2-normalised.
/// A model without a scale has cosines alone: the probabilities are NaN.
/// # Errors
/// [`Error::Shape`] if one of them is no whole features; [`Error::Classes`] if there is no text.
pub fn scores<O: Ops>(
    clip: &Clip<O>,
    image_features: &[f32],
    text_features: &[f32],
) -> Result<Scores> {
    let embed_dim = clip.config.embed_dim;
    for (name, features) in [("image_features", image_features), ("text_features", text_features)] {
        if !features.len().is_multiple_of(embed_dim) {
            let (expected, got) = (vec![embed_dim], vec![features.len()]);
            return Err(Error::Shape { name: name.into(), expected, got });
        }
    }
    let n_cls = text_features.len() / embed_dim;
    if n_cls == 0 {
        return Err(Error::Classes { why: "there is no text".into() });
    }
    let mut cosines = Vec::new();
    logits(&mut cosines, 0.0, image_features, text_features, n_cls, embed_dim);
    let scale = clip.logit_scale.exp();
    let logits: Vec<f32> = cosines.iter().map(|cosine| cosine * scale).collect();
    Ok(Scores { cosines, ..Scores::of(&logits, n_cls, clip.logit_scale) })
}
