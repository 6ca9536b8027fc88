//! LayerNorm over the rows of a matrix, forward and the gradient of its input (its weights are frozen).
//! eps is 1e-5, as in every CLIP. Sums are taken in interleaved parts, so that they vectorise.
#![expect(
    clippy::inline_always,
    reason = "bodies must be compiled anew inside each instruction set's function"
)]

use super::simd::{Simd, for_each_simd};
use super::{for_each_isa, for_rows};

/// Added to the variance.
const EPS: f32 = 1e-5;
const LANES: usize = 8;
const GRAIN: usize = 32;

/// `y` = (`x` - mean)·rstd·`weight` + `bias` for each row.
/// Shapes: `y`, `x` (rows, width); `weight`, `bias` (width).
/// # Panics
/// If the slices do not fit those shapes.
pub fn forward(y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32]) {
    let width = weight.len();
    assert!(y.len() == x.len() && bias.len() == width && x.len().is_multiple_of(width));
    for_rows(y, width, GRAIN, |first, y| forward_part(y, &x[first * width..], weight, bias));
}

/// `dx` += the gradient of the row's input, given `dy`, that of its result. Mean and deviation are taken anew from
/// `x`: that costs less than keeping them would in memory traffic.
/// Shapes: `dx`, `dy`, `x` (rows, width); `weight` (width).
/// # Panics
/// If the slices do not fit those shapes.
pub fn backward(dx: &mut [f32], dy: &[f32], x: &[f32], weight: &[f32]) {
    let width = weight.len();
    assert!(dx.len() == x.len() && dy.len() == x.len() && x.len().is_multiple_of(width));
    for_rows(dx, width, GRAIN, |first, dx| {
        backward_part(dx, &dy[first * width..], &x[first * width..], weight);
    });
}

for_each_simd! {
    fn forward_part(y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32]) = forward_body, Avx512
}
for_each_isa! {
    fn backward_part(dx: &mut [f32], dy: &[f32], x: &[f32], weight: &[f32]) = backward_body
}

#[inline(always)]
fn sum(len: usize, value: impl Fn(usize) -> f32) -> f32 {
    let mut part = [0.0; LANES];
    let whole = len / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for (lane, part) in part.iter_mut().enumerate() {
            *part += value(i + lane);
        }
    }
    part.iter().sum::<f32>() + (whole..len).map(value).sum::<f32>()
}

#[inline(always)]
fn mean_rstd(x: &[f32]) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum(x.len(), |i| x[i]) / n;
    let variance = sum(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / n;
    (mean, 1.0 / (variance + EPS).sqrt())
}

/// Σ (x - `mean`), or Σ (x - `mean`)² if `squared`.
#[inline(always)]
fn deviation<S: Simd>(s: S, x: &[f32], mean: f32, squared: bool) -> f32 {
    let (mut sums, center) = ([s.splat(0.0); 4], s.splat(mean));
    let mut blocks = x.chunks_exact(4 * S::LANES);
    for x in &mut blocks {
        for (i, sum) in sums.iter_mut().enumerate() {
            let x = s.sub(s.load(&x[i * S::LANES..]), center);
            *sum = if squared { s.madd(x, x, *sum) } else { s.add(*sum, x) };
        }
    }
    for (sum, x) in sums.iter_mut().zip(blocks.remainder().chunks(S::LANES)) {
        let x = if x.len() == S::LANES { s.load(x) } else { s.load_tail(x, mean) };
        let x = s.sub(x, center);
        *sum = if squared { s.madd(x, x, *sum) } else { s.add(*sum, x) };
    }
    s.sums(sums).iter().sum()
}

#[inline(always)]
fn forward_body<S: Simd>(s: S, y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32]) {
    let width = weight.len();
    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        let mean = deviation(s, x, 0.0, false) / width as f32;
        let variance = deviation(s, x, mean, true) / width as f32;
        let (center, rstd) = (s.splat(mean), s.splat(1.0 / (variance + EPS).sqrt()));
        let weights = weight.chunks(S::LANES).zip(bias.chunks(S::LANES));
        for ((y, x), (w, b)) in y.chunks_mut(S::LANES).zip(x.chunks(S::LANES)).zip(weights) {
            if x.len() == S::LANES {
                let z = s.mul(s.sub(s.load(x), center), rstd);
                s.store(y, s.madd(z, s.load(w), s.load(b)));
            } else {
                let z = s.mul(s.sub(s.load_tail(x, 0.0), center), rstd);
                s.store_tail(y, s.madd(z, s.load_tail(w, 0.0), s.load_tail(b, 0.0)));
            }
        }
    }
}

#[inline(always)]
fn backward_body(dx: &mut [f32], dy: &[f32], x: &[f32], weight: &[f32]) {
    let width = weight.len();
    let n = width as f32;
    for ((dx, dy), x) in
        dx.chunks_exact_mut(width).zip(dy.chunks_exact(width)).zip(x.chunks_exact(width))
    {
        let (mean, rstd) = mean_rstd(x);
        let mean_g = sum(width, |i| dy[i] * weight[i]) / n;
        let mean_gx = sum(width, |i| dy[i] * weight[i] * (x[i] - mean)) * rstd / n;
        for (((dx, dy), x), w) in dx.iter_mut().zip(dy).zip(x).zip(weight) {
            *dx += rstd * (dy * w - mean_g - (x - mean) * rstd * mean_gx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(width: usize, seed: f32) -> Vec<f32> {
        (0..width).map(|i| ((i as f32 + seed) * 1.37).sin() * 2.0 + 0.3).collect()
    }

    #[test]
    fn every_tail_agrees_with_the_definition() {
        for width in (1..=70).chain([768]) {
            let (x, weight, bias) =
                ([row(width, 0.0), row(width, 5.0)].concat(), row(width, 9.0), row(width, 2.0));
            let mut y = vec![0.0; 2 * width];
            forward(&mut y, &x, &weight, &bias);
            for (y, x) in y.chunks(width).zip(x.chunks(width)) {
                let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
                let variance =
                    x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / width as f64;
                for i in 0..width {
                    let z = (f64::from(x[i]) - mean) / (variance + f64::from(EPS)).sqrt();
                    assert!(
                        (f64::from(y[i]) - z * f64::from(weight[i]) - f64::from(bias[i])).abs()
                            < 1e-5
                    );
                }
            }
        }
    }

    #[test]
    fn backward_matches_central_differences() {
        let (width, h) = (19, 1e-2);
        let (x, weight, dy) = (row(width, 1.0), row(width, 3.0), row(width, 7.0));
        let bias = vec![0.0; width];
        let loss = |x: &[f32]| {
            let mut y = vec![0.0; width];
            forward(&mut y, x, &weight, &bias);
            y.iter().zip(&dy).map(|(y, d)| f64::from(y * d)).sum::<f64>()
        };
        let mut dx = vec![1.0; width];
        backward(&mut dx, &dy, &x, &weight);
        for i in 0..width {
            let (mut up, mut down) = (x.clone(), x.clone());
            up[i] += h;
            down[i] -= h;
            let numeric = (loss(&up) - loss(&down)) / f64::from(2.0 * h);
            assert!((f64::from(dx[i]) - 1.0 - numeric).abs() < 2e-3, "{i}: {} {numeric}", dx[i]); // it accumulates
        }
    }
}
