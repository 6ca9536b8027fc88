//! `traj/*.json`: training runs of the original CoOp and CoCoOp. Loss of every step, gradients of the first, parameters
//! and logits at the end; each error relative to the tensor's largest magnitude. Each case's first step also runs packed
//! without sharing: loss, gradients and the logits after it must agree with the trie's within 1e-5. (Later steps would
//! measure how a run amplifies rounding, not the trie.)

use crate::batch_norm::{Changed, Tower};
use crate::synthetic::{clip, dims, image, weights};
use crate::{Case, Outcome, read_json, relative_error};
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::model::weights::{read_header, to_f32};
use cocoop_core::ops::{Cpu, normalize};
use cocoop_core::prompt::learned::Learned;
use cocoop_core::prompt::learner::{Learner, MetaNet};
use cocoop_core::prompt::template::ClassTokenPosition;
use cocoop_core::prompt::trie::Sharing;
use cocoop_core::train::sgd::Sgd;
use cocoop_core::train::step;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Agreement with the original.
const LIMIT: f64 = 2e-4;
/// Agreement of the trie with unshared rows.
const SHARING_LIMIT: f64 = 1e-5;

#[derive(Clone, Deserialize)]
struct Run {
    model: String,
    lrs: Vec<f64>,
    losses: Vec<f32>,
    labels: Vec<Vec<usize>>,
    image_index: Vec<Vec<usize>>,
    class_names: Vec<String>,
    options: Options,
}

#[derive(Clone, Deserialize)]
struct Options {
    #[serde(rename = "CSC", default)]
    csc: bool,
    #[serde(rename = "CLASS_TOKEN_POSITION", default)]
    class_token_position: ClassTokenPosition,
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// What a run produced: losses, then `grad0.*`, `final.*` and `final.logits` by name.
struct Trace {
    losses: Vec<f32>,
    tensors: BTreeMap<String, Vec<f32>>,
}

pub fn cases(directory: &Path) -> Vec<Case> {
    let Ok(entries) = std::fs::read_dir(directory.join("traj")) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().flat_map(|path| pair(path)).collect()
}

fn pair(path: &Path) -> Vec<Case> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let run = match read_json::<Run>(path) {
        None => return Vec::new(),
        Some(Err(why)) => return vec![Case::unreadable(name, why)],
        Some(Ok(run)) => run,
    };
    if dims(&run.model).is_none() {
        return vec![Case::unreadable(name, format!("no synthetic model {}", run.model))];
    }
    let tensors = match tensors(&path.with_extension("safetensors")) {
        Err(why) => return vec![Case::unreadable(name, why)],
        Ok(tensors) => tensors,
    };
    let (first_step, tensors_2) =
        (Run { lrs: run.lrs[..1].to_vec(), ..run.clone() }, tensors.clone());
    vec![
        Case::new(name.clone(), move || against_original(&run, &tensors)),
        Case::new(format!("{name}, trie against packed"), move || {
            let [shared, packed] = [Sharing::Trie, Sharing::Packed]
                .map(|sharing| train(&first_step, &tensors_2, sharing));
            let losses = relative_error(&shared.losses, &packed.losses);
            let tensors = shared
                .tensors
                .iter()
                .map(|(name, values)| relative_error(values, &packed.tensors[name]));
            Outcome {
                error: tensors.fold(losses, f64::max),
                limit: SHARING_LIMIT,
                note: String::new(),
            }
        }),
    ]
}

fn against_original(run: &Run, expected: &Tensors) -> Outcome {
    let ours = train(run, expected, Sharing::Trie);
    let losses = ours.losses.iter().zip(&run.losses);
    let loss = losses.map(|(a, b)| f64::from((a - b).abs() / b.abs())).fold(0.0, f64::max);
    let mut worst = (loss, "loss".to_string());
    for (name, (_, theirs)) in expected.iter().filter(|(name, _)| !name.starts_with("init.")) {
        let error = relative_error(&ours.tensors[name], theirs);
        if error > worst.0 || error.is_nan() {
            worst = (error, name.clone());
        }
    }
    Outcome { error: worst.0, limit: LIMIT, note: format!("worst: {}; loss {loss:.1e}", worst.1) }
}

fn train(run: &Run, tensors: &Tensors, sharing: Sharing) -> Trace {
    let dims = dims(&run.model).expect("checked before");
    let clip = clip(&dims, "");
    let learner = learner(tensors, run.options.csc);
    let mut sgd = Sgd::new(&learner, 0.9, 5e-4);
    let position = run.options.class_token_position;
    let mut learned = Learned::new(learner, &run.class_names, position, 77, sharing).unwrap();
    let tokens = &clip.tokens(&learned.token_ids()).expect("the synthetic tensors are whole");
    let mut work = Workspace::training(clip.config.text.layers);
    let mut image_work = Workspace::inference();
    let mut training_tower = Tower::new(&dims);
    let images = |indices: &[usize]| -> Vec<Vec<f32>> {
        indices.iter().map(|&k| image(k, dims.image_size)).collect()
    };
    let mut features = |indices: &[usize]| match &mut training_tower {
        None => clip.image_features(&mut image_work, &images(indices).concat()).expect("as above"),
        Some(tower) => {
            let mut features = tower.encode(&images(indices));
            normalize::forward(&mut features, clip.config.embed_dim);
            features
        }
    };
    let mut trace = Trace { losses: Vec::new(), tensors: BTreeMap::new() };
    for ((indices, labels), &lr) in run.image_index.iter().zip(&run.labels).zip(&run.lrs) {
        let step =
            step::gradient(&clip, tokens, &mut work, &mut learned, &features(indices), labels)
                .unwrap();
        if trace.losses.is_empty() {
            keep(&mut trace, "grad0", &step.gradient);
        }
        trace.losses.push(step.loss);
        sgd.step(&mut learned.learner, &step.gradient, lr).unwrap();
    }
    keep(&mut trace, "final", &learned.learner);
    let moved =
        training_tower.map(|tower| Changed { model: weights(&dims, ""), tensors: tower.running });
    let moved = moved.map(|moved| Clip::load(Cpu, Arc::new(moved), "").expect("as above"));
    let features = moved
        .as_ref()
        .unwrap_or(&clip)
        .image_features(&mut image_work, &images(&run.image_index[0]).concat())
        .expect("as above");
    let logits = learned.forward(&clip, tokens, &mut work, &features).expect("as above");
    trace.tensors.insert("final.logits".into(), logits.to_vec());
    trace
}

fn keep(trace: &mut Trace, prefix: &str, learner: &Learner) {
    let tensors = learner.tensors().into_iter();
    trace
        .tensors
        .extend(tensors.map(|(name, _, values)| (format!("{prefix}.{name}"), values.to_vec())));
}

fn learner(tensors: &Tensors, csc: bool) -> Learner {
    let get = |name: &str| tensors.get(&format!("init.{name}")).map(|(_, values)| values.clone());
    let shape = &tensors["init.ctx"].0;
    let meta_net = get("meta_net.linear1.weight").map(|linear1_weight| MetaNet {
        linear1_weight,
        linear1_bias: get("meta_net.linear1.bias").unwrap(),
        linear2_weight: get("meta_net.linear2.weight").unwrap(),
        linear2_bias: get("meta_net.linear2.bias").unwrap(),
    });
    Learner::new(get("ctx").unwrap(), shape[shape.len() - 2], shape[shape.len() - 1], csc, meta_net)
}

fn tensors(path: &Path) -> Result<Tensors, String> {
    let broken = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| broken(&error))?;
    let file = read_header(&bytes).map_err(|error| broken(&error))?;
    let values = |(name, tensor): (String, safetensors::tensor::TensorView)| {
        let values =
            to_f32(&name, tensor.dtype(), tensor.data()).map_err(|error| broken(&error))?;
        Ok((name, (tensor.shape().to_vec(), values)))
    };
    file.tensors().into_iter().map(values).collect()
}
