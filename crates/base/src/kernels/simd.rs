//! One vector of f32 of each instruction set, so that a kernel is written once, over [`Simd`], and compiled for each by
//! [`for_each_simd`]. A value of an implementing type is the proof that this machine has the instructions: it is made
//! only where they were detected. Kernels call no closures with vectors: those would be compiled without the features.
#![expect(
    clippy::inline_always,
    reason = "all of this must be compiled anew inside each instruction set's function"
)]

/// The operations that kernels are made of.
pub trait Simd: Copy {
    /// [`Self::LANES`] numbers.
    type V: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a matrix product that stay in registers beside two vectors of columns.
    const ROWS: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// The numbers at `x`.
    /// # Safety
    /// There are [`Self::LANES`] of them.
    unsafe fn load_at(self, x: *const f32) -> Self::V;
    /// Writes `v` to `x`.
    /// # Safety
    /// There is room for [`Self::LANES`] numbers.
    unsafe fn store_at(self, x: *mut f32, v: Self::V);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a·b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a·b + c, rounded once where the machine can.
    fn madd(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; of a number and NaN either one (with relaxed SIMD, the compiler makes a relaxed maximum of any other).
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller, in the same way.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// 2ⁿ of the integer that stands in the low bits of each number's representation.
    fn exp2_of_bits(self, v: Self::V) -> Self::V;
    /// The sum of each vector's lanes, in one order for all.
    fn sums(self, v: [Self::V; 4]) -> [f32; 4];

    /// The numbers of `x` from `at` on.
    /// # Safety
    /// There are [`Self::LANES`] of them.
    #[inline(always)]
    unsafe fn load_from(self, x: &[f32], at: usize) -> Self::V {
        debug_assert!(at + Self::LANES <= x.len());
        // SAFETY: as the caller promises.
        unsafe { self.load_at(x.as_ptr().wrapping_add(at)) }
    }

    /// The first numbers of `x`.
    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::V {
        assert!(x.len() >= Self::LANES);
        // SAFETY: the length was just checked.
        unsafe { self.load_at(x.as_ptr()) }
    }

    /// Writes `v` to the first places of `x`.
    #[inline(always)]
    fn store(self, x: &mut [f32], v: Self::V) {
        assert!(x.len() >= Self::LANES);
        // SAFETY: the length was just checked.
        unsafe { self.store_at(x.as_mut_ptr(), v) }
    }

    /// The numbers of `x`, fewer than a vector's, and `fill` behind them.
    #[inline(always)]
    fn load_tail(self, x: &[f32], fill: f32) -> Self::V {
        let mut all = [fill; MOST_LANES];
        all[..x.len()].copy_from_slice(x);
        self.load(&all)
    }

    /// Writes as many lanes of `v` as `x` has places, fewer than a vector's.
    #[inline(always)]
    fn store_tail(self, x: &mut [f32], v: Self::V) {
        let mut all = [0.0; MOST_LANES];
        self.store(&mut all, v);
        x.copy_from_slice(&all[..x.len()]);
    }

    /// The sum of the lanes, in the order of [`Self::sums`].
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        self.sums([v; 4])[0]
    }

    /// The largest lane.
    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        let mut all = [f32::NEG_INFINITY; MOST_LANES];
        self.store(&mut all, v);
        all.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// No vector is longer.
pub const MOST_LANES: usize = 16;

/// Defines a function that chooses the machine's instruction set and calls the generic, always inlined `$body`, whose
/// first argument is a [`Simd`]. `$widest` is what it is called with on a machine with AVX-512: `Avx512`, or `Avx2` for
/// bodies that count on at most 8 lanes.
macro_rules! for_each_simd {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)? = $body:ident, $widest:ident) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $result)? {
                    // SAFETY: the caller of this function promised the features.
                    $body(unsafe { $crate::kernels::simd::$widest::assume() }, $($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $result)? {
                    // SAFETY: as above.
                    $body(unsafe { $crate::kernels::simd::Avx2::assume() }, $($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    if std::arch::is_x86_feature_detected!("avx512f") {
                        // SAFETY: the features were just detected.
                        return unsafe { avx512($($arg),*) };
                    }
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            #[cfg(target_feature = "simd128")]
            return $body($crate::kernels::simd::Simd128, $($arg),*);
            #[cfg(target_arch = "aarch64")]
            return $body($crate::kernels::simd::Neon, $($arg),*);
            #[cfg(not(any(target_feature = "simd128", target_arch = "aarch64")))]
            $body($crate::kernels::simd::Portable, $($arg),*)
        }
    };
}
pub(crate) use for_each_simd;

#[cfg(not(any(target_feature = "simd128", target_arch = "aarch64")))]
pub use portable::Portable;

#[cfg(not(any(target_feature = "simd128", target_arch = "aarch64")))]
mod portable {
    use super::{ONE, Simd};

    /// Whatever the compiler makes of four plain numbers.
    #[derive(Clone, Copy)]
    pub struct Portable;

    /// A vector whose lane `$lane` is `$value`.
    macro_rules! lanes {
        ($lane:ident => $value:expr) => {{
            let mut lanes = [0.0f32; 4];
            for $lane in 0..4 {
                lanes[$lane] = $value;
            }
            lanes
        }};
    }

    impl Simd for Portable {
        type V = [f32; 4];
        const LANES: usize = 4;
        const ROWS: usize = 4;

        #[inline(always)]
        fn splat(self, x: f32) -> Self::V {
            [x; 4]
        }
        #[inline(always)]
        unsafe fn load_at(self, x: *const f32) -> Self::V {
            // SAFETY: the caller promises four numbers; an array of them is aligned as one is.
            unsafe { *x.cast() }
        }
        #[inline(always)]
        unsafe fn store_at(self, x: *mut f32, v: Self::V) {
            // SAFETY: the caller promises room for four.
            unsafe { *x.cast() = v }
        }
        #[inline(always)]
        fn add(self, a: Self::V, b: Self::V) -> Self::V {
            lanes!(i => a[i] + b[i])
        }
        #[inline(always)]
        fn sub(self, a: Self::V, b: Self::V) -> Self::V {
            lanes!(i => a[i] - b[i])
        }
        #[inline(always)]
        fn mul(self, a: Self::V, b: Self::V) -> Self::V {
            lanes!(i => a[i] * b[i])
        }
        #[inline(always)]
        fn div(self, a: Self::V, b: Self::V) -> Self::V {
            lanes!(i => a[i] / b[i])
        }
        #[inline(always)]
        fn madd(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            lanes!(i => a[i] * b[i] + c[i])
        }
        #[inline(always)]
        fn max(self, a: Self::V, b: Self::V) -> Self::V {
            lanes!(i => if a[i] > b[i] { a[i] } else { b[i] })
        }
        #[inline(always)]
        fn min(self, a: Self::V, b: Self::V) -> Self::V {
            lanes!(i => if a[i] < b[i] { a[i] } else { b[i] })
        }
        #[inline(always)]
        fn exp2_of_bits(self, v: Self::V) -> Self::V {
            lanes!(i => f32::from_bits((v[i].to_bits() << 23).wrapping_add(ONE)))
        }
        #[inline(always)]
        fn sums(self, v: [Self::V; 4]) -> [f32; 4] {
            lanes!(i => (v[i][0] + v[i][2]) + (v[i][1] + v[i][3]))
        }
    }
}

/// The bits of 1.0.
const ONE: u32 = 0x3f80_0000;

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ONE, Simd};
    use core::arch::x86_64 as x86;

    /// AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub struct Avx2(());
    /// AVX-512F.
    #[derive(Clone, Copy)]
    pub struct Avx512(());

    impl Avx2 {
        /// # Safety
        /// The machine has AVX2 and FMA.
        pub unsafe fn assume() -> Self {
            Self(())
        }
    }
    impl Avx512 {
        /// # Safety
        /// The machine has AVX-512F, AVX2 and FMA.
        pub unsafe fn assume() -> Self {
            Self(())
        }
    }

    macro_rules! calls {
        ($($name:ident($($arg:ident),*) = $call:ident;)*) => {
            $(#[inline(always)]
            fn $name(self, $($arg: Self::V),*) -> Self::V {
                // SAFETY: `self` exists only on a machine with the instruction.
                unsafe { x86::$call($($arg),*) }
            })*
        };
    }

    impl Simd for Avx2 {
        type V = x86::__m256;
        const LANES: usize = 8;
        const ROWS: usize = 6;

        calls! {
            add(a, b) = _mm256_add_ps;
            sub(a, b) = _mm256_sub_ps;
            mul(a, b) = _mm256_mul_ps;
            div(a, b) = _mm256_div_ps;
            madd(a, b, c) = _mm256_fmadd_ps;
            max(a, b) = _mm256_max_ps;
            min(a, b) = _mm256_min_ps;
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::V {
            // SAFETY: `self` exists only on a machine with the instruction.
            unsafe { x86::_mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load_at(self, x: *const f32) -> Self::V {
            // SAFETY: as above; the caller promises the numbers, and loads ask for no alignment.
            unsafe { x86::_mm256_loadu_ps(x) }
        }
        #[inline(always)]
        unsafe fn store_at(self, x: *mut f32, v: Self::V) {
            // SAFETY: as above; the caller promises the room.
            unsafe { x86::_mm256_storeu_ps(x, v) }
        }
        #[inline(always)]
        fn exp2_of_bits(self, v: Self::V) -> Self::V {
            #[target_feature(enable = "avx2")]
            #[inline]
            fn exp2(v: x86::__m256) -> x86::__m256 {
                let shifted = x86::_mm256_slli_epi32::<23>(x86::_mm256_castps_si256(v));
                x86::_mm256_castsi256_ps(x86::_mm256_add_epi32(
                    shifted,
                    x86::_mm256_set1_epi32(ONE as i32),
                ))
            }
            // SAFETY: `self` exists only on a machine with AVX2.
            unsafe { exp2(v) }
        }
        #[inline(always)]
        fn sums(self, v: [Self::V; 4]) -> [f32; 4] {
            #[target_feature(enable = "avx2")]
            #[inline]
            fn sums([a, b, c, d]: [x86::__m256; 4]) -> [f32; 4] {
                let pairs = [x86::_mm256_hadd_ps(a, b), x86::_mm256_hadd_ps(c, d)];
                let halves = x86::_mm256_hadd_ps(pairs[0], pairs[1]); // low half of a, b, c, d, then the high ones
                let sums = x86::_mm_add_ps(
                    x86::_mm256_castps256_ps128(halves),
                    x86::_mm256_extractf128_ps::<1>(halves),
                );
                let mut all = [0.0; 4];
                // SAFETY: there is room for four numbers.
                unsafe { x86::_mm_storeu_ps(all.as_mut_ptr(), sums) };
                all
            }
            // SAFETY: `self` exists only on a machine with AVX2.
            unsafe { sums(v) }
        }
    }

    impl Simd for Avx512 {
        type V = x86::__m512;
        const LANES: usize = 16;
        const ROWS: usize = 8;

        calls! {
            add(a, b) = _mm512_add_ps;
            sub(a, b) = _mm512_sub_ps;
            mul(a, b) = _mm512_mul_ps;
            div(a, b) = _mm512_div_ps;
            madd(a, b, c) = _mm512_fmadd_ps;
            max(a, b) = _mm512_max_ps;
            min(a, b) = _mm512_min_ps;
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::V {
            // SAFETY: `self` exists only on a machine with the instruction.
            unsafe { x86::_mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load_at(self, x: *const f32) -> Self::V {
            // SAFETY: as above; the caller promises the numbers, and loads ask for no alignment.
            unsafe { x86::_mm512_loadu_ps(x) }
        }
        #[inline(always)]
        unsafe fn store_at(self, x: *mut f32, v: Self::V) {
            // SAFETY: as above; the caller promises the room.
            unsafe { x86::_mm512_storeu_ps(x, v) }
        }
        #[inline(always)]
        fn exp2_of_bits(self, v: Self::V) -> Self::V {
            #[target_feature(enable = "avx512f")]
            #[inline]
            fn exp2(v: x86::__m512) -> x86::__m512 {
                let shifted = x86::_mm512_slli_epi32::<23>(x86::_mm512_castps_si512(v));
                x86::_mm512_castsi512_ps(x86::_mm512_add_epi32(
                    shifted,
                    x86::_mm512_set1_epi32(ONE as i32),
                ))
            }
            // SAFETY: `self` exists only on a machine with AVX-512F.
            unsafe { exp2(v) }
        }
        #[inline(always)]
        fn sums(self, v: [Self::V; 4]) -> [f32; 4] {
            #[target_feature(enable = "avx512f,avx2")]
            #[inline]
            fn folded(v: x86::__m512) -> x86::__m256 {
                let high = x86::_mm512_extractf64x4_pd::<1>(x86::_mm512_castps_pd(v));
                x86::_mm256_add_ps(x86::_mm512_castps512_ps256(v), x86::_mm256_castpd_ps(high))
            }
            let mut halves = [Avx2(()).splat(0.0); 4];
            for (half, v) in halves.iter_mut().zip(v) {
                // SAFETY: `self` exists only on a machine with both.
                *half = unsafe { folded(v) };
            }
            Avx2(()).sums(halves)
        }
    }
}

#[cfg(target_feature = "simd128")]
pub use wasm::Simd128;

#[cfg(target_feature = "simd128")]
mod wasm {
    use super::{ONE, Simd};
    use core::arch::wasm32 as simd;

    /// WebAssembly SIMD; with `relaxed-simd` multiply-add is one instruction.
    #[derive(Clone, Copy)]
    pub struct Simd128;

    impl Simd for Simd128 {
        type V = simd::v128;
        const LANES: usize = 4;
        const ROWS: usize = 4;

        #[inline(always)]
        fn splat(self, x: f32) -> Self::V {
            simd::f32x4_splat(x)
        }
        #[inline(always)]
        unsafe fn load_at(self, x: *const f32) -> Self::V {
            // SAFETY: the caller promises 16 bytes, and loads ask for no alignment.
            unsafe { simd::v128_load(x.cast()) }
        }
        #[inline(always)]
        unsafe fn store_at(self, x: *mut f32, v: Self::V) {
            // SAFETY: the caller promises room for 16 bytes.
            unsafe { simd::v128_store(x.cast(), v) }
        }
        #[inline(always)]
        fn add(self, a: Self::V, b: Self::V) -> Self::V {
            simd::f32x4_add(a, b)
        }
        #[inline(always)]
        fn sub(self, a: Self::V, b: Self::V) -> Self::V {
            simd::f32x4_sub(a, b)
        }
        #[inline(always)]
        fn mul(self, a: Self::V, b: Self::V) -> Self::V {
            simd::f32x4_mul(a, b)
        }
        #[inline(always)]
        fn div(self, a: Self::V, b: Self::V) -> Self::V {
            simd::f32x4_div(a, b)
        }
        #[inline(always)]
        fn madd(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            #[cfg(target_feature = "relaxed-simd")]
            return simd::f32x4_relaxed_madd(a, b, c);
            #[cfg(not(target_feature = "relaxed-simd"))]
            simd::f32x4_add(simd::f32x4_mul(a, b), c)
        }
        // The pseudo-maximum is one instruction on x86-64, the maximum is seven.
        #[inline(always)]
        fn max(self, a: Self::V, b: Self::V) -> Self::V {
            simd::f32x4_pmax(b, a)
        }
        #[inline(always)]
        fn min(self, a: Self::V, b: Self::V) -> Self::V {
            simd::f32x4_pmin(b, a)
        }
        #[inline(always)]
        fn exp2_of_bits(self, v: Self::V) -> Self::V {
            simd::i32x4_add(simd::i32x4_shl(v, 23), simd::u32x4_splat(ONE))
        }
        #[inline(always)]
        fn sums(self, [a, b, c, d]: [Self::V; 4]) -> [f32; 4] {
            let pairs = |a, b| {
                simd::f32x4_add(
                    simd::i32x4_shuffle::<0, 4, 1, 5>(a, b),
                    simd::i32x4_shuffle::<2, 6, 3, 7>(a, b),
                )
            };
            let (ab, cd) = (pairs(a, b), pairs(c, d));
            let sums = simd::f32x4_add(
                simd::i32x4_shuffle::<0, 1, 4, 5>(ab, cd),
                simd::i32x4_shuffle::<2, 3, 6, 7>(ab, cd),
            );
            let mut all = [0.0; 4];
            self.store(&mut all, sums);
            all
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{ONE, Simd};
    use core::arch::aarch64 as arm;

    /// NEON, which every aarch64 has.
    #[derive(Clone, Copy)]
    pub struct Neon;

    macro_rules! calls {
        ($($name:ident($($arg:ident),*) = $call:ident;)*) => {
            $(#[inline(always)]
            fn $name(self, $($arg: Self::V),*) -> Self::V {
                // SAFETY: every aarch64 has NEON.
                unsafe { arm::$call($($arg),*) }
            })*
        };
    }

    impl Simd for Neon {
        type V = arm::float32x4_t;
        const LANES: usize = 4;
        const ROWS: usize = 8;

        calls! {
            add(a, b) = vaddq_f32;
            sub(a, b) = vsubq_f32;
            mul(a, b) = vmulq_f32;
            div(a, b) = vdivq_f32;
            max(a, b) = vmaxq_f32;
            min(a, b) = vminq_f32;
        }
        #[inline(always)]
        fn madd(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            // SAFETY: every aarch64 has NEON.
            unsafe { arm::vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::V {
            // SAFETY: every aarch64 has NEON.
            unsafe { arm::vdupq_n_f32(x) }
        }
        #[inline(always)]
        unsafe fn load_at(self, x: *const f32) -> Self::V {
            // SAFETY: the caller promises four numbers.
            unsafe { arm::vld1q_f32(x) }
        }
        #[inline(always)]
        unsafe fn store_at(self, x: *mut f32, v: Self::V) {
            // SAFETY: the caller promises room for four.
            unsafe { arm::vst1q_f32(x, v) }
        }
        #[inline(always)]
        fn exp2_of_bits(self, v: Self::V) -> Self::V {
            #[target_feature(enable = "neon")]
            #[inline]
            fn exp2(v: arm::float32x4_t) -> arm::float32x4_t {
                let shifted = arm::vshlq_n_u32::<23>(arm::vreinterpretq_u32_f32(v));
                arm::vreinterpretq_f32_u32(arm::vaddq_u32(shifted, arm::vdupq_n_u32(ONE)))
            }
            // SAFETY: every aarch64 has NEON.
            unsafe { exp2(v) }
        }
        #[inline(always)]
        fn sums(self, v: [Self::V; 4]) -> [f32; 4] {
            #[target_feature(enable = "neon")]
            #[inline]
            fn sums([a, b, c, d]: [arm::float32x4_t; 4]) -> arm::float32x4_t {
                arm::vpaddq_f32(arm::vpaddq_f32(a, b), arm::vpaddq_f32(c, d))
            }
            let mut all = [0.0; 4];
            // SAFETY: every aarch64 has NEON.
            self.store(&mut all, unsafe { sums(v) });
            all
        }
    }
}
