//! C = A·Bᵀ (+ bias): A and C in f32, B a frozen weight in panels of eight outputs ([`Packed`]), in f32 or fewer bits.
//! Nearly all time of the product is spent here. [`scalar`] is the definition; a quantised weight multiplies rows that are
//! quantised as they are copied, in exact integers.
//!
//! ```text
//! for each block of MC rows of A                      (one task; it stays in the second-level cache)
//!   for each DEPTH words of its rows                  copied side by side, so that rows do not share cache sets
//!     for each strip of panels of B
//!       for each group of them, and each STEPS words  widened here if the kernel cannot read it as it is
//!         for each tile of rows:  sum in registers
//!       all sums of the strip into C
//! ```

mod activations;
mod encode;
mod packed;
mod tile;
mod widen;

pub use packed::{Format, Packed};

use super::{Isa, for_each_isa};
use activations::Level;
use packed::{GROUP, NR, SIXTEEN};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;
use tile::{A_STRIDE, DEPTH, Kernel, Operands, STEPS, Word};

/// Rows of A that one task keeps close.
const MC: usize = 96;
/// Panels whose sums go into C together, at most: a multiple of every kernel's.
const STRIP: usize = 4;
/// Rows of C that are written together. In WASM panels are half a line of the cache, and rows of C, mostly a multiple of a
/// page apart, share few of its sets: with many rows a line would be gone when its other half comes.
const STORED: usize = if cfg!(target_arch = "wasm32") { 4 } else { MC };
/// Fewer multiply-adds than this are not worth a second thread.
#[cfg(feature = "parallel")]
const PARALLEL_MACS: usize = 1 << 20;

/// What one thread keeps from call to call.
struct Scratch {
    /// The copied block of A: rows of [`A_STRIDE`] words, plane after plane.
    close: Vec<u32>,
    /// The widened part of a group of panels, [`STEPS`] each.
    wide: Vec<u32>,
    /// The sums of a block's rows and a strip of panels before they go into C: (planes, groups, rows, panels of a group, 8).
    sums: Vec<u32>,
    levels: Vec<Level>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch {
            close: Vec::new(),
            wide: Vec::new(),
            sums: Vec::new(),
            levels: Vec::new(),
        })
    };
}

/// The kernels of this process.
struct Kernels {
    float: Kernel,
    quantised: Kernel,
    quantised_pairs: Kernel,
}

static KERNELS: OnceLock<Kernels> = OnceLock::new();

/// The kernel that multiplies with `b` on this machine.
fn kernel_for(b: &Packed) -> Kernel {
    let kernels = KERNELS.get_or_init(|| Kernels {
        float: Kernel::float(Isa::get()),
        quantised: Kernel::quantised(Isa::get(), false),
        quantised_pairs: Kernel::quantised(Isa::get(), true),
    });
    match b.format().is_quantised() {
        false => kernels.float,
        true if b.sums().pairs_fit => kernels.quantised_pairs,
        true => kernels.quantised,
    }
}

/// `c` = `a`·`b` + `bias`, or `c` += `a`·`b` + `bias` if `accumulate`.
/// Shapes: `c` (rows, `b.n`), `a` (rows, `b.k`), `bias` (`b.n`).
/// # Panics
/// If the slices do not fit those shapes.
pub fn gemm(c: &mut [f32], a: &[f32], b: &Packed, bias: Option<&[f32]>, accumulate: bool) {
    gemm_by(kernel_for(b), c, a, b, bias, accumulate);
}

/// [`gemm`] by one kernel, which must fit the weight's format.
fn gemm_by(
    kernel: Kernel,
    c: &mut [f32],
    a: &[f32],
    b: &Packed,
    bias: Option<&[f32]>,
    accumulate: bool,
) {
    let (k, n) = (b.k(), b.n());
    let rows = a.len() / k;
    assert_eq!(a.len(), rows * k);
    assert_eq!(c.len(), rows * n);
    assert!(bias.is_none_or(|bias| bias.len() == n));
    assert_eq!(kernel.word() != Word::Float, b.format().is_quantised());
    if rows == 0 {
        return;
    }
    let product = Product { kernel, c: c.as_mut_ptr(), a, b, bias, accumulate };
    #[cfg(feature = "parallel")]
    if rows * n * k >= PARALLEL_MACS {
        return product.parallel();
    }
    for first in (0..rows).step_by(MC) {
        product.block(first..rows.min(first + MC), 0..n.div_ceil(NR));
    }
}

/// The reference: `b` (`k`, `n`) row-major, one accumulator for each element, left to right.
pub fn scalar(c: &mut [f32], a: &[f32], b: &[f32], k: usize, n: usize) {
    for (c, a) in c.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
        for (j, c) in c.iter_mut().enumerate() {
            *c = a.iter().enumerate().map(|(i, a)| a * b[i * n + j]).sum();
        }
    }
}

/// One call of [`gemm`]: C, shared by tasks that write disjoint rectangles of it, and what they read.
struct Product<'a> {
    kernel: Kernel,
    c: *mut f32,
    a: &'a [f32],
    b: &'a Packed,
    bias: Option<&'a [f32]>,
    accumulate: bool,
}
// SAFETY: every task writes rows and columns of C that no other task has (`parallel` cuts them so), and none reads others'.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Rows of C in equal blocks of at most [`MC`] and, where these are too few for the cores, columns in groups of panels. A
    /// group's blocks of rows come one after another: its weights are then near, and each core reads its own part of them.
    #[cfg(feature = "parallel")]
    fn parallel(&self) {
        use rayon::prelude::*;
        let (rows, panels, step) =
            (self.a.len() / self.b.k(), self.b.n().div_ceil(NR), self.kernel.shape().1);
        let blocks = rows.div_ceil(MC);
        let wanted = rayon::current_num_threads() * 3;
        let groups = wanted.div_ceil(blocks).clamp(1, panels.div_ceil(step));
        let group = panels.div_ceil(groups).next_multiple_of(step);
        (0..blocks * groups).into_par_iter().for_each(|task| {
            let (g, i) = (task / blocks, task % blocks);
            let panels = (g * group).min(panels)..panels.min((g + 1) * group);
            self.block(rows * i / blocks..rows * (i + 1) / blocks, panels);
        });
    }

    /// These rows, at most [`MC`], and panels of C.
    fn block(&self, rows: Range<usize>, panels: Range<usize>) {
        SCRATCH.with_borrow_mut(|Scratch { close, wide, sums, levels }| {
            let (k, width) = (self.b.k(), self.kernel.shape().1);
            let strip = if cfg!(target_arch = "wasm32") { STRIP } else { width };
            close.resize(close.len().max(self.planes() * MC * A_STRIDE), 0);
            wide.resize(wide.len().max((width + 1) * STEPS * NR), 0);
            sums.resize(sums.len().max(self.planes() * MC * STRIP * NR), 0);
            levels.clear();
            if self.b.format().is_quantised() {
                activations::levels(
                    levels,
                    &self.a[rows.start * k..rows.end * k],
                    k,
                    self.planes(),
                );
            }
            for ks in self.parts(0..k, DEPTH) {
                self.copy(close, levels, rows.clone(), ks.clone());
                for first in panels.clone().step_by(strip) {
                    let strip = first..panels.end.min(first + strip);
                    self.strip(close, wide, sums, levels, rows.clone(), strip, ks.clone());
                }
            }
        });
    }

    /// `ks` in parts of at most so many words of A, as equal as groups of inputs allow.
    fn parts(&self, ks: Range<usize>, words: usize) -> impl Iterator<Item = Range<usize>> {
        let parts = ks.len().div_ceil(words * self.kernel.word().len());
        let chunk = ks.len().div_ceil(parts).next_multiple_of(GROUP);
        ks.clone().step_by(chunk).map(move |k0| k0..ks.end.min(k0 + chunk))
    }

    /// Planes of A in the block of it that is kept close.
    fn planes(&self) -> usize {
        if self.b.format().is_quantised() { self.b.planes() } else { 1 }
    }

    /// Copies the part `ks` of these rows of A into `close`, as the words that the kernel takes; the low plane last.
    fn copy(&self, close: &mut [u32], levels: &[Level], rows: Range<usize>, ks: Range<usize>) {
        let (first, second) = close.as_chunks_mut::<A_STRIDE>().0.split_at_mut(MC);
        for (i, row) in rows.enumerate() {
            let from = &self.a[row * self.b.k()..][ks.clone()];
            if self.kernel.word() == Word::Float {
                first[i].iter_mut().zip(from).for_each(|(to, x)| *to = x.to_bits());
            } else if self.planes() == 1 {
                activations::quantise(
                    self.kernel.word(),
                    [&mut first[i], &mut []],
                    from,
                    levels[i],
                );
            } else {
                activations::quantise(
                    self.kernel.word(),
                    [&mut second[i], &mut first[i]],
                    from,
                    levels[i],
                );
            }
        }
    }

    /// Adds the part `ks` of the sums of these rows and a strip of panels to C.
    fn strip(
        &self,
        close: &[u32],
        wide: &mut [u32],
        sums: &mut [u32],
        levels: &[Level],
        rows: Range<usize>,
        panels: Range<usize>,
        ks: Range<usize>,
    ) {
        let (height, width) = self.kernel.shape();
        let tiles = rows.len().div_ceil(height);
        let planes = || close.chunks_exact(MC * A_STRIDE).take(self.planes()).enumerate();
        for (g, first) in panels.clone().step_by(width).enumerate() {
            let group = first..panels.end.min(first + width);
            for few in self.parts(ks.clone(), STEPS) {
                let (steps, add) = (self.steps(few.len()), few.start > ks.start);
                let from = (few.start - ks.start) / self.kernel.word().len();
                let (b, b_stride) = self.part_of_b(wide, group.clone(), few);
                for (plane, close) in planes() {
                    let sums = &mut sums[(plane * STRIP + g * width) * rows.len() * NR..];
                    for t in 0..tiles {
                        // Heights that differ by one at most: a tile of a row or two has too few sums to keep the machine busy.
                        let part = rows.len() * t / tiles..rows.len() * (t + 1) / tiles;
                        let a = &close[part.start * A_STRIDE + from..];
                        let operands = Operands { a, b, b_stride, steps, height: part.len(), add };
                        self.kernel.run(&mut sums[part.start * width * NR..], operands);
                    }
                }
            }
        }
        for (plane, _) in planes() {
            let first = ks.start == 0 && plane == 0;
            let to = Rectangle {
                product: self,
                rows: rows.clone(),
                cols: panels.start * NR..self.b.n().min(panels.end * NR),
                load: !first || self.accumulate,
            };
            let sums = &sums[plane * STRIP * rows.len() * NR..][..STRIP * rows.len() * NR];
            let bias = self.bias.filter(|_| first);
            if self.kernel.word() == Word::Float {
                store_floats(&to, sums, bias);
            } else {
                let units = Units {
                    levels,
                    plane: if plane + 1 < self.planes() { 128.0 } else { 1.0 },
                    scales: self.b.scales(),
                    sums: first.then(|| &*self.b.sums().of_outputs),
                };
                store_integers(&to, sums, bias, &units);
            }
        }
    }

    /// Steps of a kernel along so much of k, padded as panels are.
    fn steps(&self, k: usize) -> usize {
        match self.kernel.word() {
            Word::Float => k,
            word => k.next_multiple_of(SIXTEEN) / word.len(),
        }
    }

    /// The part `ks` of a group of panels, as the kernel reads it, and the distance of two panels in bytes: in place where
    /// that can be, otherwise in `wide`.
    fn part_of_b<'b>(
        &'b self,
        wide: &'b mut [u32],
        panels: Range<usize>,
        ks: Range<usize>,
    ) -> (&'b [u8], usize) {
        let format = self.b.format();
        let from = format.panel_bytes(ks.start);
        let len = format.panel_bytes(ks.len());
        let in_place = matches!(
            (format, self.kernel.word()),
            (Format::F32, Word::Float) | (Format::Q8, Word::Bytes)
        );
        if in_place && panels.len() == self.kernel.shape().1 {
            return (&self.b.panels_from(panels.start)[from..], format.panel_bytes(self.b.k()));
        }
        let (staged, wide) = wide.split_at_mut(STEPS * NR);
        for (to, panel) in wide.as_chunks_mut::<{ STEPS * NR }>().0.iter_mut().zip(panels) {
            let from = &self.b.panels_from(panel)[from..from + len];
            match (format, self.kernel.word()) {
                (Format::F16, _) => widen::halves(to, from),
                (Format::Q4, Word::Bytes) => widen::groups(to, from),
                (Format::Q4, _) => {
                    widen::groups(staged, from);
                    widen::bytes(to, staged);
                }
                (Format::Q8, Word::Halves) => widen::bytes(to, words_of(staged, from)),
                (Format::F32 | Format::Q8, _) => {
                    words_of(to, from);
                }
            }
        }
        (bytes_of(wide), STEPS * NR * 4)
    }
}

/// Copies bytes into words, and gives those.
fn words_of<'w>(words: &'w mut [u32], bytes: &[u8]) -> &'w [u32] {
    words
        .iter_mut()
        .zip(bytes.as_chunks().0)
        .for_each(|(to, &from)| *to = u32::from_le_bytes(from));
    &words[..bytes.len() / 4]
}

/// Words as the bytes that they are made of.
fn bytes_of(words: &[u32]) -> &[u8] {
    // SAFETY: any word is four initialised bytes without padding, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 4) }
}

/// The part of C that a block's sums go to.
struct Rectangle<'a> {
    product: &'a Product<'a>,
    rows: Range<usize>,
    cols: Range<usize>,
    /// Whether what stands there is added to.
    load: bool,
}

impl Rectangle<'_> {
    /// `to` = `value`(row, lanes) or += that, eight columns at a time: `sums` (groups, rows, panels of a group, 8) holds the
    /// lanes, and `of_panel` gives what `value` wants to know of a panel.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "it is compiled anew inside each instruction set's function"
    )]
    fn store<P>(
        &self,
        sums: &[u32],
        of_panel: impl Fn(Range<usize>) -> P,
        value: impl Fn(usize, &[u32; NR], &P) -> [f32; NR],
    ) {
        let (rows, width) = (self.rows.len(), self.product.kernel.shape().1);
        let lanes = sums.as_chunks::<NR>().0;
        for first in (0..rows).step_by(STORED) {
            for (panel, col) in self.cols.clone().step_by(NR).enumerate() {
                let cols = col..self.cols.end.min(col + NR);
                let of_panel = of_panel(cols.clone());
                let lanes = &lanes[panel / width * width * rows + panel % width..];
                for i in first..rows.min(first + STORED) {
                    let mut x = value(i, &lanes[i * width], &of_panel);
                    let to = self.row(i, cols.clone());
                    if self.load {
                        let there = eight(to);
                        x.iter_mut().zip(there).for_each(|(x, there)| *x += there);
                    }
                    match <&mut [f32; NR]>::try_from(&mut *to) {
                        Ok(to) => *to = x,
                        Err(_) => to.copy_from_slice(&x[..to.len()]),
                    }
                }
            }
        }
    }

    /// These columns of row `i`.
    #[expect(
        clippy::mut_from_ref,
        reason = "tasks own disjoint rectangles of C, and one row is held at a time"
    )]
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "part of a kernel")]
    fn row(&self, i: usize, cols: Range<usize>) -> &mut [f32] {
        let n = self.product.b.n();
        debug_assert!(i < self.rows.len() && cols.end <= n);
        // SAFETY: rows and columns lie inside C (checked in `gemm`), which outlives this value.
        let start = unsafe { self.product.c.add((self.rows.start + i) * n + cols.start) };
        // SAFETY: the range lies in one row of C, and this task alone touches it.
        unsafe { std::slice::from_raw_parts_mut(start, cols.len()) }
    }
}

/// How integers become floats: x = step·scale·sum, and where it is not there yet, + low·scale·(sum of the weights).
struct Units<'a> {
    levels: &'a [Level],
    /// 128 for the high plane of the activations.
    plane: f32,
    scales: &'a [f32],
    /// Σ over k of each output's weights.
    sums: Option<&'a [f32]>,
}

for_each_isa! {
    /// `to` = `sums` + `bias`, or += that.
    fn store_floats(to: &Rectangle, sums: &[u32], bias: Option<&[f32]>) = store_floats_body
}
for_each_isa! {
    /// The same for integers.
    fn store_integers(to: &Rectangle, sums: &[u32], bias: Option<&[f32]>, units: &Units) = store_integers_body
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
fn store_floats_body(to: &Rectangle, sums: &[u32], bias: Option<&[f32]>) {
    let of_panel = |cols: Range<usize>| bias.map_or([0.0; NR], |bias| eight(&bias[cols]));
    to.store(sums, of_panel, |_, lanes, bias| {
        let mut x = *bias;
        x.iter_mut().zip(lanes).for_each(|(x, lane)| *x += f32::from_bits(*lane));
        x
    });
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
fn store_integers_body(to: &Rectangle, sums: &[u32], bias: Option<&[f32]>, units: &Units) {
    let of_panel = |cols: Range<usize>| {
        let scales = eight(&units.scales[cols.clone()]);
        let sums = units.sums.map_or([0.0; NR], |sums| eight(&sums[cols.clone()]));
        let bias = bias.map_or([0.0; NR], |bias| eight(&bias[cols]));
        (scales, sums, bias)
    };
    to.store(sums, of_panel, |i, lanes, (scales, sums, bias)| {
        let (step, low) = (units.levels[i].step * units.plane, units.levels[i].low);
        let mut x = *bias;
        for j in 0..NR {
            x[j] += scales[j] * (step * (lanes[j] as i32 as f32) + low * sums[j]);
        }
        x
    });
}

/// Eight values, zeros behind the end.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of a kernel")]
fn eight(from: &[f32]) -> [f32; NR] {
    from.try_into().unwrap_or_else(|_| {
        let mut eight = [0.0; NR];
        eight[..from.len()].copy_from_slice(from);
        eight
    })
}

#[cfg(test)]
mod tests;
