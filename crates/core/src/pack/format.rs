//! What a pack says of itself: the JSON of its manifest, and where each tensor lies (docs/pack-format.md).
//! The places are a function of the list of tensors: the writer computes them, the reader computes them again and compares.

use crate::kernels::gemm;
use crate::model::weights::TOKEN_TABLE;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;

/// The value of `format`.
pub const FORMAT: &str = "cocoop-pack";
/// The version that is written and read.
pub const VERSION: u64 = 1;
/// The longest manifest that is read, bytes.
pub const MAX_MANIFEST: usize = 4 << 20;
/// Bytes of a shard: a value of Workers KV and a static asset hold 25 MiB.
pub const SHARD_BYTES: u64 = 24 << 20;
/// Bytes of a shard of the token table, at most: whoever needs a row reads this much.
pub const TOKEN_SHARD_BYTES: u64 = 256 << 10;
/// Everything in a tower begins at a multiple of this.
pub const ALIGN: u64 = 64;
/// Keys and values of a ResNet's attention pool, one below the other.
pub const KEY_VALUE: &str = "visual.attnpool.kv_proj.weight";
/// The ids of a sparse token table's rows.
pub const TOKEN_IDS: &str = "token_embedding.ids";

/// Outputs of a panel.
const PANEL: u64 = 8;
/// The longest side of a linear layer.
const MAX_SIDE: usize = 1 << 20;

/// An address space of the pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tower {
    /// The image tower.
    Vision,
    /// The text transformer, without the token table.
    Text,
    /// The token table.
    Tokens,
}

impl Tower {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 3] = [Self::Vision, Self::Text, Self::Tokens];

    /// The word in names and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Text => "text",
            Self::Tokens => "tokens",
        }
    }

    /// The tower that this word names.
    /// # Errors
    /// [`Error::Option`].
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|tower| tower.name() == name).ok_or_else(|| Error::Option {
            name: "tower".into(),
            expected: "vision, text or tokens".into(),
            got: name.into(),
        })
    }
}

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Signed bytes with a scale for each output.
    Q8,
    /// 4-bit numbers in groups of 32, with a scale for each output and a ratio for each group.
    Q4,
    /// Token ids.
    U32,
}

impl Format {
    /// As the GEMM calls it.
    pub fn gemm(self) -> Option<gemm::Format> {
        match self {
            Self::F32 => Some(gemm::Format::F32),
            Self::F16 => Some(gemm::Format::F16),
            Self::Q8 => Some(gemm::Format::Q8),
            Self::Q4 => Some(gemm::Format::Q4),
            Self::U32 => None,
        }
    }
}

/// A tensor and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// `OpenAI`'s name.
    pub name: String,
    /// `OpenAI`'s shape.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub tower: Tower,
    /// How it is stored.
    pub format: Format,
    /// (outputs, inputs) of a frozen linear layer, whose weight is stored in panels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear: Option<[usize; 2]>,
    /// 7-bit planes of the activations, for quantised layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planes: Option<u8>,
    /// Where its values begin in the tower.
    pub offset: u64,
    /// How long they are.
    pub bytes: u64,
    /// Where the scales of a quantised layer begin: one f32 for each output, padded to whole panels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<u64>,
}

impl Tensor {
    /// Bytes of the scales.
    pub fn scales_bytes(&self) -> u64 {
        match (self.scales, self.linear) {
            (Some(_), Some([outputs, _])) => padded(outputs as u64, PANEL) * 4,
            _ => 0,
        }
    }
}

/// A part of a tower: a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// The file's name, `{tower}-{i}.bin`.
    pub name: String,
    /// Whose part it is.
    pub tower: Tower,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// Bytes of each tower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Of the image tower.
    pub vision: u64,
    /// Of the text transformer.
    pub text: u64,
    /// Of the token table.
    pub tokens: u64,
}

impl Sizes {
    /// Of one tower.
    pub fn of(&self, tower: Tower) -> u64 {
        match tower {
            Tower::Vision => self.vision,
            Tower::Text => self.text,
            Tower::Tokens => self.tokens,
        }
    }

    fn of_mut(&mut self, tower: Tower) -> &mut u64 {
        match tower {
            Tower::Vision => &mut self.vision,
            Tower::Text => &mut self.text,
            Tower::Tokens => &mut self.tokens,
        }
    }
}

/// docs/pack-format.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u64,
    /// A name for people.
    pub id: String,
    /// What the linear layers have: 32, 16, 8 or 4.
    pub bits: u8,
    /// SHA-256 of the weights that the pack was made of.
    pub source_sha256: String,
    /// The text of the model's `config.json`, or empty.
    pub config: String,
    /// The log of the logits' scale.
    pub logit_scale: f32,
    /// Bytes of each tower.
    pub towers: Sizes,
    /// Every tensor but `logit_scale`.
    pub tensors: Vec<Tensor>,
    /// The files, of the towers that are held.
    pub shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
}

impl Manifest {
    /// JSON in one line; a function of the content.
    /// # Panics
    /// Never: the manifest is plain data.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and lists are JSON")
    }

    /// Reads and checks a manifest.
    /// # Errors
    /// [`Error::Pack`] names what is wrong.
    pub fn from_json(json: &str) -> Result<Self> {
        if json.len() > MAX_MANIFEST {
            return bad(format!("a manifest of {} bytes, the limit is {MAX_MANIFEST}", json.len()));
        }
        let not_json = |error: serde_json::Error| Error::Pack { why: format!("manifest: {error}") };
        // Format and version first: another version's fields are not our business.
        let head: Head = serde_json::from_str(json).map_err(not_json)?;
        if head.format != FORMAT || head.version != VERSION {
            let Head { format, version } = head;
            return bad(format!("expected {FORMAT} {VERSION}, got {format:?} {version}"));
        }
        let manifest: Self = serde_json::from_str(json).map_err(not_json)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        if ![32, 16, 8, 4].contains(&self.bits) {
            return bad(format!("bits: expected 32, 16, 8 or 4, got {}", self.bits));
        }
        check_hash("source_sha256", &self.source_sha256)?;
        let mut names = BTreeSet::new();
        if let Some(twice) = self.tensors.iter().find(|tensor| !names.insert(&tensor.name)) {
            return bad(format!("tensor `{}` stands there twice", twice.name));
        }
        let mut placed = self.tensors.clone();
        let towers = place(&mut placed)?;
        for (tensor, placed) in self.tensors.iter().zip(&placed) {
            if tensor != placed {
                let place =
                    |t: &Tensor| format!("{} + {}, scales {:?}", t.offset, t.bytes, t.scales);
                let (expected, got) = (place(placed), place(tensor));
                return bad(format!("tensor `{}`: expected at {expected}, got {got}", tensor.name));
            }
        }
        if towers != self.towers {
            return bad(format!("towers: expected {towers:?}, got {:?}", self.towers));
        }
        let listed: Vec<_> =
            self.shards.iter().map(|s| (s.name.clone(), s.tower, s.bytes)).collect();
        let held = Tower::ALL.into_iter().filter(|&tower| self.shards_of(tower).next().is_some());
        let expected: Vec<_> = held.flat_map(|tower| self.cut(tower)).collect();
        if let Some(at) =
            (0..listed.len().max(expected.len())).find(|&i| listed.get(i) != expected.get(i))
        {
            let (expected, got) = (expected.get(at), listed.get(at));
            return bad(format!("shard {at}: expected {expected:?}, got {got:?}"));
        }
        self.shards.iter().try_for_each(|shard| check_hash(&shard.name, &shard.sha256))
    }

    /// The tensor `name`.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The shards of a tower.
    pub fn shards_of(&self, tower: Tower) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter(move |shard| shard.tower == tower)
    }

    /// Where a shard lies in its tower.
    /// # Errors
    /// [`Error::MissingTower`] if the tower has no such shard.
    pub fn place_of(&self, tower: Tower, shard: &str) -> Result<Range<usize>> {
        let (i, found) = (self.shards_of(tower).enumerate())
            .find(|(_, found)| found.name == shard)
            .ok_or(Error::MissingTower { tower: tower.name() })?;
        let start = i * self.shard_bytes(tower) as usize;
        Ok(start..start + found.bytes as usize)
    }

    /// Bytes of all shards of a tower but the last.
    pub fn shard_bytes(&self, tower: Tower) -> u64 {
        let row = self.tensor(TOKEN_TABLE).map_or(0, |table| {
            table.bytes / table.shape.first().map_or(1, |&rows| rows.max(1) as u64)
        });
        match tower {
            // Whole rows, so that each is in one shard.
            Tower::Tokens if row > 0 => (TOKEN_SHARD_BYTES / row).max(1) * row,
            _ => SHARD_BYTES,
        }
    }

    /// (name, tower, bytes) of the shards that a tower is cut into.
    pub fn cut(&self, tower: Tower) -> impl Iterator<Item = (String, Tower, u64)> + use<> {
        let (total, each) = (self.towers.of(tower), self.shard_bytes(tower));
        (0..total.div_ceil(each))
            .map(move |i| (format!("{}-{i}.bin", tower.name()), tower, each.min(total - i * each)))
    }
}

/// Sets the places of `tensors`, which have name, shape, tower, format and linear; the sizes of the towers.
/// # Errors
/// [`Error::Pack`] if a tensor is too large, or its format does not fit its kind.
pub fn place(tensors: &mut [Tensor]) -> Result<Sizes> {
    let mut sizes = Sizes::default();
    for tensor in tensors {
        let end = sizes.of_mut(tensor.tower);
        let too_large = || Error::Pack { why: format!("tensor `{}` is too large", tensor.name) };
        let bytes = value_bytes(tensor).ok_or_else(too_large)?;
        let quantised = matches!(tensor.format, Format::Q8 | Format::Q4);
        let elements = tensor.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
        let fits = match tensor.linear {
            Some([outputs, inputs]) => {
                let planes_fit = if quantised {
                    matches!(tensor.planes, Some(1 | 2))
                } else {
                    tensor.planes.is_none()
                };
                outputs.checked_mul(inputs) == elements
                    && tensor.format != Format::U32
                    && planes_fit
            }
            None => !quantised && tensor.planes.is_none(),
        };
        let alone = (tensor.tower == Tower::Tokens) == (tensor.name == TOKEN_TABLE);
        if !fits || !alone || bytes == 0 {
            return bad(format!(
                "tensor `{}`: its format does not fit its shape or tower",
                tensor.name
            ));
        }
        tensor.offset = padded(*end, ALIGN);
        tensor.bytes = bytes;
        *end = tensor.offset + bytes;
        tensor.scales = quantised.then(|| padded(*end, ALIGN));
        if let Some(scales) = tensor.scales {
            *end = scales + tensor.scales_bytes();
        }
        if *end > u64::from(u32::MAX) * 16 {
            return Err(too_large());
        }
    }
    Ok(sizes)
}

/// Bytes of a tensor's values, or nothing if they cannot be counted.
fn value_bytes(tensor: &Tensor) -> Option<u64> {
    match tensor.linear {
        Some([outputs, inputs]) if outputs.max(inputs) <= MAX_SIDE => {
            let panel = tensor.format.gemm()?.panel_bytes(inputs) as u64;
            (outputs as u64).div_ceil(PANEL).checked_mul(panel)
        }
        Some(_) => None,
        None => {
            let width = if tensor.format == Format::F16 { 2 } else { 4 };
            tensor.shape.iter().try_fold(width, |n: u64, &side| n.checked_mul(side as u64))
        }
    }
}

fn padded(x: u64, to: u64) -> u64 {
    x.div_ceil(to) * to
}

fn check_hash(what: &str, hash: &str) -> Result<()> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if hash.len() == 64 && hash.bytes().all(digit) {
        Ok(())
    } else {
        bad(format!("{what}: expected 64 hexadecimal digits, got {hash:?}"))
    }
}

fn bad<T>(why: String) -> Result<T> {
    Err(Error::Pack { why })
}
