//! WebP, lossy and lossless; of an animation the first frame on a transparent canvas, as libwebp gives it.

use super::{Image, Limits, Mode, broken};
use crate::Result;
use image_webp::WebPDecoder;
use std::io::Cursor;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image> {
    check_frames(bytes.get(12..).unwrap_or_default(), None, limits)?;
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    limits.check_size(width, height)?;
    let mode = if decoder.has_alpha() { Mode::Rgba } else { Mode::Rgb };
    let (width, height) = (width as usize, height as usize);
    let mut data = vec![0; width * height * mode.bytes()];
    decoder.read_image(&mut data).map_err(broken)?;
    Ok(Image::new(width, height, mode, data))
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
