//! L2 normalisation of rows, forward and backward. As in CLIP there is no epsilon: a row of zeros would be a bug of
//! the model, and becomes NaN, which training and classification report.

use crate::kernels::dot::dots;

/// Divides each row of `x` (rows, width) by its length.
/// # Panics
/// If `x` is no whole number of rows.
pub fn forward(x: &mut [f32], width: usize) {
    assert!(x.len().is_multiple_of(width));
    x.chunks_exact_mut(width).for_each(|row| {
        to_unit(row);
    });
}

/// As [`forward`], and `lengths` (rows) are kept for [`backward`].
/// # Panics
/// As [`forward`].
pub fn forward_keeping(x: &mut [f32], width: usize, lengths: &mut Vec<f32>) {
    assert!(x.len().is_multiple_of(width));
    lengths.clear();
    lengths.extend(x.chunks_exact_mut(width).map(to_unit));
}

fn to_unit(row: &mut [f32]) -> f32 {
    let mut square = [0.0];
    dots(&mut square, row, row);
    let length = square[0].sqrt();
    row.iter_mut().for_each(|x| *x /= length);
    length
}

/// Turns `d`, the gradient of the normalised rows `y`, into that of the rows before:
/// (d - y·(y·d)) / length. Shapes: `d`, `y` (rows, width); `lengths` (rows).
/// # Panics
/// If the slices do not fit those shapes.
pub fn backward(d: &mut [f32], y: &[f32], lengths: &[f32], width: usize) {
    assert!(d.len() == y.len() && d.len() == lengths.len() * width);
    for ((d, y), length) in d.chunks_exact_mut(width).zip(y.chunks_exact(width)).zip(lengths) {
        let along: f32 = d.iter().zip(y).map(|(d, y)| d * y).sum();
        d.iter_mut().zip(y).for_each(|(d, y)| *d = (*d - y * along) / length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backward_matches_central_differences() {
        let (x, dy, h) =
            ([0.3f32, -1.2, 0.9, 2.0, 0.1, -0.4], [1.0f32, -0.5, 0.25, 0.7, -1.1, 0.2], 1e-2);
        let loss = |x: [f32; 6]| {
            let mut y = x;
            forward(&mut y, 3);
            y.iter().zip(dy).map(|(y, d)| y * d).sum::<f32>()
        };
        let (mut y, mut d) = (x, dy);
        let mut lengths = Vec::new();
        forward_keeping(&mut y, 3, &mut lengths);
        backward(&mut d, &y, &lengths, 3);
        for i in 0..6 {
            let (mut up, mut down) = (x, x);
            up[i] += h;
            down[i] -= h;
            let numeric = (loss(up) - loss(down)) / (2.0 * h);
            assert!((d[i] - numeric).abs() < 1e-3, "{i}: {} {numeric}", d[i]); // O(h²) + f32 rounding / h
        }
    }
}
