//! The napi door.
