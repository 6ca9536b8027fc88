//! WebAssembly SIMD. A panel is two vectors. With relaxed SIMD a float's multiply-add is one instruction, and bytes are
//! multiplied by the engine's dot product where the processor has one; where it has not, the engine puts five
//! instructions in its place, and the product of pairs alone, two of them added before they are widened, is faster. The plain module
//! multiplies 16-bit integers.

use super::{Kernel, Lanes, Operands, by_height};
#[cfg(target_feature = "relaxed-simd")]
use core::arch::wasm32::{
    f32x4_relaxed_madd, i8x16_splat, i16x8_add, i16x8_relaxed_dot_i8x16_i7x16, i16x8_splat,
    i32x4_extract_lane, i32x4_relaxed_dot_i8x16_i7x16_add,
};
use core::arch::wasm32::{
    f32x4_splat, i32x4_add, i32x4_dot_i16x8, i32x4_splat, v128, v128_load, v128_load32_splat,
    v128_store,
};

by_height!(floats, Float, 1, [1 2 3 4]);
by_height!(halves, Halves, 1, [1 2 3 4]);
#[cfg(target_feature = "relaxed-simd")]
by_height!(dot, Dot, 1, [1 2 3 4]);
#[cfg(target_feature = "relaxed-simd")]
by_height!(pairs, Pairs, 1, [1 2 3]);

/// What runs here, best first.
pub fn kernels() -> Vec<Kernel> {
    #[cfg(target_feature = "relaxed-simd")]
    let kernels = if has_dot() {
        vec![Kernel::WasmFloat, Kernel::WasmDot, Kernel::WasmPairs, Kernel::WasmHalves]
    } else {
        vec![Kernel::WasmFloat, Kernel::WasmPairs, Kernel::WasmHalves, Kernel::WasmDot]
    };
    #[cfg(not(target_feature = "relaxed-simd"))]
    let kernels = vec![Kernel::WasmFloat, Kernel::WasmHalves];
    kernels
}

/// Whether the engine multiplies four bytes in one instruction. It may choose what a second operand above 127 gives, and
/// what it gives tells: x86-64's instruction takes it as unsigned and does not saturate, ARM's takes it as signed; made
/// of products of pairs, it saturates.
#[cfg(target_feature = "relaxed-simd")]
fn has_dot() -> bool {
    let (a, b) = std::hint::black_box((i8x16_splat(127), i8x16_splat(-1)));
    let sum = i32x4_extract_lane::<0>(i32x4_relaxed_dot_i8x16_i7x16_add(a, b, i32x4_splat(0)));
    sum != 2 * i32::from(i16::MAX)
}

/// # Safety
/// The operands are as long as they say.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one call of many")]
pub unsafe fn run(kernel: Kernel, tile: &mut [u32], x: Operands) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        match kernel {
            Kernel::WasmFloat => floats(tile, x),
            Kernel::WasmHalves => halves(tile, x),
            #[cfg(target_feature = "relaxed-simd")]
            Kernel::WasmDot => dot(tile, x),
            #[cfg(target_feature = "relaxed-simd")]
            Kernel::WasmPairs => pairs(tile, x),
            Kernel::PortableFloat | Kernel::PortableBytes | Kernel::PortableHalves => {
                unreachable!("portable kernels are not here")
            }
        }
    }
}

/// The step's two vectors.
/// # Safety
/// 32 bytes are readable.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of a kernel")]
unsafe fn load(b: *const u8) -> [v128; 2] {
    // SAFETY: the caller's promise.
    let first = unsafe { v128_load(b.cast()) };
    // SAFETY: as above.
    let second = unsafe { b.add(16) };
    // SAFETY: as above.
    [first, unsafe { v128_load(second.cast()) }]
}

/// Implements [`Lanes`] for sums in two vectors, with `$one` step that adds to one of them.
macro_rules! lanes {
    ($name:ident, zero $zero:expr, add($s:ident, $x:ident, $y:ident) $add:expr) => {
        struct $name;
        impl Lanes for $name {
            type Sum = [v128; 2];
            type A = v128;
            type B = [v128; 2];
            type Constant = ();
            #[inline(always)]
            fn constant() {}
            #[inline(always)]
            fn zero() -> [v128; 2] {
                [$zero; 2]
            }
            #[inline(always)]
            unsafe fn load(from: *const u32) -> [v128; 2] {
                // SAFETY: the caller's promise.
                unsafe { load(from.cast()) }
            }
            #[inline(always)]
            unsafe fn a(a: *const u32) -> v128 {
                // SAFETY: the caller's promise.
                unsafe { v128_load32_splat(a) }
            }
            #[inline(always)]
            unsafe fn b(b: *const u8, _stride: usize) -> [v128; 2] {
                // SAFETY: the caller's promise.
                unsafe { load(b) }
            }
            #[inline(always)]
            fn add(sum: [v128; 2], $x: v128, b: [v128; 2], (): ()) -> [v128; 2] {
                let one = |$s: v128, $y: v128| $add;
                [one(sum[0], b[0]), one(sum[1], b[1])]
            }
            #[inline(always)]
            unsafe fn store(sum: [v128; 2], to: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { v128_store(to.cast(), sum[0]) };
                // SAFETY: as above.
                unsafe { v128_store(to.add(4).cast(), sum[1]) };
            }
        }
    };
}

#[cfg(target_feature = "relaxed-simd")]
lanes!(Float, zero f32x4_splat(0.0), add(sum, a, b) f32x4_relaxed_madd(a, b, sum));
#[cfg(not(target_feature = "relaxed-simd"))]
lanes!(Float, zero f32x4_splat(0.0),
    add(sum, a, b) core::arch::wasm32::f32x4_add(sum, core::arch::wasm32::f32x4_mul(a, b)));
lanes!(Halves, zero i32x4_splat(0), add(sum, a, b) i32x4_add(sum, i32x4_dot_i16x8(a, b)));
#[cfg(target_feature = "relaxed-simd")]
lanes!(Dot, zero i32x4_splat(0), add(sum, a, b) i32x4_relaxed_dot_i8x16_i7x16_add(b, a, sum));

/// Two steps at once: their products of pairs are added in 16 bits.
#[cfg(target_feature = "relaxed-simd")]
struct Pairs;
#[cfg(target_feature = "relaxed-simd")]
#[expect(clippy::inline_always, reason = "part of a kernel")]
impl Lanes for Pairs {
    const STEPS: usize = 2;
    type Sum = [v128; 2];
    type A = [v128; 2];
    type B = [[v128; 2]; 2];
    type Constant = v128;
    /// Ones that the compiler does not know: constants it puts where they are used, in the innermost loop.
    #[inline(always)]
    fn constant() -> v128 {
        std::hint::black_box(i16x8_splat(1))
    }
    #[inline(always)]
    fn zero() -> [v128; 2] {
        [i32x4_splat(0); 2]
    }
    #[inline(always)]
    unsafe fn load(from: *const u32) -> [v128; 2] {
        // SAFETY: the caller's promise.
        unsafe { load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn a(a: *const u32) -> [v128; 2] {
        // SAFETY: the caller's promise.
        let next = unsafe { a.add(1) };
        // SAFETY: as above.
        [a, next].map(|a| unsafe { v128_load32_splat(a) })
    }
    #[inline(always)]
    unsafe fn b(b: *const u8, _stride: usize) -> [[v128; 2]; 2] {
        // SAFETY: the caller's promise.
        let next = unsafe { b.add(32) };
        // SAFETY: as above.
        [b, next].map(|b| unsafe { load(b) })
    }
    #[inline(always)]
    fn add(sum: [v128; 2], a: [v128; 2], b: [[v128; 2]; 2], ones: v128) -> [v128; 2] {
        [0, 1].map(|half| {
            let pairs = |i: usize| i16x8_relaxed_dot_i8x16_i7x16(b[i][half], a[i]);
            i32x4_add(sum[half], i32x4_dot_i16x8(i16x8_add(pairs(0), pairs(1)), ones))
        })
    }
    #[inline(always)]
    unsafe fn store(sum: [v128; 2], to: *mut u32) {
        // SAFETY: the caller's promise.
        unsafe { Dot::store(sum, to) };
    }
}
