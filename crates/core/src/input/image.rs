//! Images as Pillow holds them: PNG, JPEG, WebP and GIF (first frame) files become pixels in the mode of the file,
//! because Pillow's resize depends on the mode. Sizes are checked before anything large is allocated.
//! Not here: resizing ([`super::resize`]) and what CLIP makes of an image ([`super::transform`]).

mod gif;
mod jpeg;
mod png;
mod webp;

use crate::{Error, Result};

/// What one file may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest file, in bytes.
    pub max_bytes: u64,
    /// Most pixels of the decoded image, width times height.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// 20 MiB and 50 megapixels.
    fn default() -> Self {
        Self { max_bytes: 20 << 20, max_pixels: 50_000_000 }
    }
}

/// Longest side, in pixels: no camera's image is longer, and one of 1 x 50 million would cost billions of steps to resize.
const MAX_SIDE: u64 = 1 << 18;

impl Limits {
    /// Every decoder asks here before it allocates pixels.
    fn check_size(&self, width: impl Into<u64>, height: impl Into<u64>) -> Result<()> {
        let (width, height) = (width.into(), height.into());
        if width == 0 || height == 0 {
            return Err(broken("it has no pixels"));
        }
        for (what, got) in [("width", width), ("height", height)] {
            if got > MAX_SIDE {
                return Err(Error::ImageTooLarge { what, got, limit: MAX_SIDE });
            }
        }
        let (got, limit) = (width * height, self.max_pixels);
        if got > limit {
            Err(Error::ImageTooLarge { what: "number of pixels", got, limit })
        } else {
            Ok(())
        }
    }
}

/// What a pixel is: Pillow's modes, by Pillow's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Pillow's `1`: black or white, a byte of 0 or 255.
    Bilevel,
    /// Luminance.
    L,
    /// Luminance and alpha.
    La,
    /// Pillow's `I;16`: luminance of 16 bits, low byte first.
    I16,
    /// An index into [`Image::palette`].
    P,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
    /// Cyan, magenta, yellow, black; 0 is no ink.
    Cmyk,
}

impl Mode {
    /// Bytes of one pixel.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bilevel | Self::L | Self::P => 1,
            Self::La | Self::I16 => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
        }
    }
}

/// A decoded image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// In pixels, at least 1.
    pub width: usize,
    /// In pixels, at least 1.
    pub height: usize,
    /// What a pixel is.
    pub mode: Mode,
    /// (`height`, `width`, bytes of the mode), row-major.
    pub data: Vec<u8>,
    /// RGB of each index; empty unless the mode is [`Mode::P`].
    pub palette: Vec<[u8; 3]>,
}

impl Image {
    /// An image without a palette.
    /// # Panics
    /// If `data` does not fit the size and the mode.
    pub fn new(width: usize, height: usize, mode: Mode, data: Vec<u8>) -> Self {
        assert_eq!(data.len(), width * height * mode.bytes());
        Self { width, height, mode, data, palette: Vec::new() }
    }

    /// As RGB, the way of Pillow's `convert("RGB")`: alpha is dropped, ink is subtracted from white.
    #[must_use]
    pub fn to_rgb(&self) -> Self {
        let gray = |value: u8| [value; 3];
        let rgb: Vec<u8> = match self.mode {
            Mode::Rgb => self.data.clone(),
            Mode::Bilevel | Mode::L => self.data.iter().flat_map(|&l| gray(l)).collect(),
            Mode::La => self.pixels::<2>().flat_map(|&[l, _]| gray(l)).collect(),
            // Pillow clips 16 bits to 8 instead of scaling them.
            Mode::I16 => self
                .pixels::<2>()
                .flat_map(|&[low, high]| gray(if high > 0 { 255 } else { low }))
                .collect(),
            Mode::P => {
                let color = |&i: &u8| self.palette.get(usize::from(i)).copied().unwrap_or_default();
                self.data.iter().flat_map(color).collect()
            }
            Mode::Rgba => self.pixels::<4>().flat_map(|&[r, g, b, _]| [r, g, b]).collect(),
            Mode::Cmyk => self
                .pixels::<4>()
                .flat_map(|&[c, m, y, k]| {
                    [c, m, y].map(|ink| (255 - k).saturating_sub(mul_div_255(ink, 255 - k)))
                })
                .collect(),
        };
        Self::new(self.width, self.height, Mode::Rgb, rgb)
    }

    /// The rectangle at (`left`, `top`) of `width` x `height` pixels.
    /// # Panics
    /// If it is not inside the image.
    #[must_use]
    pub fn crop(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        let (stride, bytes) = (self.width * self.mode.bytes(), self.mode.bytes());
        let rows = self.data.chunks_exact(stride).skip(top).take(height);
        let data =
            rows.flat_map(|row| &row[left * bytes..(left + width) * bytes]).copied().collect();
        Self { palette: self.palette.clone(), ..Self::new(width, height, self.mode, data) }
    }

    fn pixels<const N: usize>(&self) -> impl Iterator<Item = &[u8; N]> {
        self.data.as_chunks().0.iter()
    }
}

/// Pillow's `MULDIV255`: a·b/255, rounded.
pub(super) fn mul_div_255(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// Decodes one image file; its kind is read from its first bytes.
/// # Errors
/// [`Error::ImageFormat`] if it is none of the four kinds, [`Error::ImageTooLarge`] if it breaks `limits`,
/// [`Error::Image`] if it is damaged or uses what the format's decoder does not know.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Image> {
    let (got, limit) = (bytes.len() as u64, limits.max_bytes);
    if got > limit {
        return Err(Error::ImageTooLarge { what: "size in bytes", got, limit });
    }
    let decoder = match bytes {
        [0x89, b'P', b'N', b'G', ..] => png::decode,
        [0xff, 0xd8, 0xff, ..] => jpeg::decode,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp::decode,
        [b'G', b'I', b'F', b'8', ..] => gif::decode,
        _ => return Err(Error::ImageFormat),
    };
    // A decoder's own bug must not take the process down; wasm32 cannot catch, there it ends the instance.
    std::panic::catch_unwind(|| decoder(bytes, limits))
        .unwrap_or_else(|_| Err(broken("the decoder failed")))
}

/// A damaged or unsupported file.
fn broken(why: impl std::fmt::Display) -> Error {
    Error::Image { why: why.to_string() }
}

/// The fixed pattern whose logits a bundle carries: three gradients under a check of eight fields per side.
/// Integer arithmetic only, so it is the same on every machine.
/// # Panics
/// If `size` is 0.
pub fn probe(size: usize) -> Image {
    let mut data = Vec::with_capacity(size * size * 3);
    for y in 0..size {
        for x in 0..size {
            let (across, down) = (x * 255 / size, y * 255 / size);
            let light = (x * 8 / size + y * 8 / size).is_multiple_of(2);
            let rgb = [across, down, 255 - usize::midpoint(across, down)];
            data.extend(rgb.map(|value| if light { value } else { value / 2 } as u8));
        }
    }
    Image::new(size, size, Mode::Rgb, data)
}
