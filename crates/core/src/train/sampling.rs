//! Few-shot sampling and the cut into base and new classes, identical to Dassl and `CoOp` on `CPython`.
//! The sample is the first consumer of `random.seed(seed)`, as in the original; the cut comes after the sample.

use std::collections::{BTreeSet, HashMap};

/// Indices into `train_labels` and `val_labels` of a sample with `shots` images per class (fewer where a class has fewer)
/// and `min(shots, 4)` validation images, in the original's order. `shots` 0 means all.
pub fn few_shot(
    train_labels: &[usize],
    val_labels: &[usize],
    shots: usize,
    seed: u64,
) -> (Vec<usize>, Vec<usize>) {
    if shots == 0 {
        return ((0..train_labels.len()).collect(), (0..val_labels.len()).collect());
    }
    let mut random = MersenneTwister::new(seed);
    let train = sample_classes(train_labels, shots, &mut random);
    (train, sample_classes(val_labels, shots.min(4), &mut random))
}

/// A permutation of 0..n for each n of `sizes`: what `random.seed(seed)` and then `random.shuffle` of lists of these sizes, one after
/// the other, make of their indices. The originals cut a data set by it that comes without a split file.
pub fn shuffles(sizes: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let mut random = MersenneTwister::new(seed);
    sizes.iter().map(|&n| random.shuffle(n)).collect()
}

/// `k` indices per class, classes in the order of their first appearance.
fn sample_classes(labels: &[usize], k: usize, random: &mut MersenneTwister) -> Vec<usize> {
    let mut classes: Vec<Vec<usize>> = Vec::new();
    let mut class_of = HashMap::new();
    for (i, label) in labels.iter().enumerate() {
        let class = *class_of.entry(label).or_insert(classes.len());
        if class == classes.len() {
            classes.push(Vec::new());
        }
        classes[class].push(i);
    }
    let mut sample = Vec::new();
    for items in classes {
        if items.len() >= k {
            sample.extend(random.sample(items.len(), k).into_iter().map(|i| items[i]));
        } else {
            sample.extend(items);
        }
    }
    sample
}

/// Which classes of a data set are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Every class.
    All,
    /// The first half of the sorted labels, the larger one if their number is odd.
    Base,
    /// The rest.
    New,
}

/// What [`subsample`] keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsample {
    /// Kept positions in the list of labels, ascending.
    pub indices: Vec<usize>,
    /// The new label of each kept position, from 0.
    pub labels: Vec<usize>,
    /// The old label of each new one, ascending.
    pub classes: Vec<usize>,
}

/// Keeps one half of the classes that occur in `labels`, relabelled from 0 in ascending order of the old label.
pub fn subsample(labels: &[usize], half: Half) -> Subsample {
    let all: Vec<usize> = crate::set_of(labels.iter().copied()).into_iter().collect();
    let n_base = all.len().div_ceil(2);
    let classes = match half {
        Half::All => all,
        Half::Base => all[..n_base].to_vec(),
        Half::New => all[n_base..].to_vec(),
    };
    let kept = labels
        .iter()
        .enumerate()
        .filter_map(|(i, label)| Some((i, classes.binary_search(label).ok()?)));
    let (indices, labels) = kept.unzip();
    Subsample { indices, labels, classes }
}

/// `CPython`'s `random.Random`: MT19937 (Matsumoto and Nishimura 1998) with Python's seeding and sampling.
struct MersenneTwister {
    state: [u32; 624],
    next: usize,
}

impl MersenneTwister {
    /// `random.seed(seed)` of a non-negative int: the key is its 32-bit digits, low first, at least one.
    fn new(seed: u64) -> Self {
        let digits = [seed as u32, (seed >> 32) as u32];
        let key = if digits[1] == 0 { &digits[..1] } else { &digits[..] };
        let mut state = [0u32; 624];
        state[0] = 19_650_218;
        for i in 1..624 {
            let previous = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = previous.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..624 {
            let previous = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = (state[i] ^ previous.wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i += 1;
            j = (j + 1) % key.len();
            if i == 624 {
                state[0] = state[623];
                i = 1;
            }
        }
        for _ in 0..623 {
            let previous = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = (state[i] ^ previous.wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i == 624 {
                state[0] = state[623];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, next: 624 }
    }

    /// The next 32 bits.
    fn bits(&mut self) -> u32 {
        if self.next == 624 {
            for i in 0..624 {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `_randbelow(n)`: draws of as many bits as `n` has, until one is below it. 1 ≤ `n` < 2³².
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let draw = (self.bits() >> (32 - bits)) as usize;
            if draw < n {
                return draw;
            }
        }
    }

    /// `shuffle(list(range(n)))`, n < 2³².
    fn shuffle(&mut self, n: usize) -> Vec<usize> {
        let mut items: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
        items
    }

    /// `sample(range(n), k)`, k ≤ n: from a shrinking pool if that is smaller than a set of `k`, else by rejection.
    fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        let mut set_size = 21;
        if k > 5 {
            let mut power = 1;
            while power < 3 * k {
                power *= 4;
            }
            set_size += power;
        }
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..k)
                .map(|i| {
                    let j = self.below(n - i);
                    let item = pool[j];
                    pool[j] = pool[n - i - 1];
                    item
                })
                .collect();
        }
        let (mut seen, mut sample) = (BTreeSet::new(), Vec::with_capacity(k));
        while sample.len() < k {
            let draw = self.below(n);
            if seen.insert(draw) {
                sample.push(draw);
            }
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_pythons() {
        for (seed, first) in [(1, 577_090_037), (2, 4_106_135_923), (3, 1_022_050_301)] {
            assert_eq!(
                MersenneTwister::new(seed).bits(),
                first,
                "random.seed({seed}); random.getrandbits(32)"
            );
        }
    }

    #[test]
    fn both_branches_of_sample_are_pythons() {
        let mut random = MersenneTwister::new(1);
        let rejection = [17, 72, 97, 8, 32, 15, 63, 57, 60, 83, 48, 26, 12, 62, 3, 49];
        assert_eq!(random.sample(100, 16), rejection); // 100 is above the threshold 21 + 64
        let pool = [13, 19, 24, 27, 0, 22, 14, 8, 7, 18, 3, 10, 25, 17, 16, 20];
        assert_eq!(random.sample(30, 16), pool);
    }

    #[test]
    fn shuffles_are_pythons_and_go_on_where_the_last_one_stopped() {
        let [ten, three, one, none, twenty] = shuffles(&[10, 3, 1, 0, 20], 1).try_into().unwrap();
        assert_eq!(ten, [6, 8, 9, 7, 5, 3, 0, 4, 1, 2]);
        assert_eq!((three, one, none), (vec![1, 2, 0], vec![0], vec![]));
        let last = [2, 10, 8, 17, 16, 6, 19, 5, 1, 9, 3, 14, 4, 7, 11, 18, 13, 12, 0, 15];
        assert_eq!(twenty, last);
    }

    #[test]
    fn seeds_have_as_many_digits_as_pythons() {
        let sample = |seed, n, k| MersenneTwister::new(seed).sample(n, k);
        assert_eq!(sample(0, 1000, 5), [864, 394, 776, 911, 430]);
        assert_eq!(sample(1 << 32, 1000, 5), [115, 359, 427, 957, 17]);
        assert_eq!(sample((1 << 40) + 7, 1000, 5), [628, 765, 834, 960, 967]);
    }

    #[test]
    fn small_classes_are_taken_whole_and_zero_shots_means_all() {
        let (train, val) = few_shot(&[5, 3, 5, 3, 3], &[3, 5], 3, 1);
        assert_eq!(train[..2], [0, 2], "class 5 appears first and has two images");
        assert_eq!((train.len(), val), (5, vec![0, 1]));
        assert_eq!(few_shot(&[1, 0], &[0], 0, 1), (vec![0, 1], vec![0]));
    }

    #[test]
    fn the_larger_half_is_the_base() {
        let labels = [7, 2, 9, 2, 4, 5];
        let base = subsample(&labels, Half::Base);
        assert_eq!(
            (base.indices, base.labels, base.classes),
            (vec![1, 3, 4, 5], vec![0, 0, 1, 2], vec![2, 4, 5])
        );
        let new = subsample(&labels, Half::New);
        assert_eq!((new.indices, new.labels, new.classes), (vec![0, 2], vec![0, 1], vec![7, 9]));
        assert_eq!(subsample(&labels, Half::All).classes, [2, 4, 5, 7, 9]);
    }
}
