//! Multi-head attention where each query has its own list of key rows: all rows of its image, or its ancestors in the
//! prefix trie. Heads are 64 wide, as in every CLIP. Nothing is kept for backward: scores are cheap to take again.
//!
//! ```text
//! forward:   s_j = q·k_j / 8,  p = softmax(s),  out = Σ p_j v_j
//! backward:  dp_j = dout·v_j,  ds_j = p_j (dp_j - Σ p dp) / 8,  dq = Σ ds_j k_j
//!            and, for each key row, over the queries that see it:  dk = Σ ds q,  dv = Σ p dout
//! ```
//! The second half of backward walks the transposed lists, so no two tasks write one row: the result does not depend on
//! the number of threads.

use super::vector::exp;
use super::{for_each_isa, for_rows};

/// Width of one head.
pub const HEAD: usize = 64;
const SCALE: f32 = 0.125; // 1 / √HEAD
const GRAIN: usize = 16;

/// Which key rows each query sees.
pub struct Plan {
    keys: Keys,
    queries: usize,
}

enum Keys {
    /// Sequences of `len` key rows; `per_sequence` queries see all rows of theirs.
    Full { len: usize, per_sequence: usize },
    /// Query i sees `rows[offsets[i]..offsets[i + 1]]`.
    Listed { offsets: Vec<u32>, rows: Vec<u32>, seen_by: SeenBy },
}

/// The transpose of the lists: key row r is seen by `pairs[offsets[r]..offsets[r + 1]]`, (query, position in `rows`).
struct SeenBy {
    offsets: Vec<u32>,
    pairs: Vec<(u32, u32)>,
}

impl Plan {
    /// `sequences` images of `len` rows; the first `per_sequence` rows of each are queries and see the whole image.
    pub fn full(sequences: usize, len: usize, per_sequence: usize) -> Self {
        Self { keys: Keys::Full { len, per_sequence }, queries: sequences * per_sequence }
    }

    /// Query i sees the rows `rows[offsets[i]..offsets[i + 1]]`, all below `key_rows`.
    /// # Panics
    /// If the offsets do not rise to the length of `rows`, or a row is not below `key_rows`.
    pub fn listed(offsets: Vec<u32>, rows: Vec<u32>, key_rows: usize) -> Self {
        assert!(
            offsets.is_sorted()
                && offsets.first() == Some(&0)
                && offsets.last() == Some(&(rows.len() as u32))
        );
        assert!(rows.iter().all(|&row| (row as usize) < key_rows));
        let mut starts = vec![0u32; key_rows + 1];
        rows.iter().for_each(|&row| starts[row as usize + 1] += 1);
        for r in 0..key_rows {
            starts[r + 1] += starts[r];
        }
        let (mut next, mut pairs) = (starts.clone(), vec![(0, 0); rows.len()]);
        for query in 0..offsets.len() - 1 {
            for pair in offsets[query]..offsets[query + 1] {
                let slot = &mut next[rows[pair as usize] as usize];
                pairs[*slot as usize] = (query as u32, pair);
                *slot += 1;
            }
        }
        let queries = offsets.len() - 1;
        Self {
            keys: Keys::Listed { offsets, rows, seen_by: SeenBy { offsets: starts, pairs } },
            queries,
        }
    }

    /// Number of query rows.
    pub fn queries(&self) -> usize {
        self.queries
    }

    fn list(&self, query: usize, keys: &mut Vec<u32>) {
        keys.clear();
        match &self.keys {
            Keys::Full { len, per_sequence } => {
                let first = query / per_sequence * len;
                keys.extend(first as u32..(first + len) as u32);
            }
            Keys::Listed { offsets, rows, .. } => {
                keys.extend_from_slice(&rows[offsets[query] as usize..offsets[query + 1] as usize]);
            }
        }
    }
}

/// `out` = attention of `q` over `kv`.
/// Shapes: `out`, `q` (queries, width); `kv` (key rows, 2·width): keys, then values.
/// # Panics
/// If the slices do not fit those shapes or width is no multiple of [`HEAD`].
pub fn forward(out: &mut [f32], q: &[f32], kv: &[f32], plan: &Plan, width: usize) {
    assert!(width.is_multiple_of(HEAD) && q.len() == plan.queries * width && out.len() == q.len());
    for_rows(out, width, GRAIN, |first, out| forward_part(out, q, kv, plan, width, first));
}

/// Adds nothing: `dq` and `dkv` are overwritten with the gradients of `q` and `kv`, given `dout`.
/// Shapes: as in [`forward`]. Only for listed plans: the image tower is frozen and has no backward.
/// # Panics
/// If the slices do not fit those shapes or the plan is not a listed one.
pub fn backward(
    dq: &mut [f32],
    dkv: &mut [f32],
    dout: &[f32],
    q: &[f32],
    kv: &[f32],
    plan: &Plan,
    width: usize,
) {
    let Keys::Listed { offsets, seen_by, .. } = &plan.keys else {
        panic!("backward needs a listed plan")
    };
    assert!(
        dq.len() == q.len()
            && dout.len() == q.len()
            && q.len() == plan.queries * width
            && dkv.len() == kv.len()
    );
    let heads = width / HEAD;
    // For each (query, key) pair and head: p and ds.
    let mut pairs = vec![0.0; offsets[plan.queries] as usize * heads * 2];
    let mut tasks = Vec::new();
    let (mut dq_rest, mut pairs_rest) = (dq, pairs.as_mut_slice());
    for first in (0..plan.queries).step_by(GRAIN) {
        let last = plan.queries.min(first + GRAIN);
        let (dq, rest) = dq_rest.split_at_mut((last - first) * width);
        dq_rest = rest;
        let (part, rest) =
            pairs_rest.split_at_mut((offsets[last] - offsets[first]) as usize * heads * 2);
        pairs_rest = rest;
        tasks.push((first, dq, part));
    }
    #[cfg(feature = "parallel")]
    {
        use rayon::prelude::*;
        tasks.into_par_iter().for_each(|(first, dq, pairs)| {
            backward_queries(dq, pairs, dout, q, kv, plan, width, first);
        });
    }
    #[cfg(not(feature = "parallel"))]
    for (first, dq, pairs) in tasks {
        backward_queries(dq, pairs, dout, q, kv, plan, width, first);
    }
    for_rows(dkv, 2 * width, GRAIN, |first, dkv| {
        backward_keys(dkv, &pairs, dout, q, seen_by, width, first);
    });
}

for_each_isa! {
    fn forward_part(out: &mut [f32], q: &[f32], kv: &[f32], plan: &Plan, width: usize, first: usize) = forward_body
}
for_each_isa! {
    fn backward_queries(
        dq: &mut [f32], pairs: &mut [f32], dout: &[f32], q: &[f32], kv: &[f32], plan: &Plan, width: usize, first: usize
    ) = backward_queries_body
}
for_each_isa! {
    fn backward_keys(
        dkv: &mut [f32], pairs: &[f32], dout: &[f32], q: &[f32], seen_by: &SeenBy, width: usize, first: usize
    ) = backward_keys_body
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn head(x: &[f32], start: usize) -> &[f32; HEAD] {
    x[start..].first_chunk().expect("a row holds whole heads")
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn head_mut(x: &mut [f32], start: usize) -> &mut [f32; HEAD] {
    x[start..].first_chunk_mut().expect("a row holds whole heads")
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn dot(a: &[f32; HEAD], b: &[f32; HEAD]) -> f32 {
    let mut part = [0.0; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for lane in 0..16 {
            part[lane] += a[lane] * b[lane];
        }
    }
    part.iter().sum()
}

/// `y` += `scale`·`x`.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn add_scaled(y: &mut [f32; HEAD], scale: f32, x: &[f32; HEAD]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * x);
}

/// Softmax of q·k/8 over the listed keys.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn probabilities(
    p: &mut Vec<f32>,
    q: &[f32; HEAD],
    kv: &[f32],
    keys: &[u32],
    width: usize,
    column: usize,
) {
    p.clear();
    p.extend(keys.iter().map(|&row| dot(q, head(kv, row as usize * 2 * width + column)) * SCALE));
    let max = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    p.iter_mut().for_each(|p| *p = exp(*p - max));
    let norm = 1.0 / p.iter().sum::<f32>();
    p.iter_mut().for_each(|p| *p *= norm);
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn forward_body(out: &mut [f32], q: &[f32], kv: &[f32], plan: &Plan, width: usize, first: usize) {
    let (mut keys, mut p) = (Vec::new(), Vec::new());
    for (i, out) in out.chunks_exact_mut(width).enumerate() {
        plan.list(first + i, &mut keys);
        for column in (0..width).step_by(HEAD) {
            probabilities(&mut p, head(q, (first + i) * width + column), kv, &keys, width, column);
            let mut sum = [0.0; HEAD];
            for (&p, &row) in p.iter().zip(&keys) {
                add_scaled(&mut sum, p, head(kv, (row as usize * 2 + 1) * width + column));
            }
            *head_mut(out, column) = sum;
        }
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn backward_queries_body(
    dq: &mut [f32],
    pairs: &mut [f32],
    dout: &[f32],
    q: &[f32],
    kv: &[f32],
    plan: &Plan,
    width: usize,
    first: usize,
) {
    let (mut keys, mut p, mut dp, mut rest) = (Vec::new(), Vec::new(), Vec::new(), pairs);
    for (i, dq) in dq.chunks_exact_mut(width).enumerate() {
        plan.list(first + i, &mut keys);
        let (own, after) = std::mem::take(&mut rest).split_at_mut(keys.len() * (width / HEAD) * 2);
        rest = after;
        for (h, column) in (0..width).step_by(HEAD).enumerate() {
            let start = (first + i) * width + column;
            probabilities(&mut p, head(q, start), kv, &keys, width, column);
            let dout = head(dout, start);
            dp.clear();
            dp.extend(
                keys.iter()
                    .map(|&row| dot(dout, head(kv, (row as usize * 2 + 1) * width + column))),
            );
            let mean: f32 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
            let mut sum = [0.0; HEAD];
            for (j, &row) in keys.iter().enumerate() {
                let ds = p[j] * (dp[j] - mean) * SCALE;
                add_scaled(&mut sum, ds, head(kv, row as usize * 2 * width + column));
                let pair = (j * (width / HEAD) + h) * 2;
                own[pair] = p[j];
                own[pair + 1] = ds;
            }
            *head_mut(dq, column) = sum;
        }
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn backward_keys_body(
    dkv: &mut [f32],
    pairs: &[f32],
    dout: &[f32],
    q: &[f32],
    seen_by: &SeenBy,
    width: usize,
    first: usize,
) {
    for (i, dkv) in dkv.chunks_exact_mut(2 * width).enumerate() {
        let seen = &seen_by.pairs
            [seen_by.offsets[first + i] as usize..seen_by.offsets[first + i + 1] as usize];
        dkv.fill(0.0);
        for &(query, pair) in seen {
            for (h, column) in (0..width).step_by(HEAD).enumerate() {
                let [p, ds] = [0, 1].map(|k| pairs[(pair as usize * (width / HEAD) + h) * 2 + k]);
                let start = query as usize * width + column;
                add_scaled(head_mut(dkv, column), ds, head(q, start));
                add_scaled(head_mut(dkv, width + column), p, head(dout, start));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    const WIDTH: usize = 2 * HEAD;

    fn matrix(len: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, Purpose::Init, [0, 0]);
        (0..len).map(|_| random.uniform(-1.0, 1.0) as f32).collect()
    }

    /// A trie of `n` rows: row i hangs under row (i - 1) / 2; the queries are its rows `from..n`.
    fn tree(n: usize, from: usize) -> Plan {
        let (mut offsets, mut rows) = (vec![0], Vec::new());
        for i in from..n {
            let mut path = vec![i as u32];
            while *path.last().unwrap() > 0 {
                path.push((path.last().unwrap() - 1) / 2);
            }
            rows.extend(path.iter().rev());
            offsets.push(rows.len() as u32);
        }
        Plan::listed(offsets, rows, n)
    }

    /// The definition, in f64.
    fn scalar(q: &[f32], kv: &[f32], plan: &Plan) -> Vec<f64> {
        let (mut out, mut keys) = (Vec::new(), Vec::new());
        for i in 0..plan.queries {
            plan.list(i, &mut keys);
            for column in 0..WIDTH {
                let start = column / HEAD * HEAD;
                let score = |row: u32| {
                    (0..HEAD)
                        .map(|c| {
                            f64::from(q[i * WIDTH + start + c])
                                * f64::from(kv[row as usize * 2 * WIDTH + start + c])
                        })
                        .sum::<f64>()
                        / 8.0
                };
                let weights: Vec<f64> = keys.iter().map(|&row| score(row).exp()).collect();
                let values =
                    keys.iter().map(|&row| f64::from(kv[(row as usize * 2 + 1) * WIDTH + column]));
                out.push(
                    weights.iter().zip(values).map(|(w, v)| w * v).sum::<f64>()
                        / weights.iter().sum::<f64>(),
                );
            }
        }
        out
    }

    #[test]
    fn forward_agrees_with_the_definition_for_every_length() {
        let mut plans: Vec<(Plan, usize)> = (1..=34).map(|n| (tree(n, n / 2), n)).collect();
        plans.extend((1..=33).map(|len| (Plan::full(2, len, 1), 2 * len)));
        plans.push((Plan::full(3, 50, 50), 150));
        for (plan, rows) in plans {
            let (q, kv) = (matrix(plan.queries() * WIDTH, 1), matrix(rows * 2 * WIDTH, 2));
            let mut out = vec![0.0; q.len()];
            forward(&mut out, &q, &kv, &plan, WIDTH);
            for (x, expected) in out.iter().zip(scalar(&q, &kv, &plan)) {
                assert!((f64::from(*x) - expected).abs() < 1e-5); // rounding of sums of up to 64 values below 1
            }
        }
    }

    #[test]
    fn backward_matches_central_differences() {
        let (n, h) = (41, 1e-3);
        let plan = tree(n, 3);
        let (q, kv) = (matrix(plan.queries() * WIDTH, 1), matrix(n * 2 * WIDTH, 2));
        let dout = matrix(q.len(), 3);
        let loss = |q: &[f32], kv: &[f32]| -> f64 {
            scalar(q, kv, &plan).iter().zip(&dout).map(|(x, d)| x * f64::from(*d)).sum()
        };
        let (mut dq, mut dkv) = (vec![9.0; q.len()], vec![9.0; kv.len()]);
        backward(&mut dq, &mut dkv, &dout, &q, &kv, &plan, WIDTH);
        let numeric = |x: &[f32], i: usize, at: &dyn Fn(&[f32]) -> f64| {
            let (mut up, mut down) = (x.to_vec(), x.to_vec());
            up[i] += h;
            down[i] -= h;
            (at(&up) - at(&down)) / f64::from(up[i] - down[i])
        };
        for i in (0..q.len()).step_by(509) {
            let expected = numeric(&q, i, &|q| loss(q, &kv));
            assert!((f64::from(dq[i]) - expected).abs() < 1e-4, "dq {i}: {} {expected}", dq[i]);
        }
        for i in (0..kv.len()).step_by(509) {
            let expected = numeric(&kv, i, &|kv| loss(&q, kv));
            assert!((f64::from(dkv[i]) - expected).abs() < 1e-4, "dkv {i}: {} {expected}", dkv[i]);
        }
    }

    #[test]
    #[should_panic(expected = "key_rows")]
    fn a_plan_refuses_rows_that_do_not_exist() {
        Plan::listed(vec![0, 1], vec![5], 5);
    }
}
