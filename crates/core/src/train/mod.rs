//! Learning prompts: sampling, views, step, session; and what they are compared with, the linear probe.

pub mod augment;
mod lbfgs;
pub mod linear_probe;
pub mod sampling;
pub mod schedule;
pub mod session;
pub mod sgd;
pub mod spec;
pub mod state;
pub mod step;
pub mod views;
pub mod watch;
