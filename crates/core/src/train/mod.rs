//! Learning prompts: sampling, views, step, session.

pub mod augment;
pub mod sampling;
pub mod schedule;
pub mod session;
pub mod sgd;
pub mod spec;
pub mod state;
pub mod step;
pub mod views;
