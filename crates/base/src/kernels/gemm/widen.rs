//! Panels in the form that a kernel multiplies: halves become floats, 4-bit groups 8-bit weights, and where the machine
//! multiplies only 16-bit integers those become that. One chunk of a panel is widened at a time, once for all rows of a
//! block, so it costs a few per cent. Also what is derived from a weight once: its sums, and its values for backward.

use super::encode::MAX_SUM;
use super::packed::{Format, GROUP, GROUP_BYTES, NR, Packed, Sums};
use crate::kernels::for_each_isa;

/// Weights of a group widened to bytes: `[8 quads][8 outputs][4]`.
const WIDE: usize = GROUP * NR;

/// Half precision to single, both `[k][8]`. Infinities and NaN, which no weight is, are not kept.
pub fn halves(to: &mut [u32], from: &[u8]) {
    halves_part(to, from);
}

for_each_isa! {
    fn halves_part(to: &mut [u32], from: &[u8]) = halves_body
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
fn halves_body(to: &mut [u32], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from.as_chunks().0) {
        *to = half(u16::from_le_bytes(*from)).to_bits();
    }
}

/// A finite half as a float, also where it is subnormal.
#[inline(always)]
fn half(bits: u16) -> f32 {
    const REBIAS: f32 = f32::from_bits((254 - 15) << 23); // 2^112, from the bias of 15 to that of 127
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * REBIAS;
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

/// Groups of a [`Format::Q4`] panel to `[k/4][8][4]` bytes, four in a word.
pub fn groups(to: &mut [u32], from: &[u8]) {
    let groups = from.as_chunks::<GROUP_BYTES>().0;
    for (to, from) in to.as_chunks_mut::<{ WIDE / 4 }>().0.iter_mut().zip(groups) {
        #[cfg(target_feature = "simd128")]
        wasm::group(to, from);
        #[cfg(target_arch = "aarch64")]
        neon::group(to, from);
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just detected.
            unsafe { x86::group(to, from) };
        } else {
            group(to, from);
        }
        #[cfg(not(any(
            target_feature = "simd128",
            target_arch = "x86_64",
            target_arch = "aarch64"
        )))]
        group(to, from);
    }
}

/// The reference: round(q·ratio / 1024), a half upwards.
#[cfg_attr(
    not(any(test, target_arch = "x86_64")),
    allow(dead_code, reason = "the definition of the others")
)]
pub fn group(to: &mut [u32; WIDE / 4], from: &[u8; GROUP_BYTES]) {
    let (ratios, halves) = from.split_at(2 * NR);
    let ratio = |o: usize| i32::from(u16::from_le_bytes([ratios[2 * o], ratios[2 * o + 1]]));
    for (to, halves) in to.chunks_exact_mut(NR).zip(halves.as_chunks::<16>().0) {
        for (o, to) in to.iter_mut().enumerate() {
            *to = u32::from_le_bytes([0, 1, 2, 3].map(|j| {
                let byte = halves[o % 4 * 4 + j];
                let q = i32::from(if o < 4 { byte & 15 } else { byte >> 4 }) - 8;
                ((q * ratio(o) + 512) >> 10) as u8
            }));
        }
    }
}

/// `[k/4][8][4]` bytes, four in a word, to `[k/2][8][2]` 16-bit integers, for machines that multiply only those.
pub fn bytes(to: &mut [u32], from: &[u32]) {
    for (to, from) in to.as_chunks_mut::<{ 2 * NR }>().0.iter_mut().zip(from.as_chunks::<NR>().0) {
        #[cfg(target_feature = "simd128")]
        wasm::bytes(to, from);
        #[cfg(not(target_feature = "simd128"))]
        for (o, from) in from.iter().enumerate() {
            let q = from.to_le_bytes().map(|q| u32::from(i16::from(q as i8) as u16));
            to[o] = q[0] | q[1] << 16;
            to[NR + o] = q[2] | q[3] << 16;
        }
    }
}

/// The values of one output of a panel, without its scale.
pub fn decode(row: &mut [f32], panel: &[u8], format: Format, output: usize) {
    let byte = |quads: &[u8], k: usize| f32::from(quads[k / 4 * 4 * NR + output * 4 + k % 4] as i8);
    match format {
        Format::F32 => {
            let values = panel.as_chunks().0.iter().skip(output).step_by(NR);
            row.iter_mut().zip(values).for_each(|(x, &value)| *x = f32::from_le_bytes(value));
        }
        Format::F16 => {
            let values = panel.as_chunks().0.iter().skip(output).step_by(NR);
            row.iter_mut().zip(values).for_each(|(x, &value)| *x = half(u16::from_le_bytes(value)));
        }
        Format::Q8 => row.iter_mut().enumerate().for_each(|(k, x)| *x = byte(panel, k)),
        Format::Q4 => {
            let mut wide = [0; WIDE / 4];
            for (row, from) in row.chunks_mut(GROUP).zip(panel.chunks_exact(GROUP_BYTES)) {
                groups(&mut wide, from);
                let quads = wide.map(u32::to_le_bytes);
                row.iter_mut().enumerate().for_each(|(k, x)| *x = byte(quads.as_flattened(), k));
            }
        }
    }
}

/// Sums over k, and whether pairs fit.
pub fn sums(b: &Packed) -> Sums {
    let mut of_outputs = Vec::with_capacity(b.scales().len());
    let mut largest = [0; 2 * NR];
    let mut wide = Vec::new();
    for panel in 0..b.n().div_ceil(NR) {
        let mut sums = [0; 2 * NR];
        let from = b.panel(panel);
        if b.format() == Format::Q4 {
            wide.resize(b.k().next_multiple_of(GROUP) * NR / 4, 0);
            groups(&mut wide, from);
            add_sums(&mut sums, &mut largest, super::bytes_of(&wide));
        } else {
            add_sums(&mut sums, &mut largest, from);
        }
        of_outputs.extend(sums.as_chunks().0.iter().map(|[a, b]: &[i32; 2]| (a + b) as f32));
    }
    Sums { of_outputs, pairs_fit: largest.into_iter().all(|largest| largest <= MAX_SUM) }
}

for_each_isa! {
    /// Adds the weights of `quads` to `sums` (8, 2): of each output those of the first pairs of quads, then of the second.
    /// `largest` are the largest of the sums that [`MAX_SUM`] limits.
    fn add_sums(sums: &mut [i32; 2 * NR], largest: &mut [i16; 2 * NR], quads: &[u8]) = add_sums_body
}

/// A pair of weights is taken as one number of 16 bits, so that all of this is the same in every lane.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
fn add_sums_body(sums: &mut [i32; 2 * NR], largest: &mut [i16; 2 * NR], quads: &[u8]) {
    for two in quads.as_chunks::<{ 8 * NR }>().0 {
        let (first, second) = two.split_at(4 * NR);
        let (first, second) = (first.as_chunks::<2>().0, second.as_chunks::<2>().0);
        for i in 0..2 * NR {
            let [a, b] = [first[i], second[i]].map(i16::from_le_bytes);
            let all = [(a << 8) >> 8, a >> 8, (b << 8) >> 8, b >> 8];
            let sum = all[0] + all[1] + all[2] + all[3];
            let positive = all[0].max(0) + all[1].max(0) + all[2].max(0) + all[3].max(0);
            sums[i] += i32::from(sum);
            largest[i] = largest[i].max(positive).max(positive - sum);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{GROUP_BYTES, NR, WIDE};
    use core::arch::x86_64::{
        _mm_and_si128, _mm_loadu_si128, _mm_set1_epi8, _mm_srli_epi16, _mm_sub_epi8,
        _mm256_broadcastsi128_si256, _mm256_cvtepi8_epi16, _mm256_mulhrs_epi16, _mm256_packs_epi16,
        _mm256_permute4x64_epi64, _mm256_setr_epi64x, _mm256_shuffle_epi8, _mm256_slli_epi16,
        _mm256_storeu_si256,
    };

    /// round(q·ratio / 1024) is `mulhrs(32·q, ratio)`.
    #[target_feature(enable = "avx2")]
    pub fn group(to: &mut [u32; WIDE / 4], from: &[u8; GROUP_BYTES]) {
        let (ratios, halves) = from.split_at(2 * NR);
        // SAFETY: 16 bytes are readable.
        let ratios =
            _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(ratios.as_ptr().cast()) });
        // Bytes 0 and 1 four times, then 2 and 3, ...: each ratio for the four weights of a quad.
        let repeat = |o: i64| 0x0100_0100_0100_0100 + o * 0x0202_0202_0202_0202;
        let low_ratios = _mm256_shuffle_epi8(
            ratios,
            _mm256_setr_epi64x(repeat(0), repeat(1), repeat(2), repeat(3)),
        );
        let high_ratios = _mm256_shuffle_epi8(
            ratios,
            _mm256_setr_epi64x(repeat(4), repeat(5), repeat(6), repeat(7)),
        );
        for (to, halves) in to.as_chunks_mut::<NR>().0.iter_mut().zip(halves.as_chunks::<16>().0) {
            // SAFETY: 16 bytes are readable.
            let halves = unsafe { _mm_loadu_si128(halves.as_ptr().cast()) };
            let wide = |q, ratios| {
                let q = _mm_sub_epi8(_mm_and_si128(q, _mm_set1_epi8(15)), _mm_set1_epi8(8));
                _mm256_mulhrs_epi16(_mm256_slli_epi16::<5>(_mm256_cvtepi8_epi16(q)), ratios)
            };
            let (low, high) =
                (wide(halves, low_ratios), wide(_mm_srli_epi16::<4>(halves), high_ratios));
            let quad = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(low, high));
            // SAFETY: `to` is 32 bytes.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), quad) };
        }
    }
}

#[cfg(target_feature = "simd128")]
mod wasm {
    use super::{GROUP_BYTES, NR, WIDE};
    use core::arch::wasm32::{
        i8x16_narrow_i16x8, i8x16_splat, i8x16_sub, i16x8_extend_high_i8x16,
        i16x8_extend_low_i8x16, i16x8_q15mulr_sat, i16x8_shl, i16x8_shuffle, i32x4_shuffle,
        u8x16_shr, v128, v128_and, v128_load, v128_store,
    };

    /// round(q·ratio / 1024) is `q15mulr(32·q, ratio)`.
    pub fn group(to: &mut [u32; WIDE / 4], from: &[u8; GROUP_BYTES]) {
        // SAFETY: 16 bytes are readable.
        let r = unsafe { v128_load(from.as_ptr().cast()) };
        let low = [
            i16x8_shuffle::<0, 0, 0, 0, 1, 1, 1, 1>(r, r),
            i16x8_shuffle::<2, 2, 2, 2, 3, 3, 3, 3>(r, r),
        ];
        let high = [
            i16x8_shuffle::<4, 4, 4, 4, 5, 5, 5, 5>(r, r),
            i16x8_shuffle::<6, 6, 6, 6, 7, 7, 7, 7>(r, r),
        ];
        let quads = from[2 * NR..].as_chunks::<16>().0;
        for (to, halves) in to.as_chunks_mut::<NR>().0.iter_mut().zip(quads) {
            // SAFETY: 16 bytes are readable.
            let halves = unsafe { v128_load(halves.as_ptr().cast()) };
            let low = wide(v128_and(halves, i8x16_splat(15)), low);
            // SAFETY: `to` is 32 bytes.
            unsafe { v128_store(to.as_mut_ptr().cast(), low) };
            let high = wide(u8x16_shr(halves, 4), high);
            // SAFETY: as above.
            unsafe { v128_store(to[4..].as_mut_ptr().cast(), high) };
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "part of a kernel")]
    fn wide(q: v128, ratios: [v128; 2]) -> v128 {
        let q = i8x16_sub(q, i8x16_splat(8));
        let first = i16x8_q15mulr_sat(i16x8_shl(i16x8_extend_low_i8x16(q), 5), ratios[0]);
        let second = i16x8_q15mulr_sat(i16x8_shl(i16x8_extend_high_i8x16(q), 5), ratios[1]);
        i8x16_narrow_i16x8(first, second)
    }

    /// One quad: outputs' first pairs, then their second.
    pub fn bytes(to: &mut [u32; 2 * NR], from: &[u32; NR]) {
        for half in 0..2 {
            // SAFETY: 16 bytes are readable.
            let q = unsafe { v128_load(from[4 * half..].as_ptr().cast()) };
            let (a, b) = (i16x8_extend_low_i8x16(q), i16x8_extend_high_i8x16(q));
            let (first, second) =
                (i32x4_shuffle::<0, 2, 4, 6>(a, b), i32x4_shuffle::<1, 3, 5, 7>(a, b));
            // SAFETY: four words are writable there, and eight further on.
            unsafe { v128_store(to[4 * half..].as_mut_ptr().cast(), first) };
            // SAFETY: as above.
            unsafe { v128_store(to[NR + 4 * half..].as_mut_ptr().cast(), second) };
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::{GROUP_BYTES, NR, WIDE};
    use core::arch::aarch64::{
        int8x16_t, int16x8_t, uint8x16_t, vandq_u8, vcombine_s8, vcombine_s16, vdup_n_s16,
        vdupq_n_s8, vdupq_n_u8, vget_high_s8, vget_low_s8, vld1q_u8, vmovl_s8, vqmovn_s16,
        vqrdmulhq_s16, vreinterpretq_s8_u8, vshlq_n_s16, vshrq_n_u8, vst1q_s8, vsubq_s8,
    };

    /// round(q·ratio / 1024) is `vqrdmulh(32·q, ratio)`.
    pub fn group(to: &mut [u32; WIDE / 4], from: &[u8; GROUP_BYTES]) {
        // SAFETY: NEON is part of the architecture.
        unsafe { group_neon(to, from) }
    }

    #[target_feature(enable = "neon")]
    fn group_neon(to: &mut [u32; WIDE / 4], from: &[u8; GROUP_BYTES]) {
        let (ratios, halves) = from.split_at(2 * NR);
        let ratio = |o: usize| vdup_n_s16(i16::from_le_bytes([ratios[2 * o], ratios[2 * o + 1]]));
        let two = |o: usize| vcombine_s16(ratio(o), ratio(o + 1));
        let (low, high) = ([two(0), two(2)], [two(4), two(6)]);
        for (to, halves) in to.as_chunks_mut::<NR>().0.iter_mut().zip(halves.as_chunks::<16>().0) {
            // SAFETY: 16 bytes are readable.
            let halves = unsafe { vld1q_u8(halves.as_ptr()) };
            // SAFETY: `to` is 32 bytes.
            unsafe {
                vst1q_s8(to.as_mut_ptr().cast(), wide(vandq_u8(halves, vdupq_n_u8(15)), low))
            };
            // SAFETY: as above.
            unsafe { vst1q_s8(to[4..].as_mut_ptr().cast(), wide(vshrq_n_u8::<4>(halves), high)) };
        }
    }

    #[target_feature(enable = "neon")]
    fn wide(q: uint8x16_t, ratios: [int16x8_t; 2]) -> int8x16_t {
        let q = vsubq_s8(vreinterpretq_s8_u8(q), vdupq_n_s8(8));
        let first = vqrdmulhq_s16(vshlq_n_s16::<5>(vmovl_s8(vget_low_s8(q))), ratios[0]);
        let second = vqrdmulhq_s16(vshlq_n_s16::<5>(vmovl_s8(vget_high_s8(q))), ratios[1]);
        vcombine_s8(vqmovn_s16(first), vqmovn_s16(second))
    }
}
