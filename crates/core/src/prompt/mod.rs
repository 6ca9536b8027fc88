//! Prompts: class names become symbols, symbols a trie, a trie the rows of a batch; learned vectors and their
//! gradients. CLIP, CoOp and CoCoOp differ only here.

pub mod interpret;
pub mod learned;
pub mod learner;
pub mod plan;
pub mod template;
pub mod trie;
pub mod zero_shot;
