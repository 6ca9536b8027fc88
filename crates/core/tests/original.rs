//! The originals' checkpoints, saved by torch (`fixtures/torch/*.pth.tar-*`, made by `scripts/make-checkpoint-fixtures.py`):
//! what they say is read from them, what they contradict is refused by name, and what is exported is read again.

#[path = "parity/synthetic.rs"]
mod synthetic;

use bytes::Bytes;
use cocoop_core::bundle::{Bundle, Method};
use cocoop_core::input::tokenizer::{SOT, encode};
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::model::weights::torch::{self, write::State};
use cocoop_core::original::{ImportSpec, export, import};
use cocoop_core::prompt::interpret::{nearest_tokens, shifts};
use cocoop_core::prompt::template::ClassTokenPosition;
use cocoop_core::{Error, Result};
use serde_json::{Map, json};
use std::sync::{Arc, LazyLock};

static CLIP: LazyLock<Arc<Clip>> = LazyLock::new(|| {
    Arc::new(synthetic::clip(&synthetic::dims("tiny-vit").unwrap(), &"ab".repeat(32)))
});

const WIDTH: usize = 128;

fn fixture(name: &str) -> Bytes {
    let path = format!("{}/../../fixtures/torch/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap().into()
}

fn spec(classnames: Option<&[&str]>) -> ImportSpec {
    ImportSpec {
        classnames: classnames.map(|names| names.iter().map(ToString::to_string).collect()),
        class_token_position: ClassTokenPosition::End,
        ctx_init: None,
        name: "test".into(),
        model_id: "tiny".into(),
        training: Map::from_iter([("shots".into(), json!(16))]),
    }
}

fn read(file: &Bytes, classnames: Option<&[&str]>) -> Result<Bundle> {
    import(&CLIP, file, spec(classnames))
}

/// The values that the fixtures' script writes.
fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 1024.0).collect()
}

#[test]
fn a_checkpoint_says_its_method_and_its_classes() {
    let coop = read(&fixture("coop.pth.tar-50"), None).unwrap();
    let metadata = &coop.metadata;
    assert_eq!(metadata.method, Method::Coop);
    assert_eq!(metadata.classnames, ["dog", "red panda"]);
    assert!(metadata.prompt.csc && metadata.prompt.n_ctx == 3);
    let training = json!({"shots": 16, "checkpoint": {"epoch": 50, "dtype": "F32"}});
    assert_eq!(json!(metadata.training), training);
    assert_eq!(coop.learner.as_ref().unwrap().ctx, ramp(2 * 3 * WIDTH));
    assert_eq!(Bundle::read(&coop.write().unwrap()).unwrap(), coop);

    let cocoop = read(&fixture("cocoop.pth.tar-10"), Some(&["dog", "Red_Panda"])).unwrap();
    assert_eq!(cocoop.metadata.method, Method::Cocoop);
    assert_eq!(cocoop.metadata.classnames, ["dog", "Red_Panda"]);
    assert_eq!(cocoop.metadata.training["checkpoint"], json!({"epoch": 10, "dtype": "F16"}));
    let learner = cocoop.learner.unwrap();
    let net = learner.meta_net.unwrap();
    assert_eq!((learner.csc, learner.ctx), (false, ramp(4 * WIDTH)));
    assert_eq!((net.linear1_weight, net.linear1_bias), (ramp(4 * 64), ramp(4)));
    assert_eq!((net.linear2_weight, net.linear2_bias), (ramp(WIDTH * 4), ramp(WIDTH)));
}

#[test]
fn other_classes_are_refused_with_what_was_learned() {
    let why = |names: &[&str]| match read(&fixture("coop.pth.tar-50"), Some(names)) {
        Err(Error::Classes { why }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        why(&["dog", "panda"]),
        "class 1: got \"panda\", the checkpoint was learned with \"red panda\""
    );
    assert!(why(&["red panda", "dog"]).starts_with("class 0: got \"red panda\""));
    assert_eq!(why(&["dog"]), "the checkpoint has 2 classes, got 1");
}

/// A checkpoint of one class, "dog", around `ctx`, changed by `change`.
fn made(change: impl FnOnce(&mut Vec<State<'_>>)) -> Bytes {
    let ids: Vec<u32> =
        [encode("dog."), vec![49407]].concat().into_iter().chain([0; 76]).take(74).collect();
    let table = CLIP.tokens(&ids.iter().copied().chain([SOT]).collect()).unwrap();
    let suffix: Vec<f32> = ids.iter().flat_map(|id| table.row(*id)).copied().collect();
    let ctx = ramp(2 * WIDTH);
    let zeros = vec![0.0; 100 * WIDTH];
    let mut states = vec![
        State { name: "ctx", shape: vec![2, WIDTH], values: &ctx },
        State { name: "token_prefix", shape: vec![1, 1, WIDTH], values: table.row(SOT) },
        State { name: "token_suffix", shape: vec![1, 74, WIDTH], values: &suffix },
        State { name: "unused", shape: vec![100, WIDTH], values: &zeros },
    ];
    let unused = states.pop().unwrap();
    change(&mut states);
    for state in &mut states {
        if state.values.is_empty() {
            state.values = &unused.values[..state.shape.iter().product()];
        }
    }
    torch::write::checkpoint(&states, 7).unwrap().into()
}

/// Zeros of a shape.
fn zeros(name: &'static str, shape: &[usize]) -> State<'static> {
    State { name, shape: shape.into(), values: &[] }
}

#[test]
fn what_is_no_prompt_of_this_model_is_refused_by_name() {
    let refusal = |change: &dyn Fn(&mut Vec<State<'_>>)| {
        let error = read(&made(change), Some(&["dog"])).unwrap_err();
        (error.code(), error.to_string())
    };
    assert!(read(&made(|_| {}), Some(&["dog"])).is_ok());
    let another = refusal(&|states| states[1] = zeros("token_prefix", &[1, 1, WIDTH]));
    assert_eq!(another.0, "bad_checkpoint");
    assert!(another.1.contains("another backbone"), "{another:?}");
    let spelled = refusal(&|states| states[2] = zeros("token_suffix", &[1, 74, WIDTH]));
    assert_eq!(spelled.0, "bad_classes");
    assert!(spelled.1.contains("tokens that this model does not know"), "{spelled:?}");

    assert_eq!(refusal(&|states| states[0] = zeros("ctx", &[2, 64])).0, "bad_shape");
    assert_eq!(refusal(&|states| states[0] = zeros("ctx", &[2])).0, "bad_shape");
    assert_eq!(refusal(&|states| states[0] = zeros("ctx", &[3, WIDTH])).0, "bad_shape"); // the suffix has 74 rows
    assert_eq!(refusal(&|states| drop(states.remove(0))).0, "missing_tensor");
    let extra = refusal(&|states| states.push(zeros("gate", &[1])));
    assert!(extra.0 == "bad_checkpoint" && extra.1.contains("`gate`"), "{extra:?}");
    let half = refusal(&|states| states.push(zeros("meta_net.linear1.weight", &[4, 64])));
    assert_eq!(half.0, "missing_tensor");
    let wide = refusal(&|states| states.push(zeros("meta_net.linear1.weight", &[4, 63])));
    assert_eq!(wide.0, "bad_shape");
}

#[test]
fn without_its_buffers_a_checkpoint_needs_class_names() {
    let bare = made(|states| states.truncate(1));
    assert_eq!(read(&bare, None).unwrap_err().code(), "bad_classes");
    assert_eq!(read(&bare, Some(&["cat", "dog"])).unwrap().metadata.classnames, ["cat", "dog"]);
    assert_eq!(read(&bare, Some(&[])).unwrap_err().code(), "bad_classes");
    let part = made(|states| {
        states.truncate(1);
        states[0].name = "module.prompt_learner.ctx";
    });
    assert!(read(&part, Some(&["cat"])).is_ok());
}

#[test]
fn an_object_that_nobody_knows_is_refused_by_name() {
    let mut file = fixture("coop.pth.tar-50").to_vec();
    let name = b"torch.optim.sgd";
    let at = file.windows(name.len()).position(|bytes| bytes == name).unwrap();
    file[at..][..name.len()].copy_from_slice(b"torch.hacks.run");
    let error = read(&file.into(), None).unwrap_err();
    assert_eq!(error.code(), "bad_checkpoint");
    assert!(error.to_string().contains("torch.hacks.run.SGD is not allowed"), "{error}");
}

#[test]
fn files_cut_short_and_other_files_are_refused() {
    let file = fixture("cocoop.pth.tar-10");
    for length in (0..file.len()).step_by(61) {
        assert_eq!(read(&file.slice(..length), None).unwrap_err().code(), "bad_checkpoint");
    }
    assert_eq!(read(&fixture("state_dict.pt"), None).unwrap_err().code(), "missing_tensor");
}

#[test]
fn what_is_exported_is_what_was_imported() {
    for name in ["coop.pth.tar-50", "cocoop.pth.tar-10"] {
        let bundle = read(&fixture(name), None).unwrap();
        let file = export(&CLIP, &bundle, 50).unwrap();
        assert_eq!(file, export(&CLIP, &bundle, 50).unwrap());
        let (ours, theirs) = (Bytes::from(file), fixture(name));
        let again = read(&ours, None).unwrap();
        assert_eq!(
            (&again.learner, &again.text_features),
            (&bundle.learner, &bundle.text_features)
        );
        let [ours, theirs] = [ours, theirs].map(|file| torch::checkpoint(&file).unwrap().tensors);
        assert!(ours.keys().eq(theirs.keys()));
        for (name, tensor) in &ours {
            assert_eq!(tensor.shape, theirs[name].shape);
            let pairs = [tensor, &theirs[name]].map(|tensor| tensor.to_f32(name).unwrap());
            for (ours, theirs) in pairs[0].iter().zip(&pairs[1]) {
                // The second fixture is in f16: 11 bits of 0.04 at most.
                assert!((ours - theirs).abs() <= 0.04 / 2048.0, "{name}: {ours} {theirs}");
            }
        }
    }
    let mut bundle = read(&fixture("coop.pth.tar-50"), None).unwrap();
    bundle.metadata.model.sha256 = "cd".repeat(32);
    assert_eq!(export(&CLIP, &bundle, 1).unwrap_err().code(), "model_mismatch");
    bundle.metadata.model.sha256 = "ab".repeat(32);
    bundle.learner = None;
    assert_eq!(export(&CLIP, &bundle, 1).unwrap_err().code(), "bad_bundle");
}

#[test]
fn vectors_of_words_are_nearest_to_these_words() {
    let ids = encode("a photo of a");
    let table = CLIP.tokens(&ids.iter().copied().collect()).unwrap();
    let vectors: Vec<f32> = ids.iter().flat_map(|id| table.row(*id)).copied().collect();
    let near = nearest_tokens(&CLIP, &vectors, 3).unwrap();
    for (near, id) in near.iter().zip(&ids) {
        assert_eq!((near.len(), near[0].id, near[0].distance), (3, *id, 0.0));
        assert!(near.is_sorted_by(|a, b| a.distance < b.distance));
    }
    assert_eq!(nearest_tokens(&CLIP, &vectors, 0).unwrap(), vec![vec![]; 4]);
    assert_eq!(nearest_tokens(&CLIP, &vectors[1..], 1).unwrap_err().code(), "bad_shape");
    assert_eq!(nearest_tokens(&CLIP, &[f32::NAN; WIDTH], 1).unwrap_err().code(), "not_finite");
}

#[test]
fn the_nearest_are_those_of_a_search_through_all() {
    let table = CLIP.known_tokens().unwrap();
    let (ids, rows) = table.parts();
    for scale in [0.1, 1.0, 30.0] {
        let vector: Vec<f32> = ramp(WIDTH).iter().map(|x| x * scale).collect();
        let distance = |row: &[f32]| {
            row.iter().zip(&vector).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
        };
        let mut all: Vec<(f64, u32)> =
            rows.chunks_exact(WIDTH).map(distance).zip(ids.iter().copied()).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let near = nearest_tokens(&CLIP, &vector, 20).unwrap();
        let got: Vec<(f64, u32)> = near[0].iter().map(|near| (near.distance, near.id)).collect();
        assert!(got.iter().eq(&all[..20]));
    }
}

#[test]
fn each_image_has_a_shift_of_its_own() {
    let learner = read(&fixture("cocoop.pth.tar-10"), None).unwrap().learner.unwrap();
    let pixels: Vec<f32> = (0..2).flat_map(|k| synthetic::image(k, 32)).collect();
    let features = CLIP.image_features(&mut Workspace::inference(), &pixels).unwrap();
    let both = shifts(&learner, &features).unwrap();
    assert_eq!(both.len(), 2 * WIDTH);
    assert_ne!(both[..WIDTH], both[WIDTH..]);
    assert_eq!(shifts(&learner, &features[64..]).unwrap(), both[WIDTH..]);
    assert_eq!(shifts(&learner, &features[1..]).unwrap_err().code(), "bad_shape");
    let coop = read(&fixture("coop.pth.tar-50"), None).unwrap().learner.unwrap();
    assert_eq!(shifts(&coop, &features), Ok(vec![]));
}
