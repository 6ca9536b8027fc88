//! Pillow's resampling.
