//! A frozen weight as the GEMM reads it, in memory and in the shards of a model pack alike: panels of eight outputs, so
//! that one step along k is 32 bytes for eight sums. Nothing is repacked: a panel is read where it was mapped or streamed.
//!
//! | format | panels | a weight is |
//! |---|---|---|
//! | F32, F16 | `[n/8][k][8]` values | the value |
//! | Q8 | `[n/8][k/4][8][4]` i8, k padded to a multiple of 16 | scale of its output · q |
//! | Q4 | `[n/8][k/32]{[8] u16 ratios, [8][4][4] bytes}`, k padded to a multiple of 32 | scale · round(q·ratio/1024) |
//!
//! All little-endian; n is padded to a multiple of 8, padding is zero. Byte `[quad][o][j]` of Q4 holds q + 8 of output o
//! at k = 4·quad + j in its low half and that of output o + 4 in its high half.

use super::{encode, widen};
use crate::{Error, Result};
use bytes::Bytes;
use std::ops::Range;
use std::sync::OnceLock;

/// Outputs of a panel.
pub(super) const NR: usize = 8;
/// Values along k that quantised kernels may take at once; quantised rows and panels are padded to it.
pub(super) const SIXTEEN: usize = 16;
/// Inputs that share a ratio in [`Format::Q4`].
pub(super) const GROUP: usize = 32;
/// Bytes of one group of a [`Format::Q4`] panel: ratios, then halves of bytes.
pub(super) const GROUP_BYTES: usize = 2 * NR + GROUP * NR / 2;

/// How the values of a weight are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Single precision.
    F32,
    /// Half precision, widened in the product.
    F16,
    /// 8 bits and a scale for each output; activations are quantised for the product.
    Q8,
    /// 4 bits, a ratio for each 32 inputs of an output, a scale for each output; activations as with Q8.
    Q4,
}

impl Format {
    /// Every format, largest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Q8, Self::Q4];

    /// Bits of one weight, without scales and ratios.
    pub fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::F16 => 16,
            Self::Q8 => 8,
            Self::Q4 => 4,
        }
    }

    /// The name in files: `f32`, `f16`, `q8`, `q4`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// True if activations are quantised and outputs have scales.
    pub fn is_quantised(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4)
    }

    /// Bytes of one panel (eight outputs) of `k` inputs.
    pub fn panel_bytes(self, k: usize) -> usize {
        match self {
            Self::F32 => k * NR * 4,
            Self::F16 => k * NR * 2,
            Self::Q8 => k.next_multiple_of(SIXTEEN) * NR,
            Self::Q4 => k.div_ceil(GROUP) * GROUP_BYTES,
        }
    }

    /// Bytes of the panels of a weight of `n` outputs and `k` inputs.
    pub fn bytes(self, k: usize, n: usize) -> usize {
        n.div_ceil(NR) * self.panel_bytes(k)
    }
}

/// A frozen weight of `n` outputs and `k` inputs: the right side of [`super::gemm`]. Clones and ranges share the panels.
#[derive(Clone)]
pub struct Packed {
    format: Format,
    planes: usize,
    k: usize,
    n: usize,
    panels: Bytes,
    /// One for each output, n padded to a multiple of 8; empty where the format has none.
    scales: Vec<f32>,
    sums: OnceLock<Sums>,
}

/// What the quantised kernels want to know of a weight beside its panels; found on first use.
#[derive(Clone)]
pub(super) struct Sums {
    /// Σ over k of each output's weights, n padded: what the activations' offset is multiplied by.
    pub of_outputs: Vec<f32>,
    /// Whether two neighbouring products of pairs can be added in 16 bits, whatever the activations
    /// (see `encode::MAX_SUM`).
    pub pairs_fit: bool,
}

impl Packed {
    /// Packs `b`, a (`k`, `n`) row-major matrix, as F32.
    /// # Panics
    /// If `b` is not `k`·`n` long.
    pub fn new(b: &[f32], k: usize, n: usize) -> Self {
        assert_eq!(b.len(), k * n);
        Self::f32(k, n, |row, output| b[row * n + output])
    }

    /// Packs `values`, an (`n`, `k`) row-major matrix such as the weight of a linear layer, as F32.
    /// # Panics
    /// If `values` is not `k`·`n` long.
    pub fn transposed(values: &[f32], k: usize, n: usize) -> Self {
        assert_eq!(values.len(), k * n);
        Self::f32(k, n, |row, output| values[output * k + row])
    }

    /// Packs `values`, an (`n`, `k`) row-major matrix, in a format. `planes` is how many 7-bit planes the activations get
    /// in quantised products, 1 or 2 (14 bits, at half the speed); other formats ignore it.
    /// # Panics
    /// If `values` is not `k`·`n` long or `planes` is neither 1 nor 2.
    pub fn encode(values: &[f32], k: usize, n: usize, format: Format, planes: usize) -> Self {
        assert_eq!(values.len(), k * n);
        assert!(planes == 1 || planes == 2);
        if format == Format::F32 {
            return Self::transposed(values, k, n);
        }
        let (panels, scales) = encode::panels(values, k, n, format);
        Self { planes, ..Self::from_parts(format, k, n, panels, scales) }
    }

    /// A weight from its panels, which stay where they are, and its `scales` (n padded to a multiple of 8), as
    /// [`Self::portable`] gave them.
    /// # Errors
    /// [`Error::Model`] if a length or `planes` does not fit, or a scale or ratio is out of range.
    pub fn from_portable(
        format: Format,
        planes: usize,
        k: usize,
        n: usize,
        panels: Bytes,
        scales: Option<Vec<f32>>,
    ) -> Result<Self> {
        let bad =
            |why: String| Err(Error::Model { why: format!("a {} weight: {why}", format.name()) });
        if k == 0 || n == 0 || k > 1 << 16 || n > 1 << 24 || !(1..=2).contains(&planes) {
            return bad(format!("({n}, {k}) with {planes} planes"));
        }
        let (expected, scales) = (format.bytes(k, n), scales.unwrap_or_default());
        if panels.len() != expected {
            return bad(format!("({n}, {k}) takes {expected} bytes, got {}", panels.len()));
        }
        let expected = if format.is_quantised() { n.next_multiple_of(NR) } else { 0 };
        if scales.len() != expected {
            return bad(format!("{n} outputs take {expected} scales, got {}", scales.len()));
        }
        if scales.iter().any(|scale| !scale.is_finite()) {
            return bad("a scale is not finite".into());
        }
        Ok(Self { planes, ..Self::from_parts(format, k, n, panels, scales) })
    }

    /// The panels and scales that [`Self::from_portable`] takes; the panels are not copied.
    pub fn portable(&self) -> (Bytes, Option<Vec<f32>>) {
        (self.panels.clone(), self.format.is_quantised().then(|| self.scales.clone()))
    }

    /// The weight of these outputs alone; the panels are not copied.
    /// # Panics
    /// If the range is empty, ends behind n or does not start at a multiple of 8.
    #[must_use]
    pub fn outputs(&self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.n && range.start.is_multiple_of(NR));
        let (panel, n) = (self.format.panel_bytes(self.k), range.len());
        let panels = range.start / NR * panel..range.end.div_ceil(NR) * panel;
        let scales = match self.scales.len() {
            0 => Vec::new(),
            _ => self.scales[range.start..range.end.next_multiple_of(NR)].to_vec(),
        };
        let part = Self::from_parts(self.format, self.k, n, self.panels.slice(panels), scales);
        Self { planes: self.planes, ..part }
    }

    /// The values, (n, k) row-major: what products multiply with, but for the rounding of activations.
    pub fn decode(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.n * self.k];
        for (output, row) in values.chunks_exact_mut(self.k).enumerate() {
            let panel = self.panel(output / NR);
            widen::decode(row, panel, self.format, output % NR);
            if let Some(scale) = self.scales.get(output) {
                row.iter_mut().for_each(|x| *x *= scale);
            }
        }
        values
    }

    /// This matrix's transpose in F32: what backward multiplies with.
    #[must_use]
    pub fn transpose(&self) -> Self {
        Self::new(&self.decode(), self.n, self.k)
    }

    fn f32(k: usize, n: usize, value: impl Fn(usize, usize) -> f32) -> Self {
        let mut panels = Lines::zeroed(Format::F32.bytes(k, n));
        for (p, panel) in panels.bytes().chunks_exact_mut(Format::F32.panel_bytes(k)).enumerate() {
            let outputs = NR.min(n - p * NR);
            for (row, values) in panel.as_chunks_mut::<{ 4 * NR }>().0.iter_mut().enumerate() {
                for (j, x) in values.as_chunks_mut().0.iter_mut().take(outputs).enumerate() {
                    *x = value(row, p * NR + j).to_le_bytes();
                }
            }
        }
        Self::from_parts(Format::F32, k, n, panels.into(), Vec::new())
    }

    fn from_parts(format: Format, k: usize, n: usize, panels: Bytes, scales: Vec<f32>) -> Self {
        Self { format, planes: 1, k, n, panels, scales, sums: OnceLock::new() }
    }

    /// Inputs: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Outputs: the columns of the result.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How the values are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// 7-bit planes of the activations in a quantised product.
    pub fn planes(&self) -> usize {
        self.planes
    }

    /// Bytes of the panels, resident where they are not mapped.
    pub fn bytes(&self) -> usize {
        self.panels.len()
    }

    pub(super) fn panel(&self, panel: usize) -> &[u8] {
        &self.panels_from(panel)[..self.format.panel_bytes(self.k)]
    }

    /// This panel and all after it.
    pub(super) fn panels_from(&self, panel: usize) -> &[u8] {
        &self.panels[panel * self.format.panel_bytes(self.k)..]
    }

    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(super) fn sums(&self) -> &Sums {
        self.sums.get_or_init(|| widen::sums(self))
    }
}

/// Bytes that start at a line of the cache, so that no vector of a panel lies across two.
pub(super) struct Lines {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Lines {
    pub fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line([0; 64]); len.div_ceil(64)], len }
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: a line is 64 initialised bytes without padding, and there are enough of them for `len`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl AsRef<[u8]> for Lines {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as in `bytes`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl From<Lines> for Bytes {
    fn from(lines: Lines) -> Self {
        Bytes::from_owner(lines)
    }
}
