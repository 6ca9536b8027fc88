//! An f32 matrix times an f64 matrix, summed in f64: for a solver that needs more digits than its data have.
//! [`scalar`] is the definition, and [`add_product`] has its very bits: every element is one sum in order, product and sum
//! rounded apart, on every instruction set and number of threads.
#![expect(
    clippy::inline_always,
    reason = "bodies must be compiled anew inside each instruction set's function"
)]

use super::{for_each_isa, for_rows};

/// An f32 matrix as it lies in memory: element (i, j) is `data[i * row + j * col]`, so that a transposed one is no copy.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub col: usize,
}

/// Rows and columns of a tile of sums, which registers hold.
const TILE: (usize, usize) = (4, 8);
/// Rows that one task takes.
const GRAIN: usize = 64;
/// Terms that are summed before the next tile: what is copied for them stays in the cache.
const DEPTH: usize = 256;

/// `out` += `a`·`b`. Shapes: `out` (rows, `width`), `a` (rows, depth), `b` (depth, `width`).
/// # Panics
/// If the slices do not fit those shapes.
pub fn add_product(out: &mut [f64], width: usize, a: Matrix<'_>, b: &[f64]) {
    check(out, width, a, b);
    for_rows(out, width, GRAIN, |first, out| part(out, width, first, a, b));
}

/// The reference: [`add_product`], one element after the other.
/// # Panics
/// As [`add_product`].
pub fn scalar(out: &mut [f64], width: usize, a: Matrix<'_>, b: &[f64]) {
    check(out, width, a, b);
    for (i, row) in out.chunks_exact_mut(width).enumerate() {
        for (column, sum) in row.iter_mut().enumerate() {
            for (k, b) in b.chunks_exact(width).enumerate() {
                *sum += f64::from(a.data[i * a.row + k * a.col]) * b[column];
            }
        }
    }
}

fn check(out: &[f64], width: usize, a: Matrix<'_>, b: &[f64]) {
    assert!(width > 0 && out.len().is_multiple_of(width) && b.len().is_multiple_of(width));
    let (rows, depth) = (out.len() / width, b.len() / width);
    if rows > 0 && depth > 0 {
        assert!((rows - 1) * a.row + (depth - 1) * a.col < a.data.len());
    }
}

for_each_isa! {
    /// Rows of [`add_product`] from `first` on.
    fn part(out: &mut [f64], width: usize, first: usize, a: Matrix<'_>, b: &[f64]) = part_body
}

#[inline(always)]
fn part_body(out: &mut [f64], width: usize, first: usize, a: Matrix<'_>, b: &[f64]) {
    let (rows, depth) = (out.len() / width, b.len() / width);
    let mut left = vec![[0.0; TILE.0]; rows.div_ceil(TILE.0) * DEPTH.min(depth)];
    let mut right = [[0.0; TILE.1]; DEPTH];
    for k in (0..depth).step_by(DEPTH) {
        let terms = DEPTH.min(depth - k);
        for (i, left) in left.chunks_exact_mut(DEPTH.min(depth)).enumerate() {
            let tall = TILE.0.min(rows - i * TILE.0);
            let from = (first + i * TILE.0) * a.row + k * a.col;
            for (term, left) in left[..terms].iter_mut().enumerate() {
                for (r, left) in left[..tall].iter_mut().enumerate() {
                    *left = a.data[from + r * a.row + term * a.col].into();
                }
            }
        }
        for column in (0..width).step_by(TILE.1) {
            let wide = TILE.1.min(width - column);
            for (term, right) in right[..terms].iter_mut().enumerate() {
                right[..wide].copy_from_slice(&b[(k + term) * width + column..][..wide]);
            }
            let lefts = left.chunks_exact(DEPTH.min(depth));
            for (out, left) in out.chunks_mut(TILE.0 * width).zip(lefts) {
                tile(out, width, column..column + wide, &left[..terms], &right[..terms]);
            }
        }
    }
}

/// Adds to the sums of at most [`TILE`] rows and columns.
#[inline(always)]
fn tile(
    out: &mut [f64],
    width: usize,
    columns: std::ops::Range<usize>,
    left: &[[f64; TILE.0]],
    right: &[[f64; TILE.1]],
) {
    let mut sums = [[0.0; TILE.1]; TILE.0];
    for (sums, out) in sums.iter_mut().zip(out.chunks_exact(width)) {
        sums[..columns.len()].copy_from_slice(&out[columns.clone()]);
    }
    for (left, right) in left.iter().zip(right) {
        for (sums, a) in sums.iter_mut().zip(left) {
            for (sum, b) in sums.iter_mut().zip(right) {
                *sum += a * b;
            }
        }
    }
    for (sums, out) in sums.iter().zip(out.chunks_exact_mut(width)) {
        out[columns.clone()].copy_from_slice(&sums[..columns.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    #[test]
    fn every_tail_has_the_bits_of_the_reference() {
        let mut random = Random::new(7, Purpose::Init, [0, 0]);
        let mut numbers = |n: usize| (0..n).map(|_| random.normal()).collect::<Vec<f64>>();
        let shapes = (0..=33).map(|n| (n, n % 17 + 1, (n * 7) % 34));
        for (rows, width, depth) in shapes.chain([(130, 10, 300), (3, 33, 513), (65, 1, 2)]) {
            let data: Vec<f32> = numbers(rows * depth).iter().map(|x| *x as f32).collect();
            let (b, start) = (numbers(depth * width), numbers(rows * width));
            for (row, col) in [(depth, 1), (1, rows)] {
                let a = Matrix { data: &data, row, col };
                let (mut expected, mut got) = (start.clone(), start.clone());
                scalar(&mut expected, width, a, &b);
                add_product(&mut got, width, a, &b);
                assert!(got == expected, "{rows} {width} {depth}");
            }
        }
    }
}
