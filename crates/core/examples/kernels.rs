//! How many operations per second the GEMM reaches on this machine, for the shapes of CLIP's towers and every format, and
//! how many the machine has to give; a line of JSON for each shape and format. Natively and, built for
//! wasm32-unknown-unknown, in Node.js; bench/kernels.mjs does both.
//! `RAYON_NUM_THREADS=1 cargo run --release -p cocoop-core --example kernels`

mod host;

use cocoop_core::kernels::Isa;
use cocoop_core::kernels::gemm::{Format, Packed, gemm};
use cocoop_core::random::{Purpose, Random};
use serde_json::json;

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
/// How long one shape is measured in one format, nanoseconds; the best run counts.
const TIME: u64 = 300_000_000;

fn main() {
    let isa = Isa::get().name();
    for (m, k, n) in SHAPES {
        let mut random = Random::new(1, Purpose::Init, [0, 0]);
        let mut normal =
            |len: usize| -> Vec<f32> { (0..len).map(|_| random.normal() as f32).collect() };
        let (a, weight, mut c) = (normal(m * k), normal(k * n), vec![0.0; m * n]);
        for (name, format, planes) in [
            ("f32", Format::F32, 1),
            ("f16", Format::F16, 1),
            ("q8", Format::Q8, 1),
            ("q8, two planes", Format::Q8, 2),
            ("q4", Format::Q4, 1),
        ] {
            let b = Packed::encode(&weight, k, n, format, planes);
            gemm(&mut c, &a, &b, None, false); // buffers are made, the weight's sums are found
            let seconds = best(|| gemm(&mut c, &a, &b, None, false));
            // Beside each figure, as the machine gives more at one time than at another.
            let peak = peak::gflops().map(|floats| match format {
                Format::F32 | Format::F16 => floats,
                Format::Q8 | Format::Q4 => floats * peak::bytes_per_float() / planes as f64,
            });
            let gops = 2e-9 * (m * k * n) as f64 / seconds;
            let shape = format!("{m}x{k}x{n}");
            let line =
                json!({"shape": shape, "format": name, "isa": isa, "gops": gops, "peak": peak});
            host::print(&line.to_string());
        }
    }
}

/// The shortest time of `work`, seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let (started, mut best) = (host::nanoseconds(), u64::MAX);
    loop {
        let run = host::nanoseconds();
        work();
        let now = host::nanoseconds();
        best = best.min(now - run);
        if now - started > TIME {
            return best as f64 * 1e-9;
        }
    }
}

/// Multiply-adds in registers alone.
mod peak {
    /// Rounds of one measurement: some tenths of a millisecond.
    const ROUNDS: usize = 100_000;

    /// Billions of multiplications and additions of floats per second on one core, where it is known how to ask.
    pub fn gflops() -> Option<f64> {
        let lanes = lanes()?;
        let seconds = super::best(|| {
            std::hint::black_box(run());
        });
        Some(2e-9 * (ROUNDS * SUMS * lanes) as f64 / seconds)
    }

    /// How many products of bytes the machine computes in the time of one of floats. Two vectors of bytes take two
    /// multiplications where one instruction sums their products, three where none does; as many floats take eight.
    pub fn bytes_per_float() -> f64 {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avxvnni") || is_x86_feature_detected!("avx512vnni") {
            return 4.0;
        }
        8.0 / 3.0
    }

    /// Sums that do not wait for each other.
    const SUMS: usize = 12;

    #[cfg(target_arch = "x86_64")]
    use x86::{lanes, run};
    #[cfg(target_arch = "x86_64")]
    mod x86 {
        use super::{ROUNDS, SUMS};
        use core::arch::x86_64::{
            _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_cvtss_f32, _mm512_fmadd_ps,
            _mm512_set1_ps,
        };
        use std::hint::black_box;

        pub fn lanes() -> Option<usize> {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            fma.then(|| if is_x86_feature_detected!("avx512f") { 16 } else { 8 })
        }

        pub fn run() -> f32 {
            // SAFETY: `lanes` detected it.
            if lanes() == Some(16) { unsafe { avx512() } } else { unsafe { avx2() } }
        }

        #[target_feature(enable = "avx2,fma")]
        fn avx2() -> f32 {
            let x = _mm256_set1_ps(black_box(0.999));
            let mut sums = [x; SUMS];
            for _ in 0..ROUNDS {
                sums = sums.map(|sum| _mm256_fmadd_ps(sum, x, x));
            }
            sums.into_iter().map(|sum| _mm256_cvtss_f32(sum)).sum()
        }

        #[target_feature(enable = "avx512f")]
        fn avx512() -> f32 {
            let x = _mm512_set1_ps(black_box(0.999));
            let mut sums = [x; SUMS];
            for _ in 0..ROUNDS {
                sums = sums.map(|sum| _mm512_fmadd_ps(sum, x, x));
            }
            sums.into_iter().map(|sum| _mm512_cvtss_f32(sum)).sum()
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn lanes() -> Option<usize> {
        None
    }
    #[cfg(not(target_arch = "x86_64"))]
    fn run() -> f32 {
        0.0
    }
}
