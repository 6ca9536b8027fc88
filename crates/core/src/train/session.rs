//! A training run, one epoch at a time. Everything random is a function of (seed, epoch, image), so that the state is
//! only what was learned, the optimiser's velocity and the position: a run that continues from a state, at any batch,
//! ends with the same bits as one that was never stopped, whatever the number of threads.

use super::augment::{Augment, train_view};
use super::sgd::Sgd;
use super::spec::{Method, TrainSpec};
use super::state::{Position, State};
use super::step;
use crate::bundle::{self, Bundle, Metadata, ModelId, Prompt};
use crate::classifier::with_probe;
use crate::input::image::{Image, Limits, decode};
use crate::input::tokenizer;
use crate::model::block::Workspace;
use crate::model::clip::Clip;
use crate::model::text::TokenTable;
use crate::ops::{Cpu, Ops};
use crate::prompt::learned::Learned;
use crate::prompt::learner::{Learner, MetaNet};
use crate::prompt::trie::Sharing;
use crate::random::{Purpose, Random};
use crate::{Error, Result};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Images whose features are computed at a time: the frozen tower does not care which step they are for.
const VIEWS_AT_A_TIME: usize = 32;
/// Decoded images are kept while they take less than this; larger sets are decoded again for each view.
const MAX_DECODED_BYTES: usize = 512 << 20;

/// A run in progress.
pub struct Session<O: Ops = Cpu> {
    clip: Arc<Clip<O>>,
    spec: TrainSpec,
    images: Images,
    labels: Vec<usize>,
    learned: Learned<O>,
    tokens: TokenTable,
    sgd: Sgd,
    position: Position,
    work: Workspace<O>,
    image_work: Workspace<O>,
    /// Features of every image, where all views of one are the same.
    fixed: Option<Vec<f32>>,
}

/// The training images.
enum Images {
    Decoded(Vec<Image>),
    Encoded(Vec<Vec<u8>>),
}

/// The shape of a run: `plan` of the doors.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Passes over the images.
    pub epochs: usize,
    /// Steps in an epoch.
    pub batches: usize,
    /// Images in a step.
    pub batch_size: usize,
    /// Images in all.
    pub n_train: usize,
    /// Numbers that are learned.
    pub parameters: usize,
}

/// One step is done; `epoch` and `batch` count from 1.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The epoch.
    pub epoch: usize,
    /// The step in it.
    pub batch: usize,
    /// Mean loss of the step, nats.
    pub loss: f32,
    /// Learning rate of the step.
    pub lr: f64,
    /// Images of the step that were classified right, before it.
    pub correct: usize,
    /// Images in the step.
    pub images: usize,
}

/// One epoch is done: `EpochReport` of the doors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean loss over its images, nats.
    pub loss: f64,
    /// Share of its images that were classified right, before their step.
    pub accuracy: f64,
    /// Learning rate.
    pub lr: f64,
    /// Images seen.
    pub images: usize,
    /// Whether it was the last.
    pub done: bool,
}

/// What the trainer says of a run for its bundle.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The bundle's name.
    pub name: String,
    /// The model's name.
    pub model_id: String,
    /// Of the run.
    pub training: Map<String, Value>,
    /// Of its result.
    pub metrics: Map<String, Value>,
}

impl About {
    /// Reads the JSON of a door.
    /// # Errors
    /// [`Error::Option`].
    pub fn from_value(value: Value) -> Result<Self> {
        serde_json::from_value(value).map_err(|error| Error::Option {
            name: "metadata".into(),
            expected: "{name, model_id, training, metrics}".into(),
            got: error.to_string(),
        })
    }
}

impl<O: Ops> Session<O> {
    /// Prepares to train on encoded image files with their labels.
    /// # Errors
    /// [`Error::Image`] and its kin, prefixed with the image's index; [`Error::Label`]; [`Error::Option`] if there are
    /// no images; [`Error::Classes`], [`Error::Text`], [`Error::TextTooLong`].
    pub fn new(
        clip: Arc<Clip<O>>,
        spec: TrainSpec,
        images: Vec<Vec<u8>>,
        labels: Vec<usize>,
    ) -> Result<Self> {
        let n_cls = spec.classnames.len();
        if n_cls == 0 {
            return Err(Error::Classes { why: "the list is empty".into() });
        }
        if images.is_empty() || images.len() != labels.len() {
            let got = format!("{} images, {} labels", images.len(), labels.len());
            return Err(Error::Option {
                name: "images".into(),
                expected: "one label for each image, at least one".into(),
                got,
            });
        }
        if let Some(&label) = labels.iter().find(|label| **label >= n_cls) {
            return Err(Error::Label { label, n_cls });
        }
        let learner = initial(&clip, &spec)?;
        let (position, context_length) = (spec.class_token_position, clip.config.context_length);
        let learned =
            Learned::new(learner, &spec.classnames, position, context_length, Sharing::Trie)?;
        Ok(Self {
            tokens: clip.tokens(&learned.token_ids())?,
            sgd: Sgd::new(&learned.learner, spec.momentum, spec.weight_decay),
            work: Workspace::training(clip.config.text.layers),
            image_work: Workspace::inference(),
            images: Images::open(images)?,
            position: Position::default(),
            fixed: None,
            clip,
            spec,
            labels,
            learned,
        })
    }

    /// The run's shape.
    pub fn plan(&self) -> Plan {
        Plan {
            epochs: self.spec.epochs,
            batches: self.batches(),
            batch_size: self.batch_size(),
            n_train: self.labels.len(),
            parameters: self.learned.learner.parameters(),
        }
    }

    fn batch_size(&self) -> usize {
        self.spec.batch_size.min(self.labels.len())
    }

    /// The last, partial batch is dropped, unless it is the only one (as in the original's loader).
    fn batches(&self) -> usize {
        self.labels.len() / self.batch_size()
    }

    /// Trains to the end of the current epoch. If `cancelled` turns true it stops after the step at hand, and the next
    /// call goes on there.
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::Diverged`] before a step that would store NaN; [`Error::Option`] when all epochs
    /// are done.
    pub fn epoch(
        &mut self,
        progress: &mut dyn FnMut(Progress),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<EpochReport> {
        let epoch = self.position.epoch;
        if epoch >= self.spec.epochs {
            let expected = format!("at most {}", self.spec.epochs);
            return Err(Error::Option {
                name: "epoch".into(),
                expected,
                got: (epoch + 1).to_string(),
            });
        }
        let (lr, batches, batch_size) =
            (self.spec.schedule().lr(epoch), self.batches(), self.batch_size());
        let order = Random::new(self.spec.seed, Purpose::Shuffle, [epoch as u64, 0])
            .permutation(self.labels.len());
        let embed_dim = self.clip.config.embed_dim;
        let mut features = Vec::new();
        let mut next_view = self.position.batch * batch_size;
        while self.position.batch < batches {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let start = self.position.batch * batch_size;
            let of_batch = &order[start..start + batch_size];
            while features.len() < batch_size * embed_dim {
                let views = &order[next_view
                    ..(next_view + VIEWS_AT_A_TIME.max(batch_size)).min(batches * batch_size)];
                next_view += views.len();
                features.extend(self.features(epoch, views)?);
            }
            let labels: Vec<usize> = of_batch.iter().map(|&image| self.labels[image]).collect();
            let rest = features.split_off(batch_size * embed_dim);
            let step = step::gradient(
                &self.clip,
                &self.tokens,
                &mut self.work,
                &mut self.learned,
                &features,
                &labels,
            )?;
            features = rest;
            let batch = self.position.batch + 1;
            if !step.loss.is_finite() {
                return Err(Error::Diverged { loss: step.loss, epoch: epoch + 1, batch });
            }
            self.sgd.step(&mut self.learned.learner, &step.gradient, lr);
            self.position.batch = batch;
            self.position.loss_sum += f64::from(step.loss) * labels.len() as f64;
            self.position.correct += step.correct;
            progress(Progress {
                epoch: epoch + 1,
                batch,
                loss: step.loss,
                lr,
                correct: step.correct,
                images: labels.len(),
            });
        }
        let images = batches * batch_size;
        let Position { loss_sum, correct, .. } = self.position;
        self.position = Position { epoch: epoch + 1, ..Position::default() };
        Ok(EpochReport {
            epoch: epoch + 1,
            loss: loss_sum / images as f64,
            accuracy: correct as f64 / images as f64,
            lr,
            images,
            done: epoch + 1 == self.spec.epochs,
        })
    }

    /// Features (views, `embed_dim`) of this epoch's view of each of these images.
    fn features(&mut self, epoch: usize, views: &[usize]) -> Result<Vec<f32>> {
        let embed_dim = self.clip.config.embed_dim;
        if self.spec.augment == Augment::None {
            if self.fixed.is_none() {
                let all: Vec<usize> = (0..self.labels.len()).collect();
                let parts: Result<Vec<_>> =
                    all.chunks(VIEWS_AT_A_TIME).map(|part| self.encode(0, part)).collect();
                self.fixed = Some(parts?.concat());
            }
            let fixed = self.fixed.as_ref().expect("just made");
            return Ok(views
                .iter()
                .flat_map(|&image| &fixed[image * embed_dim..][..embed_dim])
                .copied()
                .collect());
        }
        self.encode(epoch, views)
    }

    fn encode(&mut self, epoch: usize, views: &[usize]) -> Result<Vec<f32>> {
        let (clip, images, spec) = (&self.clip, &self.images, &self.spec);
        let pixels = |image: usize| {
            let mut random = Random::new(spec.seed, Purpose::Augment, [epoch as u64, image as u64]);
            let view = |picture: &Image| {
                train_view(picture, clip.config.image_size, spec.augment, &mut random)
            };
            Ok(clip.pixels(&images.with(image, view)?))
        };
        let pixels = map_all(views, pixels)?.concat();
        self.clip.image_features(&mut self.image_work, &pixels)
    }

    /// A checkpoint.
    pub fn state(&self) -> Vec<u8> {
        State {
            learner: &self.learned.learner,
            velocity: &self.sgd.velocity,
            position: self.position,
        }
        .write(&self.fingerprint())
    }

    /// Continues from a checkpoint of the same run.
    /// # Errors
    /// [`Error::Checkpoint`] if `bytes` are none or are of another run; then nothing has changed.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        let (learner, velocity, position) =
            State::read(bytes, &self.fingerprint(), &self.learned.learner)?;
        if position.epoch > self.spec.epochs || position.batch > self.batches() {
            return Err(Error::Checkpoint {
                why: format!("it stands at epoch {}, batch {}", position.epoch, position.batch),
            });
        }
        self.learned.learner = learner;
        self.sgd.velocity = velocity;
        self.position = position;
        Ok(())
    }

    /// What must be equal for a checkpoint to fit: options, labels, model.
    fn fingerprint(&self) -> String {
        use sha2::{Digest, Sha256};
        let spec = serde_json::to_string(&self.spec).expect("plain data is JSON");
        let labels: Vec<u8> =
            self.labels.iter().flat_map(|label| (*label as u64).to_le_bytes()).collect();
        let hash =
            Sha256::new().chain_update(spec).chain_update(labels).chain_update(self.clip.sha256());
        crate::model::clip::hex(&hash.finalize())
    }

    /// The bundle of what is learned so far.
    /// # Errors
    /// Of [`with_probe`]; never for a run that has not diverged.
    pub fn bundle(&self, about: About) -> Result<Vec<u8>> {
        let (spec, learner, config) = (&self.spec, &self.learned.learner, &self.clip.config);
        let conditional = self.learned.conditional();
        let metadata = Metadata {
            name: about.name,
            method: if conditional { bundle::Method::Cocoop } else { bundle::Method::Coop },
            classnames: spec.classnames.clone(),
            prompt: Prompt {
                n_ctx: learner.n_ctx,
                ctx_init: spec.ctx_init.clone(),
                csc: spec.csc,
                class_token_position: spec.class_token_position,
                templates: Vec::new(),
            },
            model: ModelId {
                id: about.model_id,
                sha256: self.clip.sha256().into(),
                embed_dim: config.embed_dim,
                image_size: config.image_size,
            },
            training: about.training,
            metrics: about.metrics,
        };
        let text_features = if conditional { None } else { Some(self.static_text_features()?) };
        let (learner, tokens) = (Some(learner.clone()), Some(self.tokens.clone()));
        let bundle = Bundle { metadata, learner, text_features, tokens, probe_logits: Vec::new() };
        with_probe(&self.clip, bundle)?.write()
    }

    fn static_text_features(&self) -> Result<Vec<f32>> {
        let (position, context_length) =
            (self.spec.class_token_position, self.clip.config.context_length);
        let learner = self.learned.learner.clone();
        let mut learned =
            Learned::new(learner, &self.spec.classnames, position, context_length, Sharing::Trie)?;
        learned.text_features(&self.clip, &self.tokens, &mut Workspace::inference())
    }
}

/// What a run starts from: the words' token embeddings without positions, or random vectors; a random Meta-Net.
fn initial<O: Ops>(clip: &Clip<O>, spec: &TrainSpec) -> Result<Learner> {
    let ctx_dim = clip.config.text.width;
    let (ctx, n_ctx) = if let Some(words) = &spec.ctx_init {
        let words = words.replace('_', " ");
        tokenizer::check_plain(&words)?;
        let tokens = tokenizer::encode(&words);
        let table = clip.tokens(&crate::set_of(tokens.iter().copied()))?;
        (tokens.iter().flat_map(|&id| table.row(id)).copied().collect(), tokens.len())
    } else {
        let vectors = if spec.csc { spec.classnames.len() * spec.n_ctx } else { spec.n_ctx };
        (Learner::random_ctx(vectors, ctx_dim, spec.seed), spec.n_ctx)
    };
    let meta_net = || MetaNet::random(clip.config.embed_dim, ctx_dim, spec.seed);
    Ok(Learner::new(ctx, n_ctx, ctx_dim, spec.csc, (spec.method == Method::Cocoop).then(meta_net)))
}

impl Images {
    /// Decodes every image once, to know that it can be, and keeps them if they are not too much.
    fn open(encoded: Vec<Vec<u8>>) -> Result<Self> {
        let (mut decoded, mut bytes) = (Vec::with_capacity(encoded.len()), 0);
        let indices: Vec<usize> = (0..encoded.len()).collect();
        for part in indices.chunks(VIEWS_AT_A_TIME) {
            for image in map_all(part, |i| {
                decode(&encoded[i], &Limits::default()).map_err(|error| at(i, error))
            })? {
                bytes += image.data.len();
                if bytes <= MAX_DECODED_BYTES {
                    decoded.push(image);
                }
            }
        }
        Ok(if bytes <= MAX_DECODED_BYTES { Self::Decoded(decoded) } else { Self::Encoded(encoded) })
    }

    fn with<T>(&self, i: usize, view: impl FnOnce(&Image) -> T) -> Result<T> {
        match self {
            Self::Decoded(images) => Ok(view(&images[i])),
            Self::Encoded(files) => {
                Ok(view(&decode(&files[i], &Limits::default()).map_err(|error| at(i, error))?))
            }
        }
    }
}

/// The same error, naming the image.
fn at(index: usize, error: Error) -> Error {
    match error {
        Error::Image { why } => Error::Image { why: format!("number {index}: {why}") },
        other => other,
    }
}

/// `work` of each item, in order, on all cores; the first error if there is one.
fn map_all<T: Send>(items: &[usize], work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    #[cfg(feature = "parallel")]
    {
        use rayon::prelude::*;
        items.par_iter().map(|&item| work(item)).collect()
    }
    #[cfg(not(feature = "parallel"))]
    items.iter().map(|&item| work(item)).collect()
}
