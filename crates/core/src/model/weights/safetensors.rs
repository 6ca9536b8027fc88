//! safetensors files, one or many: every tensor is a slice of its file's bytes.

use super::tensor::Tensor;
use crate::{Error, Result};
use bytes::Bytes;
use safetensors::SafeTensors;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Reads a safetensors header: every offset inside the file, no overlap, no hole.
/// # Errors
/// [`Error::Safetensors`].
pub fn read_header(bytes: &[u8]) -> Result<SafeTensors<'_>> {
    SafeTensors::deserialize(bytes).map_err(|error| Error::Safetensors { why: error.to_string() })
}

/// The tensors of one file.
/// # Errors
/// [`Error::Safetensors`] if the file is truncated or its header lies.
pub fn read(file: &Bytes) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for (name, view) in read_header(file)?.iter() {
        let tensor = Tensor::new(view.dtype(), view.shape().to_vec(), file.slice_ref(view.data()));
        tensors.insert(name.to_string(), tensor);
    }
    Ok(tensors)
}

/// `model.safetensors.index.json`: which file holds each tensor.
#[derive(Deserialize)]
pub struct Index {
    /// File name by tensor.
    pub weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads the text of an index.
    /// # Errors
    /// [`Error::Model`].
    pub fn read(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json)
            .map_err(|error| Error::Model { why: format!("index of shards: {error}") })
    }
}
