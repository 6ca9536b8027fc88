//! How many operations per second the GEMM reaches on this machine, for the shapes of CLIP's towers and every format.
//! `cargo run --release -p cocoop-core --example kernels`; `RAYON_NUM_THREADS=1` for one core.

use cocoop_core::kernels::Isa;
use cocoop_core::kernels::gemm::{Format, Packed, gemm};
use cocoop_core::random::{Purpose, Random};
use std::time::{Duration, Instant};

/// (rows, inputs, outputs): ViT-B/32's layers for one image, a few rows of text, ViT-B/16's for eight images.
const SHAPES: [(usize, usize, usize); 8] = [
    (50, 768, 768),
    (50, 768, 2304),
    (50, 768, 3072),
    (50, 3072, 768),
    (1, 768, 3072),
    (16, 768, 3072),
    (1576, 768, 3072),
    (1576, 3072, 768),
];
/// How long one shape is measured in one format; the best run counts.
const TIME: Duration = Duration::from_millis(300);

fn main() {
    println!("{}: billions of multiplications and additions per second", Isa::get().name());
    println!(
        "{:>16} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "rows x k x n", "f32", "f16", "q8", "q8 2x7", "q4"
    );
    for (m, k, n) in SHAPES {
        let mut random = Random::new(1, Purpose::Init, [0, 0]);
        let mut normal =
            |len: usize| -> Vec<f32> { (0..len).map(|_| random.normal() as f32).collect() };
        let (a, weight, mut c) = (normal(m * k), normal(k * n), vec![0.0; m * n]);
        print!("{:>16}", format!("{m}x{k}x{n}"));
        for (format, planes) in
            [(Format::F32, 1), (Format::F16, 1), (Format::Q8, 1), (Format::Q8, 2), (Format::Q4, 1)]
        {
            let b = Packed::encode(&weight, k, n, format, planes);
            gemm(&mut c, &a, &b, None, false); // buffers are made, the weight's sums are found
            let (started, mut best) = (Instant::now(), f64::MAX);
            while started.elapsed() < TIME {
                let run = Instant::now();
                gemm(&mut c, &a, &b, None, false);
                best = best.min(run.elapsed().as_secs_f64());
            }
            print!(" {:>8.1}", 2e-9 * (m * k * n) as f64 / best);
        }
        println!();
    }
}
