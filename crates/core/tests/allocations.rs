//! After the first request of its kind the engine allocates nothing but what it returns: memory does not fragment, and a
//! worker's memory does not grow. Decoding the image is not counted.

#[path = "parity/synthetic.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod synthetic;

use cocoop_core::bundle::Bundle;
use cocoop_core::classifier::Classifier;
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::train::session::{About, Session};
use cocoop_core::train::spec::TrainSpec;
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    /// Allocations of this thread.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator, which keeps the promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Allocations of this thread during `work`.
fn allocations<T>(work: impl FnOnce() -> T) -> usize {
    let before = COUNT.get();
    let result = work();
    let count = COUNT.get() - before;
    drop(result);
    count
}

/// `work` with all tasks on this one thread, where they are counted.
fn on_one_thread(work: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(work);
}

fn clip(model: &str) -> Arc<Clip> {
    Arc::new(synthetic::clip(&synthetic::dims(model).unwrap(), &"ab".repeat(32)))
}

/// Features that vary in no particular way, L2-normalised: (n, `embed_dim`).
fn features(n: usize, embed_dim: usize) -> Vec<f32> {
    let row = |i: usize| (0..embed_dim).map(move |j| ((i * 7 + j) as f32).sin());
    let length = |i: usize| row(i).map(|x| x * x).sum::<f32>().sqrt();
    (0..n).flat_map(|i| row(i).map(move |x| x / length(i))).collect()
}

#[test]
fn the_image_tower_allocates_once() {
    on_one_thread(|| {
        for (model, batch) in [("tiny-vit", 1), ("tiny-vit", 3), ("tiny-rn", 1), ("tiny-rn", 3)] {
            let (clip, mut work, mut features) = (clip(model), Workspace::inference(), Vec::new());
            let pixels: Vec<f32> =
                (0..batch).flat_map(|k| synthetic::image(k, clip.config.image_size)).collect();
            let mut encode = || clip.image_features_to(&mut work, &mut features, &pixels).unwrap();
            assert!(allocations(&mut encode) > 0, "the counter counts");
            assert_eq!(allocations(encode), 0, "{model}, batch {batch}");
        }
    });
}

#[test]
fn a_classifier_allocates_only_what_it_returns() {
    let names = ["small_32x32", "rgb_224x224"];
    let inputs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/preprocess/in/");
    let images: Vec<_> =
        names.iter().map(|name| std::fs::read(format!("{inputs}{name}.png")).unwrap()).collect();
    on_one_thread(|| {
        for method in ["coop", "cocoop"] {
            let clip = clip("tiny-vit");
            let spec = json!({
                "method": method, "classnames": ["dog", "red panda", "red square"], "n_ctx": 4, "ctx_init": null,
                "csc": false, "class_token_position": "end", "epochs": 1, "batch_size": 2, "lr": 0.01, "momentum": 0.9,
                "weight_decay": 0.0, "warmup_epochs": 0, "warmup_lr": 1e-5, "augment": "none", "views": 0, "meta_net_reduction": 16,
                "seed": 1
            });
            let spec = TrainSpec::from_json(&spec.to_string()).unwrap();
            let run =
                Session::new(Arc::clone(&clip), spec, images.clone(), vec![0, 1], None).unwrap();
            let about = json!({"name": "test", "model_id": "test", "training": {}, "metrics": {}});
            let bundle = run.bundle(About::from_value(about).unwrap()).unwrap();
            let mut classifier =
                Classifier::open(Arc::clone(&clip), Bundle::read(&bundle).unwrap(), None).unwrap();
            // Probabilities and cosines.
            let returned = 2;
            for n in [1, 4] {
                let features = features(n, clip.config.embed_dim);
                let mut score = || classifier.score(&features, &|| false).unwrap();
                score();
                assert_eq!(allocations(score), returned, "{method}, {n} features");
            }
            let decoding = allocations(|| clip.view(&images[1]).unwrap());
            classifier.classify(&images[1]).unwrap();
            let all = allocations(|| classifier.classify(&images[1]).unwrap());
            assert_eq!(all, decoding + returned, "{method}, an image");
        }
    });
}
