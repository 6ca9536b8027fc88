//! Multi-head attention where each query has its own list of key rows: all rows of its image, or its ancestors in the
//! prefix trie. Nothing is kept for backward: scores are cheap to take again. [`reference`] is the definition.
//!
//! ```text
//! forward:   s_j = q·k_j / √head,  p = softmax(s),  out = Σ p_j v_j
//! backward:  dp_j = dout·v_j,  ds_j = p_j (dp_j - Σ p dp) / √head,  dq = Σ ds_j k_j
//!            and, for each key row, over the queries that see it:  dk = Σ ds q,  dv = Σ p dout
//! ```
//! What a query gives does not depend on the other queries, nor on the number of threads.

mod backward;
mod full;
mod listed;

pub use backward::backward;

use super::for_rows;

/// Width of a head in every model of `OpenAI`.
pub const HEAD: usize = 64;
/// Heads are a multiple of this wide.
pub const HEAD_MULTIPLE: usize = 8;
/// No head is wider: bigG has 104.
pub const MAX_HEAD: usize = 128;
/// Rows that one task takes.
const GRAIN: usize = 16;
/// Fewer queries than this of one sequence are not worth the packing of its keys.
const FULL_QUERIES: usize = 8;

/// How wide a row and a head are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Length of a row: all heads side by side.
    pub width: usize,
    /// Length of one head, a multiple of [`HEAD_MULTIPLE`], at most [`MAX_HEAD`]; it divides the width.
    pub head: usize,
}

impl Heads {
    fn count(self) -> usize {
        self.width / self.head
    }

    /// 1 / √head
    fn scale(self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }

    fn check(self) {
        let Self { width, head } = self;
        assert!(
            head > 0
                && head <= MAX_HEAD
                && head.is_multiple_of(HEAD_MULTIPLE)
                && width.is_multiple_of(head)
        );
    }
}

/// Which key rows each query sees.
pub struct Plan {
    keys: Keys,
    queries: usize,
    /// Query i sees `rows[offsets[i]..offsets[i + 1]]`, or, in a full plan, `rows[first..first + len]` of its sequence.
    rows: Vec<u32>,
}

enum Keys {
    /// Sequences of `len` key rows; `per_sequence` queries see all rows of theirs.
    Full { len: usize, per_sequence: usize },
    /// Query i sees those between its offsets.
    Listed { offsets: Vec<u32>, seen_by: SeenBy },
}

/// The transpose of the lists: key row r is seen by `pairs[offsets[r]..offsets[r + 1]]`, (query, position in `rows`).
struct SeenBy {
    offsets: Vec<u32>,
    pairs: Vec<(u32, u32)>,
}

impl Plan {
    /// `sequences` images of `len` rows; the first `per_sequence` rows of each are queries and see the whole image.
    pub fn full(sequences: usize, len: usize, per_sequence: usize) -> Self {
        Self {
            keys: Keys::Full { len, per_sequence },
            queries: sequences * per_sequence,
            rows: (0..(sequences * len) as u32).collect(),
        }
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
        let seen_by = SeenBy { offsets: starts, pairs };
        Self { keys: Keys::Listed { offsets, seen_by }, queries, rows }
    }

    /// Number of query rows.
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// The key rows that `query` sees.
    fn list(&self, query: usize) -> &[u32] {
        match &self.keys {
            Keys::Full { len, per_sequence } => &self.rows[query / per_sequence * len..][..*len],
            Keys::Listed { offsets, .. } => {
                &self.rows[offsets[query] as usize..offsets[query + 1] as usize]
            }
        }
    }
}

/// `out` = attention of `q` over `kv`.
/// Shapes: `out`, `q` (queries, width); `kv` (key rows, 2·width): keys, then values.
/// # Panics
/// If the slices do not fit those shapes or the plan, or the heads are not what [`Heads`] asks for.
pub fn forward(out: &mut [f32], q: &[f32], kv: &[f32], plan: &Plan, heads: Heads) {
    heads.check();
    let Heads { width, .. } = heads;
    assert!(q.len() == plan.queries * width && out.len() == q.len());
    match plan.keys {
        Keys::Full { len, per_sequence } if per_sequence >= FULL_QUERIES => {
            assert!(kv.len() == plan.queries / per_sequence * len * 2 * width);
            full::forward(out, q, kv, len, per_sequence, heads);
        }
        _ => for_rows(out, width, GRAIN, |first, out| {
            listed::forward(out, q, kv, plan, heads, first);
        }),
    }
}

/// The definition, in f64, a query after another. Shapes as in [`forward`].
#[cfg(test)]
fn reference(q: &[f32], kv: &[f32], plan: &Plan, heads: Heads) -> Vec<f64> {
    let Heads { width, head } = heads;
    let wide = |x: &[f32]| x[..head].iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let mut out = Vec::new();
    for (i, column) in
        (0..plan.queries * heads.count()).map(|i| (i / heads.count(), i % heads.count() * head))
    {
        let q = wide(&q[i * width + column..]);
        let (mut sum, mut values) = (0.0, vec![0.0; head]);
        for &row in plan.list(i) {
            let kv = &kv[row as usize * 2 * width + column..];
            let dot: f64 = wide(kv).iter().zip(&q).map(|(k, q)| k * q).sum();
            let weight = (dot / (head as f64).sqrt()).exp();
            sum += weight;
            values.iter_mut().zip(wide(&kv[width..])).for_each(|(x, v)| *x += weight * v);
        }
        out.extend(values.iter().map(|x| x / sum));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    /// Every head width of the published models, and the limits.
    const HEADS: [usize; 7] = [64, 80, 88, 104, 8, 72, 128];

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

    /// A chain of `n` rows: each sees all before it.
    fn chain(n: usize) -> Plan {
        let lists: Vec<Vec<u32>> = (0..n as u32).map(|i| (0..=i).collect()).collect();
        let offsets = lists.iter().scan(0, |end, list| {
            *end += list.len() as u32;
            Some(*end)
        });
        Plan::listed([0].into_iter().chain(offsets).collect(), lists.concat(), n)
    }

    fn check(plan: &Plan, key_rows: usize, heads: Heads) {
        let Heads { width, .. } = heads;
        let (q, kv) = (matrix(plan.queries() * width, 1), matrix(key_rows * 2 * width, 2));
        let mut out = vec![9.0; q.len()];
        forward(&mut out, &q, &kv, plan, heads);
        for (x, expected) in out.iter().zip(reference(&q, &kv, plan, heads)) {
            assert!((f64::from(*x) - expected).abs() < 1e-5); // rounding of sums of values below 1
        }
    }

    #[test]
    fn lists_of_every_length_agree_with_the_definition() {
        for head in HEADS {
            let heads = Heads { width: 2 * head, head };
            check(&chain(35), 35, heads);
            (1..=34).for_each(|n| check(&tree(n, n / 2), n, heads));
            (1..=33).for_each(|len| check(&Plan::full(2, len, 1), 2 * len, heads));
        }
    }

    #[test]
    fn whole_sequences_of_every_length_agree_with_the_definition() {
        for head in HEADS {
            let heads = Heads { width: 2 * head, head };
            for len in FULL_QUERIES..=50 {
                check(&Plan::full(2, len, len), 2 * len, heads);
                check(&Plan::full(1, 35, len.min(35)), 35, heads);
            }
        }
        check(&Plan::full(1, 197, 197), 197, Heads { width: 128, head: 64 });
    }

    #[test]
    fn a_query_does_not_depend_on_those_beside_it() {
        let heads = Heads { width: 128, head: 64 };
        for len in [50, 61] {
            let (q, kv) = (matrix(3 * len * 128, 1), matrix(3 * len * 256, 2));
            let (mut all, mut one) = (vec![0.0; q.len()], vec![0.0; len * 128]);
            forward(&mut all, &q, &kv, &Plan::full(3, len, len), heads);
            let (q, kv) = (&q[len * 128..2 * len * 128], &kv[len * 256..2 * len * 256]);
            forward(&mut one, q, kv, &Plan::full(1, len, len), heads);
            assert!(all[len * 128..2 * len * 128] == one);
            let some = 9; // so many first queries alone, in tiles of another height
            forward(&mut one[..some * 128], &q[..some * 128], kv, &Plan::full(1, len, some), heads);
            assert!(all[len * 128..][..some * 128] == one[..some * 128]);
        }
    }

    #[test]
    fn backward_matches_central_differences() {
        for heads in [Heads { width: 128, head: 64 }, Heads { width: 88, head: 88 }] {
            backward_matches(heads);
        }
    }

    fn backward_matches(heads: Heads) {
        let (n, h, width) = (41, 1e-3, heads.width);
        let plan = tree(n, 3);
        let (q, kv) = (matrix(plan.queries() * width, 1), matrix(n * 2 * width, 2));
        let dout = matrix(q.len(), 3);
        let loss = |q: &[f32], kv: &[f32]| -> f64 {
            reference(q, kv, &plan, heads).iter().zip(&dout).map(|(x, d)| x * f64::from(*d)).sum()
        };
        let (mut dq, mut dkv) = (vec![9.0; q.len()], vec![9.0; kv.len()]);
        backward(&mut dq, &mut dkv, &dout, &q, &kv, &plan, heads);
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
