//! Rows of A in whole numbers for one product: x ≈ `low` + `step`·q with q in 0..=127, or 0..=16383 in two planes of 7 bits.
//! Seven bits without a sign are what every machine's 8-bit dot product takes without saturating, so the integers are the
//! same everywhere. The offset `low` needs no rounding: it meets the weights' sums, in floats, when C is written.

use super::tile::{STEPS, Word};
use crate::kernels::for_each_isa;

/// How one row was quantised.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level {
    pub low: f32,
    pub step: f32,
}

/// The level of each row of `a` (rows, `k`) for so many planes.
pub fn levels(to: &mut Vec<Level>, a: &[f32], k: usize, planes: usize) {
    to.clear();
    let top = ((1 << (7 * planes)) - 1) as f32;
    for row in a.chunks_exact(k) {
        let mut range = [0.0; 2];
        range_of(&mut range, row);
        let [low, high] = range;
        // Not zero: a constant row is all zeros from `low`. A row that is not finite has a `low` that is not, and so has C.
        to.push(Level { low, step: ((high - low) / top).max(f32::MIN_POSITIVE) });
    }
}

/// Writes the quantised part of one row as a kernel's words, padded with zeros to a multiple of eight values: the low
/// plane, and before it the high one, which is empty where there is one plane only.
pub fn quantise(word: Word, [low, high]: [&mut [u32]; 2], row: &[f32], level: Level) {
    let mut planes = [[0; STEPS * 4]; 2];
    quantise_part(&mut planes, row, level, !high.is_empty());
    for (to, plane) in [low, high].into_iter().zip(planes) {
        let plane = &plane[..row.len().next_multiple_of(8)];
        if word == Word::Bytes {
            to.iter_mut().zip(plane.as_chunks().0).for_each(|(to, &q)| *to = u32::from_le_bytes(q));
        } else {
            to.iter_mut()
                .zip(plane.as_chunks::<2>().0)
                .for_each(|(to, q)| *to = u32::from(q[0]) | u32::from(q[1]) << 16);
        }
    }
}

for_each_isa! {
    fn range_of(range: &mut [f32; 2], row: &[f32]) = range_body
}
for_each_isa! {
    fn quantise_part(planes: &mut [[u8; STEPS * 4]; 2], row: &[f32], level: Level, both: bool) = quantise_body
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
fn range_body(range: &mut [f32; 2], row: &[f32]) {
    let (mut low, mut high, mut bad) = ([row[0]; 16], [row[0]; 16], [0.0; 16]);
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for i in 0..16 {
            low[i] = if chunk[i] < low[i] { chunk[i] } else { low[i] };
            high[i] = if chunk[i] > high[i] { chunk[i] } else { high[i] };
            bad[i] += chunk[i] * 0.0; // stays zero, or becomes NaN where the row is not finite
        }
    }
    let bad: f32 = bad.iter().sum::<f32>() + rest.iter().map(|x| x * 0.0).sum::<f32>();
    let low = low.iter().chain(rest).fold(row[0], |min, &x| min.min(x));
    *range = [low + bad, high.iter().chain(rest).fold(row[0], |max, &x| max.max(x))];
}

#[inline(always)]
fn quantise_body(planes: &mut [[u8; STEPS * 4]; 2], row: &[f32], level: Level, both: bool) {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to an integer, which stands in the low bits
    let inverse = 1.0 / level.step;
    let [low, high] = planes;
    for (q, x) in low.iter_mut().zip(row) {
        *q = ((x - level.low) * inverse + ROUND).to_bits() as u8 & 127;
    }
    if both {
        for (q, x) in high.iter_mut().zip(row) {
            *q = (((x - level.low) * inverse + ROUND).to_bits() >> 7) as u8 & 127;
        }
    }
}
