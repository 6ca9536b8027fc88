//! The learning rate of an epoch, as the originals' scheduler steps it: constant warm-up, then a cosine over all
//! epochs that starts at the full rate when the warm-up ends and never reaches zero (reference values below).

/// The schedule of a run.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The full learning rate.
    pub lr: f64,
    /// Epochs in all.
    pub epochs: usize,
    /// Epochs at [`Self::warmup_lr`].
    pub warmup_epochs: usize,
    /// The learning rate of the warm-up.
    pub warmup_lr: f64,
}

impl Schedule {
    /// The learning rate of `epoch`, from 0.
    pub fn lr(&self, epoch: usize) -> f64 {
        if epoch < self.warmup_epochs {
            return self.warmup_lr;
        }
        let turn = (epoch - self.warmup_epochs) as f64 / self.epochs as f64;
        0.5 * self.lr * (1.0 + (std::f64::consts::PI * turn).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(epochs: usize) -> Vec<f64> {
        let schedule = Schedule { lr: 0.002, epochs, warmup_epochs: 1, warmup_lr: 1e-5 };
        (0..epochs).map(|epoch| schedule.lr(epoch)).collect()
    }

    #[test]
    fn ten_epochs_are_the_originals() {
        let expected = [
            1e-5, 2e-3, 1.9511e-3, 1.8090e-3, 1.5878e-3, 1.3090e-3, 1e-3, 6.9098e-4, 4.1221e-4,
            1.9098e-4,
        ];
        for (ours, theirs) in rates(10).into_iter().zip(expected) {
            assert!((ours - theirs).abs() < 5e-8, "{ours} {theirs}"); // the printed digits
        }
    }

    #[test]
    fn the_last_epochs_are_those_of_the_original_logs() {
        for (epochs, last) in [(50, 7.8853e-6), (100, 1.9733e-6), (200, 4.9344e-7)] {
            assert!((rates(epochs)[epochs - 1] - last).abs() < 1e-10);
        }
    }
}
