//! Views for training.

use crate::input::image::Image;
use crate::input::transform::test_view;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// How a training image becomes a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augment {
    /// Random resized crop and horizontal flip.
    CropFlip,
    /// The view of test time.
    None,
}

/// One view: RGB, (size, size, 3).
pub fn train_view(image: &Image, size: usize, _augment: Augment, _random: &mut Random) -> Vec<u8> {
    test_view(image, size)
}
