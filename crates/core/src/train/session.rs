//! A training run, one epoch at a time. Everything random is a function of (seed, epoch, image), so that the state is
//! only what was learned, the optimiser's velocity and the position: a run that continues from a state, at any batch,
//! ends with the same bits as one that was never stopped, whatever the number of threads.

use super::sgd::Sgd;
use super::spec::{Method, TrainSpec};
use super::state::{Position, State};
use super::step::{self, Step};
use super::views::{Source, VIEWS_AT_A_TIME};
use crate::bundle::{self, Metadata, ModelId, Prompt, f32_bytes};
use crate::classifier::learned_bundle;
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
use std::ops::Range;
use std::sync::Arc;

/// A run in progress.
pub struct Session<O: Ops = Cpu> {
    clip: Arc<Clip<O>>,
    spec: TrainSpec,
    source: Source<O>,
    labels: Vec<usize>,
    learned: Learned<O>,
    tokens: TokenTable,
    sgd: Sgd,
    position: Position,
    work: Workspace<O>,
    ready: Ready,
    /// The learner, the velocity and the position of the latest step that began with a good smoothed loss.
    good: Option<(Learner, Learner, Position)>,
    fingerprint: String,
}

/// What an epoch needs besides what is learned; made again where it does not fit.
#[derive(Default)]
struct Ready {
    epoch: Option<usize>,
    /// The epoch's images (n), in its order.
    order: Vec<usize>,
    /// The places in each batch, and the batches, that `features` are of.
    share: Range<usize>,
    batches: Range<usize>,
    /// (batches, share, `embed_dim`)
    features: Vec<f32>,
}

/// What some images of a batch add to its step.
pub struct Part {
    /// The gradient of the sum of their losses, divided by the size of the whole batch.
    pub gradient: Learner,
    /// That sum, divided by the same, nats.
    pub loss: f32,
    /// How many were classified right.
    pub correct: usize,
    /// How many they are.
    pub images: usize,
}

/// One step is done.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    /// The step.
    pub progress: Progress,
    /// The epoch, if it was its last step.
    pub report: Option<EpochReport>,
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
    /// Prepares to train on encoded image files with their labels, or on `features` (n, [`TrainSpec::views`], `embed_dim`)
    /// that [`super::views::embed`] made of them: then `images` may be empty, and training needs no image tower.
    /// # Errors
    /// [`Error::Image`] and its kin, prefixed with the image's index; [`Error::Label`]; [`Error::Option`] if there are
    /// no images; [`Error::Classes`], [`Error::Text`], [`Error::TextTooLong`]; [`Error::Shape`], [`Error::NotFinite`] of
    /// the features.
    pub fn new(
        clip: Arc<Clip<O>>,
        spec: TrainSpec,
        images: Vec<Vec<u8>>,
        labels: Vec<usize>,
        features: Option<Vec<f32>>,
    ) -> Result<Self> {
        let n_cls = spec.classnames.len();
        if n_cls == 0 {
            return Err(Error::Classes { why: "the list is empty".into() });
        }
        let none_needed = features.is_some() && images.is_empty();
        if labels.is_empty() || !(none_needed || images.len() == labels.len()) {
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
        let tokens = clip.tokens(&learned.token_ids())?;
        let fingerprint = fingerprint(&spec, &labels, clip.sha256(), features.as_deref());
        let source = match features {
            Some(features) => {
                Source::of_features(features, &spec, labels.len(), clip.config.embed_dim)?
            }
            None => Source::of_images(images)?,
        };
        Ok(Self {
            sgd: Sgd::new(&learned.learner, spec.momentum, spec.weight_decay),
            work: Workspace::training(clip.config.text.layers),
            position: Position::default(),
            ready: Ready::default(),
            good: None,
            clip,
            spec,
            source,
            labels,
            learned,
            tokens,
            fingerprint,
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
    /// Of [`Self::part`] and [`Self::apply`].
    pub fn epoch(
        &mut self,
        progress: &mut dyn FnMut(Progress),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<EpochReport> {
        loop {
            let whole = self.part(0, 1, cancelled)?;
            let applied = self.apply(&whole)?;
            progress(applied.progress);
            if let Some(report) = applied.report {
                return Ok(report);
            }
        }
    }

    /// What the share of `rank`, one of `world`, adds to the next step: consecutive images of the batch, which is divided
    /// as evenly as it can be. Ranks beyond the batch size have none. Nothing that is learned changes.
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::Option`] when all epochs are done, or if `rank` is not below `world`; of the towers.
    pub fn part(
        &mut self,
        rank: usize,
        world: usize,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Part> {
        if rank >= world {
            let (name, expected) = ("rank".into(), format!("below {world}"));
            return Err(Error::Option { name, expected, got: rank.to_string() });
        }
        self.check_epoch()?;
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let batch_size = self.batch_size();
        let share = batch_size * rank / world..batch_size * (rank + 1) / world;
        if share.is_empty() {
            let gradient = self.learned.learner.zeros();
            return Ok(Part { gradient, loss: 0.0, correct: 0, images: 0 });
        }
        self.prepare(&share, cancelled)?;
        let start = self.position.batch * batch_size;
        let images = &self.ready.order[start..][share.clone()];
        let labels: Vec<usize> = images.iter().map(|&image| self.labels[image]).collect();
        let row = share.len() * self.clip.config.embed_dim;
        let mut step = step::gradient(
            &self.clip,
            &self.tokens,
            &mut self.work,
            &mut self.learned,
            &self.ready.features[(self.position.batch - self.ready.batches.start) * row..][..row],
            &labels,
        )?;
        if share.len() < batch_size {
            let part = share.len() as f32 / batch_size as f32;
            step.loss *= part;
            step.gradient.tensors_mut().into_iter().flatten().for_each(|d| *d *= part);
        }
        let Step { loss, correct, gradient } = step;
        Ok(Part { gradient, loss, correct, images: share.len() })
    }

    /// Sees to it that the features of the images at `share` of the current batch are ready, and makes those of the next
    /// batches with them where the tower gains from it.
    fn prepare(&mut self, share: &Range<usize>, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let Position { epoch, batch, .. } = self.position;
        let (batches, batch_size) = (self.batches(), self.batch_size());
        if self.ready.epoch != Some(epoch) {
            let mut random = Random::new(self.spec.seed, Purpose::Shuffle, [epoch as u64, 0]);
            let order = random.permutation(self.labels.len());
            self.ready = Ready { epoch: Some(epoch), order, ..Ready::default() };
        }
        let ready = &mut self.ready;
        if ready.share == *share && ready.batches.contains(&batch) {
            return Ok(());
        }
        let end = batches.min(batch + VIEWS_AT_A_TIME.div_ceil(share.len()));
        let images =
            (batch..end).flat_map(|batch| &ready.order[batch * batch_size..][share.clone()]);
        let images: Vec<usize> = images.copied().collect();
        ready.batches = 0..0; // an error leaves nothing half ready
        ready.features = self.source.of_epoch(&self.clip, &self.spec, epoch, &images, cancelled)?;
        ready.share = share.clone();
        ready.batches = batch..end;
        Ok(())
    }

    /// One optimiser step with `whole`, the sum over all ranks of [`Self::part`], of which each rank takes it.
    /// # Errors
    /// [`Error::Diverged`] if the loss, or what would be learned, is not finite, or if the loss explodes
    /// ([`super::watch::Watch::exploded`]): then the run stands where its loss was last seen to be good, if it was since it was opened,
    /// else before the step. [`Error::Option`] when all epochs are done.
    pub fn apply(&mut self, whole: &Part) -> Result<Applied> {
        self.check_epoch()?;
        let (batches, batch_size, n_cls) =
            (self.batches(), self.batch_size(), self.learned.n_cls());
        let Position { epoch, batch, watch, .. } = self.position;
        let lr = self.spec.schedule().lr(epoch);
        let watch = watch.after(whole.loss, batch_size);
        let (learner, velocity) = (&mut self.learned.learner, &self.sgd.velocity);
        if watch.good(n_cls) {
            self.good = Some((learner.clone(), velocity.clone(), self.position));
        }
        let why = if !whole.loss.is_finite() {
            Some(format!("the loss is {}", whole.loss))
        } else if let Some(why) = watch.exploded(n_cls, batch_size) {
            Some(why)
        } else if let Err(name) = self.sgd.step(learner, &whole.gradient, lr) {
            Some(format!("`{name}` would hold NaN or infinity, at a loss of {}", whole.loss))
        } else {
            None
        };
        if let Some(why) = why {
            if let Some((learner, velocity, position)) = self.good.take() {
                self.stand(learner, velocity, position);
            }
            return Err(Error::Diverged { why, epoch: epoch + 1, batch: batch + 1 });
        }
        self.position.batch += 1;
        self.position.watch = watch;
        self.position.loss_sum += f64::from(whole.loss) * batch_size as f64;
        self.position.correct += whole.correct;
        let progress = Progress {
            epoch: epoch + 1,
            batch: batch + 1,
            loss: whole.loss,
            lr,
            correct: whole.correct,
            images: batch_size,
        };
        let mut report = None;
        if self.position.batch == batches {
            let images = batches * batch_size;
            let Position { loss_sum, correct, .. } = self.position;
            self.position = Position { epoch: epoch + 1, watch, ..Position::default() };
            report = Some(EpochReport {
                epoch: epoch + 1,
                loss: loss_sum / images as f64,
                accuracy: correct as f64 / images as f64,
                lr,
                images,
                done: epoch + 1 == self.spec.epochs,
            });
        }
        Ok(Applied { progress, report })
    }

    /// `values`, the tensors of a gradient one after the other ([`Learner::values`]), as a gradient.
    /// # Errors
    /// [`Error::Shape`].
    pub fn gradient(&self, values: &[f32]) -> Result<Learner> {
        let mut gradient = self.learned.learner.zeros();
        let expected = gradient.parameters();
        if values.len() != expected {
            let (expected, got) = (vec![expected], vec![values.len()]);
            return Err(Error::Shape { name: "gradient".into(), expected, got });
        }
        let mut rest = values;
        for tensor in gradient.tensors_mut() {
            let (values, behind) = rest.split_at(tensor.len());
            tensor.copy_from_slice(values);
            rest = behind;
        }
        Ok(gradient)
    }

    /// Where the run stands.
    pub fn position(&self) -> Position {
        self.position
    }

    fn check_epoch(&self) -> Result<()> {
        if self.position.epoch < self.spec.epochs {
            return Ok(());
        }
        let expected = format!("one of {} epochs", self.spec.epochs);
        let got = (self.position.epoch + 1).to_string();
        Err(Error::Option { name: "epoch".into(), expected, got })
    }

    fn stand(&mut self, learner: Learner, velocity: Learner, position: Position) {
        self.learned.learner = learner;
        self.sgd.velocity = velocity;
        self.position = position;
        self.ready = Ready::default();
    }

    /// A checkpoint.
    pub fn state(&self) -> Vec<u8> {
        State {
            learner: &self.learned.learner,
            velocity: &self.sgd.velocity,
            position: self.position,
        }
        .write(&self.fingerprint)
    }

    /// Continues from a checkpoint of the same run.
    /// # Errors
    /// [`Error::Checkpoint`] if `bytes` are none or are of another run; then nothing has changed.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        let (learner, velocity, position) =
            State::read(bytes, &self.fingerprint, &self.learned.learner)?;
        if position.epoch > self.spec.epochs || position.batch >= self.batches() {
            return Err(Error::Checkpoint {
                why: format!("it stands at epoch {}, batch {}", position.epoch, position.batch),
            });
        }
        self.stand(learner, velocity, position);
        self.good = None;
        Ok(())
    }

    /// The bundle of what is learned so far.
    /// # Errors
    /// Of [`learned_bundle`]; never for a run that has not diverged.
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
        learned_bundle(&self.clip, metadata, learner.clone())?.write()
    }
}

/// What must be equal for a checkpoint to fit: options, labels, model, and the features if they came from outside.
fn fingerprint(
    spec: &TrainSpec,
    labels: &[usize],
    model: &str,
    features: Option<&[f32]>,
) -> String {
    use sha2::{Digest, Sha256};
    let spec = serde_json::to_string(spec).expect("plain data is JSON");
    let labels: Vec<u8> = labels.iter().flat_map(|label| (*label as u64).to_le_bytes()).collect();
    let mut hash = Sha256::new().chain_update(spec).chain_update(labels).chain_update(model);
    for features in features.into_iter().flat_map(|features| features.chunks(1 << 16)) {
        hash.update(f32_bytes(features));
    }
    crate::model::clip::hex(&hash.finalize())
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
    let embed_dim = clip.config.embed_dim;
    let hidden = (embed_dim / spec.meta_net_reduction).max(1);
    let meta_net = || MetaNet::random(embed_dim, hidden, ctx_dim, spec.seed);
    Ok(Learner::new(ctx, n_ctx, ctx_dim, spec.csc, (spec.method == Method::Cocoop).then(meta_net)))
}
