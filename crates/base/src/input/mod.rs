//! Images from outside: files to pixels, pixels to what the image tower sees.

pub mod image;
pub mod resize;
pub mod transform;
