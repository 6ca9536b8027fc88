//! JPEG, with the bits of libjpeg-turbo's usual decoder, because that is what the reference sees: slow integer inverse
//! transform, fancy upsampling, 16-bit colour arithmetic. Baseline and progressive, Huffman coded, 8 bits per sample.
//! This file reads the markers (ITU-T T.81, annex B); then all scans are read side by side, one strip of MCUs after
//! another, so that a strip is all that is held, of a progressive file too. [`entropy`] reads scans, [`transform`] and
//! [`output`] make pixels.

mod entropy;
mod output;
mod transform;

use super::{Head, Limits, Mode, Sink, Window, broken};
use crate::{Error, Result};
use entropy::{Coding, Huffman, Member, Scan};
use std::ops::Range;
use std::rc::Rc;

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
    /// Columns and rows of blocks that are worth transforming.
    wanted: [Range<usize>; 2],
    /// Samples of this strip and the one before, (16 `v`, 8 `blocks_across`): row y is at y modulo 16 `v`.
    samples: Vec<u8>,
    /// Of a progressive file: the coefficients of this strip's blocks, in natural order.
    coefficients: Vec<[i16; 64]>,
    /// Whether any scan has it.
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

/// What the markers said.
#[derive(Default)]
struct Reader<'a> {
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<Rc<Huffman>>; 4],
    ac: [Option<Rc<Huffman>>; 4],
    restart_interval: usize,
    jfif: bool,
    /// The colour transform of an Adobe marker.
    adobe: Option<u8>,
    frame: Option<Frame>,
    scans: Vec<Scan<'a>>,
}

pub(super) fn decode(bytes: &[u8], limits: &Limits, sink: &mut dyn Sink) -> Result<()> {
    let mut reader = Reader::default();
    let mut rest = &bytes[2..];
    loop {
        let Some(marker) = next_marker(&mut rest) else {
            // Like libjpeg, forgive a missing end of image.
            let any = !reader.scans.is_empty();
            return if any {
                reader.finish(limits, sink)
            } else {
                Err(broken("JPEG without pixels"))
            };
        };
        match marker {
            0xd9 => return reader.finish(limits, sink),
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
                if reader.scans.len() == MAX_SCANS {
                    let (got, limit) = (MAX_SCANS as u64 + 1, MAX_SCANS as u64);
                    return Err(Error::ImageTooLarge { what: "number of JPEG scans", got, limit });
                }
                reader.read_scan(segment, rest)?;
                skip_scan(&mut rest);
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

/// Skips the entropy-coded data of a scan, to the marker behind it.
fn skip_scan(rest: &mut &[u8]) {
    while let Some(at) = rest.iter().position(|&byte| byte == 0xff) {
        *rest = &rest[at..];
        match rest {
            [_, 0x00 | 0xff | 0xd0..=0xd7, ..] => *rest = &rest[1..],
            _ => return,
        }
    }
    *rest = &[];
}

impl<'a> Reader<'a> {
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
                Some(Rc::new(Huffman::new(counts, values)?));
            segment = after;
        }
        Ok(())
    }

    /// Notes the scan whose header is `segment`, to be read from `data` later.
    fn read_scan(&mut self, segment: &[u8], data: &'a [u8]) -> Result<()> {
        let wrong = || broken("JPEG scan header");
        let frame = self.frame.as_mut().ok_or_else(wrong)?;
        let (&count, specs) = segment.split_first().ok_or_else(truncated)?;
        let (specs, tail) = specs.split_at_checked(usize::from(count) * 2).ok_or_else(truncated)?;
        let &[first, last, approximation, ..] = tail else { return Err(truncated()) };
        let mut members: Vec<Member> = Vec::new();
        for &[id, tables] in specs.as_chunks().0 {
            let index = frame
                .components
                .iter()
                .position(|component| component.id == id)
                .ok_or_else(wrong)?;
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            if dc > 3 || ac > 3 || members.iter().any(|other| other.component == index) {
                return Err(wrong());
            }
            let (dc, ac) = (self.dc[dc].clone(), self.ac[ac].clone());
            members.push(Member { component: index, dc, ac });
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
        self.scans.push(Scan::new(coding, members, self.restart_interval, data));
        Ok(())
    }

    /// Reads the scans, which are all there, and hands the pixels over.
    fn finish(self, limits: &Limits, sink: &mut dyn Sink) -> Result<()> {
        let color = self.color()?;
        let mut frame = self.frame.ok_or_else(|| broken("JPEG without a frame"))?;
        let mut scans = self.scans;
        limits.check_memory(frame.memory())?;
        let mode = match color {
            Color::Gray => Mode::L,
            Color::Rgb | Color::YCbCr => Mode::Rgb,
            Color::Cmyk | Color::Ycck => Mode::Cmyk,
        };
        let (width, height) = (frame.width, frame.height);
        let window = sink.start(&Head { width, height, mode, palette: Vec::new() });
        frame.prepare(window)?;

        let mut output = output::Rows::new(&frame, color);
        let mut row = vec![0; width * mode.bytes()];
        let rows_of_strip = 8 * frame.v_max;
        let n_strips = height.div_ceil(rows_of_strip);
        let mut next = 0;
        for strip in 0..n_strips {
            for component in &mut frame.components {
                component.coefficients.fill([0; 64]);
            }
            for scan in &mut scans {
                scan.read_strip(&mut frame, strip)?;
            }
            for component in frame.components.iter_mut().filter(|_| frame.progressive) {
                component.store_all(strip);
            }
            // The last row of a strip is mixed with the first of the next one.
            let end = if strip + 1 == n_strips { height } else { (strip + 1) * rows_of_strip - 1 };
            for y in next..end {
                if (window.top..window.top + window.height).contains(&y) {
                    output.fill(&frame, y, &mut row);
                }
                sink.row(&row);
            }
            next = end;
            if next >= window.top + window.height && sink.may_stop() {
                break;
            }
        }
        Ok(())
    }

    /// What the channels mean: libjpeg's guesses.
    fn color(&self) -> Result<Color> {
        let frame = self.frame.as_ref().ok_or_else(|| broken("JPEG without a frame"))?;
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        Ok(match (ids.as_slice(), self.adobe) {
            ([_], _) => Color::Gray,
            ([_, _, _], _) if self.jfif => Color::YCbCr,
            ([_, _, _], Some(0)) | ([b'R', b'G', b'B'], None) => Color::Rgb,
            ([_, _, _], _) => Color::YCbCr,
            (_, None | Some(0)) => Color::Cmyk,
            _ => Color::Ycck,
        })
    }
}

impl Frame {
    /// Bytes of the samples and coefficients of [`Self::prepare`], and of the rows that pixels are made of.
    fn memory(&self) -> u64 {
        let of = |component: &Component| {
            let samples = component.blocks_across * component.v * 64;
            samples * if self.progressive { 4 } else { 2 } + self.width * 4
        };
        self.components.iter().map(|component| of(component) as u64).sum()
    }

    /// Makes room for two strips; `window` is what will be looked at.
    fn prepare(&mut self, window: Window) -> Result<()> {
        for component in &mut self.components {
            if !component.seen {
                return Err(broken("JPEG without all its channels"));
            }
            if component.quantization.is_none() {
                return Err(broken("JPEG without its quantisation table"));
            }
            let blocks = component.blocks_across * component.v;
            component.samples = vec![128; blocks * 64 * 2];
            if self.progressive {
                component.coefficients = vec![[0; 64]; blocks];
            }
            // Upsampling looks at the sample on either side.
            let blocks = |start: usize, len: usize, ratio: usize| {
                (start / ratio).saturating_sub(1) / 8..((start + len) / ratio + 1) / 8 + 1
            };
            component.wanted = [
                blocks(window.left, window.width, self.h_max / component.h),
                blocks(window.top, window.height, self.v_max / component.v),
            ];
        }
        Ok(())
    }
}

impl Component {
    /// Writes the samples of one block, `y` being the row of blocks in the image.
    fn store(&mut self, x: usize, y: usize, block: &[i16; 64]) {
        let quantization = self.quantization.as_ref().expect("checked before the first strip");
        let [columns, rows] = &self.wanted;
        if !columns.contains(&x) || !rows.contains(&y) {
            return;
        }
        let mut samples = [[0; 8]; 8];
        transform::inverse(&mut samples, block, quantization);
        let stride = self.blocks_across * 8;
        let start = y % (2 * self.v) * 8 * stride + x * 8;
        for (row, samples) in self.samples[start..].chunks_mut(stride).zip(&samples) {
            row[..8].copy_from_slice(samples);
        }
    }

    /// Samples of all blocks of a strip.
    fn store_all(&mut self, strip: usize) {
        let coefficients = std::mem::take(&mut self.coefficients);
        for (i, block) in coefficients.iter().enumerate() {
            self.store(i % self.blocks_across, strip * self.v + i / self.blocks_across, block);
        }
        self.coefficients = coefficients;
    }

    /// Row `y` of the samples, without padding.
    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y % (16 * self.v) * self.blocks_across * 8..][..self.width]
    }
}
