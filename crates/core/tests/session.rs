//! A training run as its users rely on it: stopped anywhere and continued, on one thread or many, it ends with the same
//! bits; a batch's gradient is the mean of its images' gradients; what it learns serves other classes.

#[path = "parity/synthetic.rs"]
mod synthetic;

use cocoop_core::bundle::Bundle;
use cocoop_core::classifier::Classifier;
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::prompt::learned::Learned;
use cocoop_core::prompt::learner::{Learner, MetaNet};
use cocoop_core::prompt::template::ClassTokenPosition;
use cocoop_core::prompt::trie::Sharing;
use cocoop_core::train::session::{About, Applied, Part, Progress, Session};
use cocoop_core::train::spec::TrainSpec;
use cocoop_core::train::step;
use cocoop_core::train::views::{self, Wanted};
use cocoop_core::{Error, Result};
use serde_json::{Map, json};
use std::cell::Cell;
use std::sync::{Arc, LazyLock};

static CLIP: LazyLock<Arc<Clip>> = LazyLock::new(|| {
    Arc::new(synthetic::clip(&synthetic::dims("tiny-vit").unwrap(), &"ab".repeat(32)))
});

const CLASSES: [&str; 3] = ["dog", "red panda", "red square"];

fn spec(method: &str, change: &dyn Fn(&mut serde_json::Value)) -> TrainSpec {
    let mut spec = json!({
        "method": method, "classnames": CLASSES, "n_ctx": 4, "ctx_init": null, "csc": false,
        "class_token_position": "end", "epochs": 3, "batch_size": 2, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4,
        "warmup_epochs": 1, "warmup_lr": 1e-5, "augment": "crop-flip", "views": 0,
        "meta_net_reduction": 16, "seed": 1
    });
    change(&mut spec);
    TrainSpec::from_json(&spec.to_string()).unwrap()
}

/// Seven pictures: with batches of two the last is dropped.
fn pictures() -> Vec<Vec<u8>> {
    let inputs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/preprocess/in/");
    let names = [
        "small_32x32",
        "tiny_1x1",
        "gray_301x200",
        "rgb_224x224",
        "la_120x99",
        "rgb_225x231",
        "rgb_375x501",
    ];
    names.iter().map(|name| std::fs::read(format!("{inputs}{name}.png")).unwrap()).collect()
}

const LABELS: [usize; 7] = [0, 1, 2, 0, 1, 2, 0];

fn session(spec: TrainSpec) -> Result<Session> {
    Session::new(Arc::clone(&CLIP), spec, pictures(), LABELS.to_vec(), None)
}

/// Trains to the end; `stop_after` steps it is stopped, and a new session goes on from its state.
fn train(spec: &TrainSpec, stop_after: Option<usize>) -> Vec<u8> {
    let mut run = session(spec.clone()).unwrap();
    let steps = Cell::new(0);
    let mut stop = stop_after;
    loop {
        let cancelled = || stop == Some(steps.get());
        match run.epoch(&mut |_| steps.set(steps.get() + 1), &cancelled) {
            Ok(report) if report.done => return run.state(),
            Ok(_) => {}
            Err(Error::Cancelled) => {
                let state = run.state();
                run = session(spec.clone()).unwrap();
                run.restore(&state).unwrap();
                stop = None;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn about() -> About {
    About {
        name: "test".into(),
        model_id: "tiny".into(),
        training: Map::new(),
        metrics: Map::new(),
    }
}

#[test]
fn a_run_stopped_after_any_step_ends_with_the_same_bits() {
    for method in ["coop", "cocoop"] {
        let spec = spec(method, &|_| {});
        let whole = train(&spec, None);
        for stop in 0..9 {
            assert!(train(&spec, Some(stop)) == whole, "{method}, stopped after step {stop}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    // Ten pictures, so that a batch of eight is one; prompts and views enough that every loop is shared among threads.
    let names: Vec<String> = (0..40).map(|i| format!("{} number {i}", CLASSES[i % 3])).collect();
    let on = |spec: &TrainSpec, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let pictures: Vec<_> = pictures().into_iter().cycle().take(10).collect();
            let labels = (0..10).map(|i| i * 4).collect();
            let run =
                Session::new(Arc::clone(&CLIP), spec.clone(), pictures, labels, None).unwrap();
            finish(run)
        })
    };
    for method in ["coop", "cocoop"] {
        for batch_size in [1, 8] {
            let spec = spec(method, &|spec| {
                spec["batch_size"] = json!(batch_size);
                spec["classnames"] = json!(names);
                spec["epochs"] = json!(2);
                spec["warmup_epochs"] = json!(0);
            });
            let one = on(&spec, 1);
            for threads in [2, 3, 8] {
                assert!(
                    on(&spec, threads) == one,
                    "{method}, batch {batch_size}, {threads} threads"
                );
            }
        }
    }
}

/// Trains to the end: the bundle, and the bits of each epoch's loss.
fn finish(mut run: Session) -> (Vec<u8>, Vec<u64>) {
    let mut losses = Vec::new();
    loop {
        let report = run.epoch(&mut |_| (), &|| false).unwrap();
        losses.push(report.loss.to_bits());
        if report.done {
            return (run.bundle(about()).unwrap(), losses);
        }
    }
}

/// Features (7, views, `embed_dim`), made in four calls.
fn features(spec: &TrainSpec) -> Vec<f32> {
    let (images, views, dim) = (pictures(), spec.views(), CLIP.config.embed_dim);
    let mut features = vec![f32::NAN; 7 * views * dim];
    for (first, end) in [(0, 3), (3, 7)] {
        for (from, to) in [(0, views / 2), (views / 2, views)] {
            if from == to {
                continue;
            }
            let wanted = Wanted { augment: spec.augment, seed: spec.seed, first, from, to };
            let (some, bad) = views::embed(&CLIP, &images[first..end], &wanted, &|| false).unwrap();
            assert!(bad.is_empty());
            for (i, row) in some.chunks_exact(dim).enumerate() {
                let (image, view) = (first + i / (to - from), from + i % (to - from));
                features[(image * views + view) * dim..][..dim].copy_from_slice(row);
            }
        }
    }
    features
}

#[test]
fn features_that_were_computed_before_give_the_same_bits() {
    let on = |spec: &TrainSpec, features: Vec<f32>| {
        Session::new(Arc::clone(&CLIP), spec.clone(), vec![], LABELS.to_vec(), Some(features))
            .unwrap()
    };
    let mut bundles = Vec::new();
    for (augment, views) in [("crop-flip", 0), ("crop-flip", 2), ("crop-flip", 40), ("none", 0)] {
        let spec = spec("cocoop", &|spec| {
            spec["augment"] = json!(augment);
            spec["views"] = json!(views);
        });
        let itself = finish(session(spec.clone()).unwrap());
        let features = features(&spec);
        assert!(finish(on(&spec, features.clone())) == itself, "{augment}, {views} views");
        bundles.push(itself.0);

        let mut other = features.clone();
        other[5] += 1e-6;
        let state = on(&spec, features.clone()).state();
        on(&spec, features.clone()).restore(&state).unwrap();
        for mut refuses in [on(&spec, other), session(spec.clone()).unwrap()] {
            assert_eq!(refuses.restore(&state).unwrap_err().code(), "bad_checkpoint");
        }
    }
    assert!(bundles[0] == bundles[2], "more views than epochs are a fresh one in each");
    assert!(bundles[0] != bundles[1] && bundles[0] != bundles[3] && bundles[1] != bundles[3]);
}

#[test]
fn features_that_cannot_be_are_refused() {
    let spec = spec("coop", &|spec| spec["views"] = json!(2));
    let whole = features(&spec);
    let refused = |images: Vec<Vec<u8>>, features: Vec<f32>| {
        Session::new(Arc::clone(&CLIP), spec.clone(), images, LABELS.to_vec(), Some(features))
            .err()
            .unwrap()
            .code()
    };
    assert_eq!(refused(vec![], whole[1..].to_vec()), "bad_shape");
    assert_eq!(refused(pictures()[1..].to_vec(), whole.clone()), "bad_option");
    let mut broken = whole;
    broken[3] = f32::INFINITY;
    assert_eq!(refused(vec![], broken), "not_finite");

    let mut images = pictures();
    let wanted = Wanted { augment: spec.augment, seed: 1, first: 0, from: 0, to: 3 };
    let (all, _) = views::embed(&CLIP, &images, &wanted, &|| false).unwrap();
    images[2] = vec![1, 2, 3];
    let (some, bad) = views::embed(&CLIP, &images, &wanted, &|| false).unwrap();
    assert_eq!(bad, [(2, Error::ImageFormat)]);
    let image = 3 * CLIP.config.embed_dim;
    assert!(some[2 * image..3 * image].iter().all(|x| *x == 0.0));
    assert!(some[..2 * image] == all[..2 * image] && some[3 * image..] == all[3 * image..]);
    let none = Wanted { to: 0, ..wanted };
    assert_eq!(views::embed(&CLIP, &images, &none, &|| false).unwrap_err().code(), "bad_option");
    let stopped = views::embed(&CLIP, &images, &wanted, &|| true);
    assert_eq!(stopped.unwrap_err().code(), "cancelled");
}

#[test]
fn the_meta_nets_reduction_sets_its_hidden_units() {
    let parameters = |reduction: usize| {
        let spec = spec("cocoop", &|spec| spec["meta_net_reduction"] = json!(reduction));
        session(spec).unwrap().plan().parameters
    };
    let (dim, width) = (CLIP.config.embed_dim, CLIP.config.text.width);
    let of = |hidden: usize| 4 * width + hidden * (dim + 1) + width * (hidden + 1);
    assert_eq!(parameters(16), of(dim / 16));
    assert_eq!(parameters(8), of(dim / 8));
    assert_eq!(parameters(1000), of(1));
}

#[test]
fn the_parts_of_the_ranks_make_the_step() {
    let spec = spec("cocoop", &|spec| spec["batch_size"] = json!(3));
    let (whole, losses) = finish(session(spec.clone()).unwrap());
    let parts = |world: usize| {
        let mut ranks: Vec<Session> = (0..world).map(|_| session(spec.clone()).unwrap()).collect();
        let mut all = Vec::new();
        loop {
            let mut sum: Option<Part> = None;
            for (rank, run) in ranks.iter_mut().enumerate() {
                let part = run.part(rank, world, &|| false).unwrap();
                assert_eq!(part.images, 3 * (rank + 1) / world - 3 * rank / world);
                let Some(sum) = &mut sum else {
                    sum = Some(part);
                    continue;
                };
                sum.loss += part.loss;
                sum.correct += part.correct;
                for (sum, d) in sum.gradient.tensors_mut().into_iter().zip(part.gradient.tensors())
                {
                    sum.iter_mut().zip(d.2).for_each(|(sum, d)| *sum += d);
                }
            }
            let sum = sum.unwrap();
            let applied: Vec<_> = ranks.iter_mut().map(|run| run.apply(&sum).unwrap()).collect();
            assert!(applied.iter().all(|one| one.report == applied[0].report));
            if let Some(report) = applied[0].report {
                all.push(report.loss);
                if report.done {
                    let mut states = ranks.iter().map(Session::state);
                    let first = states.next().unwrap();
                    assert!(states.all(|state| state == first));
                    return (ranks[0].bundle(about()).unwrap(), all);
                }
            }
        }
    };
    let (one, of_one) = parts(1);
    assert!(one == whole && of_one.iter().map(|loss| loss.to_bits()).eq(losses.clone()));
    for world in [2, 3, 5] {
        let (bundle, of_some) = parts(world);
        for (loss, bits) in of_some.iter().zip(&losses) {
            assert!((loss - f64::from_bits(*bits)).abs() < 1e-5, "{world} ranks: {loss}");
        }
        let learner = |bytes: &[u8]| Bundle::read(bytes).unwrap().learner.unwrap();
        let (some, all) = (learner(&bundle), learner(&whole));
        for ((name, _, some), (_, _, all)) in some.tensors().into_iter().zip(all.tensors()) {
            // Six steps of f32 sums in another order.
            assert!(some.iter().zip(all).all(|(a, b)| (a - b).abs() < 1e-5), "{world}: {name}");
        }
    }
    let mut run = session(spec).unwrap();
    assert_eq!(run.part(2, 2, &|| false).err().unwrap().code(), "bad_option");
    assert_eq!(run.part(0, 2, &|| true).err().unwrap().code(), "cancelled");
}

#[test]
fn seeds_and_options_change_the_result() {
    let of = |change: &dyn Fn(&mut serde_json::Value)| train(&spec("cocoop", change), None);
    let first = of(&|_| {});
    assert!(first != of(&|spec| spec["seed"] = json!(2)));
    assert!(first != of(&|spec| spec["augment"] = json!("none")));
}

#[test]
fn a_batchs_gradient_is_the_mean_of_its_images() {
    let (dim, width) = (CLIP.config.embed_dim, CLIP.config.text.width);
    let names = CLASSES.map(String::from);
    let pixels: Vec<f32> = (0..8).flat_map(|k| synthetic::image(k, 32)).collect();
    let features = CLIP.image_features(&mut Workspace::inference(), &pixels).unwrap();
    let labels = [0, 1, 2, 0, 1, 2, 0, 1];
    for net in [None, Some(MetaNet::random(dim, dim / 16, width, 3))] {
        let learner = Learner::new(Learner::random_ctx(4, width, 3), 4, width, false, net);
        let mut learned =
            Learned::new(learner, &names, ClassTokenPosition::End, 77, Sharing::Trie).unwrap();
        let mut work = Workspace::training(CLIP.config.text.layers);
        let tokens = &CLIP.tokens(&learned.token_ids()).unwrap();
        let mut gradient = |features: &[f32], labels: &[usize]| {
            step::gradient(&CLIP, tokens, &mut work, &mut learned, features, labels)
                .unwrap()
                .gradient
        };
        let whole = gradient(&features, &labels);
        let singles: Vec<Learner> =
            (0..8).map(|i| gradient(&features[i * dim..][..dim], &labels[i..=i])).collect();
        for (t, (name, _, whole)) in whole.tensors().into_iter().enumerate() {
            let mean = |i: usize| {
                singles.iter().map(|single| f64::from(single.tensors()[t].2[i])).sum::<f64>() / 8.0
            };
            let squares = |of: &dyn Fn(usize) -> f64| -> f64 {
                (0..whole.len()).map(|i| of(i) * of(i)).sum::<f64>().sqrt()
            };
            let (difference, length) =
                (squares(&|i| f64::from(whole[i]) - mean(i)), squares(&mean));
            // Rounding alone: some 2^-24 of each of the sums.
            assert!(
                length > 0.0 && difference <= 1e-6 * length,
                "{name}: {difference} of {length}"
            );
        }
    }
}

#[test]
fn bundles_of_every_method_serve_their_classes_and_others() {
    for (method, position, csc) in [
        ("coop", "end", false),
        ("coop", "front", false),
        ("coop", "middle", true),
        ("cocoop", "end", false),
    ] {
        let spec = spec(method, &|spec| {
            spec["class_token_position"] = json!(position);
            spec["csc"] = json!(csc);
        });
        let mut run = session(spec).unwrap();
        while !run.epoch(&mut |_| (), &|| false).unwrap().done {}
        let bytes = run.bundle(about()).unwrap();
        assert!(bytes == run.bundle(about()).unwrap());
        let open = |names: Option<Vec<String>>| {
            Classifier::open(Arc::clone(&CLIP), Bundle::read(&bytes).unwrap(), names)
        };
        let mut classifier = open(None).unwrap();
        assert!(classifier.probe().unwrap() < 1e-6);
        let image =
            CLIP.image_features(&mut Workspace::inference(), &synthetic::image(5, 32)).unwrap();
        let own = classifier.score(&image, &|| false).unwrap();
        assert!((own.probs.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let others = open(Some(vec!["red square".into(), "cat".into()]));
        if csc {
            assert_eq!(others.err().unwrap().code(), "bad_classes");
        } else {
            // A class scores the same whichever classes stand beside it.
            let cosine = others.unwrap().score(&image, &|| false).unwrap().cosines[0];
            assert!((cosine - own.cosines[2]).abs() < 1e-6);
        }
    }
}

#[test]
fn a_bundle_is_refused_on_another_model() {
    let mut run = session(spec("coop", &|_| {})).unwrap();
    run.epoch(&mut |_| (), &|| false).unwrap();
    let bundle = Bundle::read(&run.bundle(about()).unwrap()).unwrap();
    let other = synthetic::clip(&synthetic::dims("tiny-vit").unwrap(), &"cd".repeat(32));
    assert_eq!(
        Classifier::open(Arc::new(other), bundle, None).err().unwrap().code(),
        "model_mismatch"
    );
}

#[test]
fn bad_input_is_refused_with_its_word() {
    let refused = |spec: TrainSpec| session(spec).err().unwrap().code();
    assert_eq!(refused(spec("coop", &|spec| spec["classnames"] = json!([]))), "bad_classes");
    assert_eq!(
        refused(spec("coop", &|spec| spec["classnames"] = json!(["dog", "cat"]))),
        "bad_label"
    );
    assert_eq!(
        refused(spec("coop", &|spec| spec["classnames"] = json!(["a", "<|endoftext|>", "c"]))),
        "bad_text"
    );
    assert_eq!(refused(spec("coop", &|spec| spec["n_ctx"] = json!(75))), "text_too_long");
    let broken =
        Session::new(Arc::clone(&CLIP), spec("coop", &|_| {}), vec![vec![1, 2, 3]], vec![0], None);
    assert_eq!(broken.err().unwrap().code(), "unsupported_image");
}

#[test]
fn a_learning_rate_that_is_too_high_stops_the_run_before_the_bad_step() {
    for method in ["coop", "cocoop"] {
        // The warm-up goes well; then the vectors become so long that the loss, or they themselves, are not finite.
        let spec = spec(method, &|spec| {
            spec["lr"] = json!(1e25);
            spec["epochs"] = json!(9);
        });
        let mut run = session(spec.clone()).unwrap();
        let mut states = vec![run.state()];
        let mut next = (1, 1);
        let error = loop {
            match run.part(0, 1, &|| false).and_then(|part| run.apply(&part)) {
                Ok(Applied { progress, report }) => {
                    states.push(run.state());
                    let Progress { epoch, batch, .. } = progress;
                    next = if report.is_some() { (epoch + 1, 1) } else { (epoch, batch + 1) };
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), "diverged");
        let named = format!("training diverged in epoch {}, batch {}: ", next.0, next.1);
        assert!(next.0 > 1 && error.to_string().starts_with(&named), "{method}: {error}");
        // The latest state whose loss was seen: the one that the bad step began from, or that it made.
        let good = run.state();
        assert!(states[states.len() - 2..].contains(&good));
        assert!(run.bundle(about()).is_ok(), "what was learned until then can be used");
        let mut again = session(spec).unwrap();
        again.restore(&good).unwrap();
        assert_eq!(again.epoch(&mut |_| (), &|| false).unwrap_err(), error);
        assert!(again.state() == good);
    }
}

#[test]
fn a_loss_that_explodes_stops_the_run_at_its_last_good_state() {
    let spec = spec("coop", &|spec| spec["epochs"] = json!(100));
    let mut run = session(spec.clone()).unwrap();
    // Real gradients with made-up losses: 1 nat for 60 steps, then 9. Batches of two look back at 50 steps, so that chance,
    // ln 3, is passed in the first step, and 3 nats more in the 25th: 9 - 8 * 0.98^25 > 4.1 > 9 - 8 * 0.98^24.
    let mut step = |loss: f32| {
        let before = run.state();
        let mut part = run.part(0, 1, &|| false).unwrap();
        part.loss = loss;
        (before, run.apply(&part), run.state(), run.position())
    };
    let mut good = Vec::new();
    for _ in 0..60 {
        let (before, applied, ..) = step(1.0);
        applied.unwrap();
        good = before;
    }
    for _ in 0..24 {
        step(9.0).1.unwrap();
    }
    let (_, applied, state, position) = step(9.0);
    let error = applied.unwrap_err();
    assert_eq!(error.code(), "diverged");
    assert!(error.to_string().contains("the mean loss of the latest 50 steps is 4."), "{error}");
    assert!(state == good && (position.epoch, position.batch) == (19, 2));
    session(spec).unwrap().restore(&state).unwrap();
}

#[test]
fn a_checkpoint_of_another_run_or_a_broken_one_is_refused_and_changes_nothing() {
    let mut run = session(spec("cocoop", &|_| {})).unwrap();
    run.epoch(&mut |_| (), &|| false).unwrap();
    let before = run.state();
    let other = session(spec("cocoop", &|spec| spec["seed"] = json!(2))).unwrap().state();
    assert_eq!(run.restore(&other).unwrap_err().code(), "bad_checkpoint");
    for length in (0..before.len()).step_by(97) {
        assert_eq!(run.restore(&before[..length]).unwrap_err().code(), "bad_checkpoint");
    }
    assert!(run.state() == before);
}
