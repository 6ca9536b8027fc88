//! Inner products of one row with many: logits, the Meta-Net, scores of short lists of keys. [`scalar`] is the definition.
#![expect(
    clippy::inline_always,
    reason = "bodies must be compiled anew inside each instruction set's function"
)]

use super::simd::{Simd, for_each_simd};

for_each_simd! {
    /// `y` = the inner product of `x` with each row of `rows`. Shapes: `y` (n), `x` (width), `rows` (n, width).
    /// # Panics
    /// If the slices do not fit those shapes.
    pub fn dots(y: &mut [f32], x: &[f32], rows: &[f32]) = dots_body, Avx512
}

/// The reference: one accumulator, left to right.
pub fn scalar(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[inline(always)]
fn dots_body<S: Simd>(s: S, y: &mut [f32], x: &[f32], rows: &[f32]) {
    let width = x.len();
    assert_eq!(rows.len(), y.len() * width);
    for (i, y) in y.chunks_mut(4).enumerate() {
        let mut four = [x; 4]; // past the end, a row that is there
        for (j, row) in four[..y.len()].iter_mut().enumerate() {
            *row = &rows[(i * 4 + j) * width..][..width];
        }
        y.copy_from_slice(&four_dots(s, x, four)[..y.len()]);
    }
}

/// The inner products of `x` with four rows, each summed in the same order.
/// # Panics
/// If a row is not as long as `x`.
#[inline(always)]
pub(super) fn four_dots<S: Simd>(s: S, x: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    for row in rows {
        assert_eq!(row.len(), x.len());
    }
    let (mut sums, whole) = ([s.splat(0.0); 4], x.len() / S::LANES * S::LANES);
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: a whole vector starts at `at` in `x`, and the rows are as long.
        let x = unsafe { s.load_from(x, at) };
        for (sum, row) in sums.iter_mut().zip(rows) {
            // SAFETY: as above.
            *sum = s.madd(x, unsafe { s.load_from(row, at) }, *sum);
        }
    }
    if whole < x.len() {
        let x = s.load_tail(&x[whole..], 0.0);
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = s.madd(x, s.load_tail(&row[whole..], 0.0), *sum);
        }
    }
    s.sums(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tail_agrees_with_scalar() {
        for (n, width) in (0..=9).flat_map(|n| (0..=35).chain([512]).map(move |width| (n, width))) {
            let value = |i: usize| (i as f32 * 1.37).sin();
            let x: Vec<f32> = (0..width).map(|i| value(i + 5)).collect();
            let rows: Vec<f32> = (0..n * width).map(value).collect();
            let mut y = vec![9.0; n];
            dots(&mut y, &x, &rows);
            for (j, y) in y.iter().enumerate() {
                let expected = scalar(&x, &rows[j * width..][..width]);
                let limit = 1e-6 * (width + 1) as f32; // rounding of sums of values below 1
                assert!((y - expected).abs() < limit, "{n} {width}: {y} {expected}");
            }
        }
    }
}
