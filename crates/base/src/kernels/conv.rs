//! What a convolution needs beside the GEMM: its patches as rows (im2col), average pooling, ReLU.
//! Maps are square and channels-last, (batch·size², channels), so that a pixel is a row, a 1x1 convolution is a plain
//! product, and a patch is `kernel` runs of neighbouring values.

use super::{for_each_isa, for_rows};

/// Rows that one task takes.
const GRAIN: usize = 32;
/// Elements that one task takes.
const ELEMENTS: usize = 1 << 14;

/// How a square filter walks over square maps, with zeros around them: `kernel` / 2 on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side of the maps that come in, pixels.
    pub size: usize,
    /// Side of the filter, pixels; odd.
    pub kernel: usize,
    /// Pixels from one position to the next.
    pub stride: usize,
}

impl Window {
    /// Side of the maps that go out, pixels.
    pub fn out(self) -> usize {
        (self.size - 1) / self.stride + 1
    }

    /// Length of a patch of maps with so many channels.
    pub fn patch(self, channels: usize) -> usize {
        self.kernel * self.kernel * channels
    }
}

/// Row i of `patches` = what the filter sees at output pixel `first` + i, in the order (y, x, channel); output pixels
/// are counted over all images. Shapes: `patches` (rows, kernel²·`channels`), `x` (batch·size², `channels`).
/// # Panics
/// If the slices do not fit those shapes, or there are fewer output pixels.
pub fn im2col(patches: &mut [f32], x: &[f32], window: Window, channels: usize, first: usize) {
    let (width, out) = (window.patch(channels), window.out());
    let images = x.len() / (window.size * window.size * channels);
    assert!(x.len() == images * window.size * window.size * channels);
    assert!(patches.len().is_multiple_of(width) && window.kernel % 2 == 1);
    assert!(first + patches.len() / width <= images * out * out);
    for_rows(patches, width, GRAIN, |row, patches| {
        im2col_rows(patches, x, window, channels, first + row);
    });
}

fn im2col_rows(patches: &mut [f32], x: &[f32], window: Window, channels: usize, first: usize) {
    let Window { size, kernel, stride } = window;
    let (out, pad, line_len) = (window.out(), kernel / 2, kernel * channels);
    for (i, patch) in patches.chunks_exact_mut(kernel * line_len).enumerate() {
        let pixel = first + i;
        let (image, top, start) =
            (pixel / (out * out), pixel / out % out * stride, pixel % out * stride);
        // Positions count from the first zero around the map.
        let (left, right) =
            (pad.saturating_sub(start), (start + kernel).saturating_sub(size + pad));
        for (y, line) in (top..).zip(patch.chunks_exact_mut(line_len)) {
            if !(pad..size + pad).contains(&y) {
                line.fill(0.0);
                continue;
            }
            let (zeros, rest) = line.split_at_mut(left * channels);
            let (values, more_zeros) = rest.split_at_mut((kernel - left - right) * channels);
            let from = ((image * size + y - pad) * size + start + left - pad) * channels;
            values.copy_from_slice(&x[from..][..values.len()]);
            zeros.fill(0.0);
            more_zeros.fill(0.0);
        }
    }
}

/// `y` = the means of the `window`·`window` squares of `x`, side by side.
/// Shapes: `y` (batch·(size/window)², `channels`), `x` (batch·size², `channels`).
/// # Panics
/// If the slices do not fit those shapes or `window` does not divide `size`.
pub fn average_pool(y: &mut [f32], x: &[f32], size: usize, window: usize, channels: usize) {
    assert!(size.is_multiple_of(window) && x.len() == y.len() * window * window);
    assert!(x.len().is_multiple_of(size * size * channels));
    for_rows(y, channels, GRAIN, |first, y| {
        average_pool_part(y, x, size, window, channels, first);
    });
}

/// `x` = max(0, x); NaN stays. Shape: any.
pub fn relu(x: &mut [f32]) {
    for_rows(x, 1, ELEMENTS, |_, x| relu_part(x));
}

for_each_isa! {
    fn average_pool_part(
        y: &mut [f32], x: &[f32], size: usize, window: usize, channels: usize, first: usize
    ) = average_pool_body
}
for_each_isa! {
    fn relu_part(x: &mut [f32]) = relu_body
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn average_pool_body(
    y: &mut [f32],
    x: &[f32],
    size: usize,
    window: usize,
    channels: usize,
    first: usize,
) {
    let (out, share) = (size / window, 1.0 / (window * window) as f32);
    for (i, y) in y.chunks_exact_mut(channels).enumerate() {
        let (line, column) = ((first + i) / out, (first + i) % out); // lines count over all images
        y.fill(0.0);
        for dy in 0..window {
            let corner = ((line * window + dy) * size + column * window) * channels;
            for x in x[corner..][..window * channels].chunks_exact(channels) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
        }
        y.iter_mut().for_each(|y| *y *= share);
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it must be compiled anew inside each instruction set's function"
)]
fn relu_body(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * 1.37).sin()).collect()
    }

    /// The definition: the value under the filter's (`ky`, `kx`) at output pixel (`y`, `x`), 0 outside.
    fn seen(maps: &[f32], window: Window, channels: usize, at: [usize; 6]) -> f32 {
        let [image, y, x, ky, kx, channel] = at;
        let inside = |out: usize, k: usize| {
            (out * window.stride + k).checked_sub(window.kernel / 2).filter(|&at| at < window.size)
        };
        match (inside(y, ky), inside(x, kx)) {
            (Some(y), Some(x)) => {
                maps[((image * window.size + y) * window.size + x) * channels + channel]
            }
            _ => 0.0,
        }
    }

    #[test]
    fn patches_are_what_the_filter_sees_at_every_size_stride_and_slice() {
        for (size, stride, kernel, channels) in [
            (1, 1, 3, 1),
            (2, 1, 3, 3),
            (4, 2, 3, 3),
            (5, 2, 3, 2),
            (6, 1, 3, 33),
            (7, 3, 5, 2),
            (4, 1, 1, 7),
        ] {
            let (window, batch) = (Window { size, kernel, stride }, 2);
            let out = window.out();
            let x = maps(batch * size * size * channels);
            let mut expected = Vec::new();
            for image in 0..batch {
                for (y, column) in (0..out * out).map(|i| (i / out, i % out)) {
                    for i in 0..window.patch(channels) {
                        let (k, channel) = (i / channels, i % channels);
                        let at = [image, y, column, k / kernel, k % kernel, channel];
                        expected.push(seen(&x, window, channels, at));
                    }
                }
            }
            let (pixels, width) = (batch * out * out, window.patch(channels));
            for slice in [1, 3, pixels] {
                let mut patches = vec![9.0; pixels * width];
                for (i, patches) in patches.chunks_mut(slice * width).enumerate() {
                    im2col(patches, &x, window, channels, i * slice);
                }
                assert_eq!(patches, expected, "{window:?}, {channels} channels, {slice} at a time");
            }
        }
    }

    #[test]
    fn average_pool_agrees_with_the_definition_for_every_tail() {
        for channels in 1..=33 {
            for (size, window) in [(4, 2), (6, 2), (6, 3), (5, 5), (3, 1)] {
                let x = maps(2 * size * size * channels);
                let out = size / window;
                let mut y = vec![9.0; 2 * out * out * channels];
                average_pool(&mut y, &x, size, window, channels);
                for (i, y) in y.iter().enumerate() {
                    let (pixel, channel) = (i / channels, i % channels);
                    let (line, column) = (pixel / out * window, pixel % out * window);
                    let sum: f64 = (0..window * window)
                        .map(|k| (line + k / window) * size + column + k % window)
                        .map(|pixel| f64::from(x[pixel * channels + channel]))
                        .sum();
                    assert!((f64::from(*y) - sum / (window * window) as f64).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn relu_keeps_what_is_positive_and_what_is_no_number() {
        for n in 0..=33 {
            let mut x: Vec<f32> = (0..n).map(|i| i as f32 - 9.5).collect();
            relu(&mut x);
            assert_eq!(x, (0..n).map(|i| (i as f32 - 9.5).max(0.0)).collect::<Vec<_>>());
        }
        let mut x = [f32::NAN, -1.0, f32::INFINITY, -0.0];
        relu(&mut x);
        assert!(x[0].is_nan() && x[1..] == [0.0, f32::INFINITY, 0.0]);
    }
}
