//! WebP, lossy and lossless; of an animation the first frame on a transparent canvas, as libwebp gives it.
//! The decoder makes whole pictures: of a lossy file its planes are kept (1.5 bytes per pixel) and become RGB row by row,
//! of all others the pixels and what the decoder holds beside them.

use super::upsample::double;
use super::{Head, Limits, Mode, Sink, broken};
use crate::Result;
use image_webp::WebPDecoder;
use image_webp::vp8::{Frame, Vp8Decoder};
use std::io::{Cursor, Read};

pub(super) fn decode(bytes: &[u8], limits: &Limits, sink: &mut dyn Sink) -> Result<()> {
    let chunks = bytes.get(12..).unwrap_or_default();
    check_frames(chunks, None, limits)?;
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    limits.check_size(width, height)?;
    let (alpha, animated, lossy) = (decoder.has_alpha(), decoder.is_animated(), decoder.is_lossy());
    // Bytes per pixel at the decoder's peak, in tenths. Lossy: planes and 24 bytes per 16 x 16 pixels; with alpha also
    // the result and, while alpha is read, 5 more. Lossless: the result in RGBA, without alpha RGB too. Then what
    // transforms hold.
    let tenths = match (animated, lossy, alpha) {
        (false, true, false) => 18,
        (false, true, true) => 110,
        (false, false, true) => 50,
        (false, false, false) => 80,
        (true, ..) => 200,
    };
    let pixels = u64::from(width) * u64::from(height) * tenths / 10;
    limits.check_memory(pixels + bytes.len() as u64)?; // of a lossy file the compressed data is copied

    let mode = if alpha { Mode::Rgba } else { Mode::Rgb };
    let (width, height) = (width as usize, height as usize);
    let head = Head { width, height, mode, palette: Vec::new() };
    if let (false, true, false) = (animated, lossy, alpha) {
        let body = first_chunk(chunks, *b"VP8 ").ok_or_else(|| broken("WebP without pixels"))?;
        // Through the reader that the library itself uses, or the module would hold its decoder twice (45 kB).
        let mut whole = Cursor::new(body);
        let reader = whole.by_ref().take(body.len() as u64);
        let frame = Vp8Decoder::decode_frame(reader).map_err(broken)?;
        if (usize::from(frame.width), usize::from(frame.height)) != (width, height) {
            return Err(broken("WebP whose size is not that of its pixels"));
        }
        sink.start(&head);
        let mut rows = Rows::default();
        (0..height).for_each(|y| sink.row(rows.fill(&frame, y)));
        return Ok(());
    }
    let mut data = vec![0; width * height * mode.bytes()];
    decoder.read_image(&mut data).map_err(broken)?;
    sink.start(&head);
    data.chunks_exact(width * mode.bytes()).for_each(|row| sink.row(row));
    Ok(())
}

/// What is in the first chunk called `name`, as far as the file goes.
fn first_chunk(mut chunks: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    loop {
        let (head, rest) = chunks.split_first_chunk::<8>()?;
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head[..4] == name {
            return Some(&rest[..size.min(rest.len())]);
        }
        chunks = rest.get(size.saturating_add(size & 1)..)?;
    }
}

/// Makes rows of RGB from planes, with libwebp's fancy upsampling.
#[derive(Default)]
struct Rows {
    sums: Vec<u16>,
    u: Vec<u8>,
    v: Vec<u8>,
    rgb: Vec<u8>,
}

impl Rows {
    fn fill(&mut self, frame: &Frame, y: usize) -> &[u8] {
        let (width, height) = (usize::from(frame.width), usize::from(frame.height));
        let stride = width.next_multiple_of(16);
        let (here, last) = (y / 2, height.div_ceil(2) - 1);
        let near = if y.is_multiple_of(2) { here.saturating_sub(1) } else { (here + 1).min(last) };
        for (plane, out) in [(&frame.ubuf, &mut self.u), (&frame.vbuf, &mut self.v)] {
            let row = |y: usize| &plane[y * stride / 2..][..width.div_ceil(2)];
            let mix = |(&a, &b): (&u8, &u8)| 3 * u16::from(a) + u16::from(b);
            self.sums.clear();
            self.sums.extend(row(here).iter().zip(row(near)).map(mix));
            double::<4>(&self.sums, out, [8, 8]);
        }
        self.rgb.resize(width * 3, 0);
        let luma = &frame.ybuf[y * stride..][..width];
        let samples = luma.iter().zip(&self.u).zip(&self.v);
        for (out, ((&y, &u), &v)) in self.rgb.as_chunks_mut().0.iter_mut().zip(samples) {
            *out = to_rgb(y, u, v);
        }
        &self.rgb
    }
}

/// libwebp's conversion: each product cut to 6 fraction bits.
fn to_rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let times = |value: u8, factor: i32| (i32::from(value) * factor) >> 8;
    let y = times(y, 19077);
    let red = y + times(v, 26149) - 14234;
    let green = y - times(u, 6419) - times(v, 13320) + 8708;
    let blue = y + times(u, 33050) - 17685;
    [red, green, blue].map(|value| (value >> 6).clamp(0, 255) as u8)
}

/// Checks the size in each lossy bitstream's own header. The decoder allocates by it before it compares it with the
/// canvas, and in an animation's frame with alpha it does not compare it with the size of that `frame` at all.
fn check_frames(mut chunks: &[u8], frame: Option<[u32; 2]>, limits: &Limits) -> Result<()> {
    let mut after_alpha = false;
    while let Some((head, rest)) = chunks.split_first_chunk::<8>() {
        let (kind, size) = head.split_at(4);
        let size = size.iter().rev().fold(0, |size, &byte| size << 8 | usize::from(byte));
        let body = &rest[..size.min(rest.len())];
        match (kind, body) {
            (b"ANMF", [_, _, _, _, _, _, w0, w1, w2, h0, h1, h2, _, _, _, _, chunks @ ..]) => {
                let side =
                    |low: u8, middle: u8, high: u8| u32::from_le_bytes([low, middle, high, 0]) + 1;
                let frame = [side(*w0, *w1, *w2), side(*h0, *h1, *h2)];
                limits.check_size(frame[0], frame[1])?;
                check_frames(chunks, Some(frame), limits)?;
            }
            // In a frame the decoder takes what follows the alpha as lossy, whatever it is called.
            (kind, [_, _, _, _, _, _, w0, w1, h0, h1, ..])
                if kind == b"VP8 " || (frame.is_some() && after_alpha) =>
            {
                let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
                let size = [side(*w0, *w1), side(*h0, *h1)];
                limits.check_size(size[0], size[1])?;
                if frame.is_some_and(|frame| frame != size) {
                    return Err(broken("WebP frame whose size is not that of its pixels"));
                }
            }
            _ => {}
        }
        after_alpha = kind == b"ALPH";
        chunks = rest.get(size.saturating_add(size & 1)..).unwrap_or_default();
    }
    Ok(())
}
