//! What to train and how: the options of CoOp and CoCoOp (reference: the originals' configuration files).

use super::augment::Augment;
use super::schedule::Schedule;
use crate::prompt::template::ClassTokenPosition;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which prompt is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Vectors (Zhou et al. 2022).
    Coop,
    /// Vectors that a Meta-Net shifts by the image (Zhou et al. 2022b).
    Cocoop,
}

/// `TrainSpec` of the doors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// Which prompt is learned.
    pub method: Method,
    /// The classes, in the order of the labels.
    pub classnames: Vec<String>,
    /// Learned vectors; with `ctx_init`, its number of tokens counts instead.
    pub n_ctx: usize,
    /// Words to start from; nothing means random vectors.
    pub ctx_init: Option<String>,
    /// Vectors of each class's own.
    pub csc: bool,
    /// Where the class name stands.
    pub class_token_position: ClassTokenPosition,
    /// The Meta-Net has `embed_dim` / this many hidden units, at least one (CoCoOp; 16 in the original).
    pub meta_net_reduction: usize,
    /// Passes over the images.
    pub epochs: usize,
    /// Images in a step.
    pub batch_size: usize,
    /// The full learning rate.
    pub lr: f64,
    /// Of the optimiser.
    pub momentum: f32,
    /// Of the optimiser.
    pub weight_decay: f32,
    /// Epochs at `warmup_lr`.
    pub warmup_epochs: usize,
    /// The learning rate of the warm-up.
    pub warmup_lr: f64,
    /// How images become views.
    pub augment: Augment,
    /// Views of each image that the epochs take in turn; 0 for a fresh one in each epoch, as in the original.
    pub views: usize,
    /// Of everything random.
    pub seed: u64,
}

impl TrainSpec {
    /// Reads the JSON of a door and checks it.
    /// # Errors
    /// [`Error::Option`] naming the field.
    pub fn from_json(json: &str) -> Result<Self> {
        let spec: Self = serde_json::from_str(json).map_err(|error| Error::Option {
            name: "spec".into(),
            expected: "a TrainSpec".into(),
            got: error.to_string(),
        })?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        let refuse = |name: &str, expected: &str, got: String| {
            Err(Error::Option { name: name.into(), expected: expected.into(), got })
        };
        for (name, value) in [
            ("n_ctx", self.n_ctx),
            ("meta_net_reduction", self.meta_net_reduction),
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("views", self.views.max(1)),
        ] {
            if value == 0 || value > 1_000_000 {
                return refuse(name, "1 to 1000000", value.to_string());
            }
        }
        for (name, value) in [("lr", self.lr), ("warmup_lr", self.warmup_lr)] {
            if !(value.is_finite() && value > 0.0) {
                return refuse(name, "a positive number", value.to_string());
            }
        }
        for (name, value) in [("momentum", self.momentum), ("weight_decay", self.weight_decay)] {
            if !(0.0..1.0).contains(&value) {
                return refuse(name, "a number from 0 to below 1", value.to_string());
            }
        }
        if self.csc && self.ctx_init.is_some() {
            return refuse(
                "csc",
                "false with ctx_init (the words are shared by all classes)",
                "true".into(),
            );
        }
        let plain = !self.csc && self.class_token_position == ClassTokenPosition::End;
        if self.method == Method::Cocoop && !plain {
            return refuse(
                "method",
                "coop with csc or another class_token_position",
                "cocoop".into(),
            );
        }
        Ok(())
    }

    /// Views of each image that the run can tell apart: epoch e sees number e mod this.
    pub fn views(&self) -> usize {
        match (self.augment, self.views) {
            (Augment::None, _) => 1,
            (Augment::CropFlip, 0) => self.epochs,
            (Augment::CropFlip, views) => views,
        }
    }

    /// The learning rates of the run.
    pub fn schedule(&self) -> Schedule {
        let Self { lr, epochs, warmup_epochs, warmup_lr, .. } = *self;
        Schedule { lr, epochs, warmup_epochs, warmup_lr }
    }
}
