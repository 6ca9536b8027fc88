//! GIF, first frame, as Pillow opens it: palette indices, or grey if the palette is a grey ramp from 0.
//! Around a frame smaller than the screen lies the transparent index, or 0.
//! Of an interlaced frame the four passes are read side by side, each by a decoder that skipped those before it.

use super::{Head, Limits, Mode, Sink, broken};
use crate::Result;
use gif::{ColorOutput, DecodeOptions, Decoder, Frame, MemoryLimit};

pub(super) fn decode(bytes: &[u8], limits: &Limits, sink: &mut dyn Sink) -> Result<()> {
    let (decoder, frame) = open(bytes, limits)?;
    let [left, top, frame_width, frame_height] =
        [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    let width = usize::from(decoder.width()).max(left + frame_width);
    let height = usize::from(decoder.height()).max(top + frame_height);
    limits.check_size(width as u64, height as u64)?;
    let palette = frame.palette.as_deref().or(decoder.global_palette()).unwrap_or_default();
    let palette: Vec<[u8; 3]> = palette.as_chunks().0.to_vec();
    let is_ramp = palette
        .iter()
        .enumerate()
        .all(|(i, color)| color.iter().all(|&value| usize::from(value) == i));
    let (mode, palette) = if is_ramp { (Mode::L, vec![]) } else { (Mode::P, palette) };

    let around = vec![frame.transparent.unwrap_or(0); width];
    let mut row = around.clone();
    let inside = left..left + frame_width;
    let mut passes = vec![((0, 1), decoder)];
    if frame.interlaced {
        let mut rows_before = 0;
        passes.clear();
        for (first, step) in [(0, 8), (4, 8), (2, 4), (1, 2)] {
            let (mut decoder, _) = open(bytes, limits)?;
            for _ in 0..rows_before {
                fill(&mut decoder, &mut row[inside.clone()])?;
            }
            rows_before += frame_height.saturating_sub(first).div_ceil(step);
            passes.push(((first, step), decoder));
        }
    }
    sink.start(&Head { width, height, mode, palette });
    for y in 0..height {
        let Some(y) = y.checked_sub(top).filter(|&y| y < frame_height) else {
            sink.row(&around);
            continue;
        };
        let pass = passes.iter_mut().find(|((first, step), _)| y % step == *first);
        let (_, decoder) = pass.expect("every row is in a pass");
        fill(decoder, &mut row[inside.clone()])?;
        sink.row(&row);
    }
    Ok(())
}

/// A decoder that stands before the pixels of the first frame, which has some.
fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<(Decoder<&'a [u8]>, Frame<'static>)> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Unlimited); // the sizes are checked here
    let mut decoder = options.read_info(bytes).map_err(broken)?;
    limits.check_size(decoder.width(), decoder.height())?;
    let frame = decoder.next_frame_info().map_err(broken)?;
    let frame = frame.ok_or_else(|| broken("it has no frame"))?.clone();
    limits.check_size(frame.width, frame.height)?;
    Ok((decoder, frame))
}

fn fill(decoder: &mut Decoder<&[u8]>, row: &mut [u8]) -> Result<()> {
    if decoder.fill_buffer(row).map_err(broken)? {
        Ok(())
    } else {
        Err(broken("it ends within the pixels"))
    }
}
