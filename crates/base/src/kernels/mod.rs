//! The innermost loops, and the only `unsafe` of this crate. Each file has a scalar reference that its SIMD versions
//! are tested against; other modules call the safe functions and never name an instruction set.

pub mod attention;
pub mod conv;
pub mod dot;
pub mod double;
pub mod gemm;
pub mod norm;
mod simd;
pub mod softmax;
pub mod vector;

/// The instruction set that this process uses, found once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512F: 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA: 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON: 4 lanes.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// WebAssembly SIMD, 4 lanes; with `relaxed-simd` multiply-add is one instruction.
    #[cfg(target_feature = "simd128")]
    Simd128,
    /// Whatever the compiler makes of plain code.
    Portable,
}

impl Isa {
    /// The best instruction set of this machine.
    pub fn get() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
            {
                return Self::Avx2;
            }
        }
        #[cfg(target_feature = "simd128")]
        return Self::Simd128;
        #[cfg(target_arch = "aarch64")]
        return Self::Neon;
        #[cfg(not(any(target_feature = "simd128", target_arch = "aarch64")))]
        Self::Portable
    }

    /// A name for people.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512f",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2+fma",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(target_feature = "simd128")]
            Self::Simd128 => {
                if cfg!(target_feature = "relaxed-simd") {
                    "simd128+relaxed-simd"
                } else {
                    "simd128"
                }
            }
            Self::Portable => "portable",
        }
    }
}

/// Compiles one plain function body for each instruction set, so that the compiler vectorises the same source for the
/// machine at hand, and chooses at run time. On wasm32 the module's own features decide.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        // A function of its own, so that an engine's first compiler gives way to its better one while a product is under way.
        #[cfg_attr(target_arch = "wasm32", inline(never))]
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
                fn avx512($($arg: $ty),*) { $body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) { $body($($arg),*) }
                match $crate::kernels::Isa::get() {
                    $crate::kernels::Isa::Avx512 if std::arch::is_x86_feature_detected!("avx512dq") => {
                        // SAFETY: the features were just detected, and the body is safe code.
                        return unsafe { avx512($($arg),*) };
                    }
                    $crate::kernels::Isa::Avx512 | $crate::kernels::Isa::Avx2 => {
                        // SAFETY: as above; every machine with AVX-512F has AVX2 and FMA.
                        return unsafe { avx2($($arg),*) };
                    }
                    $crate::kernels::Isa::Portable => {}
                }
            }
            $body($($arg),*);
        }
    };
}
pub(crate) use for_each_isa;

/// So many bytes for the host to write, or nothing if it does not give them. Natively they are zero. In WASM they are what was
/// there before: to write hundreds of megabytes, or even to touch them, takes longer than anything else in opening a model.
pub fn unwritten(len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    #[cfg(target_arch = "wasm32")]
    {
        std::hint::black_box(bytes.as_mut_ptr());
        // SAFETY: the room is there. Linear memory holds numbers from its start, so that these bytes have values; that nobody
        // wrote them the compiler cannot know, as it had to give their address away.
        unsafe { bytes.set_len(len) };
    }
    #[cfg(not(target_arch = "wasm32"))]
    bytes.resize(len, 0);
    Some(bytes)
}

/// Calls `work(first_row, rows)` for consecutive groups of rows of `out` (each `width` long), on all cores where the
/// `parallel` feature is on and there are at least two groups of `grain` rows. Each row is written by one call, so the
/// result does not depend on the number of threads.
pub fn for_rows<T: Send>(
    out: &mut [T],
    width: usize,
    grain: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let grain = grain.max(1);
    #[cfg(feature = "parallel")]
    if out.len() >= 2 * grain * width {
        use rayon::prelude::*;
        out.par_chunks_mut(grain * width).enumerate().for_each(|(i, rows)| work(i * grain, rows));
        return;
    }
    for (i, rows) in out.chunks_mut(grain * width).enumerate() {
        work(i * grain, rows);
    }
}
