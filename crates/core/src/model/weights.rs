//! Where a model's tensors come from, under `OpenAI`'s names whatever the file calls them.
//! Hugging Face's `CLIPModel` names are mapped (reference: its conversion script): projections are transposed, query,
//! key and value are stacked. A token table may be sparse: `token_embedding.ids` lists the rows that are there, all
//! others are zero (rows that no training ever touched).

use crate::ops::Matrix;
use crate::{Error, Result};
use bytes::Bytes;
use half::{bf16, f16};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::ops::Range;

/// The token embeddings' name.
pub const TOKEN_TABLE: &str = "token_embedding.weight";

/// A model's tensors by `OpenAI`'s state-dict names, as f32.
pub trait Weights: Send + Sync {
    /// The shape of tensor `name`, or nothing if there is no such tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The values of tensor `name`, row-major.
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], [`Error::Dtype`], [`Error::NotFinite`].
    fn get(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>>;

    /// Rows `rows` of tensor `name`, of shape `expected`, as a linear layer's weight: a row is an output, all that
    /// follows in the shape are its inputs.
    /// # Errors
    /// As [`Self::get`].
    fn matrix(&self, name: &str, expected: &[usize], rows: Range<usize>) -> Result<Matrix> {
        let mut values = self.get(name, expected)?;
        let inputs: usize = expected[1..].iter().product();
        values.truncate(rows.end * inputs);
        values.drain(..rows.start * inputs);
        Ok(Matrix::F32 { values, outputs: rows.len() })
    }

    /// Projection `name`, stored (`inputs`, `outputs`) for x·P, as a linear layer's weight.
    /// # Errors
    /// As [`Self::get`].
    fn projection(&self, name: &str, inputs: usize, outputs: usize) -> Result<Matrix> {
        let columns = self.get(name, &[inputs, outputs])?;
        let values =
            (0..inputs * outputs).map(|i| columns[i % inputs * outputs + i / inputs]).collect();
        Ok(Matrix::F32 { values, outputs })
    }

    /// Rows `rows` of the token table, (rows, `width`), in ascending order.
    /// # Errors
    /// As [`Self::get`].
    fn token_rows(&self, rows: &BTreeSet<usize>, width: usize) -> Result<Vec<f32>> {
        let shape = self.shape(TOKEN_TABLE).unwrap_or_default();
        let table = self.get(TOKEN_TABLE, &[shape.first().copied().unwrap_or(0), width])?;
        Ok(rows.iter().flat_map(|row| &table[row * width..][..width]).copied().collect())
    }

    /// Bits of the linear layers and SHA-256 of the manifest, where this is a model pack.
    fn pack(&self) -> Option<(u8, &str)> {
        None
    }

    /// SHA-256 of the file or files, in hexadecimal: what a bundle names its model by. Computed when asked.
    fn sha256(&self) -> String;

    /// The ids of a sparse token table's rows, ascending; nothing if the table is whole.
    /// # Errors
    /// [`Error::Dtype`].
    fn token_ids(&self) -> Result<Option<Vec<u32>>> {
        Ok(None)
    }
}

/// The tensors of one safetensors file.
pub struct File {
    bytes: Bytes,
    header: usize,
    tensors: Metadata,
    hugging_face: bool,
}

/// How one tensor is made of those in a file.
enum Recipe {
    Same(String),
    Transposed(String),
    Stacked([String; 3]),
}

impl File {
    /// Reads the header of `bytes` and finds out whose names it uses.
    /// # Errors
    /// [`Error::Safetensors`] if the file is truncated or its header lies.
    pub fn open(bytes: Bytes) -> Result<Self> {
        let (header, tensors) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| Error::Safetensors { why: error.to_string() })?;
        let hugging_face = tensors.offset_keys().iter().any(|name| name.starts_with("text_model."));
        Ok(Self { bytes, header: header + 8, tensors, hugging_face })
    }

    /// Type, shape and bytes of the file's tensor `name`.
    fn tensor(&self, name: &str) -> Option<(Dtype, &[usize], &[u8])> {
        let info = self.tensors.info(name)?;
        let (start, end) = info.data_offsets;
        Some((info.dtype, &info.shape, &self.bytes[self.header + start..self.header + end]))
    }

    fn recipe(&self, name: &str) -> Recipe {
        if !self.hugging_face {
            return Recipe::Same(name.to_string());
        }
        match name {
            "visual.proj" => Recipe::Transposed("visual_projection.weight".into()),
            "text_projection" => Recipe::Transposed("text_projection.weight".into()),
            _ => {
                let hf = hugging_face_name(name);
                match hf.split_once("self_attn.in_proj_") {
                    Some((block, leaf)) => Recipe::Stacked(
                        ["q", "k", "v"].map(|part| format!("{block}self_attn.{part}_proj.{leaf}")),
                    ),
                    None => Recipe::Same(hf),
                }
            }
        }
    }

    fn values(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let (dtype, shape, data) =
            self.tensor(name).ok_or_else(|| Error::MissingTensor { name: name.into() })?;
        Ok((shape.to_vec(), to_f32(name, dtype, data)?))
    }
}

impl Weights for File {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let shape = |name: &str| Some(self.tensor(name)?.1.to_vec());
        match self.recipe(name) {
            Recipe::Same(name) => shape(&name),
            Recipe::Transposed(name) => shape(&name).map(|shape| shape.into_iter().rev().collect()),
            Recipe::Stacked([q, ..]) => shape(&q).map(|mut shape| {
                shape[0] *= 3;
                shape
            }),
        }
    }

    fn get(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>> {
        let check = |name: &str, expected: &[usize], got: Vec<usize>| {
            let name = name.to_string();
            if got == expected {
                Ok(())
            } else {
                Err(Error::Shape { name, expected: expected.to_vec(), got })
            }
        };
        match self.recipe(name) {
            Recipe::Same(name) => {
                let (shape, values) = self.values(&name)?;
                // logit_scale is a scalar in most files and has shape (1) in some.
                if !(expected.is_empty() && shape == [1]) {
                    check(&name, expected, shape)?;
                }
                Ok(values)
            }
            Recipe::Transposed(name) => {
                let (shape, values) = self.values(&name)?;
                let (rows, cols) = (expected[1], expected[0]);
                check(&name, &[rows, cols], shape)?;
                Ok((0..rows * cols).map(|i| values[i % rows * cols + i / rows]).collect())
            }
            Recipe::Stacked(names) => {
                let mut part = expected.to_vec();
                part[0] /= 3;
                let mut stacked = Vec::new();
                for name in names {
                    let (shape, values) = self.values(&name)?;
                    check(&name, &part, shape)?;
                    stacked.extend(values);
                }
                Ok(stacked)
            }
        }
    }

    fn token_rows(&self, rows: &BTreeSet<usize>, width: usize) -> Result<Vec<f32>> {
        let Recipe::Same(name) = self.recipe(TOKEN_TABLE) else { unreachable!("it is one tensor") };
        let (dtype, shape, data) =
            self.tensor(&name).ok_or_else(|| Error::MissingTensor { name: name.clone() })?;
        if shape.get(1) != Some(&width) || rows.last().is_some_and(|&row| row >= shape[0]) {
            let (expected, got) =
                (vec![rows.last().map_or(0, |row| row + 1), width], shape.to_vec());
            return Err(Error::Shape { name, expected, got });
        }
        let row = data.len() / shape[0].max(1);
        let values = rows.iter().map(|i| to_f32(&name, dtype, &data[i * row..][..row]));
        Ok(values.collect::<Result<Vec<_>>>()?.concat())
    }

    fn token_ids(&self) -> Result<Option<Vec<u32>>> {
        let name = if self.hugging_face {
            hugging_face_name("token_embedding.ids")
        } else {
            "token_embedding.ids".into()
        };
        let Some((dtype, _, data)) = self.tensor(&name) else { return Ok(None) };
        if dtype != Dtype::U32 {
            let (expected, got) = ("U32".into(), format!("{dtype:?}"));
            return Err(Error::Dtype { name, expected, got });
        }
        Ok(Some(data.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id)).collect()))
    }

    fn sha256(&self) -> String {
        crate::model::clip::hex(&Sha256::digest(&self.bytes))
    }
}

/// Reads a safetensors header: every offset inside the file, no overlap, no hole.
/// # Errors
/// [`Error::Safetensors`].
pub fn read_header(bytes: &[u8]) -> Result<SafeTensors<'_>> {
    SafeTensors::deserialize(bytes).map_err(|error| Error::Safetensors { why: error.to_string() })
}

/// The little-endian values of a tensor as f32.
/// # Errors
/// [`Error::Dtype`] unless `dtype` is F32, F16 or BF16; [`Error::NotFinite`].
pub fn to_f32(name: &str, dtype: Dtype, data: &[u8]) -> Result<Vec<f32>> {
    let pairs = data.as_chunks::<2>().0;
    let values: Vec<f32> = match dtype {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => pairs.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => pairs.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        other => {
            let expected = "F32, F16 or BF16".into();
            return Err(Error::Dtype { name: name.into(), expected, got: format!("{other:?}") });
        }
    };
    if values.iter().all(|x| x.is_finite()) {
        Ok(values)
    } else {
        Err(Error::NotFinite { name: name.into() })
    }
}

/// Hugging Face's name of `OpenAI`'s tensor `name`; "`attn.in_proj`_" stays as a marker for the stacked ones.
fn hugging_face_name(name: &str) -> String {
    let (tower, rest) = match name.strip_prefix("visual.") {
        Some(rest) => ("vision_model", rest),
        None => ("text_model", name),
    };
    let whole = match name {
        "logit_scale" => return name.into(),
        "visual.conv1.weight" => "embeddings.patch_embedding.weight",
        "visual.class_embedding" => "embeddings.class_embedding",
        "visual.positional_embedding" | "positional_embedding" => {
            "embeddings.position_embedding.weight"
        }
        _ => "",
    };
    if !whole.is_empty() {
        return format!("{tower}.{whole}");
    }
    let leaf = rest
        .replace("transformer.resblocks.", "encoder.layers.")
        .replace(".ln_1.", ".layer_norm1.")
        .replace(".ln_2.", ".layer_norm2.")
        .replace(".attn.", ".self_attn.")
        .replace(".mlp.c_fc.", ".mlp.fc1.")
        .replace(".mlp.c_proj.", ".mlp.fc2.")
        .replace("ln_pre.", "pre_layrnorm.")
        .replace("ln_post.", "post_layernorm.")
        .replace("ln_final.", "final_layer_norm.")
        .replace("token_embedding.", "embeddings.token_embedding.");
    format!("{tower}.{leaf}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn hugging_face_tensors_are_transposed_and_stacked() {
        let q = "vision_model.encoder.layers.0.self_attn.q_proj.bias";
        let (k, v) = (q.replace("q_proj", "k_proj"), q.replace("q_proj", "v_proj"));
        let bytes = file(&[
            ("text_model.final_layer_norm.bias", Dtype::F32, vec![1], f32s(&[7.0])),
            (
                "visual_projection.weight",
                Dtype::F32,
                vec![2, 3],
                f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            ),
            (q, Dtype::F32, vec![1], f32s(&[1.0])),
            (&k, Dtype::F32, vec![1], f32s(&[2.0])),
            (&v, Dtype::F32, vec![1], f32s(&[3.0])),
            (
                "vision_model.pre_layrnorm.weight",
                Dtype::F16,
                vec![1],
                f16::from_f32(0.5).to_le_bytes().to_vec(),
            ),
        ]);
        let file = File::open(bytes.into()).unwrap();
        assert_eq!(file.shape("visual.proj"), Some(vec![3, 2]));
        assert_eq!(file.get("visual.proj", &[3, 2]).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(
            file.get("visual.transformer.resblocks.0.attn.in_proj_bias", &[3]).unwrap(),
            [1.0, 2.0, 3.0]
        );
        assert_eq!(file.get("visual.ln_pre.weight", &[1]).unwrap(), [0.5]);
        assert_eq!(file.get("ln_final.bias", &[1]).unwrap(), [7.0]);
    }

    #[test]
    fn bad_tensors_are_named() {
        let bytes = file(&[
            ("ln_final.bias", Dtype::F32, vec![2], f32s(&[1.0, f32::NAN])),
            ("ln_final.weight", Dtype::I64, vec![1], vec![0; 8]),
        ]);
        let open = File::open(bytes.into()).unwrap();
        let name = || "ln_final.bias".to_string();
        assert_eq!(open.get("ln_final.bias", &[2]), Err(Error::NotFinite { name: name() }));
        assert_eq!(
            open.get("logit_scale", &[]),
            Err(Error::MissingTensor { name: "logit_scale".into() })
        );
        assert!(matches!(open.get("ln_final.weight", &[1]), Err(Error::Dtype { .. })));
        let good = file(&[("ln_final.bias", Dtype::F32, vec![2], f32s(&[1.0, 2.0]))]);
        let shape = Error::Shape { name: name(), expected: vec![3], got: vec![2] };
        assert_eq!(File::open(good.into()).unwrap().get("ln_final.bias", &[3]), Err(shape));
    }

    #[test]
    fn truncated_files_are_refused_at_every_length() {
        let bytes = file(&[("ln_final.bias", Dtype::F32, vec![2], f32s(&[1.0, 2.0]))]);
        for length in 0..bytes.len() {
            assert!(
                matches!(
                    File::open(bytes[..length].to_vec().into()),
                    Err(Error::Safetensors { .. })
                ),
                "{length}"
            );
        }
        let mut lying = bytes;
        lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(File::open(lying.into()).is_err());
    }
}
