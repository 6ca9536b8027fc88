//! NEON; bytes by the dot product where the processor has it, otherwise by widening products, whose pairs fit into 16
//! bits (127·127·2 < 2¹⁵). Activations are below 128, so that they are the same signed and unsigned.

use super::{Kernel, Lanes, Operands, by_height};
use core::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, vdupq_n_f32, vdupq_n_s32, vfmaq_f32, vget_low_s8, vld1q_f32,
    vld1q_s8, vld1q_s32, vmull_high_s8, vmull_s8, vpadalq_s16, vpaddq_s16, vreinterpretq_s8_s32,
    vst1q_f32, vst1q_s32,
};
use core::arch::asm;

by_height!(floats, Float, 1, [1 2 3 4 5 6 7 8], "neon");
by_height!(bytes, Bytes, 1, [1 2 3 4], "neon");
by_height!(dot, Dot, 1, [1 2 3 4 5 6 7 8], "neon,dotprod");

/// # Safety
/// The operands are as long as they say, and the machine has what the kernel needs.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one call of many")]
pub unsafe fn run(kernel: Kernel, tile: &mut [u32], x: Operands) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        match kernel {
            Kernel::NeonFloat => floats(tile, x),
            Kernel::NeonBytes => bytes(tile, x),
            Kernel::NeonDot => dot(tile, x),
            Kernel::PortableFloat | Kernel::PortableBytes | Kernel::PortableHalves => {
                unreachable!("portable kernels are not here")
            }
        }
    }
}

/// Implements [`Lanes`] for sums in two vectors, with `$one` step that adds to one of them.
macro_rules! lanes {
    ($name:ident, $sum:ty, $half:ty, zero $zero:expr, a($p:ident) $a:expr, b $load:ident, add($s:ident, $x:ident, $y:ident) $add:expr, load $load_sum:ident, store $store:ident) => {
        struct $name;
        #[expect(clippy::inline_always, reason = "compiled inside each instruction set's function")]
        #[expect(
            clippy::multiple_unsafe_ops_per_block,
            reason = "one promise covers the two vectors"
        )]
        #[allow(
            unused_unsafe,
            reason = "some intrinsics are safe with the features that are always there"
        )]
        impl Lanes for $name {
            type Sum = [$sum; 2];
            type A = $half;
            type B = [$half; 2];
            type Constant = ();
            #[inline(always)]
            fn constant() {}
            #[inline(always)]
            fn zero() -> [$sum; 2] {
                // SAFETY: NEON is part of the architecture.
                unsafe { [$zero; 2] }
            }
            #[inline(always)]
            unsafe fn load(from: *const u32) -> [$sum; 2] {
                // SAFETY: the caller's promise.
                unsafe { [$load_sum(from.cast()), $load_sum(from.add(4).cast())] }
            }
            #[inline(always)]
            unsafe fn a($p: *const u32) -> $half {
                // SAFETY: the caller's promise.
                unsafe { $a }
            }
            #[inline(always)]
            unsafe fn b(b: *const u8, _stride: usize) -> [$half; 2] {
                // SAFETY: the caller's promise.
                unsafe { [$load(b.cast()), $load(b.add(16).cast())] }
            }
            #[inline(always)]
            fn add(sum: [$sum; 2], $x: $half, b: [$half; 2], (): ()) -> [$sum; 2] {
                let one = |$s: $sum, $y: $half| {
                    // SAFETY: only called inside a function that has the features.
                    unsafe { $add }
                };
                [one(sum[0], b[0]), one(sum[1], b[1])]
            }
            #[inline(always)]
            unsafe fn store(sum: [$sum; 2], to: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe {
                    $store(to.cast(), sum[0]);
                    $store(to.add(4).cast(), sum[1]);
                }
            }
        }
    };
}

lanes!(Float, float32x4_t, float32x4_t, zero vdupq_n_f32(0.0),
    a(a) vdupq_n_f32(f32::from_bits(*a)),
    b vld1q_f32,
    add(sum, a, b) vfmaq_f32(sum, a, b),
    load vld1q_f32,
    store vst1q_f32);

lanes!(Bytes, int32x4_t, int8x16_t, zero vdupq_n_s32(0),
    a(a) vreinterpretq_s8_s32(vdupq_n_s32(*a as i32)),
    b vld1q_s8,
    add(sum, a, b) {
        let products = vmull_s8(vget_low_s8(a), vget_low_s8(b));
        vpadalq_s16(sum, vpaddq_s16(products, vmull_high_s8(a, b)))
    },
    load vld1q_s32,
    store vst1q_s32);

lanes!(Dot, int32x4_t, int8x16_t, zero vdupq_n_s32(0),
    a(a) vreinterpretq_s8_s32(vdupq_n_s32(*a as i32)),
    b vld1q_s8,
    add(sum, a, b) sdot(sum, a, b),
    load vld1q_s32,
    store vst1q_s32);

/// `sum` + the products of bytes, four to a lane; its intrinsic is not stable yet.
/// # Safety
/// The machine has the dot product.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of a kernel")]
unsafe fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes these registers alone.
    unsafe {
        asm!("sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}
