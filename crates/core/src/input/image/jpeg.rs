//! JPEG: baseline and progressive; grey, YCbCr, RGB, CMYK and YCCK.

use super::{Image, Limits, Mode, broken};
use crate::Result;
use jpeg_decoder::{Decoder, PixelFormat};
use std::io::Cursor;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.read_info().map_err(broken)?;
    let info = decoder.info().ok_or_else(|| broken("it has no frame"))?;
    limits.check_size(info.width, info.height)?;
    let mode = match info.pixel_format {
        PixelFormat::L8 => Mode::L,
        PixelFormat::RGB24 => Mode::Rgb,
        PixelFormat::CMYK32 => Mode::Cmyk,
        PixelFormat::L16 => return Err(broken("JPEG with more than 8 bits per sample")),
    };
    let data = decoder.decode().map_err(broken)?;
    Ok(Image::new(usize::from(info.width), usize::from(info.height), mode, data))
}
