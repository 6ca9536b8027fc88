//! PNG, in Pillow's modes: fewer than 8 bits are widened, 16-bit colour loses its low bytes, 16-bit grey stays.
//! A transparent colour (tRNS) is ignored, as CLIP's conversion to RGB does. Of an animation the default image counts.
//! Of an interlaced file the seven passes are inflated side by side, each by a reader that skipped those before it:
//! twice the time, and no picture in memory.

use super::{Head, Limits, Mode, Sink, broken};
use crate::Result;
use png::{BitDepth, ColorType, DecodeOptions, Reader};
use std::io::Cursor;

pub(super) fn decode(bytes: &[u8], limits: &Limits, sink: &mut dyn Sink) -> Result<()> {
    let mut reader = open(bytes, limits)?;
    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    let pixel = Pixel { color: info.color_type, depth: info.bit_depth };
    let mode = pixel.mode();
    let palette = info.palette.as_deref().unwrap_or_default().as_chunks().0.to_vec();
    let passes = if info.interlaced { passes(bytes, limits, width, height)? } else { Vec::new() };

    sink.start(&Head { width, height, mode, palette });
    let mut raw = vec![0; pixel.raw_bytes(width)];
    let mut row = vec![0; width * mode.bytes()];
    if passes.is_empty() {
        for _ in 0..height {
            next_row(&mut reader, &mut raw)?;
            pixel.convert(&raw, &mut row);
            sink.row(&row);
        }
        return Ok(());
    }
    drop(reader);
    let (mut passes, mut part) = (passes, row.clone());
    for y in 0..height {
        for (pass, reader) in passes.iter_mut().filter(|(pass, _)| pass.has_row(y)) {
            let columns = pass.columns(width);
            next_row(reader, &mut raw[..pixel.raw_bytes(columns)])?;
            let part = &mut part[..columns * mode.bytes()];
            pixel.convert(&raw, part);
            let places = row.chunks_exact_mut(mode.bytes()).skip(pass.x).step_by(pass.dx);
            for (place, pixel) in places.zip(part.chunks_exact(mode.bytes())) {
                place.copy_from_slice(pixel);
            }
        }
        sink.row(&row);
    }
    Ok(())
}

type File<'a> = Reader<Cursor<&'a [u8]>>;

/// A reader that stands before the first row. Checksums are checked, as in Pillow.
fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<File<'a>> {
    let mut options = DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    options.set_ignore_adler32(false);
    options.set_skip_ancillary_crc_failures(false);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    let header = decoder.read_header_info().map_err(broken)?;
    limits.check_size(header.width, header.height)?;
    decoder.read_info().map_err(broken)
}

/// Row by row, because the reader's `next_frame` would also inflate what a hostile file holds after the last row.
fn next_row(reader: &mut File, raw: &mut [u8]) -> Result<()> {
    let row = reader.read_row(raw).map_err(broken)?;
    row.map(|_| ()).ok_or_else(|| broken("it ends within the pixels"))
}

/// One pass of Adam7: the pixels at (`x` + i `dx`, `y` + j `dy`).
struct Pass {
    x: usize,
    y: usize,
    dx: usize,
    dy: usize,
}

impl Pass {
    const ALL: [Self; 7] = [
        Self { x: 0, y: 0, dx: 8, dy: 8 },
        Self { x: 4, y: 0, dx: 8, dy: 8 },
        Self { x: 0, y: 4, dx: 4, dy: 8 },
        Self { x: 2, y: 0, dx: 4, dy: 4 },
        Self { x: 0, y: 2, dx: 2, dy: 4 },
        Self { x: 1, y: 0, dx: 2, dy: 2 },
        Self { x: 0, y: 1, dx: 1, dy: 2 },
    ];

    fn columns(&self, width: usize) -> usize {
        width.saturating_sub(self.x).div_ceil(self.dx)
    }

    fn rows(&self, height: usize) -> usize {
        height.saturating_sub(self.y).div_ceil(self.dy)
    }

    fn has_row(&self, y: usize) -> bool {
        y % self.dy == self.y
    }
}

/// The passes that have pixels, each with a reader that stands before its first row.
fn passes<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    width: usize,
    height: usize,
) -> Result<Vec<(Pass, File<'a>)>> {
    let (mut passes, mut rows_before) = (Vec::new(), 0);
    for pass in Pass::ALL {
        let rows = pass.rows(height);
        if pass.columns(width) == 0 || rows == 0 {
            continue;
        }
        let mut reader = open(bytes, limits)?;
        for _ in 0..rows_before {
            reader.next_row().map_err(broken)?;
        }
        rows_before += rows;
        passes.push((pass, reader));
    }
    Ok(passes)
}

/// What the file calls a pixel.
#[derive(Clone, Copy)]
struct Pixel {
    color: ColorType,
    depth: BitDepth,
}

impl Pixel {
    /// Bytes of a row of `width` pixels in the file.
    fn raw_bytes(self, width: usize) -> usize {
        (width * self.color.samples() * self.depth as usize).div_ceil(8)
    }

    fn mode(self) -> Mode {
        match (self.color, self.depth) {
            (ColorType::Grayscale, BitDepth::One) => Mode::Bilevel,
            (ColorType::Grayscale, BitDepth::Sixteen) => Mode::I16,
            (ColorType::Grayscale, _) => Mode::L,
            (ColorType::Rgb, _) => Mode::Rgb,
            (ColorType::Indexed, _) => Mode::P,
            (ColorType::GrayscaleAlpha, BitDepth::Eight) => Mode::La,
            (ColorType::GrayscaleAlpha | ColorType::Rgba, _) => Mode::Rgba,
        }
    }

    /// A row of the file in its mode.
    fn convert(self, raw: &[u8], row: &mut [u8]) {
        let pairs = || raw.as_chunks::<2>().0.iter();
        match (self.color, self.depth) {
            (ColorType::Grayscale, BitDepth::One) => unpack(raw, row, 1, 255),
            (ColorType::Grayscale, BitDepth::Two) => unpack(raw, row, 2, 85),
            (ColorType::Grayscale, BitDepth::Four) => unpack(raw, row, 4, 17),
            (ColorType::Grayscale, BitDepth::Sixteen) => {
                for (out, &[high, low]) in row.as_chunks_mut().0.iter_mut().zip(pairs()) {
                    *out = [low, high];
                }
            }
            (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => {
                let rows = raw.as_chunks().0.iter();
                for (out, &[l, _, alpha, _]) in row.as_chunks_mut().0.iter_mut().zip(rows) {
                    *out = [l, l, l, alpha];
                }
            }
            (_, BitDepth::Sixteen) => {
                for (out, &[high, _]) in row.iter_mut().zip(pairs()) {
                    *out = high;
                }
            }
            (_, BitDepth::Eight) => row.copy_from_slice(&raw[..row.len()]),
            (_, depth) => unpack(raw, row, depth as usize, 1), // indices
        }
    }
}

/// Samples of `bits` bits, the first in the high bits of a byte, each times `scale`.
fn unpack(raw: &[u8], row: &mut [u8], bits: usize, scale: u8) {
    for (x, out) in row.iter_mut().enumerate() {
        let at = x * bits;
        *out = ((raw[at / 8] >> (8 - bits - at % 8)) & ((1 << bits) - 1)) * scale;
    }
}
