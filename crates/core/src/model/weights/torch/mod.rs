//! `PyTorch`'s files, read as data: the archives of `torch.save` (a `state_dict`, or a checkpoint that holds one) and of
//! `torch.jit.save` (`OpenAI`'s own .pt). Nothing in them is executed; tensors are slices of the file.

mod pickle;
#[cfg(all(test, not(target_family = "wasm")))] // they read files
mod tests;
pub mod write;
mod zip;

use super::tensor::Tensor;
use crate::{Error, Result};
use bytes::Bytes;
use std::collections::BTreeMap;

pub use zip::is_zip;

/// How files of PyTorch before 1.6 begin: a pickle of a magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// What such a file holds.
pub struct Torch {
    /// By `state_dict` names.
    pub tensors: BTreeMap<String, Tensor>,
    /// Whether it is TorchScript, code and all, as `OpenAI` published its models.
    pub script: bool,
    /// The epoch that a training checkpoint says it is of.
    pub epoch: Option<i64>,
}

/// Whether `file` is what [`read`] reads, or would be after it was saved again.
pub fn is_torch(file: &[u8]) -> bool {
    is_zip(file) || file.starts_with(LEGACY)
}

/// Reads the directory and the pickle of an archive.
/// # Errors
/// [`Error::Model`] if it is damaged, or holds anything but tensors in dictionaries and modules.
pub fn read(file: &Bytes) -> Result<Torch> {
    parse(file).map_err(|why| Error::Model { why: format!("PyTorch file: {why}") })
}

/// As [`read`], of a training checkpoint.
/// # Errors
/// [`Error::Checkpoint`].
pub fn checkpoint(file: &Bytes) -> Result<Torch> {
    parse(file).map_err(|why| Error::Checkpoint { why })
}

fn parse(file: &Bytes) -> std::result::Result<Torch, String> {
    if file.starts_with(LEGACY) {
        return Err("written by PyTorch before 1.6: torch.load it and torch.save it again".into());
    }
    let entries = zip::entries(file)?;
    let mut pickles = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let root = pickles.find(|root| root.is_empty() || root.find('/') == Some(root.len() - 1));
    let root = root.ok_or("no data.pkl in the archive")?;
    let entry = |name: &str| match entries.get(&format!("{root}{name}")) {
        Some(Some(bytes)) => Ok(bytes),
        Some(None) => Err(format!("the entry {name} is compressed, which PyTorch never does")),
        None => Err(format!("there is no entry {name}")),
    };
    if entry("byteorder").is_ok_and(|order| order.as_ref() == b"big") {
        return Err("big-endian values".into());
    }
    let mut tensors = BTreeMap::new();
    let pickle::Contents { tensors: views, epoch } =
        pickle::contents(entry("data.pkl")?).map_err(|why| format!("data.pkl: {why}"))?;
    for (name, view) in views {
        let pickle::Storage { dtype, key, numel } = view.storage;
        let tensor = || {
            let entry = entry(&format!("data/{key}"))?;
            let len = numel.checked_mul(dtype.bitsize() / 8).filter(|&len| len <= entry.len());
            let len = len.ok_or("its storage is shorter than it says")?;
            Tensor::view(dtype, view.shape, view.strides, view.offset, &entry.slice(..len))
        };
        let tensor = tensor().map_err(|why| format!("tensor `{name}`: {why}"))?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(format!("tensor `{name}` is there twice"));
        }
    }
    if tensors.is_empty() {
        return Err("no tensors".into());
    }
    let script = entries.keys().any(|name| {
        name.strip_prefix(root)
            .is_some_and(|name| name == "constants.pkl" || name.starts_with("code/"))
    });
    Ok(Torch { tensors, script, epoch })
}
