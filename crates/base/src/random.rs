//! Random numbers as a function of (seed, what for, counters): no generator has a state to save, so a resumed run
//! draws what the uninterrupted one would have drawn. `SplitMix64`'s finaliser over mixed keys.

/// What a stream of random numbers is for. Streams with different purposes are independent.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Initial learned vectors and Meta-Net weights.
    Init = 1,
    /// The order of the images in an epoch.
    Shuffle = 2,
    /// Crop and flip of one view.
    Augment = 3,
}

/// A stream of random numbers, cheap to make; equal keys give equal streams.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed` for `purpose`, at `counters` (for example epoch and image).
    pub fn new(seed: u64, purpose: Purpose, counters: [u64; 2]) -> Self {
        let mut key = mix(seed ^ (purpose as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
        for counter in counters {
            key = mix(key.wrapping_add(counter).wrapping_mul(0xa076_1d64_78bd_642f));
        }
        Self(key)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [`low`, `high`).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0..`n`, n ≥ 1; the bias is below 2⁻⁵³·n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// Normal with mean 0 and variance 1 (Box and Muller's transform, one of the two values).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// The numbers 0..`n` in random order (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, counters| Random::new(seed, purpose, counters).bits();
        let first = draw(1, Purpose::Augment, [0, 0]);
        assert_eq!(first, draw(1, Purpose::Augment, [0, 0]));
        for other in [
            draw(2, Purpose::Augment, [0, 0]),
            draw(1, Purpose::Shuffle, [0, 0]),
            draw(1, Purpose::Augment, [1, 0]),
            draw(1, Purpose::Augment, [0, 1]),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let (mut random, n) = (Random::new(7, Purpose::Init, [0, 0]), 100_000);
        let normal: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let variance = normal.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}"); // 5 sigma
        let mean = (0..n).map(|_| random.unit()).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = Random::new(3, Purpose::Shuffle, [0, 0]).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
