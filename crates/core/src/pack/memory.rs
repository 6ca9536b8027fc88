//! What a pack takes in memory, known before any of it is there.

use super::format::Tower;
use super::read::Pack;
use crate::Result;
use crate::model::config::{Config, Vision};
use serde::Serialize;

/// The program with its tables and stack, and a picture on its way to the model. With ViT-B/32 at 4 bits WASM's memory ends
/// 10.8 MB above its weights after a 12-megapixel JPEG and 20 conditional classes, activations included.
const PROGRAM: u64 = 8 << 20;
/// Rows of the text tower that are allowed for: some 100 classes.
const TEXT_ROWS: usize = 512;
/// Numbers that a row takes in a block, in widths: input, normed, query, key and value, attended, middle, and the MLP twice.
const WIDTHS: usize = 15;

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Of the image tower's weights.
    pub vision: u64,
    /// Of the text transformer's weights.
    pub text: u64,
    /// Of everything else while one image is classified.
    pub work: u64,
}

/// What `pack` takes. The activations are those of the larger tower: both use the same memory, one after the other.
/// # Errors
/// Of [`Config::read`]: the pack is no CLIP that can be run.
pub fn memory(pack: &Pack) -> Result<Memory> {
    let manifest = pack.manifest();
    let config = Config::read(pack, &manifest.config)?;
    let text = 4 * (TEXT_ROWS * config.text.width * WIDTHS) as u64;
    Ok(Memory {
        vision: manifest.towers.of(Tower::Vision),
        text: manifest.towers.of(Tower::Text),
        work: PROGRAM + image_activations(&config).max(text),
    })
}

/// Bytes of the activations of one image, and of its pixels on their way to them.
pub fn image_activations(config: &Config) -> u64 {
    let pixels = config.image_size * config.image_size;
    let image = match &config.vision {
        Vision::Vit(vit) => {
            let grid = config.image_size / vit.patch_size;
            (grid * grid + 1) * vit.width * WIDTHS
        }
        // The stem's maps at half the side, and the patches of one of its convolutions.
        Vision::Resnet(resnet) => pixels / 4 * resnet.width * (2 + 9),
    };
    4 * (image + 6 * pixels) as u64
}
