//! Elementwise loops: QuickGELU and GELU with their derivatives, sums. The exponential is our own, because one that works
//! on vectors is ten times faster than a call for each element. The library's functions are the reference (tests).
#![expect(
    clippy::inline_always,
    reason = "bodies must be compiled anew inside each instruction set's function"
)]

use super::for_rows;
use super::simd::{Simd, for_each_simd};

/// Elements that one task takes.
const GRAIN: usize = 1 << 14;

/// e^`x` in every lane: within 2 units in the last place of `f32::exp` where that is a normal number; below -87 the
/// result is e^-87, about 1e-38, above 88 it is e^88; what is not finite becomes NaN.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "the constants are exact in binary")]
pub(super) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let round = s.splat(12_582_912.0); // 1.5·2²³: adding it rounds to an integer, which stands in the low bits
    let one = s.madd(x, s.splat(0.0), s.splat(1.0)); // NaN where x is not finite: the bounds might hide it
    let x = s.max(s.splat(-87.0), s.min(s.splat(88.0), x));
    let shifted = s.madd(x, s.splat(std::f32::consts::LOG2_E), round);
    let n = s.sub(shifted, round);
    let r = s.madd(n, s.splat(-0.693_359_375), x); // ln 2 in two parts: the first product is exact
    let r = s.madd(n, s.splat(2.121_944_4e-4), r);
    let p = s.splat(1.987_569_2e-4);
    let p = s.madd(p, r, s.splat(1.398_199_9e-3));
    let p = s.madd(p, r, s.splat(8.333_452e-3));
    let p = s.madd(p, r, s.splat(4.166_579_6e-2));
    let p = s.madd(p, r, s.splat(1.666_666_5e-1));
    let p = s.madd(p, r, s.splat(5.000_000_1e-1));
    let p = s.add(s.madd(s.mul(p, r), r, r), one);
    s.mul(p, s.exp2_of_bits(shifted))
}

/// `y` = x·sigmoid(1.702·x), the activation of `OpenAI`'s models. Shapes: `y`, `x` (any, equal).
/// # Panics
/// If the lengths differ.
pub fn quick_gelu(y: &mut [f32], x: &[f32]) {
    assert_eq!(y.len(), x.len());
    for_rows(y, 1, GRAIN, |first, y| quick_gelu_part(y, &x[first..]));
}

/// `dx` = `dx`·d QuickGELU/dx at `x`. Shapes: `dx`, `x` (any, equal).
/// # Panics
/// If the lengths differ.
pub fn quick_gelu_backward(dx: &mut [f32], x: &[f32]) {
    assert_eq!(dx.len(), x.len());
    for_rows(dx, 1, GRAIN, |first, dx| quick_gelu_backward_part(dx, &x[first..]));
}

/// `y` = x·Φ(x), Φ the normal distribution. Shapes: `y`, `x` (any, equal).
/// # Panics
/// If the lengths differ.
pub fn gelu(y: &mut [f32], x: &[f32]) {
    assert_eq!(y.len(), x.len());
    for_rows(y, 1, GRAIN, |first, y| gelu_part(y, &x[first..]));
}

/// `dx` = `dx`·d GELU/dx at `x`. Shapes: `dx`, `x` (any, equal).
/// # Panics
/// If the lengths differ.
pub fn gelu_backward(dx: &mut [f32], x: &[f32]) {
    assert_eq!(dx.len(), x.len());
    for_rows(dx, 1, GRAIN, |first, dx| gelu_backward_part(dx, &x[first..]));
}

/// `y` += `x`.
/// # Panics
/// If the lengths differ.
pub fn add(y: &mut [f32], x: &[f32]) {
    assert_eq!(y.len(), x.len());
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// Defines `$part`, which replaces every y by `$function` of y and x, in vectors.
macro_rules! elementwise {
    ($part:ident, $body:ident = $function:ident) => {
        for_each_simd! {
            fn $part(y: &mut [f32], x: &[f32]) = $body, Avx512
        }
        #[inline(always)]
        fn $body<S: Simd>(s: S, y: &mut [f32], x: &[f32]) {
            for (y, x) in y.chunks_mut(S::LANES).zip(x.chunks(S::LANES)) {
                if y.len() == S::LANES && x.len() == S::LANES {
                    s.store(y, $function(s, s.load(y), s.load(x)));
                } else {
                    let value = $function(s, s.load_tail(y, 0.0), s.load_tail(&x[..y.len()], 0.0));
                    s.store_tail(y, value);
                }
            }
        }
    };
}

elementwise!(quick_gelu_part, quick_gelu_body = of_quick_gelu);
elementwise!(quick_gelu_backward_part, quick_gelu_backward_body = of_quick_gelu_backward);
elementwise!(gelu_part, gelu_body = of_gelu);
elementwise!(gelu_backward_part, gelu_backward_body = of_gelu_backward);

/// 1 + e^(-1.702·x)
#[inline(always)]
fn one_plus<S: Simd>(s: S, x: S::V) -> S::V {
    s.add(s.splat(1.0), exp(s, s.mul(s.splat(-1.702), x)))
}

#[inline(always)]
fn of_quick_gelu<S: Simd>(s: S, _: S::V, x: S::V) -> S::V {
    s.div(x, one_plus(s, x))
}

/// dx·σ·(1 + 1.702·x·(1 - σ)), σ = sigmoid(1.702·x)
#[inline(always)]
fn of_quick_gelu_backward<S: Simd>(s: S, dx: S::V, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let sigmoid = s.div(one, one_plus(s, x));
    let slope = s.madd(s.mul(s.splat(1.702), x), s.sub(one, sigmoid), one);
    s.mul(dx, s.mul(sigmoid, slope))
}

/// (Φ(-|x|), e^(-x²/2)), Φ within 1e-7: Abramowitz and Stegun 7.1.26.
#[inline(always)]
fn normal<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let one = s.splat(1.0);
    let abs = s.max(s.sub(s.splat(0.0), x), x);
    let t = s.madd(s.splat(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2), abs, one);
    let t = s.div(one, t);
    let bell = exp(s, s.mul(s.mul(s.splat(-0.5), x), x));
    let p = s.splat(1.061_405_4);
    let p = s.madd(p, t, s.splat(-1.453_152_1));
    let p = s.madd(p, t, s.splat(1.421_413_8));
    let p = s.madd(p, t, s.splat(-0.284_496_72));
    let p = s.madd(p, t, s.splat(0.254_829_6));
    (s.mul(s.mul(s.splat(0.5), s.mul(p, t)), bell), bell)
}

/// x·Φ(x) = max(x, 0) - |x|·Φ(-|x|)
#[inline(always)]
fn of_gelu<S: Simd>(s: S, _: S::V, x: S::V) -> S::V {
    let abs = s.max(s.sub(s.splat(0.0), x), x);
    s.sub(s.max(s.splat(0.0), x), s.mul(abs, normal(s, x).0))
}

/// dx·(Φ(x) + x·bell/√2π)
#[inline(always)]
fn of_gelu_backward<S: Simd>(s: S, dx: S::V, x: S::V) -> S::V {
    let (tail, bell) = normal(s, x);
    let steep = s.mul(s.splat(f32::MAX), x);
    let sign = s.max(s.splat(-1.0), s.min(s.splat(1.0), steep));
    let phi = s.madd(sign, s.sub(s.splat(0.5), tail), s.splat(0.5));
    let density = s.mul(s.splat(0.398_942_3), bell);
    s.mul(dx, s.madd(x, density, phi))
}

#[cfg(test)]
mod tests {
    use super::*;

    elementwise!(exp_part, exp_body = of_exp);

    #[inline(always)]
    fn of_exp<S: Simd>(s: S, _: S::V, x: S::V) -> S::V {
        exp(s, x)
    }

    fn exp_of(x: f32) -> f32 {
        let mut y = [0.0];
        exp_part(&mut y, &[x]);
        y[0]
    }

    #[test]
    fn exp_is_within_two_units_of_the_library() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let (ours, library) = (exp_of(x), x.exp());
            assert!(
                (ours - library).abs() <= 2.0 * f32::EPSILON * library,
                "{x}: {ours} {library}"
            );
            x += 0.003_7;
        }
        assert_eq!((exp_of(0.0), exp_of(-1000.0)), (1.0, exp_of(-87.0)));
        assert!(exp_of(1000.0).is_finite() && exp_of(f32::NAN).is_nan());
    }

    #[test]
    fn every_tail_agrees_with_the_definition() {
        for n in 0..=33 {
            let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.7 - 9.0).collect();
            let sigmoid = |x: f32| 1.0 / (1.0 + (-1.702f64 * f64::from(x)).exp());
            let (mut y, mut dx) = (vec![0.0; n], vec![1.5; n]);
            quick_gelu(&mut y, &x);
            quick_gelu_backward(&mut dx, &x);
            for i in 0..n {
                let (v, s) = (f64::from(x[i]), sigmoid(x[i]));
                assert!((f64::from(y[i]) - v * s).abs() < 1e-6);
                let slope = s + 1.702 * v * s * (1.0 - s);
                assert!((f64::from(dx[i]) - 1.5 * slope).abs() < 2e-6);
            }
        }
    }

    /// Φ by its series in f64: Σ of x^(2k+1)/(1·3·…·(2k+1)) times the bell.
    fn phi(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for k in 1..400 {
            term *= x * x / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    #[test]
    fn gelu_agrees_with_the_definition_at_every_tail() {
        for n in 0..=33 {
            let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.5 - 8.0).collect();
            let (mut y, mut dx) = (vec![0.0; n], vec![1.5; n]);
            gelu(&mut y, &x);
            gelu_backward(&mut dx, &x);
            for i in 0..n {
                let v = f64::from(x[i]);
                assert!((f64::from(y[i]) - v * phi(v)).abs() < 2e-6, "{v}: {}", y[i]);
                let bell = (-0.5 * v * v).exp() / (2.0 * std::f64::consts::PI).sqrt();
                assert!((f64::from(dx[i]) - 1.5 * (phi(v) + v * bell)).abs() < 3e-6, "{v}");
            }
        }
    }

    #[test]
    fn backward_matches_central_differences() {
        type Map = fn(&mut [f32], &[f32]);
        let (x, h) = ([-3.0f32, -0.5, 0.0, 0.4, 2.0], 1e-2);
        for (forward, backward) in
            [(quick_gelu as Map, quick_gelu_backward as Map), (gelu, gelu_backward)]
        {
            let at = |dx: f32| {
                let mut y = [0.0; 5];
                forward(&mut y, &x.map(|x| x + dx));
                y
            };
            let (up, down, mut slope) = (at(h), at(-h), [1.0; 5]);
            backward(&mut slope, &x);
            for i in 0..5 {
                assert!((slope[i] - (up[i] - down[i]) / (2.0 * h)).abs() < 1e-3); // O(h²) + f32 rounding / h
            }
        }
    }
}
