//! Where the time of a forward pass goes: the milliseconds of each kind of operation, on models with synthetic weights, a
//! line of JSON for each. It runs natively and, built for wasm32-unknown-unknown, in Node.js; bench/profile.mjs does both.
//! `RAYON_NUM_THREADS=1 cargo run --release -p cocoop-core --example profile`

#[path = "../tests/parity/synthetic.rs"]
#[allow(dead_code, reason = "the rest is for the tests")]
mod synthetic;

mod host;

use cocoop_core::kernels::conv::Window;
use cocoop_core::kernels::{Isa, attention};
use cocoop_core::model::block::Workspace;
use cocoop_core::model::clip::Clip;
use cocoop_core::ops::{Activation, Cpu, Matrix, Ops};
use cocoop_core::prompt::learned::Learned;
use cocoop_core::prompt::learner::{Learner, MetaNet};
use cocoop_core::prompt::template::ClassTokenPosition;
use cocoop_core::prompt::trie::Sharing;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The classes of CIFAR-100.
const CLASSES: &str = "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly \
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin \
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man \
    maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain \
    plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake \
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle \
    wardrobe whale willow_tree wolf woman worm";
const N_CTX: usize = 4;
const ROUNDS: usize = 9;

const PARTS: [&str; 5] = ["linear", "attention", "layer norm", "activation", "copies"];
const LINEAR: usize = 0;
const ATTENTION: usize = 1;
const NORM: usize = 2;
const ACTIVATION: usize = 3;
const COPIES: usize = 4;

/// [`Cpu`], with a clock around every operation.
#[derive(Default)]
struct Timed {
    /// Nanoseconds of each of [`PARTS`].
    spent: [AtomicU64; PARTS.len()],
}

impl Timed {
    fn during<T>(&self, part: usize, work: impl FnOnce() -> T) -> T {
        let start = host::nanoseconds();
        let result = work();
        self.spent[part].fetch_add(host::nanoseconds() - start, Ordering::Relaxed);
        result
    }

    fn take(&self) -> [f64; PARTS.len()] {
        std::array::from_fn(|part| self.spent[part].swap(0, Ordering::Relaxed) as f64 * 1e-6)
    }
}

type Buffer = <Cpu as Ops>::Buffer;
type Linear = <Cpu as Ops>::Linear;
type Norm = <Cpu as Ops>::Norm;
type Rows = <Cpu as Ops>::Rows;

/// Each of these is the method of [`Cpu`], timed.
macro_rules! timed {
    ($($part:ident: fn $name:ident($($arg:ident: $ty:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $name(&self, $($arg: $ty),*) $(-> $result)? {
            self.during($part, || Cpu.$name($($arg),*))
        })*
    };
}

#[rustfmt::skip]
impl Ops for Timed {
    type Buffer = Buffer;
    type Linear = Linear;
    type Norm = Norm;
    type Plan = attention::Plan;
    type Rows = Rows;

    fn new_linear(&self, weight: Matrix, bias: Option<Vec<f32>>) -> Linear {
        Cpu.new_linear(weight, bias)
    }
    fn new_norm(&self, weight: Vec<f32>, bias: Vec<f32>) -> Norm {
        Cpu.new_norm(weight, bias)
    }
    fn new_plan(&self, plan: attention::Plan) -> attention::Plan {
        Cpu.new_plan(plan)
    }
    fn new_rows(&self, rows: Vec<u32>) -> Rows {
        Cpu.new_rows(rows)
    }

    timed! {
        COPIES: fn upload(to: &mut Buffer, from: &[f32]);
        COPIES: fn download(to: &mut Vec<f32>, from: &Buffer);
        COPIES: fn copy(to: &mut Buffer, from: &Buffer);
        COPIES: fn zero(to: &mut Buffer, len: usize);
        LINEAR: fn linear(y: &mut Buffer, x: &Buffer, layer: &Linear, accumulate: bool);
        LINEAR: fn linear_backward(dx: &mut Buffer, dy: &Buffer, layer: &Linear, accumulate: bool);
        NORM: fn layer_norm(y: &mut Buffer, x: &Buffer, norm: &Norm);
        NORM: fn layer_norm_backward(dx: &mut Buffer, dy: &Buffer, x: &Buffer, norm: &Norm);
        ATTENTION: fn attention(out: &mut Buffer, q: &Buffer, kv: &Buffer, plan: &attention::Plan, heads: attention::Heads);
        ATTENTION: fn attention_backward(dq: &mut Buffer, dkv: &mut Buffer, dout: &Buffer, q: &Buffer, kv: &Buffer, plan: &attention::Plan, heads: attention::Heads);
        ACTIVATION: fn activation(y: &mut Buffer, x: &Buffer, activation: Activation);
        ACTIVATION: fn activation_backward(dx: &mut Buffer, x: &Buffer, activation: Activation);
        LINEAR: fn conv(y: &mut Buffer, x: &Buffer, layer: &Linear, window: Window, patches: &mut Buffer, accumulate: bool, relu: bool);
        COPIES: fn average_pool(y: &mut Buffer, x: &Buffer, size: usize, window: usize, channels: usize);
        COPIES: fn gather(y: &mut Buffer, x: &Buffer, rows: &Rows, width: usize);
        COPIES: fn scatter_add(y: &mut Buffer, x: &Buffer, rows: &Rows, width: usize);
    }
}

fn main() {
    for name in ["ViT-B/32", "ViT-B/16"] {
        let dims = synthetic::dims(name).expect("a known model");
        let clip = Clip::load(Timed::default(), Arc::new(synthetic::weights(&dims, "")), "")
            .expect("the synthetic tensors are whole");
        let text = clip.text().expect("as above");
        let (pixels, mut work) = (synthetic::image(0, dims.image_size), Workspace::inference());
        measure(&clip, &format!("{name} image"), || {
            std::hint::black_box(clip.image_features(&mut work, &pixels).expect("as above"));
        });
        if name == "ViT-B/32" {
            continue;
        }
        // The text tower of both is the same.
        let classnames: Vec<String> = CLASSES.split_whitespace().map(String::from).collect();
        let (embed_dim, width) = (clip.config.embed_dim, text.width());
        let net = MetaNet::random(embed_dim, embed_dim / 16, width, 1);
        let ctx = Learner::random_ctx(N_CTX, width, 1);
        let learner = Learner::new(ctx, N_CTX, width, false, Some(net));
        let position = ClassTokenPosition::End;
        let mut learned = Learned::new(learner, &classnames, position, 77, Sharing::Trie)
            .expect("short class names");
        let tokens = clip.tokens(&learned.token_ids()).expect("as above");
        let (rows, features) =
            (learned.rows_per_image(), vec![(1.0 / embed_dim as f32).sqrt(); embed_dim]);
        measure(&clip, &format!("CoCoOp text, 100 classes, {rows} rows"), || {
            std::hint::black_box(
                learned.forward(&clip, &tokens, &mut work, &features).expect("as above"),
            );
        });
    }
}

/// Milliseconds of one run, and of its parts.
type Round = (f64, [f64; PARTS.len()]);

/// Prints the medians of `work`'s parts in milliseconds; the first run, which allocates, does not count.
fn measure(clip: &Clip<Timed>, name: &str, mut work: impl FnMut()) {
    let mut rounds: Vec<Round> = Vec::new();
    for round in 0..=ROUNDS {
        clip.ops.take();
        let start = host::nanoseconds();
        work();
        let all = (host::nanoseconds() - start) as f64 * 1e-6;
        if round > 0 {
            rounds.push((all, clip.ops.take()));
        }
    }
    let sorted = |value: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (all, middle) = (sorted(&|round| round.0), ROUNDS / 2);
    let mut parts: Map<String, Value> = PARTS
        .iter()
        .enumerate()
        .map(|(part, name)| ((*name).into(), json!(sorted(&|round| round.1[part])[middle])))
        .collect();
    let other = sorted(&|round| round.0 - round.1.iter().sum::<f64>())[middle];
    parts.insert("other".into(), json!(other));
    let spread = (all[ROUNDS - 1] - all[0]) / all[middle];
    let isa = Isa::get().name();
    let line =
        json!({"name": name, "isa": isa, "ms": all[middle], "spread": spread, "parts": parts});
    host::print(&line.to_string());
}
