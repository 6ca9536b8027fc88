//! CLIP's view of an image at test time: shorter side to `size` by Pillow's bicubic, centre crop, RGB, then mean and
//! standard deviation. Sizes are truncated and offsets rounded as torchvision does.

use super::image::{Head, Image, Limits, Sink, Window, decode_into};
use super::resize::Resizer;
use crate::Result;
use serde::{Deserialize, Serialize};

/// How a model wants its pixels: value / 255, less the mean, over the standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Of each channel, of values in 0..=1.
    pub mean: [f32; 3],
    /// The standard deviation of each channel.
    pub std: [f32; 3],
}

/// That of `OpenAI`'s models and of most others.
pub const CLIP: Normalization = Normalization {
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
};

/// What CLIP sees of an image file, before [`normalize`]: RGB, (size, size, 3). The rows of the image go through the
/// resize as they are decoded, so that no picture is held.
/// # Errors
/// As [`decode_into`].
/// # Panics
/// If `size` is 0.
pub fn view_of_file(bytes: &[u8], limits: &Limits, size: usize) -> Result<Vec<u8>> {
    let mut view = View { size, resizer: None };
    decode_into(bytes, limits, &mut view)?;
    Ok(view.finish())
}

/// What CLIP sees of `image`, as [`view_of_file`].
/// # Panics
/// If `size` is 0.
pub fn test_view(image: &Image, size: usize) -> Vec<u8> {
    let mut view = View { size, resizer: None };
    image.send(&mut view);
    view.finish()
}

/// Makes the view of the rows of an image.
struct View {
    size: usize,
    resizer: Option<Resizer>,
}

impl Sink for View {
    fn start(&mut self, head: &Head) -> Window {
        let Self { size, .. } = *self;
        let (short, long) = (head.width.min(head.height), head.width.max(head.height));
        let long = (size as f64 * long as f64 / short as f64) as usize; // truncated, as Python's int() does
        let (width, height) = if head.width <= head.height { (size, long) } else { (long, size) };
        // Python's round(): to the nearest, halves to the even one.
        let offset = |side: usize| ((side - size) as f64 / 2.0).round_ties_even() as usize;
        let window = Window { left: offset(width), top: offset(height), width: size, height: size };
        self.resizer.insert(Resizer::new(head.clone(), width, height, window)).wanted()
    }

    fn row(&mut self, row: &[u8]) {
        self.resizer.as_mut().expect("rows come after the start").row(row);
    }
}

impl View {
    fn finish(self) -> Vec<u8> {
        self.resizer.expect("an image that was decoded was started").finish().to_rgb().data
    }
}

/// Writes (3, size, size) from a view of (size, size, 3): value / 255, less the mean, over the standard deviation.
/// # Panics
/// If the slices do not fit `size`.
pub fn normalize(rgb: &[u8], size: usize, by: &Normalization, out: &mut [f32]) {
    assert_eq!((rgb.len(), out.len()), (size * size * 3, size * size * 3));
    for (channel, out) in out.chunks_exact_mut(size * size).enumerate() {
        let (mean, std) = (by.mean[channel], by.std[channel]);
        let of: [f32; 256] = std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std);
        for (out, pixel) in out.iter_mut().zip(rgb.as_chunks::<3>().0) {
            *out = of[usize::from(pixel[channel])];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::image::{Mode, probe};

    /// Ten columns of brightness 0, 10, ..., 90.
    fn columns(width: usize, height: usize) -> Image {
        let data = (0..width * height).map(|i| (i % width * 10) as u8).collect();
        Image::new(width, height, Mode::L, data)
    }

    #[test]
    fn the_crop_is_central_and_halves_round_to_even() {
        // 1 pixel too many starts at 0 (0.5), 3 at 2 (1.5), 5 at 2 (2.5), 7 at 4 (3.5).
        for (extra, first) in [(1, 0), (3, 2), (5, 2), (7, 4)] {
            let view = test_view(&columns(2 + extra, 2), 2);
            assert_eq!(
                view[..6],
                [
                    first * 10,
                    first * 10,
                    first * 10,
                    (first + 1) * 10,
                    (first + 1) * 10,
                    (first + 1) * 10
                ]
            );
        }
    }

    #[test]
    fn extreme_shapes_have_a_view() {
        for (width, height) in [(1, 1), (1, 9000), (9000, 1), (3, 2)] {
            let image = Image::new(width, height, Mode::L, vec![7; width * height]);
            assert_eq!(test_view(&image, 16), vec![7; 16 * 16 * 3]);
        }
    }

    #[test]
    fn normalizing_separates_the_channels() {
        let mut out = vec![0.0; 2 * 2 * 3];
        let mut rgb = probe(2).data;
        rgb[..3].copy_from_slice(&[255, 0, 51]);
        normalize(&rgb, 2, &CLIP, &mut out);
        let Normalization { mean, std } = CLIP;
        let expected = [(1.0 - mean[0]) / std[0], -mean[1] / std[1], (0.2 - mean[2]) / std[2]];
        for (channel, expected) in expected.into_iter().enumerate() {
            assert!((out[channel * 4] - expected).abs() < 1e-6);
        }
    }
}
