//! C = A·B (+ bias) in f32, B a frozen weight packed once into panels; nearly all time of the product is spent here.
//! B is cut into panels of `nr` columns, each stored row after row; a tile of `mr` rows of C stays in registers while
//! one panel streams past it. [`scalar`] is the definition.
//!
//! ```text
//! for each block of MC rows of A            (one task; it stays in the second-level cache)
//!   for each block of KC columns of A       copied side by side, so that rows do not share cache sets
//!     for each panel of B, for each mr rows:  tile += A[mr, KC] · B[KC, nr], then into C
//! ```

use super::Isa;
use std::cell::RefCell;
use std::ops::Range;

/// Rows of A that one task keeps close.
const MC: usize = 96;
/// Columns of A that are handled at a time.
const KC: usize = 256;
/// The distance of two rows of the copied block of A: not a power of two.
const A_STRIDE: usize = KC + 16;
/// Room for the largest tile.
const TILE: usize = 12 * 32;
/// Fewer multiply-adds than this are not worth a second thread.
#[cfg(feature = "parallel")]
const PARALLEL_MACS: usize = 1 << 20;

thread_local! {
    /// The copied block of A, kept from call to call.
    static CLOSE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A matrix (`k`, `n`), packed for the right side of [`gemm`].
pub struct Packed {
    k: usize,
    n: usize,
    isa: Isa,
    panels: Vec<f32>,
}

impl Packed {
    /// Packs `b`, the (`k`, `n`) row-major matrix.
    /// # Panics
    /// If `b` is not `k`·`n` long.
    pub fn new(b: &[f32], k: usize, n: usize) -> Self {
        assert_eq!(b.len(), k * n);
        Self::from_fn(k, n, Isa::get(), |row, col| b[row * n + col])
    }

    /// Packs the transpose of `b`, an (`n`, `k`) row-major matrix such as the weight of a linear layer.
    /// # Panics
    /// If `b` is not `k`·`n` long.
    pub fn transposed(b: &[f32], k: usize, n: usize) -> Self {
        assert_eq!(b.len(), k * n);
        Self::from_fn(k, n, Isa::get(), |row, col| b[col * k + row])
    }

    /// Packs this matrix's transpose: what backward multiplies with.
    #[must_use]
    pub fn transpose(&self) -> Self {
        Self::from_fn(self.n, self.k, self.isa, |row, col| self.at(col, row))
    }

    fn from_fn(k: usize, n: usize, isa: Isa, value: impl Fn(usize, usize) -> f32) -> Self {
        let nr = tile_shape(isa).1;
        let mut panels = vec![0.0; n.div_ceil(nr) * nr * k];
        for (p, panel) in panels.chunks_exact_mut((nr * k).max(1)).enumerate() {
            let cols = nr.min(n - p * nr);
            for (row, values) in panel.chunks_exact_mut(nr).enumerate() {
                for (col, x) in values[..cols].iter_mut().enumerate() {
                    *x = value(row, p * nr + col);
                }
            }
        }
        Self { k, n, isa, panels }
    }

    fn at(&self, row: usize, col: usize) -> f32 {
        let nr = tile_shape(self.isa).1;
        self.panels[(col / nr) * nr * self.k + row * nr + col % nr]
    }

    /// Rows: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the result.
    pub fn n(&self) -> usize {
        self.n
    }
}

/// (`mr`, `nr`): the rows and columns of C that one instruction set keeps in its registers.
fn tile_shape(isa: Isa) -> (usize, usize) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => (12, 32),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (6, 16),
        #[cfg(target_feature = "simd128")]
        Isa::Simd128 => (4, 8),
        Isa::Portable => (4, 8),
    }
}

/// `c` = `a`·`b` + `bias`, or `c` += `a`·`b` + `bias` if `accumulate`.
/// Shapes: `c` (rows, `b.n`), `a` (rows, `b.k`), `bias` (`b.n`).
/// # Panics
/// If the slices do not fit those shapes.
pub fn gemm(c: &mut [f32], a: &[f32], b: &Packed, bias: Option<&[f32]>, accumulate: bool) {
    let (k, n) = (b.k, b.n);
    assert!(k > 0 && n > 0);
    let rows = a.len() / k;
    assert_eq!(a.len(), rows * k);
    assert_eq!(c.len(), rows * n);
    assert!(bias.is_none_or(|bias| bias.len() == n));
    if rows == 0 {
        return;
    }
    let product = Product { c: c.as_mut_ptr(), a, b, bias, accumulate };
    #[cfg(feature = "parallel")]
    if rows * n * k >= PARALLEL_MACS {
        return product.parallel();
    }
    for first in (0..rows).step_by(MC) {
        product.block(first..rows.min(first + MC), 0..product.panels());
    }
}

/// The reference: one accumulator for each element, left to right.
pub fn scalar(c: &mut [f32], a: &[f32], b: &[f32], k: usize, n: usize) {
    for (c, a) in c.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
        for (j, c) in c.iter_mut().enumerate() {
            *c = a.iter().enumerate().map(|(i, a)| a * b[i * n + j]).sum();
        }
    }
}

/// One call of [`gemm`]: C, shared by tasks that write disjoint rectangles of it, and what they read.
struct Product<'a> {
    c: *mut f32,
    a: &'a [f32],
    b: &'a Packed,
    bias: Option<&'a [f32]>,
    accumulate: bool,
}
// SAFETY: every task writes rows and columns of C that no other task has (`parallel` cuts them so), and none reads others'.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    fn panels(&self) -> usize {
        self.b.n.div_ceil(tile_shape(self.b.isa).1)
    }

    /// Rows of C in blocks of [`MC`] and, where these are too few for the cores, columns in groups of panels.
    #[cfg(feature = "parallel")]
    fn parallel(&self) {
        use rayon::prelude::*;
        let (rows, panels) = (self.a.len() / self.b.k, self.panels());
        let row_blocks = rows.div_ceil(MC);
        let wanted = rayon::current_num_threads() * 3;
        let groups = wanted.div_ceil(row_blocks).clamp(1, panels);
        let group = panels.div_ceil(groups);
        (0..row_blocks * groups).into_par_iter().for_each(|task| {
            let (i, g) = (task / groups, task % groups);
            self.block(i * MC..rows.min((i + 1) * MC), g * group..panels.min((g + 1) * group));
        });
    }

    /// `cols` elements of row `row` of C from column `col`.
    #[expect(clippy::mut_from_ref, reason = "tasks own disjoint rectangles of C")]
    fn slice(&self, row: usize, col: usize, cols: usize) -> &mut [f32] {
        debug_assert!(col + cols <= self.b.n);
        // SAFETY: callers pass rows and columns inside C (checked in `gemm`), which outlives this value.
        let start = unsafe { self.c.add(row * self.b.n + col) };
        // SAFETY: the range lies in one row of C, and this task alone touches it.
        unsafe { std::slice::from_raw_parts_mut(start, cols) }
    }

    /// These rows, at most [`MC`], and panels of C.
    fn block(&self, rows: Range<usize>, panels: Range<usize>) {
        CLOSE.with_borrow_mut(|close| {
            close.resize(MC * A_STRIDE, 0.0);
            for k0 in (0..self.b.k).step_by(KC) {
                let kc = KC.min(self.b.k - k0);
                for (to, row) in close.as_chunks_mut::<A_STRIDE>().0.iter_mut().zip(rows.clone()) {
                    to[..kc].copy_from_slice(&self.a[row * self.b.k + k0..][..kc]);
                }
                for panel in panels.clone() {
                    self.panel(close, rows.clone(), panel, k0..k0 + kc);
                }
            }
        });
    }

    /// Adds the part `ks` of the sums of these rows and one panel's columns; the first part stores them, with the bias.
    fn panel(&self, close: &[f32], rows: Range<usize>, panel: usize, ks: Range<usize>) {
        let (mr, nr) = tile_shape(self.b.isa);
        let values = &self.b.panels[(panel * self.b.k + ks.start) * nr..][..ks.len() * nr];
        let (col, cols) = (panel * nr, nr.min(self.b.n - panel * nr));
        let mut tile = [0.0; TILE];
        for i in (0..rows.len()).step_by(mr) {
            let height = mr.min(rows.len() - i);
            multiply(self.b.isa, &mut tile, &close[i * A_STRIDE..], values, height);
            for (j, from) in tile.chunks_exact(nr).take(height).enumerate() {
                let to = self.slice(rows.start + i + j, col, cols);
                if ks.start > 0 || self.accumulate {
                    to.iter_mut().zip(from).for_each(|(to, x)| *to += x);
                } else {
                    to.copy_from_slice(&from[..cols]);
                }
                if let (0, Some(bias)) = (ks.start, self.bias) {
                    to.iter_mut().zip(&bias[col..]).for_each(|(to, x)| *to += x);
                }
            }
        }
    }
}

/// `tile` (height, nr) = the first `height` rows of `a` (each [`A_STRIDE`] apart) times `panel` (kc, nr).
fn multiply(isa: Isa, tile: &mut [f32; TILE], a: &[f32], panel: &[f32], height: usize) {
    let (mr, nr) = tile_shape(isa);
    let kc = panel.len() / nr;
    assert!(height <= mr && kc <= KC && a.len() >= (height - 1) * A_STRIDE + kc);
    #[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
    macro_rules! by_height {
        ($module:ident::$kernel:ident, $($h:literal)*) => {
            match height {
                // SAFETY: the instruction set was detected when `b` was packed; the lengths are checked above.
                $($h => unsafe { $module::$kernel::<$h>(tile, a, panel) },)*
                _ => unreachable!("a tile has 1 to mr rows"),
            }
        };
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => by_height!(x86::avx512, 1 2 3 4 5 6 7 8 9 10 11 12),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => by_height!(x86::avx2, 1 2 3 4 5 6),
        #[cfg(target_feature = "simd128")]
        Isa::Simd128 => by_height!(wasm::simd128, 1 2 3 4),
        Isa::Portable => portable(tile, a, panel, height, nr),
    }
}

fn portable(tile: &mut [f32; TILE], a: &[f32], panel: &[f32], height: usize, nr: usize) {
    for (tile, a) in tile.chunks_exact_mut(nr).zip(a.chunks(A_STRIDE)).take(height) {
        tile.fill(0.0);
        for (a, b) in a.iter().zip(panel.chunks_exact(nr)) {
            tile.iter_mut().zip(b).for_each(|(t, b)| *t += a * b);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{A_STRIDE, TILE};
    use core::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_storeu_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    macro_rules! tile_kernel {
        ($name:ident, $features:literal, $vector:ty, $lanes:literal, $zero:ident, $load:ident, $set1:ident, $fmadd:ident, $store:ident) => {
            /// `tile` (H, two vectors) = H rows of `a` times `panel`.
            /// # Safety
            /// The machine has the features; `a` has H rows of `panel.len() / nr` values, [`A_STRIDE`] apart.
            #[target_feature(enable = $features)]
            pub unsafe fn $name<const H: usize>(tile: &mut [f32; TILE], a: &[f32], panel: &[f32]) {
                let mut sum: [[$vector; 2]; H] = [[$zero(); 2]; H];
                for (k, b) in panel.as_chunks::<{ 2 * $lanes }>().0.iter().enumerate() {
                    // SAFETY: `b` holds two vectors; loads ask for no alignment.
                    let b0 = unsafe { $load(b.as_ptr()) };
                    // SAFETY: as above.
                    let b1 = unsafe { $load(b[$lanes..].as_ptr()) };
                    for (i, sum) in sum.iter_mut().enumerate() {
                        // SAFETY: row i < H has a value for every row k of the panel (the caller's promise).
                        let x = $set1(unsafe { *a.get_unchecked(i * A_STRIDE + k) });
                        sum[0] = $fmadd(x, b0, sum[0]);
                        sum[1] = $fmadd(x, b1, sum[1]);
                    }
                }
                for (sum, tile) in sum.iter().zip(tile.as_chunks_mut::<{ 2 * $lanes }>().0) {
                    // SAFETY: `tile` has room for two vectors; stores ask for no alignment.
                    unsafe { $store(tile.as_mut_ptr(), sum[0]) };
                    // SAFETY: as above.
                    unsafe { $store(tile[$lanes..].as_mut_ptr(), sum[1]) };
                }
            }
        };
    }
    tile_kernel!(
        avx512,
        "avx512f",
        __m512,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_storeu_ps
    );
    tile_kernel!(
        avx2,
        "avx2,fma",
        __m256,
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_storeu_ps
    );
}

#[cfg(target_feature = "simd128")]
mod wasm {
    use super::{A_STRIDE, TILE};
    use core::arch::wasm32::{f32x4_splat, v128, v128_load, v128_store};

    #[cfg(target_feature = "relaxed-simd")]
    use core::arch::wasm32::f32x4_relaxed_madd as multiply_add;

    #[cfg(not(target_feature = "relaxed-simd"))]
    fn multiply_add(a: v128, b: v128, c: v128) -> v128 {
        core::arch::wasm32::f32x4_add(core::arch::wasm32::f32x4_mul(a, b), c)
    }

    /// `tile` (H, 8) = H rows of `a` times `panel` (kc, 8).
    /// # Safety
    /// `a` has H rows of `panel.len() / 8` values, [`A_STRIDE`] apart.
    pub unsafe fn simd128<const H: usize>(tile: &mut [f32; TILE], a: &[f32], panel: &[f32]) {
        let mut sum = [[f32x4_splat(0.0); 2]; H];
        for (k, b) in panel.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: `b` is 32 readable bytes, and loads ask for no alignment.
            let b0 = unsafe { v128_load(b.as_ptr().cast()) };
            // SAFETY: as above.
            let b1 = unsafe { v128_load(b[4..].as_ptr().cast()) };
            for (i, sum) in sum.iter_mut().enumerate() {
                // SAFETY: row i < H has a value for every row k of the panel (the caller's promise).
                let x = f32x4_splat(unsafe { *a.get_unchecked(i * A_STRIDE + k) });
                sum[0] = multiply_add(x, b0, sum[0]);
                sum[1] = multiply_add(x, b1, sum[1]);
            }
        }
        for (sum, tile) in sum.iter().zip(tile.as_chunks_mut::<8>().0) {
            // SAFETY: `tile` is 32 writable bytes, and stores ask for no alignment.
            unsafe { v128_store(tile.as_mut_ptr().cast(), sum[0]) };
            // SAFETY: as above.
            unsafe { v128_store(tile[4..].as_mut_ptr().cast(), sum[1]) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    fn matrix(len: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, Purpose::Init, [0, 0]);
        (0..len).map(|_| random.uniform(-1.0, 1.0) as f32).collect()
    }

    fn sets() -> Vec<Isa> {
        let mut sets = vec![Isa::Portable, Isa::get()];
        #[cfg(target_arch = "x86_64")]
        if Isa::get() == Isa::Avx512 {
            sets.push(Isa::Avx2);
        }
        sets
    }

    fn check(m: usize, k: usize, n: usize) {
        let (a, b, bias) = (matrix(m * k, 1), matrix(k * n, 2), matrix(n, 3));
        let mut expected = vec![0.0; m * n];
        scalar(&mut expected, &a, &b, k, n);
        for isa in sets() {
            let packed = Packed::from_fn(k, n, isa, |i, j| b[i * n + j]);
            let mut c = vec![1.0; m * n];
            gemm(&mut c, &a, &packed, Some(&bias), false);
            let mut twice = c.clone();
            gemm(&mut twice, &a, &packed, None, true);
            for (i, x) in expected.iter().enumerate() {
                let limit = 1e-6 * k as f32 + 1e-6; // rounding of k sums of values below 1
                assert!(
                    (c[i] - x - bias[i % n]).abs() < limit,
                    "{isa:?} {m}x{k}x{n} [{i}]: {} {x}",
                    c[i]
                );
                assert!((twice[i] - 2.0 * x - bias[i % n]).abs() < 2.0 * limit);
            }
        }
    }

    #[test]
    fn every_tail_agrees_with_scalar() {
        for m in 1..=26 {
            check(m, 7, 5);
        }
        for n in 1..=66 {
            check(5, 3, n);
        }
        for k in [1, 2, 255, 256, 257, 513] {
            check(13, k, 33);
        }
    }

    #[test]
    fn a_large_product_over_many_blocks_and_threads_agrees() {
        check(MC * 2 + 5, 300, 130);
    }

    #[test]
    fn transposes_agree() {
        let (k, n) = (37, 21);
        let b = matrix(k * n, 4);
        let packed = Packed::new(&b, k, n);
        let again = Packed::transposed(&b, n, k).transpose();
        let back = packed.transpose();
        for i in 0..k {
            for j in 0..n {
                assert_eq!(
                    [packed.at(i, j), back.at(j, i)].map(f32::to_bits),
                    [b[i * n + j].to_bits(); 2]
                );
            }
        }
        assert_eq!((again.k(), again.n()), (k, n));
        assert!(again.panels == packed.panels);
    }

    /// `cargo test --release -p cocoop-core gemm_speed -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement, not a check"]
    fn gemm_speed() {
        for (m, k, n) in
            [(35, 192, 576), (35, 192, 768), (50, 768, 3072), (250, 512, 2048), (1576, 768, 3072)]
        {
            let (a, b) = (matrix(m * k, 1), Packed::new(&matrix(k * n, 2), k, n));
            let mut c = vec![0.0; m * n];
            let mut best = f64::MAX;
            for _ in 0..20 {
                let start = std::time::Instant::now();
                gemm(&mut c, &a, &b, None, false);
                best = best.min(start.elapsed().as_secs_f64());
            }
            println!(
                "{m}x{k}x{n}: {:.1} GFLOPS, {:?}",
                2e-9 * (m * k * n) as f64 / best,
                Isa::get()
            );
        }
    }
}
