//! The image tower, whichever kind the model has.

use super::block::Workspace;
use super::config::{self, Config};
use super::resnet::ModifiedResNet;
use super::vit::VisionTransformer;
use super::weights::Weights;
use crate::Result;
use crate::ops::Ops;

/// The image tower.
pub enum Vision<O: Ops> {
    /// A vision transformer.
    Vit(VisionTransformer<O>),
    /// A ResNet with attention pooling.
    Resnet(ModifiedResNet<O>),
}

impl<O: Ops> Vision<O> {
    /// Reads the tower.
    /// # Errors
    /// Of [`Weights::get`].
    pub fn load(ops: &O, weights: &dyn Weights, config: &Config) -> Result<Self> {
        Ok(match &config.vision {
            config::Vision::Vit(shape) => {
                Self::Vit(VisionTransformer::load(ops, weights, config, shape)?)
            }
            config::Vision::Resnet(shape) => {
                Self::Resnet(ModifiedResNet::load(ops, weights, config, shape)?)
            }
        })
    }

    /// `features` = the unnormalised `image_features` (batch, `embed_dim`) of `pixels` (batch, 3, `image_size`,
    /// `image_size`).
    /// # Panics
    /// If `pixels` is no whole number of images.
    pub fn encode(
        &self,
        ops: &O,
        work: &mut Workspace<O>,
        features: &mut Vec<f32>,
        pixels: &[f32],
    ) {
        match self {
            Self::Vit(tower) => tower.encode(ops, work, features, pixels),
            Self::Resnet(tower) => tower.encode(ops, &mut work.maps, features, pixels),
        }
    }
}
