//! Learning prompts: sampling, views, step, session.

pub mod augment;
pub mod sampling;
