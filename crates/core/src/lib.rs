//! CLIP prompts (zero-shot, `CoOp`, `CoCoOp`): forward, backward, training and classification.
//! All arithmetic of the product is here; there is no I/O and no JavaScript. It builds for wasm32 and native alike.
//! Start at [`classifier`] (what every door opens on) or [`train::session`]; `ARCHITECTURE.md` has the map.

pub mod bundle;
pub mod classifier;
pub mod door;
pub mod input;
pub mod model;
pub mod onnx;
pub mod ops;
pub mod pack;
pub mod prompt;
pub mod train;

pub use cocoop_base::{error, kernels, random};
pub use error::{Error, Result};
