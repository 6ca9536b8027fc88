//! Rows and time of the text tower at ViT-B/16's size (12 blocks, width 512) for the learned prompts of 50 classes, laid
//! out as a trie, packed without sharing, and padded to 77 rows each as in the original. The three alternate in one run.
//! `cargo run --release -p cocoop-core --example text_layouts -- [--json] [--rounds 5]`

#[path = "../tests/parity/synthetic.rs"]
#[allow(dead_code, reason = "the images are for the tests")]
mod synthetic;

use cocoop_core::model::block::Workspace;
use cocoop_core::ops::Cpu;
use cocoop_core::prompt::learner::Learner;
use cocoop_core::prompt::plan::Rows;
use cocoop_core::prompt::template::{ClassTokenPosition, around_ctx, token_ids};
use cocoop_core::prompt::trie::{Sharing, Trie};
use serde_json::{Value, json};
use std::time::Instant;

/// The first 50 classes of CIFAR-100.
const CLASSES: &str = "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly \
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin \
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man \
    maple_tree motorcycle mountain";
const N_CTX: usize = 4;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| args.iter().position(|arg| arg == flag).and_then(|i| args.get(i + 1));
    let rounds: usize =
        after("--rounds").map_or(5, |n| n.parse().expect("--rounds takes a number"));
    let clip = synthetic::clip(&synthetic::dims("ViT-B/16").expect("a known model"), "");
    let (width, text) = (clip.config.text.width, clip.text().expect("whole"));
    let ctx = Learner::random_ctx(N_CTX, width, 1);
    let prompts: Vec<_> = CLASSES
        .split_whitespace()
        .map(|name| {
            around_ctx(name, 0, N_CTX, false, ClassTokenPosition::End, 77).expect("a short name")
        })
        .collect();
    let tokens = clip.tokens(&token_ids(&prompts)).expect("whole");
    let layouts = [Sharing::Trie, Sharing::Packed, Sharing::Padded(77)].map(|sharing| {
        let all_leave = matches!(sharing, Sharing::Padded(_)); // the original computes every row of every block
        Rows::new(&Cpu, &Trie::new(&prompts, sharing), 1, all_leave)
    });
    // [forward, forward and backward][layout][round], seconds
    let mut times = [const { [const { Vec::new() }; 3] }; 2];
    let mut work = Workspace::training(clip.config.text.layers);
    let (mut x, mut features) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        for (l, rows) in layouts.iter().enumerate() {
            let start = Instant::now();
            rows.embed(&mut x, text, &tokens, &ctx, N_CTX, &[]);
            text.encode(&Cpu, &mut work, &mut features, &x, &rows.plan);
            let forward = start.elapsed().as_secs_f64();
            let dx =
                text.backward(&Cpu, &mut work, &vec![1e-3; features.len()], &rows.plan, rows.len());
            assert_eq!(dx.len(), x.len());
            if round > 0 {
                times[0][l].push(forward); // the first round packs the transposed weights
                times[1][l].push(start.elapsed().as_secs_f64());
            }
        }
    }
    let rows: Vec<usize> = layouts.iter().map(Rows::len).collect();
    let mut report = Vec::new();
    for (l, (peer, goal)) in [(1, ("packed", Value::Null)), (2, ("padded", json!(10)))] {
        let ratio = rows[l] as f64 / rows[0] as f64;
        report.push(json!({"name": format!("text rows, 50 classes, trie against {peer}"), "peer": peer, "ours": rows[0],
            "theirs": rows[l], "unit": "rows", "ratio": ratio, "goal": null, "spread": 0}));
        for (t, what) in ["forward", "forward and backward"].iter().enumerate() {
            let (ours, theirs) = (median(&times[t][0]), median(&times[t][l]));
            let spread = spread(&times[t][0]).max(spread(&times[t][l]));
            report.push(json!({"name": format!("text encoding, 50 classes, {what}, trie against {peer}"), "peer": peer,
                "ours": ours * 1e3, "theirs": theirs * 1e3, "unit": "ms", "ratio": theirs / ours, "goal": goal, "spread": spread}));
        }
    }
    if args.iter().any(|arg| arg == "--json") {
        println!("{}", Value::from(report));
        return;
    }
    println!("{:<68} {:>10} {:>10}  unit  ratio   goal  spread", "name", "ours", "theirs");
    for row in report {
        let number = |key: &str| row[key].as_f64().map_or("-".into(), |x| format!("{x:.1}"));
        let spread = row["spread"].as_f64().unwrap_or(0.0) * 100.0;
        println!(
            "{:<68} {:>10} {:>10}  {:<4}  {:>5}  {:>5}  {spread:.0} %",
            row["name"].as_str().unwrap_or_default(),
            number("ours"),
            number("theirs"),
            row["unit"].as_str().unwrap_or_default(),
            number("ratio"),
            number("goal"),
        );
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(values: &[f64]) -> f64 {
    sorted(values)[values.len() / 2]
}

/// (largest - smallest) / median
fn spread(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    (sorted[sorted.len() - 1] - sorted[0]) / median(values)
}
