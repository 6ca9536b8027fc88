//! The micro-kernels: a tile of C, up to `rows` × 8·`panels` sums, stays in registers while panels stream past it.
//! All of them do the same on 32-bit lanes: read eight lanes of B for each panel, repeat one word of A for each row, and
//! add what the two give to the row's eight sums. A word is one float, or four bytes, or two 16-bit integers; which of
//! these, and the instructions, are a [`Kernel`]. [`portable`] is the definition: every other one must agree with it, in
//! integers bit for bit.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_feature = "simd128")]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::packed::NR;
use crate::kernels::Isa;

/// Words of A, and steps of 32 bytes along a panel of B, that a kernel is given at most. 256 keep a group of panels in the
/// first-level cache; on AVX2 to read longer ones out of the second level costs less than to come back to the sums (0 to
/// 8 % of a forward pass).
pub const STEPS: usize = if cfg!(target_arch = "wasm32") { 256 } else { 768 };
/// Words of a row of A that are copied at once, whose products meet before they go into C. With 512 of both, WASM took 7 to
/// 10 % longer for ViT-B/32.
pub const DEPTH: usize = if cfg!(target_arch = "wasm32") { 1024 } else { 768 };
/// The distance of two rows of the copied block of A, in words: not a power of two.
pub const A_STRIDE: usize = DEPTH + 16;

/// What a word of A, and one output's part of a step of B, hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// One float. The sum is a float.
    Float,
    /// Four 7-bit activations, four 8-bit weights. The sum is a 32-bit integer.
    Bytes,
    /// Two 16-bit integers each. The sum is a 32-bit integer.
    Halves,
}

impl Word {
    /// Values along k.
    pub fn len(self) -> usize {
        match self {
            Self::Float => 1,
            Self::Bytes => 4,
            Self::Halves => 2,
        }
    }
}

/// A micro-kernel that this machine can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    PortableFloat,
    PortableBytes,
    PortableHalves,
    #[cfg(target_arch = "x86_64")]
    Avx2Float,
    /// Multiplies bytes to pairs in 16 bits, those to quads in 32.
    #[cfg(target_arch = "x86_64")]
    Avx2Bytes,
    /// The same, where two products of pairs can be added in 16 bits first.
    #[cfg(target_arch = "x86_64")]
    Avx2Pairs,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Float,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "aarch64")]
    NeonFloat,
    #[cfg(target_arch = "aarch64")]
    NeonBytes,
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    #[cfg(target_feature = "simd128")]
    WasmFloat,
    #[cfg(target_feature = "simd128")]
    WasmHalves,
    /// The relaxed dot product of four bytes, where the engine has an instruction for it.
    #[cfg(all(target_feature = "simd128", target_feature = "relaxed-simd"))]
    WasmDot,
    /// The relaxed product of pairs, where two can be added in 16 bits.
    #[cfg(all(target_feature = "simd128", target_feature = "relaxed-simd"))]
    WasmPairs,
}

impl Kernel {
    /// The kernels of this machine, for an instruction set.
    pub fn all(isa: Isa) -> Vec<Self> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                let vnni = std::arch::is_x86_feature_detected!("avx512vnni");
                [Self::Avx512Float]
                    .into_iter()
                    .chain(vnni.then_some(Self::Avx512Vnni))
                    .chain(Self::all(Isa::Avx2))
                    .collect()
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                let vnni = std::arch::is_x86_feature_detected!("avxvnni");
                let avx2 = [Self::Avx2Float, Self::Avx2Pairs, Self::Avx2Bytes];
                vnni.then_some(Self::AvxVnni).into_iter().chain(avx2).collect()
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => {
                let dot = std::arch::is_aarch64_feature_detected!("dotprod");
                [Self::NeonFloat]
                    .into_iter()
                    .chain(dot.then_some(Self::NeonDot))
                    .chain([Self::NeonBytes])
                    .collect()
            }
            #[cfg(target_feature = "simd128")]
            Isa::Simd128 => wasm::kernels(),
            Isa::Portable => vec![Self::PortableFloat, Self::PortableBytes, Self::PortableHalves],
        }
    }

    /// The best kernel for floats.
    pub fn float(isa: Isa) -> Self {
        Self::first(isa, |kernel| kernel.word() == Word::Float)
    }

    /// The best kernel for quantised weights, whose neighbouring products can be added in 16 bits or not (`Sums::pairs_fit`).
    pub fn quantised(isa: Isa, pairs_fit: bool) -> Self {
        Self::first(isa, |kernel| {
            kernel.word() != Word::Float && (pairs_fit || !kernel.adds_pairs())
        })
    }

    fn first(isa: Isa, fits: impl Fn(Self) -> bool) -> Self {
        Self::all(isa)
            .into_iter()
            .find(|&kernel| fits(kernel))
            .expect("each instruction set has both kinds of kernels")
    }

    /// Whether it needs weights whose pairs fit.
    pub fn adds_pairs(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Pairs => true,
            #[cfg(all(target_feature = "simd128", target_feature = "relaxed-simd"))]
            Self::WasmPairs => true,
            _ => false,
        }
    }

    pub fn word(self) -> Word {
        match self {
            Self::PortableFloat => Word::Float,
            Self::PortableHalves => Word::Halves,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Float | Self::Avx512Float => Word::Float,
            #[cfg(target_arch = "aarch64")]
            Self::NeonFloat => Word::Float,
            #[cfg(target_feature = "simd128")]
            Self::WasmFloat => Word::Float,
            #[cfg(target_feature = "simd128")]
            Self::WasmHalves => Word::Halves,
            _ => Word::Bytes,
        }
    }

    /// (rows, panels) of the largest tile.
    pub fn shape(self) -> (usize, usize) {
        match self {
            Self::PortableFloat | Self::PortableBytes | Self::PortableHalves => (4, 1),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Float | Self::AvxVnni => (6, 2),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Bytes => (6, 1),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Pairs => (4, 2),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Float | Self::Avx512Vnni => (12, 4),
            #[cfg(target_arch = "aarch64")]
            Self::NeonFloat | Self::NeonDot => (8, 1),
            #[cfg(target_arch = "aarch64")]
            Self::NeonBytes => (4, 1),
            #[cfg(target_feature = "simd128")]
            Self::WasmFloat => (4, 1),
            #[cfg(target_feature = "simd128")]
            Self::WasmHalves => (4, 1),
            #[cfg(all(target_feature = "simd128", target_feature = "relaxed-simd"))]
            Self::WasmDot => (4, 1),
            #[cfg(all(target_feature = "simd128", target_feature = "relaxed-simd"))]
            Self::WasmPairs => (3, 1),
        }
    }
}

/// One tile's operands.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    /// `height` rows of `steps` words, [`A_STRIDE`] apart.
    pub a: &'a [u32],
    /// `steps` · 32 bytes of each panel, the panels `b_stride` bytes apart.
    pub b: &'a [u8],
    pub b_stride: usize,
    /// At most [`STEPS`]; even, if sums are integers.
    pub steps: usize,
    pub height: usize,
    /// Whether the tile's sums are added to.
    pub add: bool,
}

impl Kernel {
    /// `tile` (height, panels of the shape, 8) = A·Bᵀ, or += that.
    /// # Panics
    /// If the operands or the tile are shorter than they say.
    pub fn run(self, tile: &mut [u32], x: Operands) {
        let (rows, panels) = self.shape();
        assert!(x.height > 0 && x.height <= rows && x.steps <= STEPS);
        assert!(tile.len() >= x.height * panels * NR);
        assert!(self.word() == Word::Float || x.steps.is_multiple_of(2));
        assert!(x.a.len() >= (x.height - 1) * A_STRIDE + x.steps);
        assert!(x.b.len() >= (panels - 1) * x.b_stride + x.steps * 4 * NR);
        // SAFETY: the operands were checked just now, and a `Kernel` comes from `all`, which detected what it needs.
        unsafe {
            match self {
                Self::PortableFloat | Self::PortableBytes | Self::PortableHalves => {
                    portable::run(self, tile, x);
                }
                #[cfg(target_arch = "x86_64")]
                _ => x86::run(self, tile, x),
                #[cfg(target_arch = "aarch64")]
                _ => neon::run(self, tile, x),
                #[cfg(target_feature = "simd128")]
                _ => wasm::run(self, tile, x),
            }
        }
    }
}

/// Eight (or 8·`PANELS`) sums in registers, and how they grow.
trait Lanes {
    /// Words of A, and steps of B, that are taken at once.
    const STEPS: usize = 1;
    /// Panels that one value of `Sum` spans.
    const PANELS: usize = 1;
    type Sum: Copy;
    type A: Copy;
    type B: Copy;
    /// What [`Self::add`] needs in a register beside them.
    type Constant: Copy;

    fn constant() -> Self::Constant;
    fn zero() -> Self::Sum;
    /// # Safety
    /// `from` holds the lanes.
    unsafe fn load(from: *const u32) -> Self::Sum;
    /// # Safety
    /// `a` is readable for `STEPS` words.
    unsafe fn a(a: *const u32) -> Self::A;
    /// # Safety
    /// `b` is readable for `STEPS`·32 bytes, and so are the panels after it, `stride` bytes apart.
    unsafe fn b(b: *const u8, stride: usize) -> Self::B;
    fn add(sum: Self::Sum, a: Self::A, b: Self::B, constant: Self::Constant) -> Self::Sum;
    /// # Safety
    /// `to` has room for the lanes.
    unsafe fn store(sum: Self::Sum, to: *mut u32);
}

/// `H` rows of `x` times `P` values of `L`.
/// # Safety
/// The operands and the tile are as long as they say, and the machine has the instructions of `L`.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "it is compiled anew inside each instruction set's function"
)]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "a pointer is moved and read")]
unsafe fn tile<L: Lanes, const H: usize, const P: usize>(tile: &mut [u32], x: Operands) {
    let (mut a, mut b) = (x.a.as_ptr(), x.b.as_ptr());
    let constant = L::constant();
    let mut sums = [[L::zero(); P]; H];
    if x.add {
        for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
            // SAFETY: `tile` holds eight lanes for each row and panel (the caller's promise).
            *sum = unsafe { L::load(tile.as_ptr().add(i * L::PANELS * NR)) };
        }
    }
    for _ in 0..x.steps / L::STEPS {
        // SAFETY: `b` has `steps` steps in each panel (the caller's promise).
        let weights: [L::B; P] =
            std::array::from_fn(|p| unsafe { L::b(b.add(p * L::PANELS * x.b_stride), x.b_stride) });
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `a` has `steps` words in each row (the caller's promise).
            let word = unsafe { L::a(a.add(i * A_STRIDE)) };
            for (sum, &weights) in sums.iter_mut().zip(&weights) {
                *sum = L::add(*sum, word, weights, constant);
            }
        }
        // SAFETY: one behind the last step at most.
        a = unsafe { a.add(L::STEPS) };
        // SAFETY: as above.
        b = unsafe { b.add(L::STEPS * 4 * NR) };
    }
    for (i, sum) in sums.as_flattened().iter().enumerate() {
        // SAFETY: `tile` has room for eight lanes for each row and panel (the caller's promise).
        unsafe { L::store(*sum, tile.as_mut_ptr().add(i * L::PANELS * NR)) };
    }
}

/// Defines `$name(tile, x)`, which runs the tile of `$lanes` with the height of `x`.
macro_rules! by_height {
    ($name:ident, $lanes:ty, $p:literal, [$($h:literal)*] $(, $features:literal)?) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $name(tile: &mut [u32], x: super::Operands) {
            match x.height {
                // SAFETY: the caller's promise is the same.
                $($h => unsafe { super::tile::<$lanes, $h, $p>(tile, x) },)*
                _ => unreachable!("a tile has 1 to rows rows"),
            }
        }
    };
}
use by_height;
