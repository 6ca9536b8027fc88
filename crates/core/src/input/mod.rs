//! What comes from outside: images and texts.

pub mod image;
pub mod resize;
pub mod tokenizer;
pub mod transform;
