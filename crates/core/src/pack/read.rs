//! A pack as a source of weights. Its towers come into memory as the door brings them (mapped files, or one allocation into
//! which shards are streamed); weights then point into them. Rows of the token table are kept one by one.

use super::format::{ALIGN, Format, KEY_VALUE, Manifest, Shard, TOKEN_IDS, Tensor, Tower};
use crate::kernels::{self, gemm::Packed};
use crate::model::clip::hex;
use crate::model::weights::{TOKEN_TABLE, Weights, to_f32};
use crate::ops::Matrix;
use crate::{Error, Result};
use bytes::Bytes;
use safetensors::Dtype;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Rows of the token table that are kept between calls; one call may have more.
const KEPT_ROWS: usize = 4096;

/// An opened pack.
pub struct Pack {
    manifest: Manifest,
    sha256: String,
    index: HashMap<String, usize>,
    towers: [OnceLock<Space>; 3],
    tokens: Mutex<Tokens>,
}

/// What is known of the token table where its tower is not in memory, and what was asked for in vain.
#[derive(Default)]
struct Tokens {
    rows: BTreeMap<usize, Vec<f32>>,
    wanted: Wanted,
}

/// What calls could not do without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Towers of the pack that are not in memory.
    pub towers: BTreeSet<Tower>,
    /// Rows of the token table.
    pub rows: BTreeSet<usize>,
}

/// A tower in memory: its shards, or all of it in one.
struct Space {
    /// Bytes of every part but the last.
    each: u64,
    parts: Vec<Bytes>,
}

impl Space {
    /// `len` bytes from `start` on: a view, or a copy where they lie in two shards.
    fn bytes(&self, start: u64, len: u64) -> Result<Bytes> {
        let (part, at) = ((start / self.each) as usize, (start % self.each) as usize);
        let (whole, len) = (&self.parts[part], len as usize);
        if at + len <= whole.len() {
            return Ok(whole.slice(at..at + len));
        }
        let mut copy = Aligned::new(len)?;
        let (mut part, mut at, mut filled) = (part, at, 0);
        while filled < len {
            let more = &self.parts[part][at..];
            let n = more.len().min(len - filled);
            copy.as_mut_slice()[filled..filled + n].copy_from_slice(&more[..n]);
            (part, at, filled) = (part + 1, 0, filled + n);
        }
        Ok(copy.into_bytes())
    }
}

/// Bytes that begin at a multiple of [`ALIGN`], to be written in place.
pub struct Aligned {
    memory: Vec<u8>,
    range: Range<usize>,
}

impl Aligned {
    /// # Errors
    /// [`Error::Memory`] if the host does not give so much.
    pub fn new(len: usize) -> Result<Self> {
        let room = len + ALIGN as usize;
        let memory = kernels::unwritten(room).ok_or(Error::Memory { bytes: room as u64 })?;
        let start =
            memory.as_ptr().addr().next_multiple_of(ALIGN as usize) - memory.as_ptr().addr();
        Ok(Self { memory, range: start..start + len })
    }

    /// A copy of `bytes`.
    /// # Errors
    /// As [`Self::new`].
    pub fn copy(bytes: &[u8]) -> Result<Self> {
        let mut copy = Self::new(bytes.len())?;
        copy.as_mut_slice().copy_from_slice(bytes);
        Ok(copy)
    }

    /// The bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.range.clone()]
    }

    /// The same bytes at the same place, shared from now on.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from(self.memory).slice(self.range)
    }
}

impl Pack {
    /// Reads a manifest; nothing else is in memory yet.
    /// # Errors
    /// [`Error::Pack`].
    pub fn open(manifest_json: &str) -> Result<Self> {
        let manifest = Manifest::from_json(manifest_json)?;
        let index = manifest.tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        let sha256 = hex(&Sha256::digest(manifest_json));
        Ok(Self { manifest, sha256, index, towers: Default::default(), tokens: Mutex::default() })
    }

    /// What the pack says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The pack's name: SHA-256 of its manifest, in hexadecimal.
    pub fn name(&self) -> &str {
        &self.sha256
    }

    /// Takes a tower: all of it in one part, or its shards. They are trusted to be what the manifest names.
    /// # Errors
    /// [`Error::MissingTower`] if the pack holds none of it, [`Error::Hash`] if a length is another.
    pub fn add_tower(&self, tower: Tower, parts: Vec<Bytes>) -> Result<()> {
        let total = self.manifest.towers.of(tower);
        let shards: Vec<_> = self.manifest.shards_of(tower).collect();
        if shards.is_empty() {
            return Err(missing(tower));
        }
        let each = if parts.len() == 1 { total } else { self.manifest.shard_bytes(tower) };
        let lengths: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
        let shard_lengths: Vec<u64> = shards.iter().map(|shard| shard.bytes).collect();
        if lengths != [total] && lengths != shard_lengths {
            let (expected, got) = (format!("{shard_lengths:?} bytes"), format!("{lengths:?}"));
            return Err(Error::Hash { name: tower.name().into(), expected, got });
        }
        self.towers[tower as usize].get_or_init(|| Space { each, parts });
        self.locked().wanted.towers.remove(&tower);
        Ok(())
    }

    /// Takes every shard, in the order of the manifest, and proves each.
    /// # Errors
    /// [`Error::Hash`], [`Error::Option`] if there are more or fewer.
    pub fn add_shards(&self, shards: Vec<Bytes>) -> Result<()> {
        let listed = &self.manifest.shards;
        if shards.len() != listed.len() {
            let (expected, got) = (listed.len().to_string(), shards.len().to_string());
            return Err(Error::Option { name: "shards".into(), expected, got });
        }
        #[cfg(feature = "parallel")]
        {
            use rayon::prelude::*;
            listed.par_iter().zip(&shards).try_for_each(|(shard, bytes)| verify(shard, bytes))?;
        }
        #[cfg(not(feature = "parallel"))]
        listed.iter().zip(&shards).try_for_each(|(shard, bytes)| verify(shard, bytes))?;
        let mut shards = shards.into_iter();
        for tower in Tower::ALL {
            let count = self.manifest.shards_of(tower).count();
            if count > 0 {
                self.add_tower(tower, shards.by_ref().take(count).collect())?;
            }
        }
        Ok(())
    }

    /// What was asked for in vain since it was last brought.
    pub fn wanted(&self) -> Wanted {
        self.locked().wanted.clone()
    }

    /// The shards of the token table that hold these rows.
    pub fn token_shards(&self, rows: &BTreeSet<usize>) -> Vec<&str> {
        let row = self.row_bytes();
        let each = self.manifest.shard_bytes(Tower::Tokens);
        let shards = crate::set_of(rows.iter().map(|&i| (i as u64 * row / each) as usize));
        let names: Vec<_> = self.manifest.shards_of(Tower::Tokens).collect();
        shards.into_iter().map(|i| names[i].name.as_str()).collect()
    }

    /// Keeps the wanted rows of one shard of the token table, which is trusted as towers are.
    /// # Errors
    /// [`Error::MissingTower`] if there is no such shard, [`Error::Hash`] if it has another length.
    pub fn add_tokens(&self, shard: &str, bytes: &[u8]) -> Result<()> {
        let place = self.manifest.place_of(Tower::Tokens, shard)?;
        if place.len() != bytes.len() {
            let (expected, got) = (format!("{} bytes", place.len()), bytes.len().to_string());
            return Err(Error::Hash { name: shard.into(), expected, got });
        }
        let row = self.row_bytes();
        let first = place.start / row as usize;
        let table = self.tensor(TOKEN_TABLE)?;
        let mut tokens = self.locked();
        let here = first..first + bytes.len() / row as usize;
        let wanted: Vec<usize> = tokens.wanted.rows.range(here).copied().collect();
        for at in wanted {
            let values = &bytes[(at - first) * row as usize..][..row as usize];
            tokens.rows.insert(at, to_f32(TOKEN_TABLE, dtype(table), values)?);
            tokens.wanted.rows.remove(&at);
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        let at = self.index.get(name).ok_or_else(|| Error::MissingTensor { name: name.into() })?;
        Ok(&self.manifest.tensors[*at])
    }

    /// Bytes of a row of the token table.
    fn row_bytes(&self) -> u64 {
        self.manifest.tensor(TOKEN_TABLE).map_or(1, |table| table.bytes / table.shape[0] as u64)
    }

    fn space(&self, tower: Tower) -> Result<&Space> {
        self.towers[tower as usize].get().ok_or_else(|| {
            if self.manifest.shards_of(tower).next().is_some() {
                self.locked().wanted.towers.insert(tower);
            }
            missing(tower)
        })
    }

    /// The tensor, of this shape.
    fn expect(&self, name: &str, expected: &[usize]) -> Result<&Tensor> {
        let tensor = self.tensor(name)?;
        if tensor.shape == expected {
            Ok(tensor)
        } else {
            let (expected, got) = (expected.to_vec(), tensor.shape.clone());
            Err(Error::Shape { name: name.into(), expected, got })
        }
    }

    /// The layer, or those of its outputs.
    fn panels(&self, tensor: &Tensor, rows: Range<usize>) -> Result<Packed> {
        let [outputs, inputs] = tensor.linear.expect("only linear layers are asked for");
        let space = self.space(tensor.tower)?;
        let bytes = space.bytes(tensor.offset, tensor.bytes)?;
        let scales = match tensor.scales {
            Some(at) => {
                let bytes = space.bytes(at, tensor.scales_bytes())?;
                Some(to_f32(&tensor.name, Dtype::F32, &bytes)?)
            }
            None => None,
        };
        let named =
            |error: Error| Error::Pack { why: format!("tensor `{}`: {error}", tensor.name) };
        let format = tensor.format.gemm().expect("linear layers have a format of the GEMM");
        let planes = usize::from(tensor.planes.unwrap_or(1));
        let packed =
            Packed::from_portable(format, planes, inputs, outputs, bytes, scales).map_err(named)?;
        Ok(if rows == (0..outputs) { packed } else { packed.outputs(rows) })
    }
}

impl Weights for Pack {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        if name == "logit_scale" {
            return Some(vec![]);
        }
        Some(self.tensor(name).ok()?.shape.clone())
    }

    fn get(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>> {
        if name == "logit_scale" {
            return Ok(vec![self.manifest.logit_scale]);
        }
        let tensor = self.expect(name, expected)?;
        match tensor.linear {
            None => to_f32(
                name,
                dtype(tensor),
                &self.space(tensor.tower)?.bytes(tensor.offset, tensor.bytes)?,
            ),
            Some([outputs, _]) => {
                let values = self.panels(tensor, 0..outputs)?.decode();
                Ok(if is_projection(name) { transposed(&values, outputs) } else { values })
            }
        }
    }

    fn matrix(&self, name: &str, expected: &[usize], rows: Range<usize>) -> Result<Matrix> {
        Ok(Matrix::Packed(self.panels(self.expect(name, expected)?, rows)?))
    }

    fn projection(&self, name: &str, inputs: usize, outputs: usize) -> Result<Matrix> {
        Ok(Matrix::Packed(self.panels(self.expect(name, &[inputs, outputs])?, 0..outputs)?))
    }

    fn stacked(&self, names: [&str; 2], [outputs, inputs]: [usize; 2]) -> Result<Matrix> {
        assert_eq!(
            names[0].replace("k_proj", "v_proj"),
            names[1],
            "only keys and values are stacked"
        );
        self.matrix(KEY_VALUE, &[2 * outputs, inputs], 0..2 * outputs)
    }

    fn convolution(&self, conv: &str, bn: &str, shape: [usize; 3]) -> Result<(Matrix, Vec<f32>)> {
        let [out, inputs, kernel] = shape;
        let weight =
            self.matrix(&format!("{conv}.weight"), &[out, inputs, kernel, kernel], 0..out)?;
        Ok((weight, self.get(&format!("{bn}.bias"), &[out])?))
    }

    fn token_ids(&self) -> Result<Option<Vec<u32>>> {
        let Ok(ids) = self.tensor(TOKEN_IDS) else { return Ok(None) };
        let bytes = self.space(ids.tower)?.bytes(ids.offset, ids.bytes)?;
        Ok(Some(bytes.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id)).collect()))
    }

    fn token_rows(&self, rows: &BTreeSet<usize>, width: usize) -> Result<Vec<f32>> {
        let table = self.tensor(TOKEN_TABLE)?;
        let row = self.row_bytes();
        if let Some(space) = self.towers[Tower::Tokens as usize].get() {
            let values = rows.iter().map(|&i| {
                to_f32(TOKEN_TABLE, dtype(table), &space.bytes(table.offset + i as u64 * row, row)?)
            });
            return Ok(values.collect::<Result<Vec<_>>>()?.concat());
        }
        let mut tokens = self.locked();
        let lacking: Vec<usize> =
            rows.iter().copied().filter(|row| !tokens.rows.contains_key(row)).collect();
        if lacking.is_empty() {
            return Ok(rows.iter().flat_map(|row| &tokens.rows[row]).copied().collect());
        }
        if self.manifest.shards_of(Tower::Tokens).next().is_some() {
            if tokens.rows.len() + lacking.len() > KEPT_ROWS {
                tokens.rows.retain(|row, _| rows.contains(row));
            }
            tokens.wanted.rows.extend(lacking);
        }
        debug_assert_eq!(table.shape.get(1), Some(&width));
        Err(missing(Tower::Tokens))
    }

    fn pack(&self) -> Option<(u8, &str)> {
        Some((self.manifest.bits, &self.sha256))
    }

    fn sha256(&self) -> String {
        self.manifest.source_sha256.clone()
    }
}

/// Proves that `bytes` are what the manifest names.
/// # Errors
/// [`Error::Hash`].
fn verify(shard: &Shard, bytes: &[u8]) -> Result<()> {
    let wrong = |expected: String, got: String| {
        Err(Error::Hash { name: shard.name.clone(), expected, got })
    };
    if bytes.len() as u64 != shard.bytes {
        return wrong(format!("{} bytes", shard.bytes), bytes.len().to_string());
    }
    let got = hex(&Sha256::digest(bytes));
    if got == shard.sha256 { Ok(()) } else { wrong(format!("SHA-256 {}", shard.sha256), got) }
}

/// Whether CLIP stores this tensor for x·P.
pub(super) fn is_projection(name: &str) -> bool {
    name == "visual.proj" || name == "text_projection"
}

/// The transpose of a row-major matrix with so many rows.
pub(super) fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let cols = values.len() / rows;
    (0..values.len()).map(|i| values[i % rows * cols + i / rows]).collect()
}

fn dtype(tensor: &Tensor) -> Dtype {
    if tensor.format == Format::F16 { Dtype::F16 } else { Dtype::F32 }
}

fn missing(tower: Tower) -> Error {
    Error::MissingTower { tower: tower.name() }
}
