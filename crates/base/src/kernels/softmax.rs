//! Softmax of a row: of attention's scores and of the classes' logits. [`reference`] is the definition.
#![expect(
    clippy::inline_always,
    reason = "all of this must be compiled anew inside each instruction set's function"
)]

use super::simd::{Simd, for_each_simd};
use super::vector::exp;

/// `p` = softmax(`z`) of one row; returns ln Σ e^z. Shapes: `p`, `z` (any, equal, not empty).
/// # Panics
/// If the lengths differ.
pub fn softmax(p: &mut [f32], z: &[f32]) -> f32 {
    p.copy_from_slice(z);
    let (max, sum) = exponentials(p);
    p.iter_mut().for_each(|p| *p /= sum);
    max + sum.ln()
}

for_each_simd! {
    fn exponentials(p: &mut [f32]) -> (f32, f32) = in_place, Avx512
}

#[inline(always)]
fn in_place<S: Simd>(s: S, p: &mut [f32]) -> (f32, f32) {
    let max = largest(s, p);
    (max, exp_minus(s, p, max, 1.0))
}

/// `p` = e^(`scale`·(p - the largest)); returns their sum.
#[inline(always)]
pub(super) fn softmax_in_place<S: Simd>(s: S, p: &mut [f32], scale: f32) -> f32 {
    let max = largest(s, p);
    exp_minus(s, p, max, scale)
}

#[inline(always)]
fn largest<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (mut max, vectors) = (s.splat(f32::NEG_INFINITY), x.chunks_exact(S::LANES));
    let tail = vectors.remainder();
    for x in vectors {
        max = s.max(max, s.load(x));
    }
    if !tail.is_empty() {
        max = s.max(max, s.load_tail(tail, f32::NEG_INFINITY));
    }
    s.largest(max)
}

/// `p` = e^(`scale`·(p - `max`)), 0 where that is below e^-87; returns their sum.
#[inline(always)]
fn exp_minus<S: Simd>(s: S, p: &mut [f32], max: f32, scale: f32) -> f32 {
    let (minus_max, scale) = (s.splat(-max * scale), s.splat(scale));
    let least = exp(s, s.splat(f32::MIN));
    let (mut sum, mut vectors) = (s.splat(0.0), p.chunks_exact_mut(S::LANES));
    for p in &mut vectors {
        let e = s.sub(exp(s, s.madd(scale, s.load(p), minus_max)), least);
        sum = s.add(sum, e);
        s.store(p, e);
    }
    let (mut sum, tail) = (s.sum(sum), vectors.into_remainder());
    if !tail.is_empty() {
        let x = s.load_tail(tail, max);
        s.store_tail(tail, s.sub(exp(s, s.madd(scale, x, minus_max)), least));
        tail.iter().for_each(|e| sum += e);
    }
    sum
}

/// The definition, in f64.
#[cfg(test)]
fn reference(z: &[f32]) -> Vec<f64> {
    let e: Vec<f64> = z.iter().map(|&z| f64::from(z).exp()).collect();
    e.iter().map(|x| x / e.iter().sum::<f64>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tail_agrees_with_the_definition() {
        for n in (1..=70).chain([1000]) {
            let z: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() * 9.0 - 4.0).collect();
            let mut p = vec![0.0; n];
            let log_sum = softmax(&mut p, &z);
            let expected = z.iter().map(|&z| f64::from(z).exp()).sum::<f64>().ln();
            assert!((f64::from(log_sum) - expected).abs() < 2e-6, "{n}: {log_sum} {expected}");
            for (p, expected) in p.iter().zip(reference(&z)) {
                assert!((f64::from(*p) - expected).abs() < 1e-6 * expected.max(1e-3), "{n}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for at in 0..33 {
            let mut z = vec![0.5f32; 33];
            z[at] = f32::NAN;
            let mut p = vec![0.0; 33];
            softmax(&mut p, &z);
            assert!(p[at].is_nan(), "{at}");
        }
    }
}
