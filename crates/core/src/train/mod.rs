//! Learning prompts: sampling, views, step, session.

pub mod augment;
pub mod sampling;
pub mod schedule;
pub mod sgd;
pub mod step;
