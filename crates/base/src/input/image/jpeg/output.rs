//! Samples to pixels: every channel to full resolution as libjpeg's fancy upsampling has it (jdsample), then colours
//! (jdcolor). CMYK comes out as Pillow has it, which takes every four-channel file as inverted.
#![expect(
    clippy::inline_always,
    reason = "loops over pixels must be compiled anew inside each instruction set's function"
)]

use super::super::upsample::double;
use super::{Color, Component, Frame};
use crate::kernels::for_each_isa;

/// Makes rows of pixels.
pub(super) struct Rows {
    color: Color,
    /// Of each channel.
    rows: Vec<Row>,
}

impl Rows {
    pub(super) fn new(frame: &Frame, color: Color) -> Self {
        Self { color, rows: frame.components.iter().map(|_| Row::default()).collect() }
    }

    /// Writes row `y` of the image, (width, channels). Its samples and those of the rows beside it must be there.
    pub(super) fn fill(&mut self, frame: &Frame, y: usize, out: &mut [u8]) {
        let n = frame.components.len();
        for (row, component) in self.rows.iter_mut().zip(&frame.components) {
            row.fill(component, frame, y);
        }
        match (self.color, self.rows.as_slice()) {
            (Color::YCbCr, [y, cb, cr]) => {
                let pixels = out.as_chunks_mut::<3>().0;
                let n = pixels.len();
                rgb_row(pixels, &y.0[..n], &cb.0[..n], &cr.0[..n]);
            }
            (Color::Ycck, [y, cb, cr, k]) => {
                let samples = y.0.iter().zip(&cb.0).zip(&cr.0).zip(&k.0);
                for (out, (((&y, &cb), &cr), &k)) in
                    out.as_chunks_mut::<4>().0.iter_mut().zip(samples)
                {
                    let [c, m, y] = to_rgb(y, cb, cr);
                    *out = [c, m, y, 255 - k];
                }
            }
            (color, rows) => {
                let invert = if color == Color::Cmyk { 255 } else { 0 };
                for (channel, row) in rows.iter().enumerate() {
                    for (out, &sample) in out.iter_mut().skip(channel).step_by(n).zip(&row.0) {
                        *out = sample ^ invert;
                    }
                }
            }
        }
    }
}

for_each_isa! {
    fn rgb_row(out: &mut [[u8; 3]], y: &[u8], cb: &[u8], cr: &[u8]) = rgb_row_body
}

/// A part of the row at a time, so that the sums are vectors and only their bytes are interleaved one by one.
#[inline(always)]
fn rgb_row_body(out: &mut [[u8; 3]], y: &[u8], cb: &[u8], cr: &[u8]) {
    const PART: usize = 32;
    let mut parts = out.chunks_exact_mut(PART);
    let whole =
        y.as_chunks::<PART>().0.iter().zip(cb.as_chunks::<PART>().0).zip(cr.as_chunks::<PART>().0);
    for (out, ((y, cb), cr)) in (&mut parts).zip(whole) {
        let (mut red, mut green, mut blue) = ([0; PART], [0; PART], [0; PART]);
        for i in 0..PART {
            [red[i], green[i], blue[i]] = to_rgb(y[i], cb[i], cr[i]);
        }
        for (i, out) in out.iter_mut().enumerate() {
            *out = [red[i], green[i], blue[i]];
        }
    }
    let out = parts.into_remainder();
    let first = y.len() - out.len();
    for (i, out) in out.iter_mut().enumerate() {
        *out = to_rgb(y[first + i], cb[first + i], cr[first + i]);
    }
}

/// In 16 fraction bits, each product rounded as libjpeg's tables are.
#[inline(always)]
fn to_rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let half = 1 << 15;
    let red = y + ((91881 * cr + half) >> 16);
    let green = y + ((-22554 * cb - 46802 * cr + half) >> 16);
    let blue = y + ((116_130 * cb + half) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}

/// One row of one channel at full resolution, at least as long as the image is wide; and room for sums.
#[derive(Default)]
struct Row(Vec<u8>, Vec<u16>);

impl Row {
    /// Makes it row `y` of the image.
    fn fill(&mut self, component: &Component, frame: &Frame, y: usize) {
        let Self(out, sums) = self;
        out.clear();
        let (across, down) = (frame.h_max / component.h, frame.v_max / component.v);
        let here = component.row(y / down);
        // The nearer of the rows above and below; at the edges the row itself.
        let above = y.is_multiple_of(2);
        let near =
            if above { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(component.height - 1) };
        match (across, down) {
            (1, 1) => out.extend_from_slice(here),
            (2, 1) if component.width > 2 => {
                sums.clear();
                sums.extend(here.iter().map(|&sample| u16::from(sample)));
                double::<2>(sums, out, [1, 2]);
            }
            (1, 2) => {
                let bias = if above { 1 } else { 2 };
                let mix =
                    |(&a, &b): (&u8, &u8)| ((3 * u16::from(a) + u16::from(b) + bias) >> 2) as u8;
                out.extend(here.iter().zip(component.row(near)).map(mix));
            }
            (2, 2) if component.width > 2 => {
                sums.clear();
                sums.extend(
                    here.iter()
                        .zip(component.row(near))
                        .map(|(&a, &b)| 3 * u16::from(a) + u16::from(b)),
                );
                double::<4>(sums, out, [8, 7]);
            }
            _ => out.extend(here.iter().flat_map(|&sample| std::iter::repeat_n(sample, across))),
        }
    }
}
