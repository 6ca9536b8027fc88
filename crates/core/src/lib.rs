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
pub mod original;
pub mod pack;
pub mod prompt;
pub mod train;

pub use cocoop_base::{error, kernels, random};
pub use error::{Error, Result};

use std::collections::BTreeSet;

/// The set of `items`, put in one by one: `collect` sorts them first, with 3 kB of WASM for every type of item.
fn set_of<T: Ord>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}
