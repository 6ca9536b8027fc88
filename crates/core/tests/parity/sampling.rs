//! `sampling.json`: few-shot samples and base/new cuts of the original. All must agree exactly.
//! `sets` holds label lists, a case names a set; `classes.base` and `classes.new` are lists of (label, `c` + old label).

use crate::{Case, Outcome, read_json};
use cocoop_core::train::sampling::{Half, few_shot, subsample};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

#[derive(Deserialize)]
struct File {
    sets: Vec<Set>,
    cases: Vec<Sample>,
}

#[derive(Deserialize)]
struct Set {
    train: Vec<usize>,
    val: Vec<usize>,
}

#[derive(Deserialize)]
struct Sample {
    set: usize,
    shots: i64,
    seed: u64,
    train: Vec<usize>,
    val: Vec<usize>,
    #[serde(default)]
    classes: BTreeMap<String, Vec<(usize, String)>>,
}

pub fn cases(directory: &Path) -> Vec<Case> {
    match read_json::<File>(&directory.join("sampling.json")) {
        None => Vec::new(),
        Some(Err(why)) => vec![Case::unreadable("sampling.json", why)],
        Some(Ok(File { sets, cases })) => {
            let sets = Rc::new(sets);
            cases.into_iter().map(|sample| case(Rc::clone(&sets), sample)).collect()
        }
    }
}

/// The error is the number of lists that differ.
fn case(sets: Rc<Vec<Set>>, sample: Sample) -> Case {
    let name = format!("set {}, {} shots, seed {}", sample.set, sample.shots, sample.seed);
    Case::new(name, move || {
        let set = &sets[sample.set];
        let shots = usize::try_from(sample.shots).unwrap_or(0);
        let (train, val) = few_shot(&set.train, &set.val, shots, sample.seed);
        let mut wrong = Vec::new();
        if train != sample.train {
            wrong.push("train".to_owned());
        }
        if val != sample.val {
            wrong.push("val".to_owned());
        }
        let labels: Vec<usize> = train.iter().map(|&i| set.train[i]).collect();
        for (half, expected) in &sample.classes {
            let cut = subsample(&labels, if half == "base" { Half::Base } else { Half::New });
            let got: BTreeSet<(usize, String)> = cut
                .indices
                .iter()
                .zip(&cut.labels)
                .map(|(&i, &label)| (label, format!("c{}", labels[i])))
                .collect();
            let classes =
                cut.classes.iter().enumerate().map(|(label, old)| (label, format!("c{old}")));
            if got != expected.iter().cloned().collect() || !got.iter().cloned().eq(classes) {
                wrong.push(half.clone());
            }
        }
        Outcome { error: wrong.len() as f64, limit: 0.0, note: wrong.join(" ") }
    })
}
