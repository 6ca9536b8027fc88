//! WebP, lossy and lossless; of an animation the first frame on a transparent canvas, as libwebp gives it.

use super::{Image, Limits, Mode, broken};
use crate::Result;
use image_webp::WebPDecoder;
use std::io::Cursor;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image> {
    check_frames(bytes.get(12..).unwrap_or_default(), limits)?;
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    limits.check_size(width, height)?;
    let mode = if decoder.has_alpha() { Mode::Rgba } else { Mode::Rgb };
    let (width, height) = (width as usize, height as usize);
    let mut data = vec![0; width * height * mode.bytes()];
    decoder.read_image(&mut data).map_err(broken)?;
    Ok(Image::new(width, height, mode, data))
}

/// Checks the size in each lossy frame's own header: the decoder allocates by it before it compares it with the canvas.
fn check_frames(mut chunks: &[u8], limits: &Limits) -> Result<()> {
    while let [a, b, c, d, s0, s1, s2, s3, rest @ ..] = chunks {
        let size = u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize;
        let body = &rest[..size.min(rest.len())];
        match &[*a, *b, *c, *d] {
            b"ANMF" => check_frames(body.get(16..).unwrap_or_default(), limits)?,
            b"VP8 " => {
                if let [_, _, _, _, _, _, w0, w1, h0, h1, ..] = body {
                    let side = |low: u8, high: u8| u16::from_le_bytes([low, high]) & 0x3fff;
                    limits.check_size(side(*w0, *w1), side(*h0, *h1))?;
                }
            }
            _ => {}
        }
        chunks = rest.get(size.saturating_add(size & 1)..).unwrap_or_default();
    }
    Ok(())
}
