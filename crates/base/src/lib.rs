//! What the model stands on, and where the time goes: kernels, images, random numbers, and the one list of errors.
//! A crate of its own because its loops are compiled for speed everywhere, while WASM has the rest compiled for size
//! (`[profile.wasm]`). Others use it through `cocoop-core`, which has each of these modules at the same path.

pub mod error;
pub mod input;
pub mod kernels;
pub mod random;

pub use error::{Error, Result};
