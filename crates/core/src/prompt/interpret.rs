//! What learned vectors lie near: the tokens of the model's own table by Euclidean distance, as CoOp's `interpret_prompt.py`
//! asks (Zhou et al. 2022, 4.3), which compares with RN50's table whatever the prompt was learned on.

use super::learner::Learner;
use crate::kernels::dot::dots;
use crate::model::clip::Clip;
use crate::model::text::TokenTable;
use crate::ops::Ops;
use crate::{Error, Result};
use serde::Serialize;

/// A token and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Near {
    /// Its id.
    pub id: u32,
    /// Euclidean.
    pub distance: f64,
}

/// For each of `vectors` (n, width) the `k` nearest tokens that the model knows, nearest first; of equals the lower id.
/// # Errors
/// [`Error::Shape`], [`Error::NotFinite`]; of [`Clip::known_tokens`].
pub fn nearest_tokens<O: Ops>(clip: &Clip<O>, vectors: &[f32], k: usize) -> Result<Vec<Vec<Near>>> {
    let width = clip.config.text.width;
    let table = clip.known_tokens()?;
    if !vectors.len().is_multiple_of(width) {
        let (expected, got) = (vec![width], vec![vectors.len()]);
        return Err(Error::Shape { name: "vectors".into(), expected, got });
    }
    if !vectors.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { name: "vectors".into() });
    }
    let squares: Vec<f32> = table.parts().1.chunks_exact(width).map(square).collect();
    let of = |vector: &[f32]| nearest(&table, &squares, vector, k);
    #[cfg(feature = "parallel")]
    {
        use rayon::prelude::*;
        Ok(vectors.par_chunks_exact(width).map(of).collect())
    }
    #[cfg(not(feature = "parallel"))]
    Ok(vectors.chunks_exact(width).map(of).collect())
}

/// Inner products find who may be near, with a margin for their rounding; the distances of those are summed in f64.
fn nearest(table: &TokenTable, squares: &[f32], vector: &[f32], k: usize) -> Vec<Near> {
    let ((ids, rows), width, own) = (table.parts(), vector.len(), square(vector));
    let k = k.min(ids.len());
    if k == 0 {
        return Vec::new();
    }
    let mut about = vec![0.0; ids.len()];
    dots(&mut about, vector, rows);
    about.iter_mut().zip(squares).for_each(|(z, square)| *z = own + square - 2.0 * *z);
    let mut sorted = about.clone();
    let kth = *sorted.select_nth_unstable_by(k - 1, f32::total_cmp).1;
    // Sums of so many products in f32 are right to 1e-5 of what is added up, by far.
    let margin = |at: usize| 1e-5 * (own + squares[at]);
    let widest = squares.iter().fold(0.0, |most: f32, square| most.max(*square));
    let limit = kth + 1e-5 * (own + widest);
    let mut near: Vec<Near> = (0..ids.len())
        .filter(|&at| about[at] - margin(at) <= limit)
        .map(|at| Near { id: ids[at], distance: distance(vector, &rows[at * width..][..width]) })
        .collect();
    near.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.id.cmp(&b.id)));
    near.truncate(k);
    near
}

fn square(row: &[f32]) -> f32 {
    row.iter().map(|x| x * x).sum()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// The shift (n, `ctx_dim`) that the Meta-Net adds to every vector for each of `image_features` (n, `embed_dim`),
/// L2-normalised; empty without a Meta-Net.
/// # Errors
/// [`Error::Shape`].
pub fn shifts(learner: &Learner, image_features: &[f32]) -> Result<Vec<f32>> {
    let Some(net) = &learner.meta_net else { return Ok(Vec::new()) };
    if !image_features.len().is_multiple_of(net.embed_dim()) {
        let (expected, got) = (vec![net.embed_dim()], vec![image_features.len()]);
        return Err(Error::Shape { name: "image_features".into(), expected, got });
    }
    let mut shift = Vec::new();
    net.forward(&mut shift, &mut Vec::new(), image_features);
    Ok(shift)
}
