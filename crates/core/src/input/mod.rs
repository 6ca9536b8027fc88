//! What comes from outside: images and texts.

pub mod tokenizer;

pub use cocoop_base::input::{image, resize, transform};
