//! AVX2 with FMA, AVX-VNNI, AVX-512 and its VNNI. Without VNNI a product of bytes takes three instructions: pairs in
//! 16 bits, which cannot saturate (127·127·2 < 2¹⁵), quads in 32, and the sum; where two products of pairs fit into 16 bits
//! together (`Sums::pairs_fit`), five instructions do for two.

use super::{Kernel, Lanes, Operands, by_height};
use core::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _mm256_add_epi16, _mm256_add_epi32, _mm256_castps_si256,
    _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_si256, _mm512_castps_si512,
    _mm512_castsi256_si512, _mm512_castsi512_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_inserti64x4, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_si512,
};

by_height!(avx2_float, Float, 2, [1 2 3 4 5 6], "avx2,fma");
by_height!(avx2_bytes, Bytes, 1, [1 2 3 4 5 6], "avx2,fma");
by_height!(avx2_pairs, Pairs, 2, [1 2 3 4], "avx2,fma");
by_height!(avx_vnni, Vnni, 2, [1 2 3 4 5 6], "avx2,fma,avxvnni");
by_height!(avx512_float, WideFloat, 2, [1 2 3 4 5 6 7 8 9 10 11 12], "avx512f");
by_height!(avx512_vnni, WideVnni, 2, [1 2 3 4 5 6 7 8 9 10 11 12], "avx512f,avx512vnni");

/// # Safety
/// The operands are as long as they say, and the machine has what the kernel needs.
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one call of many")]
pub unsafe fn run(kernel: Kernel, tile: &mut [u32], x: Operands) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        match kernel {
            Kernel::Avx2Float => avx2_float(tile, x),
            Kernel::Avx2Bytes => avx2_bytes(tile, x),
            Kernel::Avx2Pairs => avx2_pairs(tile, x),
            Kernel::AvxVnni => avx_vnni(tile, x),
            Kernel::Avx512Float => avx512_float(tile, x),
            Kernel::Avx512Vnni => avx512_vnni(tile, x),
            Kernel::PortableFloat | Kernel::PortableBytes | Kernel::PortableHalves => {
                unreachable!("portable kernels are not here")
            }
        }
    }
}

/// Implements [`Lanes`] from one expression for each function; all of them are intrinsics that need only the features.
macro_rules! lanes {
    ($name:ident, $sum:ty, $a:ty, $b:ty, steps $steps:literal, panels $panels:literal,
     zero $zero:expr, a($ap:ident) $load_a:expr, b($bp:ident, $stride:ident) $load_b:expr,
     add($s:ident, $x:ident, $y:ident) $add:expr, load($from:ident) $load:expr, store($v:ident, $to:ident) $store:expr) => {
        struct $name;
        impl Lanes for $name {
            const STEPS: usize = $steps;
            const PANELS: usize = $panels;
            type Sum = $sum;
            type A = $a;
            type B = $b;
            type Constant = ();
            #[inline(always)]
            fn constant() {}
            #[inline(always)]
            fn zero() -> $sum {
                // SAFETY: only called inside a function that has the features.
                unsafe { $zero }
            }
            #[inline(always)]
            unsafe fn load($from: *const u32) -> $sum {
                // SAFETY: the caller's promise, and as above.
                unsafe { $load }
            }
            #[inline(always)]
            unsafe fn a($ap: *const u32) -> $a {
                // SAFETY: the caller's promise, and as above.
                unsafe { $load_a }
            }
            #[inline(always)]
            unsafe fn b($bp: *const u8, $stride: usize) -> $b {
                // SAFETY: the caller's promise, and as above.
                unsafe { $load_b }
            }
            #[inline(always)]
            fn add($s: $sum, $x: $a, $y: $b, (): ()) -> $sum {
                // SAFETY: as above.
                unsafe { $add }
            }
            #[inline(always)]
            unsafe fn store($v: $sum, $to: *mut u32) {
                // SAFETY: the caller's promise, and as above.
                unsafe { $store }
            }
        }
    };
}

lanes!(Float, __m256, __m256, __m256, steps 1, panels 1,
    zero _mm256_setzero_ps(),
    a(a) _mm256_set1_ps(f32::from_bits(*a)),
    b(b, _stride) _mm256_loadu_ps(b.cast()),
    add(sum, a, b) _mm256_fmadd_ps(a, b, sum),
    load(from) _mm256_loadu_ps(from.cast()),
    store(sum, to) _mm256_storeu_si256(to.cast(), _mm256_castps_si256(sum)));

lanes!(Bytes, __m256i, __m256i, __m256i, steps 1, panels 1,
    zero _mm256_setzero_si256(),
    a(a) _mm256_set1_epi32(*a as i32),
    b(b, _stride) _mm256_loadu_si256(b.cast()),
    add(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1))),
    load(from) _mm256_loadu_si256(from.cast()),
    store(sum, to) _mm256_storeu_si256(to.cast(), sum));

lanes!(Pairs, __m256i, [__m256i; 2], [__m256i; 2], steps 2, panels 1,
    zero _mm256_setzero_si256(),
    a(a) [_mm256_set1_epi32(*a as i32), _mm256_set1_epi32(*a.add(1) as i32)],
    b(b, _stride) [_mm256_loadu_si256(b.cast()), _mm256_loadu_si256(b.add(32).cast())],
    add(sum, a, b) {
        let pairs = _mm256_add_epi16(_mm256_maddubs_epi16(a[0], b[0]), _mm256_maddubs_epi16(a[1], b[1]));
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    },
    load(from) _mm256_loadu_si256(from.cast()),
    store(sum, to) _mm256_storeu_si256(to.cast(), sum));

lanes!(Vnni, __m256i, __m256i, __m256i, steps 1, panels 1,
    zero _mm256_setzero_si256(),
    a(a) _mm256_set1_epi32(*a as i32),
    b(b, _stride) _mm256_loadu_si256(b.cast()),
    add(sum, a, b) _mm256_dpbusd_avx_epi32(sum, a, b),
    load(from) _mm256_loadu_si256(from.cast()),
    store(sum, to) _mm256_storeu_si256(to.cast(), sum));

/// Two panels side by side.
macro_rules! two_panels {
    ($b:ident, $stride:ident) => {
        _mm512_inserti64x4::<1>(
            _mm512_castsi256_si512(_mm256_loadu_si256($b.cast())),
            _mm256_loadu_si256($b.add($stride).cast()),
        )
    };
}

lanes!(WideFloat, __m512, __m512, __m512, steps 1, panels 2,
    zero _mm512_setzero_ps(),
    a(a) _mm512_set1_ps(f32::from_bits(*a)),
    b(b, stride) _mm512_castsi512_ps(two_panels!(b, stride)),
    add(sum, a, b) _mm512_fmadd_ps(a, b, sum),
    load(from) _mm512_loadu_ps(from.cast()),
    store(sum, to) _mm512_storeu_si512(to.cast(), _mm512_castps_si512(sum)));

lanes!(WideVnni, __m512i, __m512i, __m512i, steps 1, panels 2,
    zero _mm512_setzero_si512(),
    a(a) _mm512_set1_epi32(*a as i32),
    b(b, stride) two_panels!(b, stride),
    add(sum, a, b) _mm512_dpbusd_epi32(sum, a, b),
    load(from) _mm512_loadu_si512(from.cast()),
    store(sum, to) _mm512_storeu_si512(to.cast(), sum));
