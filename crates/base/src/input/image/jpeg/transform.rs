//! The inverse discrete cosine transform of an 8 x 8 block: libjpeg's accurate integer method (`jidctint`), after
//! Loeffler, Ligtenberg and Moschytz 1989. All eight columns go through each step together, so it vectorises.
#![expect(
    clippy::inline_always,
    reason = "all of this must be compiled anew inside each instruction set's function"
)]

use crate::kernels::for_each_isa;
use std::num::Wrapping;

/// Eight numbers; arithmetic wraps, so that absurd coefficients give absurd samples and no panic.
#[derive(Clone, Copy)]
struct Lanes([Wrapping<i32>; 8]);

macro_rules! lanes_operator {
    ($name:ident, $method:ident) => {
        impl std::ops::$name for Lanes {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| std::ops::$name::$method(self.0[i], other.0[i])))
            }
        }
    };
}
lanes_operator!(Add, add);
lanes_operator!(Sub, sub);

impl Lanes {
    #[inline(always)]
    fn times(self, factor: i32) -> Self {
        Self(self.0.map(|x| x * Wrapping(factor)))
    }

    /// Divided by 2^`bits`, rounded.
    #[inline(always)]
    fn descale(self, bits: usize) -> Self {
        Self(self.0.map(|x| (x + Wrapping(1 << (bits - 1))) >> bits))
    }
}

/// Fraction bits of the constants, and of the values between the passes.
const CONST_BITS: usize = 13;
const PASS_BITS: usize = 2;

for_each_isa! {
    /// `samples` of a block from its coefficients and their quantisation, both in natural order.
    pub(super) fn inverse(samples: &mut [[u8; 8]; 8], block: &[i16; 64], quantization: &[u16; 64]) = inverse_body
}

#[inline(always)]
fn inverse_body(samples: &mut [[u8; 8]; 8], block: &[i16; 64], quantization: &[u16; 64]) {
    let to_sample = |x: i32| (x + 128).clamp(0, 255) as u8;
    // Only 16 bits of a product count, as in the SIMD code of libjpeg-turbo.
    let value = |i: usize| i32::from(block[i].wrapping_mul(quantization[i] as i16));
    if block[1..].iter().all(|&x| x == 0) {
        *samples = [[to_sample(((value(0) << PASS_BITS) + 16) >> 5); 8]; 8];
        return;
    }
    let rows = std::array::from_fn(|y| Lanes(std::array::from_fn(|x| Wrapping(value(y * 8 + x)))));
    let (upper, lower) = block.split_at(32);
    let is_low = [lower, &upper[4..8], &upper[12..16], &upper[20..24], &upper[28..]];
    let is_low = is_low.iter().all(|part| part.iter().all(|&x| x == 0));
    let rows = if is_low { both_passes::<true>(rows) } else { both_passes::<false>(rows) };
    *samples = rows.map(|row| row.0.map(|x| to_sample(x.0)));
}

/// `LOW`: only the 4 x 4 lowest frequencies are not zero, as in most blocks.
#[inline(always)]
fn both_passes<const LOW: bool>(rows: [Lanes; 8]) -> [Lanes; 8] {
    let columns = transpose(&pass::<LOW>(rows, CONST_BITS - PASS_BITS));
    transpose(&pass::<LOW>(columns, CONST_BITS + PASS_BITS + 3))
}

#[inline(always)]
fn transpose(rows: &[Lanes; 8]) -> [Lanes; 8] {
    std::array::from_fn(|x| Lanes(std::array::from_fn(|y| rows[y].0[x])))
}

/// One-dimensional transform down each lane; the names of the values are those of `jidctint.c`.
#[inline(always)]
fn pass<const LOW: bool>(mut x: [Lanes; 8], bits: usize) -> [Lanes; 8] {
    if LOW {
        x[4..].fill(Lanes([Wrapping(0); 8])); // they are, and now the compiler knows
    }
    let z1 = (x[2] + x[6]).times(4433);
    let (tmp2, tmp3) = (z1 - x[6].times(15137), z1 + x[2].times(6270));
    let (tmp0, tmp1) = ((x[0] + x[4]).times(1 << CONST_BITS), (x[0] - x[4]).times(1 << CONST_BITS));
    let (tmp10, tmp13, tmp11, tmp12) = (tmp0 + tmp3, tmp0 - tmp3, tmp1 + tmp2, tmp1 - tmp2);

    let (z1, z2, z3, z4) = (x[7] + x[1], x[5] + x[3], x[7] + x[3], x[5] + x[1]);
    let z5 = (z3 + z4).times(9633);
    let (z1, z2) = (z1.times(-7373), z2.times(-20995));
    let (z3, z4) = (z3.times(-16069) + z5, z4.times(-3196) + z5);
    let tmp0 = x[7].times(2446) + z1 + z3;
    let tmp1 = x[5].times(16819) + z2 + z4;
    let tmp2 = x[3].times(25172) + z2 + z3;
    let tmp3 = x[1].times(12299) + z1 + z4;
    let sums = [tmp10 + tmp3, tmp11 + tmp2, tmp12 + tmp1, tmp13 + tmp0];
    let differences = [tmp13 - tmp0, tmp12 - tmp1, tmp11 - tmp2, tmp10 - tmp3];
    let out = [sums, differences].map(|half| half.map(|lanes| lanes.descale(bits)));
    std::array::from_fn(|i| out[i / 4][i % 4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    #[test]
    fn it_is_the_inverse_transform_within_a_unit() {
        let mut seed = 1u32;
        for _ in 0..200 {
            let block: [i16; 64] = std::array::from_fn(|i| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if i == 0 || seed >> 29 == 0 { (seed >> 16) as i16 % 60 } else { 0 }
            });
            let mut got = [[0; 8]; 8];
            inverse(&mut got, &block, &[3; 64]);
            for (y, row) in got.iter().enumerate() {
                for (x, &sample) in row.iter().enumerate() {
                    let mut sum = 128.0;
                    for (i, &coefficient) in block.iter().enumerate() {
                        let (u, v) = (i % 8, i / 8);
                        let scale = |k: usize| if k == 0 { 0.5_f64.sqrt() } else { 1.0 };
                        let cosine =
                            |x: usize, k: usize| ((2 * x + 1) as f64 * k as f64 * PI / 16.0).cos();
                        let basis = scale(u) * scale(v) * cosine(x, u) * cosine(y, v) / 4.0;
                        sum += f64::from(coefficient) * 3.0 * basis;
                    }
                    assert!((f64::from(sample) - sum.clamp(0.0, 255.0)).abs() <= 1.0);
                }
            }
        }
    }

    #[test]
    fn the_short_way_for_flat_blocks_is_exact_and_nothing_panics() {
        for dc in -2000..2000 {
            let mut block = [0; 64];
            block[0] = dc;
            let mut flat = [[0; 8]; 8];
            inverse(&mut flat, &block, &[1; 64]);
            let rows = std::array::from_fn(|y| {
                Lanes(std::array::from_fn(|x| Wrapping(i32::from(block[y * 8 + x]))))
            });
            for full in [both_passes::<false>(rows), both_passes::<true>(rows)] {
                let sample = (full[3].0[5].0 + 128).clamp(0, 255);
                assert!(flat.iter().flatten().all(|&x| i32::from(x) == sample));
            }
        }
        let mut samples = [[0; 8]; 8];
        inverse(&mut samples, &[i16::MIN; 64], &[u16::MAX; 64]);
        inverse(&mut samples, &[i16::MAX; 64], &[1; 64]);
    }
}
