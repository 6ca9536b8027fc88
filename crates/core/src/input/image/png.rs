//! PNG, in Pillow's modes: fewer than 8 bits are widened, 16-bit colour loses its low bytes, 16-bit grey stays.
//! A transparent colour (tRNS) is ignored, as CLIP's conversion to RGB does. Of an animation the default image counts.

use super::{Image, Limits, Mode, broken};
use crate::Result;
use png::{BitDepth, ColorType, InterlaceInfo, Transformations};
use std::io::Cursor;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(broken)?;
    limits.check_size(header.width, header.height)?;
    let mut reader = decoder.read_info().map_err(broken)?;

    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    let (color, depth, interlaced) = (info.color_type, info.bit_depth, info.interlaced);
    let palette = info.palette.as_deref().unwrap_or_default().as_chunks().0.to_vec();
    let pixel_bits = color.samples() * depth as usize;
    let stride = (width * pixel_bits).div_ceil(8);
    let mut raw = vec![0; stride * height];
    // Row by row, because `next_frame` would also inflate what a hostile file holds after the last row.
    if interlaced {
        while let Some(row) = reader.next_interlaced_row().map_err(broken)? {
            if let InterlaceInfo::Adam7(pass) = row.interlace() {
                png::expand_interlaced_row(&mut raw, stride, row.data(), pass, pixel_bits as u8);
            }
        }
    } else {
        for row in raw.chunks_exact_mut(stride) {
            reader
                .read_row(row)
                .map_err(broken)?
                .ok_or_else(|| broken("it ends within the pixels"))?;
        }
    }

    // Every second byte, or both bytes of a pair, in the order Pillow stores them.
    let high_bytes = |raw: &[u8]| raw.iter().copied().step_by(2).collect::<Vec<u8>>();
    let (mode, data) = match (color, depth) {
        (ColorType::Grayscale, BitDepth::One) => {
            (Mode::Bilevel, unpack(&raw, stride, width, 1, 255))
        }
        (ColorType::Grayscale, BitDepth::Two) => (Mode::L, unpack(&raw, stride, width, 2, 85)),
        (ColorType::Grayscale, BitDepth::Four) => (Mode::L, unpack(&raw, stride, width, 4, 17)),
        (ColorType::Grayscale, BitDepth::Eight) => (Mode::L, raw),
        (ColorType::Grayscale, BitDepth::Sixteen) => {
            (Mode::I16, raw.as_chunks().0.iter().flat_map(|&[high, low]| [low, high]).collect())
        }
        (ColorType::Rgb, BitDepth::Sixteen) => (Mode::Rgb, high_bytes(&raw)),
        (ColorType::Rgb, _) => (Mode::Rgb, raw),
        (ColorType::Indexed, BitDepth::Eight) => (Mode::P, raw),
        (ColorType::Indexed, depth) => (Mode::P, unpack(&raw, stride, width, depth as usize, 1)),
        (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => {
            let rgba = raw.as_chunks().0.iter().flat_map(|&[l, _, alpha, _]| [l, l, l, alpha]);
            (Mode::Rgba, rgba.collect())
        }
        (ColorType::GrayscaleAlpha, _) => (Mode::La, raw),
        (ColorType::Rgba, BitDepth::Sixteen) => (Mode::Rgba, high_bytes(&raw)),
        (ColorType::Rgba, _) => (Mode::Rgba, raw),
    };
    Ok(Image { palette, ..Image::new(width, height, mode, data) })
}

/// Samples of `bits` bits, the first in the high bits of a byte, each times `scale`.
fn unpack(raw: &[u8], stride: usize, width: usize, bits: usize, scale: u8) -> Vec<u8> {
    let sample = |row: &[u8], x: usize| {
        let at = x * bits;
        (row[at / 8] >> (8 - bits - at % 8)) & ((1 << bits) - 1)
    };
    raw.chunks_exact(stride)
        .flat_map(|row| (0..width).map(move |x| sample(row, x) * scale))
        .collect()
}
