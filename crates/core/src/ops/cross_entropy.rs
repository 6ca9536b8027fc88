//! Softmax cross-entropy over classes, forward and backward.
//! CLIP (Radford et al. 2021, Fig. 3), CoOp and CoCoOp make the logits differently; all end here.
//! Backward needs only the probabilities that forward wrote.

use crate::kernels::softmax::softmax;
use crate::{Error, Result};

/// Mean loss of a batch, in nats. Writes softmax(`logits`) to `probs` for [`backward`].
/// Shapes: `probs`, `logits` (batch, `n_cls`); `labels` (batch), batch ≥ 1.
/// # Errors
/// [`Error::Label`] if a label is not below `n_cls`.
/// # Panics
/// If the slices do not fit those shapes: that is the caller's bug, not bad data.
pub fn forward(probs: &mut [f32], logits: &[f32], labels: &[usize], n_cls: usize) -> Result<f32> {
    assert_eq!(logits.len(), labels.len() * n_cls);
    assert_eq!(probs.len(), logits.len());
    let mut loss = 0.0;
    let rows = probs.chunks_exact_mut(n_cls).zip(logits.chunks_exact(n_cls));
    for ((p, z), &label) in rows.zip(labels) {
        let z_label = *z.get(label).ok_or(Error::Label { label, n_cls })?;
        let log_sum = softmax(p, z);
        loss += log_sum - z_label; // -ln p[label], finite even where p[label] underflows
    }
    Ok(loss / labels.len() as f32)
}

/// Adds d(mean loss)/d`logits` = (`probs` - onehot) / batch to `dlogits`.
/// # Panics
/// If the shapes are not those of [`forward`].
pub fn backward(dlogits: &mut [f32], probs: &[f32], labels: &[usize], n_cls: usize) {
    assert_eq!(probs.len(), labels.len() * n_cls);
    assert_eq!(dlogits.len(), probs.len());
    let scale = 1.0 / labels.len() as f32;
    let rows = dlogits.chunks_exact_mut(n_cls).zip(probs.chunks_exact(n_cls));
    for ((d, p), &label) in rows.zip(labels) {
        d.iter_mut().zip(p).for_each(|(d, p)| *d += p * scale);
        d[label] -= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backward_matches_central_differences() {
        let (labels, n_cls, h, mut probs) = ([2, 0], 3, 1e-2, [0.0; 6]);
        let logits = [0.3, -1.2, 0.9, 2.0, 0.1, -0.4];
        let mut loss_at = |i: usize, dz: f32| {
            let mut z = logits;
            z[i] += dz;
            forward(&mut probs, &z, &labels, n_cls).unwrap()
        };
        let numeric = [0, 1, 2, 3, 4, 5].map(|i| (loss_at(i, h) - loss_at(i, -h)) / (2.0 * h));
        forward(&mut probs, &logits, &labels, n_cls).unwrap();
        let mut dlogits = [0.0; 6];
        backward(&mut dlogits, &probs, &labels, n_cls);
        for (d, n) in dlogits.iter().zip(numeric) {
            assert!((d - n).abs() < 1e-3, "analytic {d}, numeric {n}"); // O(h²) + f32 rounding / h
        }
    }

    #[test]
    fn logits_far_apart_stay_finite() {
        let mut probs = [0.0; 2];
        let loss = forward(&mut probs, &[-200.0, 200.0], &[0], 2).unwrap();
        assert_eq!((loss, probs), (400.0, [0.0, 1.0]));
    }

    #[test]
    fn a_label_outside_the_classes_is_refused() {
        let refused = forward(&mut [0.0; 3], &[0.0; 3], &[3], 3);
        assert_eq!(refused, Err(Error::Label { label: 3, n_cls: 3 }));
    }
}
