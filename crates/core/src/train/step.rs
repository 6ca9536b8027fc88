//! One training step: loss and gradient of a batch (CoOp, Zhou et al. 2022, Eq. 1; CoCoOp, 2022b, Eq. 4).

use crate::Result;
use crate::model::block::Workspace;
use crate::model::clip::Clip;
use crate::model::text::TokenTable;
use crate::ops::{Ops, cross_entropy};
use crate::prompt::learned::Learned;
use crate::prompt::learner::Learner;

/// What a batch gave.
pub struct Step {
    /// Mean cross-entropy, nats.
    pub loss: f32,
    /// Images whose most probable class is their label.
    pub correct: usize,
    /// The gradient of everything learned.
    pub gradient: Learner,
}

/// Loss and gradient of `image_features` (batch, `embed_dim`), L2-normalised, with `labels` (batch).
/// # Errors
/// [`crate::Error::Label`] if a label is not below the number of classes; of [`Clip::text`].
pub fn gradient<O: Ops>(
    clip: &Clip<O>,
    tokens: &TokenTable,
    work: &mut Workspace<O>,
    learned: &mut Learned<O>,
    image_features: &[f32],
    labels: &[usize],
) -> Result<Step> {
    let n_cls = learned.n_cls();
    let mut probs = vec![0.0; labels.len() * n_cls];
    let logits = learned.forward(clip, tokens, work, image_features)?;
    let loss = cross_entropy::forward(&mut probs, logits, labels, n_cls)?;
    let mut dlogits = vec![0.0; probs.len()];
    cross_entropy::backward(&mut dlogits, &probs, labels, n_cls);
    let gradient = learned.backward(clip, work, image_features, &dlogits)?;
    let correct =
        probs.chunks_exact(n_cls).zip(labels).filter(|(p, label)| argmax(p) == **label).count();
    Ok(Step { loss, correct, gradient })
}

/// The index of the largest value, the first of equals.
pub fn argmax(values: &[f32]) -> usize {
    let first = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (0..values.len()).fold(0, first)
}
