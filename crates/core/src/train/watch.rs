//! Whether the loss of a run explodes. The rule must never stop a healthy run: it looks at the mean over about a hundred
//! images, and asks for a loss that is far above what knowing nothing costs and far above what this run began with.

use serde::{Deserialize, Serialize};

/// Images that the smoothed loss looks back at; steps, if they are of more than ten images each.
const IMAGES: usize = 100;
const STEPS: usize = 10;
/// Nats above chance and start: the true class is held for 1/20 as probable as by chance, on the mean.
const MARGIN: f64 = 3.0;

/// The losses of a run so far, in three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Steps seen.
    steps: usize,
    /// Mean loss of the first window, nats.
    start: f64,
    /// Mean loss that forgets what is older than a window, nats.
    smoothed: f64,
}

impl Watch {
    /// With the `loss` of one more step, of `batch_size` images.
    #[must_use]
    pub fn after(self, loss: f32, batch_size: usize) -> Self {
        let (window, steps) = (window(batch_size), self.steps + 1);
        let smoothed = self.smoothed + (f64::from(loss) - self.smoothed) / steps.min(window) as f64;
        Self { steps, smoothed, start: if steps <= window { smoothed } else { self.start } }
    }

    /// Why the run has exploded, if it has: the smoothed loss is more than 3 nats above both chance, ln `n_cls`, and the
    /// mean of the first window, which thus never stops a run.
    pub fn exploded(&self, n_cls: usize, batch_size: usize) -> Option<String> {
        let Self { smoothed, start, .. } = self;
        (smoothed - self.normal(n_cls) > MARGIN).then(|| {
            format!(
                "the mean loss of the latest {} steps is {smoothed:.2}; it began at {start:.2}, and chance is {:.2}",
                window(batch_size),
                (n_cls as f64).ln()
            )
        })
    }

    /// Whether the smoothed loss is not above chance or start.
    pub fn good(&self, n_cls: usize) -> bool {
        self.smoothed <= self.normal(n_cls)
    }

    fn normal(&self, n_cls: usize) -> f64 {
        self.start.max((n_cls as f64).ln())
    }
}

/// Steps of the smoothed loss.
fn window(batch_size: usize) -> usize {
    IMAGES.div_ceil(batch_size).max(STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sees these losses: the step that exploded, from 1.
    fn explodes(n_cls: usize, batch_size: usize, losses: &[f32]) -> Option<usize> {
        let mut watch = Watch::default();
        losses
            .iter()
            .position(|&loss| {
                watch = watch.after(loss, batch_size);
                watch.exploded(n_cls, batch_size).is_some()
            })
            .map(|i| i + 1)
    }

    #[test]
    fn a_loss_that_rises_far_above_chance_and_start_stops_the_run() {
        // From 1 to 9 nats in a run of ten classes, limit ln 10 + 3 = 5.3: 0.01 of the difference a step, 77 steps.
        let losses = [vec![1.0; 300], vec![9.0; 300]].concat();
        assert_eq!(explodes(10, 1, &losses), Some(300 + 77));
        assert_eq!(explodes(10, 64, &losses), Some(300 + 8));
        // A run that begins badly may stay so, and may not become much worse.
        assert_eq!(explodes(10, 1, &[vec![8.0; 300], vec![10.9; 3000]].concat()), None);
        assert!(explodes(10, 1, &[vec![8.0; 300], vec![12.0; 3000]].concat()).is_some());
        // However it begins, the first window decides nothing.
        assert_eq!(explodes(2, 1, &vec![30.0; 3000]), None);
    }

    #[test]
    fn single_hard_images_do_not() {
        // Every tenth image costs 20 nats, the others little: 2.1 on the mean.
        let hard: Vec<f32> = (0..5000).map(|i| if i % 10 == 0 { 20.0 } else { 0.1 }).collect();
        assert_eq!(explodes(2, 1, &hard), None);
        // Ten of them in a row after a good start: 0.1 + 1.9.
        let burst = [vec![0.1; 500], vec![20.0; 10], vec![0.1; 500]].concat();
        assert_eq!(explodes(2, 1, &burst), None);
    }

    #[test]
    fn it_knows_a_good_state_from_a_bad_one() {
        let mut watch = Watch::default();
        for _ in 0..200 {
            watch = watch.after(1.0, 1);
            assert!(watch.good(10));
        }
        for _ in 0..40 {
            watch = watch.after(9.0, 1);
        }
        assert!(!watch.good(10) && watch.exploded(10, 1).is_none());
    }
}
