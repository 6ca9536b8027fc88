//! Attention of whole sequences, a head at a time: keys and values are laid out as the right sides of two matrix
//! products, and some queries at once go through Q·Kᵀ, softmax and P·V while their scores stay in the first-level cache.
#![expect(
    clippy::inline_always,
    reason = "all of this must be compiled anew inside each instruction set's function"
)]

use super::{HEAD_MULTIPLE, Heads, MAX_HEAD};
use crate::kernels::simd::{MOST_LANES, Simd, for_each_simd};
use crate::kernels::softmax::softmax_in_place;
use std::cell::RefCell;

/// Queries whose scores are taken at once: a multiple of every instruction set's ROWS.
const QUERIES: usize = 24;
/// Fewer multiply-adds than this are not worth a second thread.
#[cfg(feature = "parallel")]
const PARALLEL_MACS: usize = 1 << 18;

thread_local! {
    /// One head's keys, values and scores, kept from call to call.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// What all tasks read, and the result, of which each task writes one head of one sequence.
struct Job<'a> {
    out: *mut f32,
    q: &'a [f32],
    kv: &'a [f32],
    len: usize,
    per_sequence: usize,
    heads: Heads,
}
// SAFETY: tasks write disjoint parts of `out` (`Job::row`) and nobody reads it meanwhile.
unsafe impl Sync for Job<'_> {}

/// `out`, `q` (sequences·`per_sequence`, width); `kv` (sequences·`len`, 2·width); the caller has checked them.
pub fn forward(
    out: &mut [f32],
    q: &[f32],
    kv: &[f32],
    len: usize,
    per_sequence: usize,
    heads: Heads,
) {
    let tasks = q.len() / (per_sequence * heads.width) * heads.count();
    let job = Job { out: out.as_mut_ptr(), q, kv, len, per_sequence, heads };
    let task = |task: usize| {
        SCRATCH.with_borrow_mut(|scratch| {
            one_head(&job, task / heads.count(), task % heads.count() * heads.head, scratch);
        });
    };
    #[cfg(feature = "parallel")]
    if q.len() * len >= PARALLEL_MACS {
        use rayon::prelude::*;
        return (0..tasks).into_par_iter().for_each(task);
    }
    (0..tasks).for_each(task);
}

for_each_simd! {
    fn one_head(job: &Job, sequence: usize, column: usize, scratch: &mut Vec<f32>) = one_head_body, Avx512
}

#[inline(always)]
fn one_head_body<S: Simd>(s: S, job: &Job, sequence: usize, column: usize, scratch: &mut Vec<f32>) {
    let (nr, head, len) = (2 * S::LANES, job.heads.head, job.len);
    // Columns of both products, filled up to whole panels.
    let (key_cols, value_cols) = (len.next_multiple_of(nr), head.next_multiple_of(nr));
    scratch.resize(key_cols * head + value_cols * len + QUERIES * key_cols, 0.0);
    let (keys, rest) = scratch.split_at_mut(key_cols * head);
    let (values, scores) = rest.split_at_mut(value_cols * len);
    pack::<S>(keys, values, job, sequence, column);
    let (first, end) = (sequence * job.per_sequence, (sequence + 1) * job.per_sequence);
    for row in (first..end).step_by(QUERIES) {
        let rows = QUERIES.min(end - row);
        let q = &job.q[row * job.heads.width + column..];
        for (panel, keys) in keys.chunks_exact(head * nr).enumerate() {
            for i in (0..rows).step_by(S::ROWS) {
                let scores = &mut scores[i * key_cols + panel * nr..];
                let q = &q[i * job.heads.width..];
                product(s, scores, key_cols, q, job.heads.width, keys, S::ROWS.min(rows - i));
            }
        }
        let mut norms = [0.0; QUERIES];
        for (norm, scores) in norms[..rows].iter_mut().zip(scores.chunks_exact_mut(key_cols)) {
            *norm = 1.0 / softmax_in_place(s, &mut scores[..len], job.heads.scale());
        }
        let mut sums = [0.0; MAX_TILE];
        for (panel, values) in values.chunks_exact(len * nr).enumerate() {
            let cols = nr.min(head - panel * nr);
            for i in (0..rows).step_by(S::ROWS) {
                let height = S::ROWS.min(rows - i);
                product(s, &mut sums, nr, &scores[i * key_cols..], key_cols, values, height);
                for (j, sums) in sums.chunks_exact(nr).take(height).enumerate() {
                    let out = job.row(row + i + j, column + panel * nr, cols);
                    let norm = s.splat(norms[i + j]);
                    for (out, sum) in out.chunks_mut(S::LANES).zip(sums.chunks_exact(S::LANES)) {
                        let value = s.mul(s.load(sum), norm);
                        if out.len() == S::LANES {
                            s.store(out, value);
                        } else {
                            s.store_tail(out, value);
                        }
                    }
                }
            }
        }
    }
}

/// Room for the largest tile.
const MAX_TILE: usize = 8 * 2 * MOST_LANES;

impl Job<'_> {
    /// `cols` elements of row `row` of the result from column `col`, which lie in one head.
    #[expect(clippy::mut_from_ref, reason = "tasks own disjoint rows and columns")]
    fn row(&self, row: usize, col: usize, cols: usize) -> &mut [f32] {
        debug_assert!(row * self.heads.width + col + cols <= self.q.len());
        // SAFETY: the row and columns are inside the result, which has the shape of `q` and outlives this value.
        let start = unsafe { self.out.add(row * self.heads.width + col) };
        // SAFETY: only this task touches the rows of its sequence and the columns of its head.
        unsafe { std::slice::from_raw_parts_mut(start, cols) }
    }
}

/// `keys`: panels (head, nr) of the keys' transpose; `values`: panels (len, nr). Columns past the last are 0.
#[inline(always)]
fn pack<S: Simd>(keys: &mut [f32], values: &mut [f32], job: &Job, sequence: usize, column: usize) {
    let (nr, Heads { width, head }) = (2 * S::LANES, job.heads);
    let row = |j: usize| &job.kv[(sequence * job.len + j) * 2 * width..][..2 * width];
    for (panel, keys) in keys.chunks_exact_mut(head * nr).enumerate() {
        let cols = nr.min(job.len - panel * nr);
        if cols < nr {
            keys.fill(0.0);
        }
        // Eight numbers of each key at a time: one line of the cache from each, whole lines to the panel.
        for at in (0..head).step_by(HEAD_MULTIPLE) {
            for lane in 0..cols {
                let key = &row(panel * nr + lane)[column + at..][..HEAD_MULTIPLE];
                let keys = &mut keys[at * nr..(at + HEAD_MULTIPLE) * nr];
                for (to, key) in keys.chunks_exact_mut(nr).zip(key) {
                    to[lane] = *key;
                }
            }
        }
    }
    for (panel, values) in values.chunks_exact_mut(job.len * nr).enumerate() {
        let cols = nr.min(head - panel * nr);
        for (j, to) in values.chunks_exact_mut(nr).enumerate() {
            to[..cols].copy_from_slice(&row(j)[width + column + panel * nr..][..cols]);
            to[cols..].fill(0.0);
        }
    }
}

/// The first `height` rows of `c` (2·LANES each, `c_stride` apart) = those of `a` (k each, `a_stride` apart) times
/// `panel` (k, 2·LANES). Each element is one sum from first to last, whatever the height.
#[inline(always)]
fn product<S: Simd>(
    s: S,
    c: &mut [f32],
    c_stride: usize,
    a: &[f32],
    a_stride: usize,
    panel: &[f32],
    height: usize,
) {
    let k = panel.len() / (2 * S::LANES);
    assert!(
        a.len() >= (height - 1) * a_stride + k
            && c.len() >= (height - 1) * c_stride + 2 * S::LANES
            && height <= S::ROWS
    );
    macro_rules! by_height {
        ($($h:literal)*) => {
            match height {
                // SAFETY: the lengths are checked above.
                $($h if $h <= S::ROWS => unsafe { tile::<S, $h>(s, c, c_stride, a, a_stride, panel) },)*
                _ => unreachable!("a tile has 1 to ROWS rows"),
            }
        };
    }
    by_height!(1 2 3 4 5 6 7 8);
}

/// # Safety
/// `a` has H rows of `panel.len() / (2·LANES)` numbers, `a_stride` apart; `c` has room for H of 2·LANES, `c_stride` apart.
#[inline(always)]
unsafe fn tile<S: Simd, const H: usize>(
    s: S,
    c: &mut [f32],
    c_stride: usize,
    a: &[f32],
    a_stride: usize,
    panel: &[f32],
) {
    let mut sums = [[s.splat(0.0); 2]; H];
    for (k, b) in panel.chunks_exact(2 * S::LANES).enumerate() {
        let (b0, b1) = (s.load(b), s.load(&b[S::LANES..]));
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row i < H has a number for every row k of the panel (the caller's promise).
            let x = s.splat(unsafe { *a.get_unchecked(i * a_stride + k) });
            sums[0] = s.madd(x, b0, sums[0]);
            sums[1] = s.madd(x, b1, sums[1]);
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: row i < H of `c` has room for two vectors (the caller's promise).
        let c = unsafe { c.as_mut_ptr().add(i * c_stride) };
        // SAFETY: as above.
        unsafe { s.store_at(c, sums[0]) };
        // SAFETY: as above.
        unsafe { s.store_at(c.wrapping_add(S::LANES), sums[1]) };
    }
}

const _: () = assert!(MAX_HEAD.is_multiple_of(HEAD_MULTIPLE) && QUERIES.is_multiple_of(8));
