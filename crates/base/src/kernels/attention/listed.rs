//! Attention query by query, for short lists of keys. A head's width is a whole number of vectors.
#![expect(
    clippy::inline_always,
    reason = "all of this must be compiled anew inside each instruction set's function"
)]

use super::{Heads, Plan};
use crate::kernels::dot::four_dots;
use crate::kernels::simd::{Simd, for_each_simd};
use crate::kernels::softmax::softmax_in_place;
use std::cell::RefCell;

thread_local! {
    /// One head's probabilities, kept from call to call.
    static PROBABILITIES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The queries from `first` on, as many as `out` has rows.
pub fn forward(out: &mut [f32], q: &[f32], kv: &[f32], plan: &Plan, heads: Heads, first: usize) {
    PROBABILITIES.with_borrow_mut(|p| forward_part(out, q, kv, plan, heads, first, p));
}

for_each_simd! {
    fn forward_part(
        out: &mut [f32], q: &[f32], kv: &[f32], plan: &Plan, heads: Heads, first: usize, p: &mut Vec<f32>
    ) = forward_body, Avx2
}

#[inline(always)]
fn forward_body<S: Simd>(
    s: S,
    out: &mut [f32],
    q: &[f32],
    kv: &[f32],
    plan: &Plan,
    heads: Heads,
    first: usize,
    p: &mut Vec<f32>,
) {
    let Heads { width, head } = heads;
    for (i, out) in out.chunks_exact_mut(width).enumerate() {
        let keys = plan.list(first + i);
        p.resize(keys.len(), 0.0);
        for column in (0..width).step_by(head) {
            let q = &q[(first + i) * width + column..][..head];
            let norm = 1.0 / probabilities(s, p, q, kv, keys, width, column, heads.scale());
            weighted_sum(s, &mut out[column..column + head], p, norm, kv, keys, width, column);
        }
    }
}

/// `p` = e^(score - largest score) of each key; returns their sum.
#[inline(always)]
pub fn probabilities<S: Simd>(
    s: S,
    p: &mut [f32],
    q: &[f32],
    kv: &[f32],
    keys: &[u32],
    width: usize,
    column: usize,
    scale: f32,
) -> f32 {
    dots(s, p, q, kv, keys, 2 * width, column);
    softmax_in_place(s, p, scale)
}

/// `dots` = the inner products of `x` with row `rows[j]` of `y`, `stride` apart, from `column` on.
#[inline(always)]
pub fn dots<S: Simd>(
    s: S,
    dots: &mut [f32],
    x: &[f32],
    y: &[f32],
    rows: &[u32],
    stride: usize,
    column: usize,
) {
    for (dots, rows) in dots.chunks_mut(4).zip(rows.chunks(4)) {
        let mut four = [x; 4]; // past the end, a row that is there
        for (to, &row) in four.iter_mut().zip(rows) {
            *to = &y[row as usize * stride + column..][..x.len()];
        }
        dots.copy_from_slice(&four_dots(s, x, four)[..dots.len()]);
    }
}

/// `out` = `norm`·Σ `p_j`·value j.
#[inline(always)]
fn weighted_sum<S: Simd>(
    s: S,
    out: &mut [f32],
    p: &[f32],
    norm: f32,
    kv: &[f32],
    keys: &[u32],
    width: usize,
    column: usize,
) {
    /// Vectors of a row that are summed at a time.
    const SIDE_BY_SIDE: usize = 4;
    let mut at = 0;
    while at < out.len() {
        let vectors = SIDE_BY_SIDE.min((out.len() - at) / S::LANES);
        let mut sums = [s.splat(0.0); SIDE_BY_SIDE];
        for (&p, &row) in p.iter().zip(keys) {
            let value = &kv[(row as usize * 2 + 1) * width + column + at..][..vectors * S::LANES];
            let p = s.splat(p);
            if vectors == SIDE_BY_SIDE {
                for (v, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `value` holds SIDE_BY_SIDE vectors.
                    let value = unsafe { s.load_from(value, v * S::LANES) };
                    *sum = s.madd(p, value, *sum);
                }
            } else {
                for (sum, value) in sums.iter_mut().zip(value.chunks_exact(S::LANES)) {
                    *sum = s.madd(p, s.load(value), *sum);
                }
            }
        }
        let out = &mut out[at..at + vectors * S::LANES];
        for (out, sum) in out.chunks_exact_mut(S::LANES).zip(sums) {
            s.store(out, s.mul(sum, s.splat(norm)));
        }
        at += vectors * S::LANES;
    }
}
