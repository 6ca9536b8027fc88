//! CLIP (Radford et al. 2021): the two towers as calls of [`crate::ops::Ops`], their weights and shapes.

pub mod block;
pub mod clip;
pub mod config;
pub mod resnet;
pub mod stated;
pub mod tensors;
pub mod text;
pub mod vision;
pub mod vit;
pub mod weights;
