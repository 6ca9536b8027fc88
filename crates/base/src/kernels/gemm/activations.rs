//! Rows of A in whole numbers for one product: x ≈ `low` + `step`·q with q in 0..=127, or 0..=16383 in two planes of 7 bits.
//! Seven bits without a sign are what every machine's 8-bit dot product takes without saturating, so the integers are the
//! same everywhere. The offset `low` needs no rounding: it meets the weights' sums, in floats, when C is written.

use super::packed::SIXTEEN;
use super::tile::Word;
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

/// Writes the quantised part of one row as a kernel's words, padded with zeros to a multiple of sixteen values: the low
/// plane, and the high one, which is empty where there is one plane only.
pub fn quantise(word: Word, [low, high]: [&mut [u32]; 2], row: &[f32], level: Level) {
    quantise_part(bytes_of_mut(low), bytes_of_mut(high), row, level, word == Word::Halves);
}

for_each_isa! {
    fn range_of(range: &mut [f32; 2], row: &[f32]) = range_body
}
for_each_isa! {
    fn quantise_part(low: &mut [u8], high: &mut [u8], row: &[f32], level: Level, halves: bool) = quantise_body
}

/// The least and the largest value; where the row is not finite, the first is not.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
fn range_body(range: &mut [f32; 2], row: &[f32]) {
    let (chunks, rest) = row.as_chunks::<16>();
    let mut lanes = [[row[0]; 16], [row[0]; 16], [0.0; 16]];
    range_of_chunks(&mut lanes, chunks);
    let [low, high, sum] = lanes.map(|lanes| lanes.into_iter().chain(rest.iter().copied()));
    let low = low.fold(row[0], f32::min);
    let sum: f32 = sum.sum();
    *range = [low + sum * 0.0, high.fold(row[0], f32::max)];
}

/// Each lane's least value, largest value and sum.
#[cfg(not(target_feature = "simd128"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of a kernel")]
fn range_of_chunks([low, high, sum]: &mut [[f32; 16]; 3], chunks: &[[f32; 16]]) {
    for chunk in chunks {
        for i in 0..16 {
            low[i] = if chunk[i] < low[i] { chunk[i] } else { low[i] };
            high[i] = if high[i] < chunk[i] { chunk[i] } else { high[i] };
            sum[i] += chunk[i];
        }
    }
}

/// The same: the compiler does not find these instructions by itself.
#[cfg(target_feature = "simd128")]
fn range_of_chunks(lanes: &mut [[f32; 16]; 3], chunks: &[[f32; 16]]) {
    use core::arch::wasm32::{f32x4_add, f32x4_pmax, f32x4_pmin, v128_load, v128_store};
    let load = |x: &[f32; 16], i: usize| {
        let four = &x[4 * i..4 * i + 4];
        // SAFETY: four floats are a vector, and a load needs no alignment.
        unsafe { v128_load(four.as_ptr().cast()) }
    };
    for i in 0..4 {
        let [mut low, mut high, mut sum] = [0, 1, 2].map(|j| load(&lanes[j], i));
        for chunk in chunks {
            let x = load(chunk, i);
            (low, high, sum) = (f32x4_pmin(low, x), f32x4_pmax(high, x), f32x4_add(sum, x));
        }
        for (lanes, x) in lanes.iter_mut().zip([low, high, sum]) {
            let four = &mut lanes[4 * i..4 * i + 4];
            // SAFETY: as above.
            unsafe { v128_store(four.as_mut_ptr().cast(), x) };
        }
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
fn quantise_body(low: &mut [u8], high: &mut [u8], row: &[f32], level: Level, halves: bool) {
    let (chunks, rest) = row.as_chunks::<SIXTEEN>();
    let inverse = 1.0 / level.step;
    for (i, chunk) in chunks.iter().enumerate() {
        quantise_sixteen([low, high], i, chunk, level.low, inverse, halves);
    }
    if !rest.is_empty() {
        let mut chunk = [level.low; SIXTEEN];
        chunk[..rest.len()].copy_from_slice(rest);
        quantise_sixteen([low, high], chunks.len(), &chunk, level.low, inverse, halves);
    }
}

/// Writes the `i`-th sixteen values.
#[inline(always)]
fn quantise_sixteen(
    [low, high]: [&mut [u8]; 2],
    i: usize,
    x: &[f32; SIXTEEN],
    offset: f32,
    inverse: f32,
    halves: bool,
) {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to an integer, which stands in the low bits
    let q = x.map(|x| ((x - offset) * inverse + ROUND).to_bits() as u16 & 0x3fff);
    let write = |to: &mut [u8], q: [u16; SIXTEEN]| {
        if halves {
            to[2 * SIXTEEN * i..][..2 * SIXTEEN]
                .copy_from_slice(q.map(u16::to_le_bytes).as_flattened());
        } else {
            to[SIXTEEN * i..][..SIXTEEN].copy_from_slice(&q.map(|q| q as u8));
        }
    };
    write(low, q.map(|q| q & 127));
    if !high.is_empty() {
        write(high, q.map(|q| q >> 7));
    }
}

/// Words as the bytes that they are made of.
pub fn bytes_of_mut(words: &mut [u32]) -> &mut [u8] {
    // SAFETY: a word is four initialised bytes without padding, any bytes are a word, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 4) }
}
