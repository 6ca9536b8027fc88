//! The model pack: a CLIP in shards, at 32, 16, 8 or 4 bits, that is streamed or mapped into place and never held twice.
//! docs/pack-format.md defines it; [`write()`] makes one of any model, [`Pack`] is a source of weights.

mod format;
mod memory;
mod read;
mod write;

pub use format::{Manifest, Sizes, Tensor, Tower};
pub use memory::{Memory, image_activations, memory};
pub use read::{Aligned, Pack, Wanted};
pub use write::{Sink, Spec, write};
