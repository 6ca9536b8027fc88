//! Pillow's resize (version 11), bit for bit: bicubic (a = -0.5) with antialias, horizontal pass first, each pass rounded to
//! bytes (version 13 takes the vertical pass first where that is less work: other last bits);
//! nearest for palette and bilevel images; colours premultiplied by alpha. Only the wanted window is computed.
//! The source comes row by row and is not kept: each row goes through the horizontal pass and is added to the few
//! rows of sums that it belongs to.

use super::image::{Head, Image, Mode, Window, mul_div_255};
use crate::kernels::for_each_isa;
use std::collections::VecDeque;

/// The part `window` of `image` resized to `width` x `height`, in the mode of the image.
/// # Panics
/// If a side is 0 or the window is not inside the resized image.
pub fn resize(image: &Image, width: usize, height: usize, window: Window) -> Image {
    let Image { mode, ref palette, .. } = *image;
    let head = Head { width: image.width, height: image.height, mode, palette: palette.clone() };
    let mut resizer = Resizer::new(head, width, height, window);
    image.data.chunks_exact(image.width * mode.bytes()).for_each(|row| resizer.row(row));
    resizer.finish()
}

/// Resizes an image whose rows come one after another.
pub struct Resizer {
    source: Head,
    window: Window,
    method: Method,
    /// Number of the next row of the source.
    y: usize,
    /// Room for a row of colours times alpha.
    colors: Vec<u8>,
    /// Rows of the result that are complete.
    data: Vec<u8>,
}

enum Method {
    /// The same size: nothing but the window.
    Crop,
    /// Columns and rows of the source.
    Nearest(Vec<usize>, Vec<usize>),
    Bytes(Passes<i32>),
    /// Of 16 bits.
    Words(Passes<f64>),
}

impl Resizer {
    /// For an image of which `source` tells, to be resized to `width` x `height`, of which `window` is wanted.
    /// # Panics
    /// If a side is 0 or the window is not inside the resized image.
    pub fn new(source: Head, width: usize, height: usize, window: Window) -> Self {
        let Window { left, top, .. } = window;
        assert!(left + window.width <= width && top + window.height <= height, "{window:?}");
        let columns = || Taps::new(source.width, width, left, window.width);
        let rows = || Taps::new(source.height, height, top, window.height);
        let method = if (width, height) == (source.width, source.height) {
            Method::Crop
        } else {
            match source.mode {
                Mode::Bilevel | Mode::P => Method::Nearest(
                    nearest(source.width, width, left, window.width),
                    nearest(source.height, height, top, window.height),
                ),
                Mode::I16 => {
                    Method::Words(Passes::new(columns(), rows(), 1, |taps| taps.weights.clone()))
                }
                mode => Method::Bytes(Passes::new(columns(), rows(), mode.bytes(), Taps::fixed)),
            }
        };
        let data = Vec::with_capacity(window.width * window.height * source.mode.bytes());
        Self { source, window, method, y: 0, colors: Vec::new(), data }
    }

    /// The part of the source that the result is made of.
    pub fn wanted(&self) -> Window {
        let span = |positions: &[usize]| {
            let (first, last) = (positions[0], positions[positions.len() - 1]);
            (first, last + 1 - first)
        };
        let ((left, width), (top, height)) = match &self.method {
            Method::Crop => return self.window,
            Method::Nearest(columns, rows) => (span(columns), span(rows)),
            Method::Bytes(passes) => (passes.columns.range(), passes.rows.range()),
            Method::Words(passes) => (passes.columns.range(), passes.rows.range()),
        };
        Window { left, top, width, height }
    }

    /// Takes the next row of the source, (width, bytes of the mode).
    /// # Panics
    /// If `row` is too short.
    pub fn row(&mut self, row: &[u8]) {
        let (y, data, mode) = (self.y, &mut self.data, self.source.mode);
        self.y += 1;
        match &mut self.method {
            Method::Crop => {
                let Window { left, top, width, height } = self.window;
                if (top..top + height).contains(&y) {
                    data.extend_from_slice(&row[left * mode.bytes()..][..width * mode.bytes()]);
                }
            }
            Method::Nearest(columns, rows) => {
                for _ in rows.iter().filter(|&&row| row == y) {
                    data.extend(columns.iter().map(|&x| row[x]));
                }
            }
            Method::Bytes(passes) if passes.rows.has(y) => {
                let mut colors = std::mem::take(&mut self.colors);
                if matches!(mode, Mode::La | Mode::Rgba) {
                    colors.clear();
                    colors.extend_from_slice(row);
                }
                match mode {
                    Mode::L => across::<1>(passes, row),
                    Mode::La => across::<2>(passes, premultiply::<2>(&mut colors)),
                    Mode::Rgba => across::<4>(passes, premultiply::<4>(&mut colors)),
                    Mode::Cmyk => across::<4>(passes, row),
                    _ => {
                        // A fourth byte beside the colours, so that a pixel is a vector.
                        colors.clear();
                        colors.extend(
                            row.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 0]),
                        );
                        across_padded(passes, &colors);
                    }
                }
                self.colors = colors;
                passes.down(y, HALF, |sums| {
                    let first = data.len();
                    data.extend(sums.iter().map(|&sum| to_byte(sum)));
                    match mode {
                        Mode::La => divide_by_alpha::<2>(&mut data[first..]),
                        Mode::Rgba => divide_by_alpha::<4>(&mut data[first..]),
                        _ => {}
                    }
                });
            }
            Method::Words(passes) if passes.rows.has(y) => {
                across_16(passes, row);
                passes.down(y, 0.0, |sums| data.extend(sums.iter().flat_map(|&sum| to_word(sum))));
            }
            Method::Bytes(_) | Method::Words(_) => {}
        }
    }

    /// The result, after the last row.
    /// # Panics
    /// If rows are missing.
    pub fn finish(self) -> Image {
        let (Window { width, height, .. }, Head { mode, palette, .. }) = (self.window, self.source);
        Image { palette, ..Image::new(width, height, mode, self.data) }
    }
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

    /// Whether any output needs input `i`.
    fn has(&self, i: usize) -> bool {
        let (first, count) = self.range();
        (first..first + count).contains(&i)
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

/// Both passes, with weights and sums of type `W`.
struct Passes<W> {
    columns: Taps,
    column_weights: Vec<W>,
    rows: Taps,
    row_weights: Vec<W>,
    /// The present row after the horizontal pass: whole numbers, whatever `W` is.
    across: Vec<W>,
    /// Sums of the outputs that were begun and are not complete.
    open: VecDeque<Vec<W>>,
    /// Number of the first of them.
    first_open: usize,
    /// Rows of sums to be used again.
    free: Vec<Vec<W>>,
}

/// A type of weights and sums.
trait Sum: Copy {
    /// `sums` += `values`·`weight`.
    fn add_scaled(sums: &mut [Self], values: &[Self], weight: Self);
}

impl Sum for i32 {
    fn add_scaled(sums: &mut [i32], values: &[i32], weight: i32) {
        add_scaled(sums, values, weight);
    }
}

impl Sum for f64 {
    fn add_scaled(sums: &mut [f64], values: &[f64], weight: f64) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * weight);
    }
}

for_each_isa! {
    fn add_scaled(sums: &mut [i32], values: &[i32], weight: i32) = add_scaled_body
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
fn add_scaled_body(sums: &mut [i32], values: &[i32], weight: i32) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * weight);
}

impl<W: Sum> Passes<W> {
    fn new(columns: Taps, rows: Taps, channels: usize, weights: fn(&Taps) -> Vec<W>) -> Self {
        let (column_weights, row_weights) = (weights(&columns), weights(&rows));
        let across = Vec::with_capacity(columns.bounds.len() * channels);
        let (open, free) = (VecDeque::new(), Vec::new());
        Self { columns, column_weights, rows, row_weights, across, open, first_open: 0, free }
    }

    /// The vertical pass: adds row `y` of the source, now in `across`, to the outputs it belongs to. Sums start at
    /// `start`; complete ones go to `done`, in order.
    fn down(&mut self, y: usize, start: W, mut done: impl FnMut(&[W])) {
        let Self { rows, row_weights, across, open, first_open, free, .. } = self;
        let bounds = |out: usize| rows.bounds.get(out);
        while bounds(*first_open + open.len()).is_some_and(|&(first, _)| first == y) {
            let mut sums = free.pop().unwrap_or_default();
            sums.clear();
            sums.resize(across.len(), start);
            open.push_back(sums);
        }
        for (out, sums) in (*first_open..).zip(open.iter_mut()) {
            let weight = row_weights[out * rows.stride + y - rows.bounds[out].0];
            W::add_scaled(sums, across, weight);
        }
        while bounds(*first_open).is_some_and(|&(first, len)| first + len == y + 1) {
            let sums = open.pop_front().expect("an output that ends here was begun");
            *first_open += 1;
            done(&sums);
            free.push(sums);
        }
    }
}

/// The horizontal pass of a row of pixels of `C` bytes.
fn across<const C: usize>(passes: &mut Passes<i32>, row: &[u8]) {
    let row = row.as_chunks::<C>().0;
    let taps = &passes.columns;
    passes.across.clear();
    for (&(start, len), weights) in
        taps.bounds.iter().zip(passes.column_weights.chunks_exact(taps.stride))
    {
        let mut sum = [HALF; C];
        for (pixel, weight) in row[start..start + len].iter().zip(weights) {
            for (sum, &value) in sum.iter_mut().zip(pixel) {
                *sum += i32::from(value) * weight;
            }
        }
        passes.across.extend(sum.map(|sum| i32::from(to_byte(sum))));
    }
}

for_each_isa! {
    /// The horizontal pass of a row of pixels of three bytes and one that does not count.
    fn across_padded(passes: &mut Passes<i32>, row: &[u8]) = across_padded_body
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
fn across_padded_body(passes: &mut Passes<i32>, row: &[u8]) {
    let row = row.as_chunks::<4>().0;
    let taps = &passes.columns;
    passes.across.resize(taps.bounds.len() * 3, 0);
    let weights = passes.column_weights.chunks_exact(taps.stride);
    let out = passes.across.as_chunks_mut::<3>().0;
    for ((&(start, len), weights), out) in taps.bounds.iter().zip(weights).zip(out) {
        let mut sum = [HALF; 4];
        for (pixel, weight) in row[start..start + len].iter().zip(weights) {
            sum = std::array::from_fn(|c| sum[c] + i32::from(pixel[c]) * weight);
        }
        let [r, g, b, _] = sum.map(|sum| (sum >> BITS).clamp(0, 255));
        *out = [r, g, b];
    }
}

/// The horizontal pass of a row of 16-bit grey, low byte first.
fn across_16(passes: &mut Passes<f64>, row: &[u8]) {
    let value = |bytes: &[u8; 2]| f64::from(u16::from_le_bytes(*bytes));
    let row = row.as_chunks().0;
    let taps = &passes.columns;
    passes.across.clear();
    for (&(start, len), weights) in
        taps.bounds.iter().zip(passes.column_weights.chunks_exact(taps.stride))
    {
        let pixels = row[start..start + len].iter().map(value).zip(weights);
        let sum = pixels.fold(0.0, |sum, (value, weight)| sum + value * weight);
        passes.across.push(value(&to_word(sum)));
    }
}

/// Of 16-bit grey the sums are in floating point, and Pillow clips each byte apart.
fn to_word(sum: f64) -> [u8; 2] {
    let sum = sum.round() as i32;
    [(sum % 256).clamp(0, 255) as u8, (sum >> 8).clamp(0, 255) as u8]
}

/// Colours times alpha, the last byte of each pixel.
fn premultiply<const C: usize>(data: &mut [u8]) -> &[u8] {
    for pixel in data.as_chunks_mut::<C>().0 {
        let alpha = pixel[C - 1];
        for color in &mut pixel[..C - 1] {
            *color = mul_div_255(*color, alpha);
        }
    }
    data
}

/// The opposite of [`premultiply`].
fn divide_by_alpha<const C: usize>(data: &mut [u8]) {
    for pixel in data.as_chunks_mut::<C>().0 {
        let alpha = u32::from(pixel[C - 1]);
        for color in &mut pixel[..C - 1] {
            let divided = (u32::from(*color) * 255).checked_div(alpha);
            *color = divided.map_or(*color, |color| color.min(255) as u8);
        }
    }
}

/// The input under the middle of each of the outputs `first..first + count` of `n_out` made from `n_in` inputs.
/// Positions are summed up, rounding errors included, as Pillow does.
fn nearest(n_in: usize, n_out: usize, first: usize, count: usize) -> Vec<usize> {
    let step = n_in as f64 / n_out as f64;
    let at = std::iter::successors(Some(step * 0.5), |at| Some(at + step));
    at.skip(first).take(count).map(|at| (at as usize).min(n_in - 1)).collect()
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
