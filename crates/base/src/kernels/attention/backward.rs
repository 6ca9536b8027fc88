//! Backward of attention over lists of keys. The image tower is frozen and has none.
//! The second half walks the transposed lists, so that no two tasks write one row.
#![expect(
    clippy::inline_always,
    reason = "all of this must be compiled anew inside each instruction set's function"
)]

use super::listed::{dots, probabilities};
use super::{GRAIN, Heads, Keys, Plan, SeenBy};
use crate::kernels::for_rows;
use crate::kernels::simd::{Simd, for_each_simd};

/// Adds nothing: `dq` and `dkv` are overwritten with the gradients of `q` and `kv`, given `dout`.
/// Shapes: as in [`super::forward`].
/// # Panics
/// If the slices do not fit those shapes or the plan is not a listed one.
pub fn backward(
    dq: &mut [f32],
    dkv: &mut [f32],
    dout: &[f32],
    q: &[f32],
    kv: &[f32],
    plan: &Plan,
    heads: Heads,
) {
    let Keys::Listed { offsets, seen_by } = &plan.keys else {
        panic!("backward needs a listed plan")
    };
    heads.check();
    let width = heads.width;
    assert!(
        dq.len() == q.len()
            && dout.len() == q.len()
            && q.len() == plan.queries * width
            && dkv.len() == kv.len()
    );
    // For each (query, key) pair and head: p and ds.
    let per_pair = heads.count() * 2;
    let mut pairs = vec![0.0; plan.rows.len() * per_pair];
    let mut tasks = Vec::new();
    let (mut dq_rest, mut pairs_rest) = (dq, pairs.as_mut_slice());
    for first in (0..plan.queries).step_by(GRAIN) {
        let last = plan.queries.min(first + GRAIN);
        let (dq, rest) = dq_rest.split_at_mut((last - first) * width);
        dq_rest = rest;
        let of_these = (offsets[last] - offsets[first]) as usize * per_pair;
        let (part, rest) = pairs_rest.split_at_mut(of_these);
        pairs_rest = rest;
        tasks.push((first, dq, part));
    }
    #[cfg(feature = "parallel")]
    {
        use rayon::prelude::*;
        tasks.into_par_iter().for_each(|(first, dq, pairs)| {
            backward_queries(dq, pairs, dout, q, kv, plan, heads, first);
        });
    }
    #[cfg(not(feature = "parallel"))]
    for (first, dq, pairs) in tasks {
        backward_queries(dq, pairs, dout, q, kv, plan, heads, first);
    }
    // Head by head, as a few rows at the trie's root are seen by all queries: alone they are most of the work.
    for_rows(dkv, heads.head, heads.count(), |first, dkv| {
        backward_keys(dkv, &pairs, dout, q, seen_by, heads, first);
    });
}

for_each_simd! {
    fn backward_queries(
        dq: &mut [f32], pairs: &mut [f32], dout: &[f32], q: &[f32], kv: &[f32], plan: &Plan, heads: Heads, first: usize
    ) = backward_queries_body, Avx2
}
for_each_simd! {
    fn backward_keys(
        dkv: &mut [f32], pairs: &[f32], dout: &[f32], q: &[f32], seen_by: &SeenBy, heads: Heads, first: usize
    ) = backward_keys_body, Avx2
}

/// `y` += `scale`·`x`, both a whole number of vectors.
#[inline(always)]
fn add_scaled<S: Simd>(s: S, y: &mut [f32], scale: f32, x: &[f32]) {
    let scale = s.splat(scale);
    for (y, x) in y.chunks_exact_mut(S::LANES).zip(x.chunks_exact(S::LANES)) {
        s.store(y, s.madd(scale, s.load(x), s.load(y)));
    }
}

#[inline(always)]
fn backward_queries_body<S: Simd>(
    s: S,
    dq: &mut [f32],
    pairs: &mut [f32],
    dout: &[f32],
    q: &[f32],
    kv: &[f32],
    plan: &Plan,
    heads: Heads,
    first: usize,
) {
    let (Heads { width, head }, scale) = (heads, heads.scale());
    let (mut p, mut dp, mut rest) = (Vec::new(), Vec::new(), pairs);
    for (i, dq) in dq.chunks_exact_mut(width).enumerate() {
        let keys = plan.list(first + i);
        p.resize(keys.len(), 0.0);
        dp.resize(keys.len(), 0.0);
        let (own, after) = std::mem::take(&mut rest).split_at_mut(keys.len() * heads.count() * 2);
        rest = after;
        for (h, column) in (0..width).step_by(head).enumerate() {
            let start = (first + i) * width + column;
            let q = &q[start..start + head];
            let norm = 1.0 / probabilities(s, &mut p, q, kv, keys, width, column, scale);
            dots(s, &mut dp, &dout[start..start + head], kv, keys, 2 * width, width + column);
            let mut mean = 0.0;
            for (p, dp) in p.iter_mut().zip(&dp) {
                *p *= norm;
                mean += *p * dp;
            }
            let dq = &mut dq[column..column + head];
            dq.fill(0.0);
            for (j, &row) in keys.iter().enumerate() {
                let ds = p[j] * (dp[j] - mean) * scale;
                add_scaled(s, dq, ds, &kv[row as usize * 2 * width + column..][..head]);
                let pair = (j * heads.count() + h) * 2;
                own[pair] = p[j];
                own[pair + 1] = ds;
            }
        }
    }
}

/// `dkv` is a part of (key rows, 2, heads, head), from the head numbered `first` on.
#[inline(always)]
fn backward_keys_body<S: Simd>(
    s: S,
    dkv: &mut [f32],
    pairs: &[f32],
    dout: &[f32],
    q: &[f32],
    seen_by: &SeenBy,
    heads: Heads,
    first: usize,
) {
    let Heads { width, head } = heads;
    for (i, d) in dkv.chunks_exact_mut(head).enumerate() {
        let (row, part) = ((first + i) / (2 * heads.count()), (first + i) % (2 * heads.count()));
        let (is_value, h) = (part / heads.count(), part % heads.count());
        let seen = seen_by.offsets[row] as usize..seen_by.offsets[row + 1] as usize;
        // dk = Σ ds·q, dv = Σ p·dout
        let from = if is_value == 1 { dout } else { q };
        d.fill(0.0);
        for &(query, pair) in &seen_by.pairs[seen] {
            let weight = pairs[(pair as usize * heads.count() + h) * 2 + 1 - is_value];
            add_scaled(s, d, weight, &from[query as usize * width + h * head..][..head]);
        }
    }
}
