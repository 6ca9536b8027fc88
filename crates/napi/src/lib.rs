//! The napi door: converts, calls the core once, converts back. Long work runs off the event loop, on all cores, and
//! stops within one batch when its `Cancel` says so.
#![expect(clippy::needless_pass_by_value, reason = "napi hands values over")]
#![expect(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "the callers are in JavaScript: every error carries the core's word, a panic is a bug"
)]

mod job;
pub mod linear_probe;
mod mapped;
mod pack;
mod prompts;

use cocoop_core::bundle::Bundle;
use cocoop_core::classifier;
use cocoop_core::kernels::Isa;
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::model::weights::{Files, convert};
use cocoop_core::onnx::Exporter;
use cocoop_core::train::session::{self, Session};
use cocoop_core::train::spec::TrainSpec;
use cocoop_core::train::state::Position;
use cocoop_core::{Error, door, input};
use job::{Job, now, run};
use napi::bindgen_prelude::{AsyncTask, Float32Array, Function, Uint8Array, Uint32Array};
use napi::threadsafe_function::ThreadsafeFunctionCallMode::NonBlocking;
use napi_derive::napi;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

type Result<T> = std::result::Result<T, napi::Error<&'static str>>;

/// Stops the call it was given to within one batch.
#[napi]
#[derive(Default)]
pub struct Cancel(Arc<AtomicBool>);

#[napi]
impl Cancel {
    /// A token that has not been used.
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the call: it ends with the word `cancelled`.
    #[napi]
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether `cancel` was used.
fn asks(cancel: Option<&Cancel>) -> impl Fn() -> bool + Send + 'static {
    let flag = cancel.map(|cancel| Arc::clone(&cancel.0));
    move || flag.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// A loaded CLIP.
#[napi]
pub struct Model {
    clip: Arc<Clip>,
}

/// Features of images, and which could not be read.
#[napi(object)]
pub struct Embedded {
    /// (n, `embed_dim`), or of views (n, views, `embed_dim`); the rows of bad images are 0.
    pub features: Float32Array,
    /// JSON [{index, code, message}].
    pub bad: String,
}

/// What the classes score, (n, `n_cls`) each.
#[napi(object)]
pub struct Scores {
    /// Probabilities.
    pub probs: Float32Array,
    /// Cosines of image and text.
    pub cosines: Float32Array,
}

impl From<classifier::Scores> for Scores {
    fn from(scores: classifier::Scores) -> Self {
        Self { probs: scores.probs.into(), cosines: scores.cosines.into() }
    }
}

#[napi]
impl Model {
    /// Reads a model from the bytes of a safetensors file and the text of its config.json.
    #[napi(ts_return_type = "Promise<Model>")]
    pub fn load(weights: Uint8Array, config: String) -> AsyncTask<Job<Model>> {
        let weights = weights.to_vec();
        run(move || Ok(Self { clip: Arc::new(Clip::open(weights.into(), &config)?) }))
    }

    /// Opens a model from its files, mapped into memory, and the text of its config.
    #[napi(ts_return_type = "Promise<Model>")]
    pub fn open(paths: Vec<String>, config: String) -> AsyncTask<Job<Model>> {
        run(move || {
            let clip = Clip::open_parts(mapped::parts(&paths)?, &config)?;
            Ok(Self { clip: Arc::new(clip) })
        })
    }

    /// JSON `ModelInfo`.
    #[napi(getter)]
    pub fn info(&self) -> String {
        self.clip.info().to_string()
    }

    /// Features of encoded image files: L2-normalised, or where `normalized` is false as they leave the tower.
    #[napi(ts_return_type = "Promise<Embedded>")]
    pub fn embed_images(
        &self,
        images: Vec<Uint8Array>,
        cancel: Option<&Cancel>,
        normalized: Option<bool>,
    ) -> AsyncTask<Job<Embedded>> {
        let (clip, images, cancelled) = (Arc::clone(&self.clip), owned(&images), asks(cancel));
        let normalized = normalized.unwrap_or(true);
        run(move || {
            let work = &mut Workspace::inference();
            let (features, bad) = door::embed_images(&clip, work, &images, normalized, &cancelled)?;
            Ok(Embedded { features: features.into(), bad })
        })
    }

    /// Features of views of encoded images, as a run draws them: JSON {augment, seed, first, from, to}.
    #[napi(ts_return_type = "Promise<Embedded>")]
    pub fn embed_views(
        &self,
        images: Vec<Uint8Array>,
        spec: String,
        cancel: Option<&Cancel>,
    ) -> AsyncTask<Job<Embedded>> {
        let (clip, images, cancelled) = (Arc::clone(&self.clip), owned(&images), asks(cancel));
        run(move || {
            let (features, bad) = door::embed_views(&clip, &images, &spec, &cancelled)?;
            Ok(Embedded { features: features.into(), bad })
        })
    }

    /// JSON [{index, width, height} | {index, code, message}].
    #[napi(ts_return_type = "Promise<string>")]
    pub fn inspect_images(&self, images: Vec<Uint8Array>) -> AsyncTask<Job<String>> {
        let images = owned(&images);
        run(move || Ok(door::inspect_images(&images)))
    }

    /// Features (n, `embed_dim`) of texts as they stand, L2-normalised; with `truncate` a text that is too long loses
    /// its end.
    #[napi(ts_return_type = "Promise<Float32Array>")]
    pub fn embed_texts(
        &self,
        texts: Vec<String>,
        truncate: bool,
        cancel: Option<&Cancel>,
    ) -> AsyncTask<Job<Float32Array>> {
        let (clip, cancelled) = (Arc::clone(&self.clip), asks(cancel));
        run(move || Ok(door::embed_texts(&clip, &texts, truncate, &cancelled)?.into()))
    }

    /// Features (`n_cls`, `embed_dim`) of class names in templates, L2-normalised.
    #[napi(ts_return_type = "Promise<Float32Array>")]
    pub fn text_features(
        &self,
        classnames: Vec<String>,
        templates: Vec<String>,
        cancel: Option<&Cancel>,
    ) -> AsyncTask<Job<Float32Array>> {
        let (clip, cancelled) = (Arc::clone(&self.clip), asks(cancel));
        run(move || Ok(door::text_features(&clip, &classnames, &templates, &cancelled)?.into()))
    }

    /// Scores of (n, `embed_dim`) image features against (`n_cls`, `embed_dim`) text features, both normalised.
    #[napi(ts_return_type = "Promise<Scores>")]
    pub fn score(
        &self,
        image_features: Float32Array,
        text_features: Float32Array,
    ) -> AsyncTask<Job<Scores>> {
        let clip = Arc::clone(&self.clip);
        let (images, texts) = (image_features.to_vec(), text_features.to_vec());
        run(move || Ok(classifier::scores(&clip, &images, &texts)?.into()))
    }

    /// The bytes of a bundle of templates: {classnames, templates, metadata}, with their `textFeatures` if they are
    /// known already.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn zero_shot_bundle(
        &self,
        spec: String,
        text_features: Option<Float32Array>,
    ) -> AsyncTask<Job<Uint8Array>> {
        let (clip, features) = (Arc::clone(&self.clip), text_features.map(|x| x.to_vec()));
        run(move || Ok(door::zero_shot_bundle(&clip, &spec, features)?.into()))
    }

    /// Opens a bundle, for its own classes or for others.
    #[napi(ts_return_type = "Promise<Classifier>")]
    pub fn classifier(
        &self,
        bundle: Uint8Array,
        classnames: Option<Vec<String>>,
    ) -> AsyncTask<Job<Classifier>> {
        let (clip, bundle) = (Arc::clone(&self.clip), bundle.to_vec());
        run(move || {
            let classifier =
                classifier::Classifier::open(clip, Bundle::read(&bundle)?, classnames)?;
            let metadata = classifier.metadata().to_json();
            Ok(Classifier { classifier: Arc::new(Mutex::new(classifier)), metadata })
        })
    }

    /// Lays out an ONNX graph: JSON {graph, dtype}; `classifier` needs a bundle.
    #[napi(ts_return_type = "Promise<OnnxExport>")]
    pub fn export_onnx(
        &self,
        spec: String,
        bundle: Option<Uint8Array>,
    ) -> AsyncTask<Job<OnnxExport>> {
        let (clip, bundle) = (Arc::clone(&self.clip), bundle.map(|bundle| bundle.to_vec()));
        run(move || Ok(OnnxExport(Arc::new(Exporter::open(clip, &spec, bundle.as_deref())?))))
    }

    /// Prepares to train on encoded images (n) with labels (n): JSON `TrainSpec`. With `features` (n, views, `embed_dim`)
    /// of `embedViews` there need be no images.
    #[napi(ts_return_type = "Promise<Trainer>")]
    pub fn trainer(
        &self,
        spec: String,
        images: Vec<Uint8Array>,
        labels: Uint32Array,
        features: Option<Float32Array>,
    ) -> AsyncTask<Job<Trainer>> {
        let (clip, images) = (Arc::clone(&self.clip), owned(&images));
        let features = features.map(|features| features.to_vec());
        let labels = labels.iter().map(|&label| label as usize).collect();
        run(move || {
            let spec = TrainSpec::from_json(&spec)?;
            let session = Session::new(clip, spec, images, labels, features)?;
            let plan = serde_json::to_string(&session.plan()).expect("plain data is JSON");
            Ok(Trainer { session: Arc::new(Mutex::new(session)), plan })
        })
    }
}

/// An ONNX graph to be written.
#[napi]
pub struct OnnxExport(Arc<Exporter>);

#[napi]
impl OnnxExport {
    /// JSON [{name, bytes, parts}]: the graph's file, and where it needs one a second with its values.
    #[napi(getter)]
    pub fn files(&self) -> String {
        self.0.files()
    }

    /// Some bytes of a file, to be written behind those of the parts before.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn part(&self, file: u32, part: u32) -> AsyncTask<Job<Uint8Array>> {
        let exporter = Arc::clone(&self.0);
        run(move || Ok(exporter.part(file as usize, part as usize)?.into()))
    }
}

/// An opened bundle. Calls wait for each other; each uses all cores.
#[napi]
pub struct Classifier {
    classifier: Arc<Mutex<classifier::Classifier>>,
    metadata: String,
}

#[napi]
impl Classifier {
    /// JSON `BundleMetadata`, with the class names in use.
    #[napi(getter)]
    pub fn metadata(&self) -> String {
        self.metadata.clone()
    }

    /// Scores of one encoded image file.
    #[napi(ts_return_type = "Promise<Scores>")]
    pub fn classify(&self, image: Uint8Array, cancel: Option<&Cancel>) -> AsyncTask<Job<Scores>> {
        let (classifier, image, cancelled) =
            (Arc::clone(&self.classifier), image.to_vec(), asks(cancel));
        run(move || {
            let mut classifier = locked(&classifier);
            if cancelled() {
                Err(Error::Cancelled)
            } else {
                Ok(classifier.classify(&image)?.into())
            }
        })
    }

    /// Scores of (n, `embed_dim`) normalised features.
    #[napi(ts_return_type = "Promise<Scores>")]
    pub fn score(
        &self,
        image_features: Float32Array,
        cancel: Option<&Cancel>,
    ) -> AsyncTask<Job<Scores>> {
        let (classifier, features, cancelled) =
            (Arc::clone(&self.classifier), image_features.to_vec(), asks(cancel));
        run(move || Ok(locked(&classifier).score(&features, &cancelled)?.into()))
    }

    /// Classifies the probe image: the largest difference from the logits in the bundle, relative to the largest.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn probe(&self) -> AsyncTask<Job<f64>> {
        let classifier = Arc::clone(&self.classifier);
        run(move || Ok(f64::from(locked(&classifier).probe()?)))
    }
}

/// One step is done; `epoch` and `batch` count from 1.
#[napi(object)]
pub struct Progress {
    /// The epoch.
    pub epoch: u32,
    /// The step in it.
    pub batch: u32,
    /// Mean loss, nats.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Images that were classified right, before the step.
    pub correct: u32,
    /// Images in the step.
    pub images: u32,
}

impl From<session::Progress> for Progress {
    fn from(event: session::Progress) -> Self {
        Self {
            epoch: event.epoch as u32,
            batch: event.batch as u32,
            loss: event.loss.into(),
            lr: event.lr,
            correct: event.correct as u32,
            images: event.images as u32,
        }
    }
}

/// What a rank's share of a batch adds to its step; the ranks' sum is the step's.
#[napi(object)]
pub struct Part {
    /// (parameters), divided by the size of the whole batch.
    pub gradient: Float32Array,
    /// Divided by the same, nats.
    pub loss: f64,
    /// Images that were classified right, before the step.
    pub correct: u32,
    /// Images of the share.
    pub images: u32,
}

/// One step is done.
#[napi(object)]
pub struct Applied {
    /// The step.
    pub progress: Progress,
    /// JSON `EpochReport`, after an epoch's last step.
    pub report: Option<String>,
}

/// A training run.
#[napi]
pub struct Trainer {
    session: Arc<Mutex<Session>>,
    plan: String,
}

/// How long the end of an epoch waits for JavaScript to take the last event: it may be shutting down.
const LAST_EVENT: Duration = Duration::from_secs(5);

#[napi]
impl Trainer {
    /// JSON {epochs, batches, `batch_size`, `n_train`, parameters}.
    #[napi(getter)]
    pub fn plan(&self) -> String {
        self.plan.clone()
    }

    /// Trains to the end of the current epoch: JSON `EpochReport`. Every event has arrived when the promise settles.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn epoch(
        &self,
        #[napi(ts_arg_type = "(event: Progress) => void")] on_progress: Function<Progress, ()>,
        cancel: Option<&Cancel>,
    ) -> napi::Result<AsyncTask<Job<String>>> {
        let send = on_progress.build_threadsafe_function().callee_handled::<false>().build()?;
        let (session, cancelled) = (Arc::clone(&self.session), asks(cancel));
        Ok(run(move || {
            // Events are sent one step late, so that the last can be waited for: they arrive in order.
            let mut held: Option<session::Progress> = None;
            let mut progress = |event: session::Progress| {
                if let Some(event) = held.replace(event) {
                    send.call(event.into(), NonBlocking);
                }
            };
            let report = locked(&session).epoch(&mut progress, &cancelled);
            if let Some(last) = held {
                let (done, arrived) = mpsc::channel();
                send.call_with_return_value(last.into(), NonBlocking, move |_, _| {
                    let _ = done.send(()); // nobody waits any more after LAST_EVENT
                    Ok(())
                });
                let _ = arrived.recv_timeout(LAST_EVENT);
            }
            Ok(serde_json::to_string(&report?).expect("plain data is JSON"))
        }))
    }

    /// What the share of `rank`, one of `world`, adds to the next step. Nothing that is learned changes.
    #[napi(ts_return_type = "Promise<Part>")]
    pub fn part(&self, rank: u32, world: u32, cancel: Option<&Cancel>) -> AsyncTask<Job<Part>> {
        let (session, cancelled) = (Arc::clone(&self.session), asks(cancel));
        run(move || {
            let part = locked(&session).part(rank as usize, world as usize, &cancelled)?;
            Ok(Part {
                gradient: part.gradient.values().into(),
                loss: part.loss.into(),
                correct: part.correct as u32,
                images: part.images as u32,
            })
        })
    }

    /// One step with the sum of all ranks' parts.
    #[napi(ts_return_type = "Promise<Applied>")]
    pub fn apply(
        &self,
        gradient: Float32Array,
        loss: f64,
        correct: u32,
    ) -> AsyncTask<Job<Applied>> {
        let (session, gradient) = (Arc::clone(&self.session), gradient.to_vec());
        run(move || {
            let mut session = locked(&session);
            let gradient = session.gradient(&gradient)?;
            let (loss, correct, images) = (loss as f32, correct as usize, 0);
            let applied = session.apply(&session::Part { gradient, loss, correct, images })?;
            let json = |report| serde_json::to_string(&report).expect("plain data is JSON");
            Ok(Applied { progress: applied.progress.into(), report: applied.report.map(json) })
        })
    }

    /// JSON {epoch, batch}: how many are done, of the run and of the current epoch; waits for a running epoch to stop.
    #[napi(getter)]
    pub fn position(&self) -> String {
        let Position { epoch, batch, .. } = locked(&self.session).position();
        serde_json::json!({"epoch": epoch, "batch": batch}).to_string()
    }

    /// A checkpoint; waits for a running epoch to stop.
    #[napi]
    pub fn state(&self) -> Uint8Array {
        locked(&self.session).state().into()
    }

    /// Continues from a checkpoint of the same run.
    #[napi]
    pub fn restore(&self, state: Uint8Array) -> Result<()> {
        now(locked(&self.session).restore(&state))
    }

    /// The bytes of the bundle of what is learned so far: {name, `model_id`, training, metrics}.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn bundle(&self, metadata: String) -> AsyncTask<Job<Uint8Array>> {
        let session = Arc::clone(&self.session);
        run(move || Ok(locked(&session).bundle(door::about(&metadata)?)?.into()))
    }
}

/// What a model's files hold, without loading them: JSON `ModelReport`.
#[napi(ts_return_type = "Promise<string>")]
pub fn inspect_model(paths: Vec<String>, config: String) -> AsyncTask<Job<String>> {
    run(move || Ok(convert::inspect(&Files::open(mapped::parts(&paths)?)?, &config).to_string()))
}

/// Writes a model under other names and in another type into the folder `out`: JSON {weights, config}, the files' paths.
/// `target` is JSON {dtype: f32|f16|bf16, names: openai|hf|`open_clip`}.
#[napi(ts_return_type = "Promise<string>")]
pub fn convert_model(
    paths: Vec<String>,
    config: String,
    out: String,
    target: String,
    cancel: Option<&Cancel>,
) -> AsyncTask<Job<String>> {
    let cancelled = asks(cancel);
    run(move || {
        let files = Files::open(mapped::parts(&paths)?)?;
        let conversion = convert::Conversion::new(&files, &config, door::target(&target)?)?;
        let (weights, config) = conversion.file_names();
        let weights = mapped::write(&out, weights, |sink| {
            conversion
                .write(&mut |bytes| if cancelled() { Err(Error::Cancelled) } else { sink(bytes) })
        })?;
        let config = mapped::write(&out, config, |sink| sink(conversion.config().as_bytes()))?;
        Ok(serde_json::json!({"weights": weights, "config": config}).to_string())
    })
}

/// A bundle's metadata, read strictly: JSON.
#[napi]
pub fn bundle_metadata(bundle: Uint8Array) -> Result<String> {
    now(door::bundle_metadata(&bundle))
}

/// JSON {vision, text, work}: bytes that a pack takes in memory, by the text of its manifest.
#[napi]
pub fn pack_memory(manifest: String) -> Result<String> {
    now(door::pack_memory(&manifest))
}

/// JSON {train, val} of JSON {labels, `val_labels`, shots, seed}: indices, as the original samples them.
#[napi]
pub fn few_shot(spec: String) -> Result<String> {
    now(door::few_shot_indices(&spec))
}

/// JSON [permutation of 0..n for each n] of JSON {sizes, seed}: `CPython`'s shuffles, one after the other.
#[napi]
pub fn shuffles(spec: String) -> Result<String> {
    now(door::shuffle_indices(&spec))
}

/// JSON {indices, classes} of the base or new half of the classes.
#[napi(ts_args_type = "labels: Uint32Array, half: 'base' | 'new'")]
pub fn subsample(labels: Uint32Array, half: String) -> Result<String> {
    now(door::subsample_indices(&labels, &half))
}

/// Token ids of a text, without start and end.
#[napi]
pub fn tokenize(text: String) -> Uint32Array {
    input::tokenizer::encode(&text).into()
}

/// Every word of the core's errors.
#[napi]
pub fn error_codes() -> Vec<&'static str> {
    Error::CODES.to_vec()
}

/// The version of this package.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The instruction set in use, for people.
#[napi]
pub fn instruction_set() -> &'static str {
    Isa::get().name()
}

fn owned(images: &[Uint8Array]) -> Vec<Vec<u8>> {
    images.iter().map(|image| image.to_vec()).collect()
}

/// The value, also after a call that panicked: every call leaves it between two batches or overwrites it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
