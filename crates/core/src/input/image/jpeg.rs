//! JPEG, with the bits of libjpeg-turbo's usual decoder, because that is what the reference sees: slow integer inverse
//! transform, fancy upsampling, 16-bit colour arithmetic. Baseline and progressive, Huffman coded, 8 bits per sample.
//! This file reads the markers (ITU-T T.81, annex B); [`entropy`] the scans, [`transform`] and [`output`] the pixels.

mod entropy;
mod output;
mod transform;

use super::{Image, Limits, Mode, broken};
use crate::{Error, Result};
use entropy::{Coding, Huffman, Scan};

/// Scans of an honest progressive file are about ten; each one of a hostile file would cost a pass over all blocks.
const MAX_SCANS: usize = 100;

/// One colour channel.
#[derive(Default)]
struct Component {
    id: u8,
    /// Sampling factors, 1..=4.
    h: usize,
    v: usize,
    /// Number of the quantisation table.
    table: usize,
    /// Its values when the first scan of the component began, in natural order.
    quantization: Option<[u16; 64]>,
    /// In samples, without padding.
    width: usize,
    height: usize,
    /// In blocks, padded to whole MCUs.
    blocks_across: usize,
    blocks_down: usize,
    /// Samples of all blocks: (8 `blocks_down`, 8 `blocks_across`).
    samples: Vec<u8>,
    /// Of a progressive file: the coefficients of all blocks, in natural order.
    coefficients: Vec<[i16; 64]>,
    /// Whether any scan had it.
    seen: bool,
}

/// The frame header.
struct Frame {
    width: usize,
    height: usize,
    progressive: bool,
    /// Largest sampling factors.
    h_max: usize,
    v_max: usize,
    components: Vec<Component>,
}

/// What the channels mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Color {
    Gray,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

#[derive(Default)]
struct Reader {
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart_interval: usize,
    jfif: bool,
    /// The colour transform of an Adobe marker.
    adobe: Option<u8>,
    frame: Option<Frame>,
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image> {
    let mut reader = Reader::default();
    let (mut rest, mut scans) = (&bytes[2..], 0);
    loop {
        let Some(marker) = next_marker(&mut rest) else {
            // Like libjpeg, forgive a missing end of image.
            return if scans > 0 { reader.finish() } else { Err(broken("JPEG without pixels")) };
        };
        match marker {
            0xd9 => return reader.finish(),
            0x01 | 0xd0..=0xd8 => continue, // markers without a segment
            _ => {}
        }
        let [high, low, after @ ..] = rest else { return Err(truncated()) };
        let length = usize::from(u16::from_be_bytes([*high, *low]))
            .checked_sub(2)
            .ok_or_else(|| broken("JPEG segment"))?;
        let (segment, after) = after.split_at_checked(length).ok_or_else(truncated)?;
        rest = after;
        match marker {
            0xc0..=0xc2 => reader.read_frame(segment, marker == 0xc2, limits)?,
            0xc4 => reader.read_huffman(segment)?,
            0xc3 | 0xc5..=0xcf => {
                return Err(broken(
                    "a kind of JPEG that is not supported (lossless or arithmetic)",
                ));
            }
            0xda => {
                scans += 1;
                if scans > MAX_SCANS {
                    let (got, limit) = (scans as u64, MAX_SCANS as u64);
                    return Err(Error::ImageTooLarge { what: "number of JPEG scans", got, limit });
                }
                rest = reader.read_scan(segment, rest)?;
            }
            0xdb => reader.read_quantization(segment)?,
            0xdd => match segment {
                [high, low, ..] => {
                    reader.restart_interval = u16::from_be_bytes([*high, *low]).into();
                }
                _ => return Err(truncated()),
            },
            0xe0 => reader.jfif |= segment.len() >= 14 && segment.starts_with(b"JFIF\0"),
            0xee if segment.len() >= 12 && segment.starts_with(b"Adobe") => {
                reader.adobe = Some(segment[11]);
            }
            _ => {}
        }
    }
}

fn truncated() -> Error {
    broken("the JPEG ends too early")
}

/// Skips to the next marker and over it.
fn next_marker(rest: &mut &[u8]) -> Option<u8> {
    loop {
        let at = rest.iter().position(|&byte| byte == 0xff)?;
        *rest = &rest[at + 1..];
        match rest {
            [0x00 | 0xff, ..] => {}
            [marker, after @ ..] => {
                let marker = *marker;
                *rest = after;
                return Some(marker);
            }
            [] => return None,
        }
    }
}

impl Reader {
    fn read_frame(&mut self, segment: &[u8], progressive: bool, limits: &Limits) -> Result<()> {
        let [precision, y1, y0, x1, x0, count, specs @ ..] = segment else {
            return Err(truncated());
        };
        if self.frame.is_some() {
            return Err(broken("JPEG with two frames"));
        }
        if *precision != 8 {
            return Err(broken(format_args!(
                "JPEG with {precision} bits per sample, 8 are supported"
            )));
        }
        let (width, height) = (u16::from_be_bytes([*x1, *x0]), u16::from_be_bytes([*y1, *y0]));
        limits.check_size(width, height)?;
        let (width, height) = (usize::from(width), usize::from(height));
        if !matches!(count, 1 | 3 | 4) || specs.len() < usize::from(*count) * 3 {
            return Err(broken(format_args!("JPEG with {count} channels")));
        }
        let mut components = Vec::new();
        for &[id, sampling, table] in &specs.as_chunks::<3>().0[..usize::from(*count)] {
            let (h, v, table) =
                (usize::from(sampling >> 4), usize::from(sampling & 15), usize::from(table));
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || table > 3 {
                return Err(broken("JPEG frame header"));
            }
            components.push(Component { id, h, v, table, ..Component::default() });
        }
        let h_max = components.iter().map(|component| component.h).max().unwrap_or(1);
        let v_max = components.iter().map(|component| component.v).max().unwrap_or(1);
        for component in &mut components {
            if h_max % component.h != 0 || v_max % component.v != 0 {
                return Err(broken("JPEG with fractional sampling"));
            }
            component.width = (width * component.h).div_ceil(h_max);
            component.height = (height * component.v).div_ceil(v_max);
            component.blocks_across = width.div_ceil(8 * h_max) * component.h;
            component.blocks_down = height.div_ceil(8 * v_max) * component.v;
            let blocks = component.blocks_across * component.blocks_down;
            if progressive {
                component.coefficients = vec![[0; 64]; blocks];
            } else {
                component.samples = vec![128; blocks * 64];
            }
        }
        self.frame = Some(Frame { width, height, progressive, h_max, v_max, components });
        Ok(())
    }

    fn read_quantization(&mut self, mut segment: &[u8]) -> Result<()> {
        while let [kind, values @ ..] = segment {
            let (wide, number) = (usize::from(kind >> 4), usize::from(kind & 15));
            if wide > 1 || number > 3 {
                return Err(broken("JPEG quantisation table"));
            }
            let (values, after) = values.split_at_checked(64 << wide).ok_or_else(truncated)?;
            let mut table = [0; 64];
            for (i, value) in values.chunks_exact(1 << wide).enumerate() {
                table[entropy::ZIGZAG[i]] =
                    value.iter().fold(0, |sum, &byte| sum << 8 | u16::from(byte));
            }
            self.quantization[number] = Some(table);
            segment = after;
        }
        Ok(())
    }

    fn read_huffman(&mut self, mut segment: &[u8]) -> Result<()> {
        while let [kind, after @ ..] = segment {
            let (counts, after) = after.split_first_chunk::<16>().ok_or_else(truncated)?;
            let n = counts.iter().map(|&count| usize::from(count)).sum();
            let (values, after) = after.split_at_checked(n).ok_or_else(truncated)?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let table = tables.get_mut(usize::from(kind & 15)).filter(|_| kind >> 4 <= 1);
            *table.ok_or_else(|| broken("JPEG Huffman table"))? =
                Some(Huffman::new(counts, values)?);
            segment = after;
        }
        Ok(())
    }

    /// Reads the scan whose header is `segment` from `data`; returns what follows it.
    fn read_scan<'a>(&mut self, segment: &[u8], data: &'a [u8]) -> Result<&'a [u8]> {
        let wrong = || broken("JPEG scan header");
        let frame = self.frame.as_mut().ok_or_else(wrong)?;
        let (&count, specs) = segment.split_first().ok_or_else(truncated)?;
        let (specs, tail) = specs.split_at_checked(usize::from(count) * 2).ok_or_else(truncated)?;
        let &[first, last, approximation, ..] = tail else { return Err(truncated()) };
        let mut members: Vec<(usize, usize, usize)> = Vec::new();
        for &[id, tables] in specs.as_chunks().0 {
            let index = frame
                .components
                .iter()
                .position(|component| component.id == id)
                .ok_or_else(wrong)?;
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            if dc > 3 || ac > 3 || members.iter().any(|&(other, ..)| other == index) {
                return Err(wrong());
            }
            members.push((index, dc, ac));
            let component = &mut frame.components[index];
            if component.seen && !frame.progressive {
                return Err(broken("JPEG with a channel in two scans"));
            }
            component.seen = true;
            if component.quantization.is_none() {
                component.quantization = self.quantization[component.table];
            }
        }
        let coding = if frame.progressive {
            let (high, low) = (approximation >> 4, approximation & 15);
            let dc_only = first == 0 && last == 0;
            if first > last
                || last > 63
                || low > 13
                || (first == 0 && !dc_only)
                || (first > 0 && count != 1)
            {
                return Err(wrong());
            }
            Coding::Progressive {
                first: first.into(),
                last: last.into(),
                refine: high > 0,
                low: low.into(),
            }
        } else {
            Coding::Sequential
        };
        if members.is_empty() {
            return Err(wrong());
        }
        let scan = Scan {
            coding,
            members: &members,
            dc: &self.dc,
            ac: &self.ac,
            restart_interval: self.restart_interval,
        };
        scan.read(frame, data)
    }

    /// The image, after all scans.
    fn finish(self) -> Result<Image> {
        let mut frame = self.frame.ok_or_else(|| broken("JPEG without a frame"))?;
        for component in &mut frame.components {
            if !component.seen {
                return Err(broken("JPEG without all its channels"));
            }
            let coefficients = std::mem::take(&mut component.coefficients);
            if frame.progressive {
                component.samples = vec![0; coefficients.len() * 64];
                for (i, block) in coefficients.iter().enumerate() {
                    component.store(i, block)?;
                }
            }
        }
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        // libjpeg's guesses.
        let color = match (ids.as_slice(), self.adobe) {
            ([_], _) => Color::Gray,
            ([_, _, _], _) if self.jfif => Color::YCbCr,
            ([_, _, _], Some(0)) | ([b'R', b'G', b'B'], None) => Color::Rgb,
            ([_, _, _], _) => Color::YCbCr,
            (_, None | Some(0)) => Color::Cmyk,
            _ => Color::Ycck,
        };
        let mode = match color {
            Color::Gray => Mode::L,
            Color::Rgb | Color::YCbCr => Mode::Rgb,
            Color::Cmyk | Color::Ycck => Mode::Cmyk,
        };
        Ok(Image::new(frame.width, frame.height, mode, output::pixels(&frame, color)))
    }
}

impl Component {
    /// Writes the samples of block number `index`.
    fn store(&mut self, index: usize, block: &[i16; 64]) -> Result<()> {
        let quantization = self
            .quantization
            .as_ref()
            .ok_or_else(|| broken("JPEG without its quantisation table"))?;
        let samples = transform::inverse(block, quantization);
        let stride = self.blocks_across * 8;
        let start = index / self.blocks_across * 8 * stride + index % self.blocks_across * 8;
        for (row, samples) in self.samples[start..].chunks_mut(stride).zip(&samples) {
            row[..8].copy_from_slice(samples);
        }
        Ok(())
    }
}
