//! Pillow's resize (version 11), bit for bit: bicubic (a = -0.5) with antialias, horizontal pass first, each pass rounded to
//! bytes (version 13 takes the vertical pass first where that is less work: other last bits);
//! nearest for palette and bilevel images; colours premultiplied by alpha. Only the wanted window is computed.

use super::image::{Image, Mode, mul_div_255};

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// The part `window` of `image` resized to `width` x `height`, in the mode of the image.
/// # Panics
/// If a side is 0 or the window is not inside the resized image.
pub fn resize(image: &Image, width: usize, height: usize, window: Window) -> Image {
    assert!(
        window.left + window.width <= width && window.top + window.height <= height,
        "{window:?}"
    );
    if (width, height) == (image.width, image.height) {
        return image.crop(window.left, window.top, window.width, window.height);
    }
    let columns = || Taps::new(image.width, width, window.left, window.width);
    let rows = || Taps::new(image.height, height, window.top, window.height);
    let data = match image.mode {
        Mode::Bilevel | Mode::P => nearest(image, width, height, window),
        Mode::L => bicubic::<1>(&image.data, image.width, &columns(), &rows()),
        Mode::Rgb => bicubic::<3>(&image.data, image.width, &columns(), &rows()),
        Mode::Cmyk => bicubic::<4>(&image.data, image.width, &columns(), &rows()),
        Mode::La => premultiplied::<2>(&image.data, image.width, &columns(), &rows()),
        Mode::Rgba => premultiplied::<4>(&image.data, image.width, &columns(), &rows()),
        Mode::I16 => bicubic_16(image, &columns(), &rows()),
    };
    let palette = image.palette.clone();
    Image { palette, ..Image::new(window.width, window.height, image.mode, data) }
}

/// Which inputs make each output along one axis, and with which weights.
struct Taps {
    /// First input and number of inputs of each output.
    bounds: Vec<(usize, usize)>,
    /// `stride` weights per output, normalised to 1; unused ones are 0.
    weights: Vec<f64>,
    stride: usize,
}

impl Taps {
    /// For the outputs `first..first + count` of `n_out` made from `n_in` inputs.
    fn new(n_in: usize, n_out: usize, first: usize, count: usize) -> Self {
        let scale = n_in as f64 / n_out as f64;
        let filter_scale = scale.max(1.0);
        let (support, sharpness) = (2.0 * filter_scale, 1.0 / filter_scale);
        let stride = support.ceil() as usize * 2 + 1;
        let mut weights = vec![0.0; stride * count];
        let bounds =
            (first..first + count).zip(weights.chunks_exact_mut(stride)).map(|(out, weights)| {
                let center = (out as f64 + 0.5) * scale;
                let start = (center - support + 0.5).max(0.0) as usize;
                let end = ((center + support + 0.5) as usize).min(n_in);
                let weights = &mut weights[..end - start];
                let mut sum = 0.0;
                for (i, weight) in weights.iter_mut().enumerate() {
                    *weight = cubic(((i + start) as f64 - center + 0.5) * sharpness);
                    sum += *weight;
                }
                for weight in weights {
                    *weight /= sum;
                }
                (start, end - start)
            });
        Self { bounds: bounds.collect(), weights, stride }
    }

    /// Weights as fixed point.
    fn fixed(&self) -> Vec<i32> {
        let round =
            |weight: &f64| (weight * f64::from(1 << BITS) + 0.5_f64.copysign(*weight)) as i32;
        self.weights.iter().map(round).collect()
    }

    /// The inputs that are needed at all: first, and number.
    fn range(&self) -> (usize, usize) {
        let (first, (last, len)) = (self.bounds[0].0, self.bounds[self.bounds.len() - 1]);
        (first, last + len - first)
    }
}

/// Keys' cubic convolution kernel with a = -0.5.
fn cubic(x: f64) -> f64 {
    let (a, x) = (-0.5, x.abs());
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

/// Fraction bits of a weight. A sum of weights, negative ones included, times 255 still fits in 32 bits.
const BITS: u32 = 22;
const HALF: i32 = 1 << (BITS - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// Both passes over pixels of `C` bytes.
fn bicubic<const C: usize>(data: &[u8], width: usize, columns: &Taps, rows: &Taps) -> Vec<u8> {
    let (first_row, n_rows) = rows.range();
    let out_width = columns.bounds.len();
    let weights = columns.fixed();
    let mut across = vec![0; n_rows * out_width * C];
    let source_rows = data.chunks_exact(width * C).skip(first_row);
    for (out, row) in across.chunks_exact_mut(out_width * C).zip(source_rows) {
        let (out, row) = (out.as_chunks_mut::<C>().0, row.as_chunks::<C>().0);
        let taps = columns.bounds.iter().zip(weights.chunks_exact(columns.stride));
        for (out, (&(start, len), weights)) in out.iter_mut().zip(taps) {
            let mut sum = [HALF; C];
            for (pixel, weight) in row[start..start + len].iter().zip(weights) {
                for (sum, &value) in sum.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            *out = sum.map(to_byte);
        }
    }

    let weights = rows.fixed();
    let mut result = vec![0; rows.bounds.len() * out_width * C];
    let mut sums = vec![0; out_width * C];
    let taps = rows.bounds.iter().zip(weights.chunks_exact(rows.stride));
    for (out, (&(start, len), weights)) in result.chunks_exact_mut(out_width * C).zip(taps) {
        sums.fill(HALF);
        let source = across.chunks_exact(out_width * C).skip(start - first_row).take(len);
        for (row, &weight) in source.zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        for (out, &sum) in out.iter_mut().zip(&sums) {
            *out = to_byte(sum);
        }
    }
    result
}

/// With the last byte of a pixel as alpha: colours are multiplied by it before and divided by it after.
fn premultiplied<const C: usize>(
    data: &[u8],
    width: usize,
    columns: &Taps,
    rows: &Taps,
) -> Vec<u8> {
    let mut data = data.to_vec();
    for pixel in data.as_chunks_mut::<C>().0 {
        let (alpha, colors) = pixel.split_last_mut().expect("C is at least 2");
        for color in colors {
            *color = mul_div_255(*color, *alpha);
        }
    }
    let mut data = bicubic::<C>(&data, width, columns, rows);
    for pixel in data.as_chunks_mut::<C>().0 {
        let (alpha, colors) = pixel.split_last_mut().expect("C is at least 2");
        if *alpha != 0 {
            for color in colors {
                *color = (u32::from(*color) * 255 / u32::from(*alpha)).min(255) as u8;
            }
        }
    }
    data
}

/// 16-bit grey, low byte first: sums in floating point, of which Pillow clips each byte apart.
fn bicubic_16(image: &Image, columns: &Taps, rows: &Taps) -> Vec<u8> {
    let clip = |sum: f64| {
        let sum = sum.round() as i32;
        [(sum % 256).clamp(0, 255) as u8, (sum >> 8).clamp(0, 255) as u8]
    };
    let value = |bytes: &[u8; 2]| f64::from(u16::from_le_bytes(*bytes));
    let weighted = |values: &mut dyn Iterator<Item = f64>, weights: &[f64]| {
        clip(values.zip(weights).fold(0.0, |sum, (value, weight)| sum + value * weight))
    };
    let (first_row, n_rows) = rows.range();
    let out_width = columns.bounds.len();
    let mut across: Vec<[u8; 2]> = Vec::with_capacity(n_rows * out_width);
    for row in image.data.chunks_exact(image.width * 2).skip(first_row).take(n_rows) {
        let row = row.as_chunks().0;
        for (&(start, len), weights) in
            columns.bounds.iter().zip(columns.weights.chunks_exact(columns.stride))
        {
            across.push(weighted(&mut row[start..start + len].iter().map(value), weights));
        }
    }
    let mut result = Vec::with_capacity(rows.bounds.len() * out_width * 2);
    for (&(start, len), weights) in rows.bounds.iter().zip(rows.weights.chunks_exact(rows.stride)) {
        for x in 0..out_width {
            let column = across
                .iter()
                .skip((start - first_row) * out_width + x)
                .step_by(out_width)
                .take(len);
            result.extend(weighted(&mut column.map(value), weights));
        }
    }
    result
}

/// The input under the middle of each output. Positions are summed up, rounding errors included, as Pillow does.
fn nearest(image: &Image, width: usize, height: usize, window: Window) -> Vec<u8> {
    let positions = |n_in: usize, n_out: usize, first: usize, count: usize| -> Vec<usize> {
        let step = n_in as f64 / n_out as f64;
        let at = std::iter::successors(Some(step * 0.5), |at| Some(at + step));
        at.skip(first).take(count).map(|at| (at as usize).min(n_in - 1)).collect()
    };
    let columns = positions(image.width, width, window.left, window.width);
    let rows = positions(image.height, height, window.top, window.height);
    rows.iter().flat_map(|y| columns.iter().map(move |x| image.data[y * image.width + x])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::image::probe;
    use crate::random::{Purpose, Random};

    fn noise(width: usize, height: usize, mode: Mode) -> Image {
        let mut random = Random::new(7, Purpose::Init, [width as u64, height as u64]);
        let data = (0..width * height * mode.bytes()).map(|_| random.bits() as u8).collect();
        let palette = if mode == Mode::P { vec![[1, 2, 3]; 256] } else { Vec::new() };
        Image { palette, ..Image::new(width, height, mode, data) }
    }

    fn whole(width: usize, height: usize) -> Window {
        Window { left: 0, top: 0, width, height }
    }

    #[test]
    fn a_window_is_that_part_of_the_whole() {
        let modes = [
            Mode::Bilevel,
            Mode::L,
            Mode::La,
            Mode::I16,
            Mode::P,
            Mode::Rgb,
            Mode::Rgba,
            Mode::Cmyk,
        ];
        for (mode, (width, height)) in
            modes.into_iter().flat_map(|mode| [(9, 40), (70, 31), (37, 29)].map(|s| (mode, s)))
        {
            let image = noise(37, 29, mode);
            let full = resize(&image, width, height, whole(width, height));
            let window = Window { left: 3, top: 11, width: 5, height: 17 };
            let part = resize(&image, width, height, window);
            assert_eq!(part, full.crop(3, 11, 5, 17), "{mode:?} {width}x{height}");
        }
    }

    /// Against the definition in floating point: two roundings and clips to bytes, so at most two units apart.
    #[test]
    fn it_is_cubic_convolution() {
        let image = noise(23, 17, Mode::L);
        for (width, height) in [(7, 5), (50, 40), (23, 60), (90, 17)] {
            let got = resize(&image, width, height, whole(width, height));
            let along = |n_in: usize, n_out: usize, out: usize, value: &dyn Fn(usize) -> f64| {
                let scale = n_in as f64 / n_out as f64;
                let (center, wide) = ((out as f64 + 0.5) * scale, scale.max(1.0));
                let weights: Vec<f64> =
                    (0..n_in).map(|i| cubic((i as f64 + 0.5 - center) / wide)).collect();
                let sum: f64 = weights.iter().sum();
                (weights.iter().enumerate().map(|(i, w)| w * value(i)).sum::<f64>() / sum)
                    .clamp(0.0, 255.0)
            };
            for (i, &byte) in got.data.iter().enumerate() {
                let row =
                    |y: usize| along(23, width, i % width, &|x| f64::from(image.data[y * 23 + x]));
                let expected = along(17, height, i / width, &row);
                assert!((f64::from(byte) - expected).abs() <= 2.0, "{byte} {expected}");
            }
        }
    }

    #[test]
    fn a_flat_image_stays_flat_and_transparent_colours_do_not_bleed() {
        let image = Image::new(50, 40, Mode::Rgb, vec![200; 50 * 40 * 3]);
        assert!(resize(&image, 7, 90, whole(7, 90)).data.iter().all(|&byte| byte == 200));
        // Opaque red beside transparent green.
        let data = (0..16)
            .flat_map(|i| if i % 4 < 2 { [255, 0, 0, 255] } else { [0, 255, 0, 0] })
            .collect();
        let small = resize(&Image::new(4, 4, Mode::Rgba, data), 3, 3, whole(3, 3));
        assert!(small.data.chunks(4).all(|pixel| pixel[1] == 0), "{:?}", small.data);
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = probe(20);
        assert_eq!(resize(&image, 20, 20, whole(20, 20)), image);
    }
}
