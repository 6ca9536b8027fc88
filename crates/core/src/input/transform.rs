//! CLIP's view of an image at test time: shorter side to `size` by Pillow's bicubic, centre crop, RGB, then mean and
//! standard deviation. Sizes are truncated and offsets rounded as torchvision does.

use super::image::Image;
use super::resize::{Window, resize};

/// CLIP's mean of each channel, of values in 0..=1.
pub const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// CLIP's standard deviation of each channel.
pub const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// What CLIP sees of `image`, before [`normalize`]: RGB, (size, size, 3).
/// # Panics
/// If `size` is 0.
pub fn test_view(image: &Image, size: usize) -> Vec<u8> {
    let (short, long) = (image.width.min(image.height), image.width.max(image.height));
    let long = (size as f64 * long as f64 / short as f64) as usize; // truncated, as Python's int() does
    let (width, height) = if image.width <= image.height { (size, long) } else { (long, size) };
    // Python's round(): to the nearest, halves to the even one.
    let offset = |side: usize| ((side - size) as f64 / 2.0).round_ties_even() as usize;
    let window = Window { left: offset(width), top: offset(height), width: size, height: size };
    resize(image, width, height, window).to_rgb().data
}

/// Writes (3, size, size) from a view of (size, size, 3): value / 255, less the mean, over the standard deviation.
/// # Panics
/// If the slices do not fit `size`.
pub fn normalize(rgb: &[u8], size: usize, out: &mut [f32]) {
    assert_eq!((rgb.len(), out.len()), (size * size * 3, size * size * 3));
    for (channel, out) in out.chunks_exact_mut(size * size).enumerate() {
        let (mean, std) = (MEAN[channel], STD[channel]);
        for (out, &value) in out.iter_mut().zip(rgb.iter().skip(channel).step_by(3)) {
            *out = (f32::from(value) / 255.0 - mean) / std;
        }
    }
}
