//! Where a model's tensors come from, under `OpenAI`'s names whatever the file calls them.
//! A token table may be sparse: `token_embedding.ids` lists the rows that are there, all others are zero (rows that no
//! training ever touched).

pub mod convert;
pub mod files;
pub mod names;
pub mod safetensors;
pub mod tensor;
pub mod torch;

pub use self::safetensors::read_header;
pub use files::{Files, Part};
pub use tensor::to_f32;

use super::resnet;
use crate::Result;
use crate::ops::Matrix;
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

    /// Tensors `names`, each of shape `expected`, one below the other as a linear layer's weight.
    /// # Errors
    /// As [`Self::get`].
    fn stacked(&self, names: [&str; 2], expected: [usize; 2]) -> Result<Matrix> {
        let values =
            names.map(|name| self.get(name, &expected)).into_iter().collect::<Result<Vec<_>>>()?;
        Ok(Matrix::F32 { values: values.concat(), outputs: 2 * expected[0] })
    }

    /// The convolution `conv` (out, inputs, kernel, kernel) with the batch normalisation `bn` behind it folded into it:
    /// the weight (out, kernel²·inputs), a row in the order (y, x, channel), and the bias (out).
    /// # Errors
    /// As [`Self::get`].
    fn convolution(&self, conv: &str, bn: &str, shape: [usize; 3]) -> Result<(Matrix, Vec<f32>)> {
        let get = |name: &str, shape: &[usize]| self.get(name, shape);
        let (values, bias) = resnet::folded(get, conv, bn, shape)?;
        Ok((Matrix::F32 { values, outputs: shape[0] }, bias))
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
