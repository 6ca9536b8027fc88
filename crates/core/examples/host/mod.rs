//! A clock and a line of output, which wasm32-unknown-unknown has only from its host (bench/lib/example.mjs).

#[cfg(not(target_arch = "wasm32"))]
pub use native::{nanoseconds, print};
#[cfg(target_arch = "wasm32")]
pub use wasm::{nanoseconds, print};

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub fn nanoseconds() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }

    pub fn print(line: &str) {
        println!("{line}");
    }
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    mod imported {
        #[link(wasm_import_module = "host")]
        unsafe extern "C" {
            pub safe fn milliseconds() -> f64;
            pub unsafe fn print(text: *const u8, len: usize);
        }
    }

    pub fn nanoseconds() -> u64 {
        (imported::milliseconds() * 1e6) as u64
    }

    pub fn print(line: &str) {
        // SAFETY: the host reads these bytes before it returns.
        unsafe { imported::print(line.as_ptr(), line.len()) }
    }
}
