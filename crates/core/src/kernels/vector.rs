//! Elementwise loops: QuickGELU and its derivative, sums. The exponential is our own, because one that the compiler
//! can vectorise is ten times faster than a call for each element. `f32::exp` is the reference.

use super::{for_each_isa, for_rows};

/// 1/√(2π)
const INV_SQRT_2PI: f32 = 0.398_942_3;
/// Elements that one task takes.
const GRAIN: usize = 1 << 14;

/// e^`x` for any finite `x`: within 2 units in the last place of `f32::exp` where that is a normal number; below
/// -87 the result is e^-87, about 1e-38, above 88 it is e^88. No branch, so loops over it vectorise.
#[inline]
#[expect(clippy::excessive_precision, reason = "the constants are exact in binary")]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to an integer, which stands in the low bits
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_375) - n * -2.121_944_4e-4; // ln 2 in two parts: the first product is exact
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_1e-1;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
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

for_each_isa! {
    fn quick_gelu_part(y: &mut [f32], x: &[f32]) = quick_gelu_body
}
for_each_isa! {
    fn quick_gelu_backward_part(dx: &mut [f32], x: &[f32]) = quick_gelu_backward_body
}

for_each_isa! {
    fn gelu_part(y: &mut [f32], x: &[f32]) = gelu_body
}
for_each_isa! {
    fn gelu_backward_part(dx: &mut [f32], x: &[f32]) = gelu_backward_body
}

/// (Φ(x), e^(-x²/2)), Φ within 1e-7: Abramowitz and Stegun 7.1.26.
#[inline]
fn normal(x: f32) -> (f32, f32) {
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let bell = exp(-0.5 * x * x);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152_1;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_72;
    let p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * bell; // Φ(-|x|)
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn gelu_body(y: &mut [f32], x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * normal(x).0;
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn gelu_backward_body(dx: &mut [f32], x: &[f32]) {
    for (dx, &x) in dx.iter_mut().zip(x) {
        let (phi, bell) = normal(x);
        *dx *= phi + x * bell * INV_SQRT_2PI;
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn quick_gelu_body(y: &mut [f32], x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x / (1.0 + exp(-1.702 * x));
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn quick_gelu_backward_body(dx: &mut [f32], x: &[f32]) {
    for (dx, &x) in dx.iter_mut().zip(x) {
        let s = 1.0 / (1.0 + exp(-1.702 * x));
        *dx *= s + 1.702 * x * s * (1.0 - s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_of_the_library() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let (ours, library) = (exp(x), x.exp());
            assert!(
                (ours - library).abs() <= 2.0 * f32::EPSILON * library,
                "{x}: {ours} {library}"
            );
            x += 0.003_7;
        }
        assert_eq!((exp(0.0), exp(-1000.0), exp(-87.0)), (1.0, exp(-87.0), exp(-90.0)));
        assert!(exp(1000.0).is_finite());
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
        let (x, h) = ([-3.0f32, -0.5, 0.0, 0.4, 2.0], 1e-2);
        let at = |dx: f32| {
            let mut y = [0.0; 5];
            quick_gelu(&mut y, &x.map(|x| x + dx));
            y
        };
        let (up, down, mut slope) = (at(h), at(-h), [1.0; 5]);
        quick_gelu_backward(&mut slope, &x);
        for i in 0..5 {
            assert!((slope[i] - (up[i] - down[i]) / (2.0 * h)).abs() < 1e-3); // O(h²) + f32 rounding / h
        }
    }
}
