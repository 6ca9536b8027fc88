//! Milliseconds per image of a synthetic CLIP's image tower (fixtures/README.md), for docs/models.md:
//! `cargo run --release -p cocoop-core --example image_speed -- [BATCH] MODEL...`, MODEL such as RN50. All cores, or as
//! many as `RAYON_NUM_THREADS` says. It prints the least and the median of at least three
//! runs, and of as many as fit into five seconds.

#[path = "../tests/parity/synthetic.rs"]
mod synthetic;

use cocoop_core::kernels::Isa;
use cocoop_core::model::block::Workspace;
use std::time::{Duration, Instant};

const RUNS: usize = 3;
const TIME: Duration = Duration::from_secs(5);

fn main() {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let batch = names.first().and_then(|first| first.parse().ok());
    if batch.is_some() {
        names.remove(0);
    }
    let batch: usize = batch.unwrap_or(1);
    println!("{}, {} threads, batch {batch}", Isa::get().name(), rayon::current_num_threads());
    for name in names {
        let dims = synthetic::dims(&name).expect("a model of fixtures/clip_family.json");
        let clip = synthetic::clip(&dims, "");
        let pixels: Vec<f32> =
            (0..batch).flat_map(|k| synthetic::image(k, dims.image_size)).collect();
        let tower = clip.image().expect("the synthetic tensors are whole");
        let mut work = Workspace::inference();
        let (mut features, mut times) = (Vec::new(), Vec::new());
        let begin = Instant::now();
        while times.len() <= RUNS || begin.elapsed() < TIME {
            let start = Instant::now();
            tower.encode(&clip.ops, &mut work, &mut features, &pixels);
            times.push(start.elapsed().as_secs_f64() * 1e3 / batch as f64);
            assert!(features.iter().all(|x| x.is_finite()));
        }
        times.remove(0); // which also made the buffers
        times.sort_by(f64::total_cmp);
        println!("{name}: {:.1} ms, median {:.1}", times[0], times[times.len() / 2]);
    }
}
