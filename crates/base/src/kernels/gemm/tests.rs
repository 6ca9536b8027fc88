//! Every kernel of this machine against plain loops, on every tail; and the formats against each other.

use super::*;
use crate::random::{Purpose, Random};

fn matrix(len: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, Purpose::Init, [0, 0]);
    (0..len).map(|_| random.uniform(-1.0, 1.0) as f32).collect()
}

fn kernels() -> Vec<Kernel> {
    let mut kernels = Kernel::all(Isa::Portable);
    if Isa::get() != Isa::Portable {
        kernels.extend(Kernel::all(Isa::get()));
    }
    kernels
}

/// `a`·`b`ᵀ + `bias` in doubles, for the values that the product really multiplies with.
fn expected(a: &[f32], b: &Packed, bias: &[f32]) -> Vec<f64> {
    let (k, values) = (b.k(), b.decode());
    let rows = a.chunks_exact(k).flat_map(|a| values.chunks_exact(k).map(move |b| (a, b)));
    let sums =
        rows.map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>());
    sums.zip(bias.iter().cycle()).map(|(sum, &bias)| sum + f64::from(bias)).collect()
}

/// The values that a quantised product gives `a`.
fn rounded(a: &[f32], k: usize, planes: usize) -> Vec<f32> {
    let mut levels = Vec::new();
    activations::levels(&mut levels, a, k, planes);
    let round = |(row, level): (&[f32], &Level)| -> Vec<f32> {
        row.iter()
            .map(|x| ((x - level.low) / level.step).round_ties_even() * level.step + level.low)
            .collect()
    };
    a.chunks_exact(k).zip(&levels).flat_map(round).collect()
}

fn check(kernel: Kernel, format: Format, planes: usize, (m, k, n): (usize, usize, usize)) {
    let (a, bias) = (matrix(m * k, 1), matrix(n, 3));
    let b = Packed::encode(&matrix(k * n, 2), k, n, format, planes);
    let seen = if format.is_quantised() { rounded(&a, k, planes) } else { a.clone() };
    let expected = expected(&seen, &b, &bias);
    let mut c = vec![1.0; m * n];
    gemm_by(kernel, &mut c, &a, &b, Some(&bias), false);
    let mut twice = c.clone();
    gemm_by(kernel, &mut twice, &a, &b, None, true);
    // Rounding of k sums of values below 1; in a quantised product a value at the middle of a step may go either way.
    let either = if format.is_quantised() { 2.0 / ((1 << (7 * planes)) - 1) as f32 } else { 0.0 };
    let limit = 2e-6 * k as f32 + 1e-5 + 1.1 * either;
    for (i, &x) in expected.iter().enumerate() {
        let (bias, x) = (bias[i % n], x as f32);
        assert!(
            (c[i] - x).abs() < limit,
            "{kernel:?} {format:?} {planes} {m}x{k}x{n} [{i}]: {} {x}",
            c[i]
        );
        assert!((twice[i] - 2.0 * x + bias).abs() < 2.0 * limit, "{kernel:?} {format:?}: added");
    }
}

fn check_all(shape: (usize, usize, usize)) {
    for kernel in kernels() {
        if kernel.word() == Word::Float {
            check(kernel, Format::F32, 1, shape);
            check(kernel, Format::F16, 1, shape);
            continue;
        }
        for planes in [1, 2] {
            check(kernel, Format::Q8, planes, shape);
            check(kernel, Format::Q4, planes, shape);
        }
    }
}

#[test]
fn every_height_agrees() {
    for m in 1..=26 {
        check_all((m, 7, 5));
    }
}

#[test]
fn every_number_of_outputs_agrees() {
    for n in (1..=17).chain([31, 32, 33, 40, 63, 66]) {
        check_all((5, 3, n));
    }
}

#[test]
fn every_length_of_the_sums_agrees() {
    for k in (1..=70).chain([255, 256, 257, 511, 513, 1023, 1024, 1025, 1100]) {
        check_all((3, k, 9));
    }
}

#[test]
fn a_large_product_over_many_blocks_and_threads_agrees() {
    check_all((MC * 2 + 5, 300, 130));
}

/// One tile: integers are the same on every machine, bit for bit, also at the ends of their ranges.
#[test]
fn tiles_are_exact() {
    let mut random = Random::new(5, Purpose::Init, [0, 0]);
    let mut below = |n: usize| random.uniform(0.0, n as f64) as usize;
    for kernel in kernels().into_iter().filter(|kernel| kernel.word() != Word::Float) {
        let (rows, panels) = kernel.shape();
        for case in 0..400 {
            let steps = if case % 4 == 0 { STEPS } else { 2 * (1 + below(STEPS / 2)) };
            let height = 1 + below(rows);
            let extreme = case % 3 == 0;
            let mut a_byte = || if extreme { 127 * below(2) } else { below(128) } as u32;
            let a: Vec<u32> = (0..height * A_STRIDE)
                .map(|_| match kernel.word() {
                    Word::Bytes => a_byte() | a_byte() << 8 | a_byte() << 16 | a_byte() << 24,
                    _ => a_byte() | a_byte() << 16,
                })
                .collect();
            let limit = if kernel.adds_pairs() { 64 } else { 127 }; // four of 64 are within `MAX_SUM`
            let mut weight = || if extreme { limit * 2 * below(2) } else { below(2 * limit + 1) } as i32 - limit as i32;
            let b: Vec<u32> = (0..panels * STEPS * NR)
                .map(|_| match kernel.word() {
                    Word::Bytes => u32::from_le_bytes(
                        [weight(), weight(), weight(), weight()].map(|w| w as u8),
                    ),
                    _ => u32::from(weight() as u16) | u32::from(weight() as u16) << 16,
                })
                .collect();
            let b_stride = STEPS * NR * 4;
            let x = Operands { a: &a, b: bytes_of(&b), b_stride, steps, height, add: false };
            let twice = |kernel: Kernel, tile: &mut [u32], x: Operands| {
                kernel.run(tile, x);
                kernel.run(tile, Operands { add: true, ..x });
            };
            let mut tile = [1; 12 * 32]; // nothing of it is to be left
            twice(kernel, &mut tile, x);
            let portable = if kernel.word() == Word::Bytes {
                Kernel::PortableBytes
            } else {
                Kernel::PortableHalves
            };
            for panel in 0..panels {
                for first in (0..height).step_by(portable.shape().0) {
                    let mut reference = [0; 12 * 32];
                    let height = portable.shape().0.min(height - first);
                    twice(
                        portable,
                        &mut reference,
                        Operands {
                            a: &a[first * A_STRIDE..],
                            b: &x.b[panel * x.b_stride..],
                            height,
                            ..x
                        },
                    );
                    for i in 0..height {
                        assert_eq!(
                            tile[((first + i) * panels + panel) * NR..][..NR],
                            reference[i * NR..][..NR],
                            "{kernel:?}, {steps} steps, row {} of panel {panel}",
                            first + i
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn rows_do_not_depend_on_their_neighbours() {
    let (k, n) = (600, 24);
    let a = matrix(40 * k, 1);
    for format in Format::ALL {
        let b = Packed::encode(&matrix(k * n, 2), k, n, format, 1);
        let product = |rows: Range<usize>| {
            let mut c = vec![0.0; rows.len() * n];
            gemm(&mut c, &a[rows.start * k..rows.end * k], &b, None, false);
            c
        };
        let all = product(0..40);
        for i in 0..40 {
            assert_eq!(product(i..i + 1), all[i * n..(i + 1) * n], "{format:?}, row {i}");
        }
    }
}

#[test]
fn a_row_that_is_not_finite_gives_one() {
    let (k, n) = (40, 8);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut a = matrix(2 * k, 1);
        a[37] = bad;
        for format in Format::ALL {
            let b = Packed::encode(&matrix(k * n, 2), k, n, format, 1);
            let mut c = vec![0.0; 2 * n];
            gemm(&mut c, &a, &b, None, false);
            assert!(c[..n].iter().all(|x| !x.is_finite()), "{format:?} {bad}");
            assert!(c[n..].iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn transposes_agree() {
    let (k, n) = (37, 21);
    let b = matrix(k * n, 4);
    let packed = Packed::new(&b, k, n);
    let transposed: Vec<f32> = (0..k * n).map(|i| b[i % k * n + i / k]).collect();
    assert_eq!(packed.decode(), transposed);
    assert_eq!(Packed::transposed(&transposed, k, n).portable(), packed.portable());
    let back = packed.transpose();
    assert_eq!((back.k(), back.n(), back.decode()), (n, k, b));
}

/// Ends of the sixteen values, and what lies between, are the same in plain code and in this machine's instructions.
#[test]
fn groups_widen_alike() {
    let mut random = Random::new(6, Purpose::Init, [0, 0]);
    for ratio in [0, 1, 63, 64, 512, 1023, 1024, 8191, 16255, 16256] {
        let mut from = [0u8; packed::GROUP_BYTES];
        from.fill_with(|| random.uniform(0.0, 256.0) as u8);
        (0..NR).for_each(|o| {
            from[2 * o..2 * o + 2].copy_from_slice(&(ratio - ratio.min(o as u16)).to_le_bytes());
        });
        let (mut plain, mut wide) = ([0; 64], [0; 64]);
        widen::group(&mut plain, &from);
        widen::groups(&mut wide, &from);
        assert_eq!(plain, wide, "ratio {ratio}");
    }
}

/// Relative error of a weight, and of products with it, in each format.
#[test]
fn fewer_bits_lose_little() {
    let (m, k, n) = (20, 512, 64);
    let mut random = Random::new(7, Purpose::Init, [0, 0]);
    let mut normal =
        |len: usize| -> Vec<f32> { (0..len).map(|_| random.normal() as f32).collect() };
    let (a, weight) = (normal(m * k), normal(k * n));
    let exact = expected(&a, &Packed::transposed(&weight, k, n), &[0.0]);
    for (format, planes, of_weight, of_product) in [
        (Format::F16, 1, 3e-4, 3e-4),
        (Format::Q8, 1, 0.011, 0.018),
        (Format::Q8, 2, 0.011, 0.011),
        (Format::Q4, 1, 0.11, 0.11),
    ] {
        let b = Packed::encode(&weight, k, n, format, planes);
        let mut c = vec![0.0; m * n];
        gemm(&mut c, &a, &b, None, false);
        let error = |pairs: &mut dyn Iterator<Item = (f64, f64)>| {
            let (difference, size) =
                pairs.fold((0.0, 0.0), |(d, s), (x, y)| (d + (x - y) * (x - y), s + y * y));
            (difference / size).sqrt()
        };
        let decoded = b.decode();
        let weight_error =
            error(&mut decoded.iter().zip(&weight).map(|(&x, &y)| (x.into(), y.into())));
        let product_error = error(&mut c.iter().zip(&exact).map(|(&x, &y)| (x.into(), y)));
        println!(
            "{format:?}, {planes} planes: weight {weight_error:.5}, product {product_error:.5}"
        );
        assert!(
            weight_error < of_weight && product_error < of_product,
            "{format:?}: {weight_error} {product_error}"
        );
    }
}

#[test]
fn a_range_of_outputs_is_that_of_the_whole() {
    let (k, n) = (70, 40);
    for format in Format::ALL {
        let b = Packed::encode(&matrix(k * n, 2), k, n, format, 2);
        let part = b.outputs(8..29);
        assert_eq!((part.n(), part.planes()), (21, b.planes()));
        assert_eq!(part.decode(), b.decode()[8 * k..29 * k]);
    }
}

#[test]
fn portable_parts_come_back_and_wrong_ones_are_refused() {
    let (k, n) = (70, 20);
    for format in Format::ALL {
        let b = Packed::encode(&matrix(k * n, 2), k, n, format, 1);
        let (panels, scales) = b.portable();
        let again = Packed::from_portable(format, 1, k, n, panels.clone(), scales.clone()).unwrap();
        assert_eq!(again.decode(), b.decode());
        let short = panels.slice(1..);
        let mut other = scales.clone().unwrap_or_default();
        other.push(1.0);
        let bad = |planes, k, n, panels, scales| {
            let error = Packed::from_portable(format, planes, k, n, panels, scales)
                .err()
                .expect("it is refused");
            assert_eq!(error.code(), "bad_model", "{error}");
        };
        bad(1, k, n, short, scales.clone());
        bad(1, k, n, panels.clone(), Some(other));
        bad(3, k, n, panels.clone(), scales.clone());
        bad(1, 0, n, panels.clone(), scales.clone());
        bad(1, k, n + 8, panels, scales);
    }
    let (panels, _) = Packed::encode(&matrix(k * n, 2), k, n, Format::Q8, 1).portable();
    assert!(Packed::from_portable(Format::Q8, 1, k, n, panels, Some(vec![f32::NAN; 24])).is_err());
}

#[test]
fn sums_are_those_of_the_weights_and_say_whether_pairs_fit() {
    let (k, n) = (48, 16);
    let mut seen = [false; 2];
    for largest in [20, 40, 60, 64, 65, 127] {
        let panels: Vec<u8> = (0..k * n)
            .map(|i| ((i * 7919 + 13) as i32 % (2 * largest + 1) - largest) as u8)
            .collect();
        let scales = Some(vec![1.0; n]);
        let b = Packed::from_portable(Format::Q8, 1, k, n, panels.into(), scales).unwrap();
        let rows = b.decode();
        let fits = |row: &[f32]| {
            row.chunks(8)
                .flat_map(|of| [[0, 1, 4, 5], [2, 3, 6, 7]].map(|at| at.map(|i| of[i])))
                .all(|of: [f32; 4]| {
                    [1.0, -1.0]
                        .iter()
                        .all(|sign| of.iter().map(|x| (x * sign).max(0.0)).sum::<f32>() <= 258.0)
                })
        };
        let expected: Vec<f32> = rows.chunks(k).map(|row| row.iter().sum()).collect();
        assert_eq!(b.sums().of_outputs, expected, "weights up to {largest}");
        assert_eq!(b.sums().pairs_fit, rows.chunks(k).all(fits), "weights up to {largest}");
        seen[usize::from(b.sums().pairs_fit)] = true;
    }
    assert_eq!(seen, [true; 2], "both answers must come");
}
