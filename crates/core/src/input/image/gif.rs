//! GIF, first frame, as Pillow opens it: palette indices, or grey if the palette is a grey ramp from 0.
//! Around a frame smaller than the screen lies the transparent index, or 0.

use super::{Image, Limits, Mode, broken};
use crate::Result;
use gif::{ColorOutput, DecodeOptions, MemoryLimit};

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Image> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Unlimited); // the sizes are checked here
    let mut decoder = options.read_info(bytes).map_err(broken)?;
    limits.check_size(decoder.width(), decoder.height())?;
    let screen = (usize::from(decoder.width()), usize::from(decoder.height()));
    let frame = decoder
        .next_frame_info()
        .map_err(broken)?
        .ok_or_else(|| broken("it has no frame"))?
        .clone();
    limits.check_size(frame.width, frame.height)?;
    let [left, top, frame_width, frame_height] =
        [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    let (width, height) = (screen.0.max(left + frame_width), screen.1.max(top + frame_height));
    limits.check_size(width as u64, height as u64)?;

    let mut pixels = vec![0; frame_width * frame_height];
    decoder.read_into_buffer(&mut pixels).map_err(broken)?;
    let palette = frame.palette.as_deref().or(decoder.global_palette()).unwrap_or_default();
    let palette: Vec<[u8; 3]> = palette.as_chunks().0.to_vec();
    let is_ramp = palette
        .iter()
        .enumerate()
        .all(|(i, color)| color.iter().all(|&value| usize::from(value) == i));
    let mut data = vec![frame.transparent.unwrap_or(0); width * height];
    for (row, pixels) in
        data.chunks_exact_mut(width).skip(top).zip(pixels.chunks_exact(frame_width))
    {
        row[left..left + frame_width].copy_from_slice(pixels);
    }
    if is_ramp {
        return Ok(Image::new(width, height, Mode::L, data));
    }
    Ok(Image { palette, ..Image::new(width, height, Mode::P, data) })
}
