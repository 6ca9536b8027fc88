//! One tensor of a file: where its values lie and how they are laid out. Nothing is read before it is asked for, and
//! what is read goes straight to f32: no second copy of the file's bytes is made.

use crate::{Error, Result};
use bytes::Bytes;
use half::{bf16, f16};
use safetensors::Dtype;
use std::ops::Range;

/// A tensor in a file's bytes.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// What the file stores.
    pub dtype: Dtype,
    /// As the file states it.
    pub shape: Vec<usize>,
    /// Elements from one index to the next in each dimension; nothing if the values are row-major and side by side.
    strides: Option<Vec<usize>>,
    /// From the first value to the last, little-endian.
    bytes: Bytes,
}

impl Tensor {
    /// Row-major values.
    /// # Panics
    /// If `bytes` does not hold exactly what `shape` and `dtype` say.
    pub fn new(dtype: Dtype, shape: Vec<usize>, bytes: Bytes) -> Self {
        assert_eq!(shape.iter().product::<usize>() * dtype.bitsize() / 8, bytes.len());
        Self { dtype, shape, strides: None, bytes }
    }

    /// A view into `storage`, which starts `offset` elements in and takes `strides` elements per index (`PyTorch`'s
    /// `as_strided`). Elements may be skipped, none may be used twice.
    /// # Errors
    /// Says in words how the view leaves its storage.
    pub fn view(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        storage: &Bytes,
    ) -> std::result::Result<Self, String> {
        if shape.len() != strides.len() {
            return Err(format!("{} dimensions and {} strides", shape.len(), strides.len()));
        }
        let size = dtype.bitsize() / 8;
        let held = storage.len() / size;
        let outside = || format!("shape {shape:?} reaches outside its storage of {held} values");
        let mut numel = 1_usize;
        let mut extent = 1_usize;
        for (&length, &stride) in shape.iter().zip(&strides) {
            numel = numel.checked_mul(length).ok_or_else(outside)?;
            let reach = length.saturating_sub(1).checked_mul(stride).ok_or_else(outside)?;
            extent = extent.checked_add(reach).ok_or_else(outside)?;
        }
        if numel == 0 {
            return Ok(Self { dtype, shape, strides: None, bytes: Bytes::new() });
        }
        let end = extent.checked_add(offset).filter(|&end| end <= held).ok_or_else(outside)?;
        if numel > extent {
            return Err(format!("shape {shape:?} uses values of its storage more than once"));
        }
        let bytes = storage.slice(offset * size..end * size);
        let strides = if row_major(&shape, &strides) { None } else { Some(strides) };
        Ok(Self { dtype, shape, strides, bytes })
    }

    /// Where its values lie in the file, and perhaps others between them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of values.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Refuses a tensor whose type is not one that models are computed from.
    /// # Errors
    /// [`Error::Dtype`] unless it is F32, F16 or BF16.
    pub fn check_readable(&self, name: &str) -> Result<()> {
        to_f32(name, self.dtype, &[]).map(drop)
    }

    /// All values, row-major, as f32.
    /// # Errors
    /// [`Error::Dtype`] unless they are F32, F16 or BF16; [`Error::NotFinite`].
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let Some(strides) = &self.strides else { return to_f32(name, self.dtype, &self.bytes) };
        let stored = to_f32(name, self.dtype, &self.bytes)?;
        let mut values = Vec::with_capacity(self.numel());
        let mut index = vec![0; self.shape.len()];
        for _ in 0..self.numel() {
            values.push(
                stored[index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>()],
            );
            for (i, &length) in index.iter_mut().zip(&self.shape).rev() {
                *i = (*i + 1) % length;
                if *i > 0 {
                    break;
                }
            }
        }
        Ok(values)
    }

    /// The values of `rows` of the first dimension: of a matrix with many rows, those that are needed.
    /// # Errors
    /// As [`Self::to_f32`].
    /// # Panics
    /// If there are no such rows.
    pub fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        assert!(rows.start <= rows.end && rows.end <= self.shape[0], "{name}: {rows:?}");
        let row = self.numel() / self.shape[0].max(1);
        if self.strides.is_some() {
            return Ok(self.to_f32(name)?[rows.start * row..rows.end * row].to_vec());
        }
        let size = row * self.dtype.bitsize() / 8;
        to_f32(name, self.dtype, &self.bytes[rows.start * size..rows.end * size])
    }

    /// The values of a row-major tensor of ids.
    /// # Errors
    /// [`Error::Dtype`] unless it is U32.
    pub fn to_u32(&self, name: &str) -> Result<Vec<u32>> {
        if self.dtype != Dtype::U32 || self.strides.is_some() {
            let got = format!("{:?}", self.dtype);
            return Err(Error::Dtype { name: name.into(), expected: "U32".into(), got });
        }
        Ok(self.bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }
}

/// Whether values with these strides lie side by side; a dimension of length 1 has no step.
fn row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&length, &stride)| {
        let fits = length == 1 || stride == expected;
        expected *= length;
        fits
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(values: &[f32]) -> Bytes {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn views_are_read_row_by_row() {
        let held = storage(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let view = |shape: &[usize], strides: &[usize], offset| {
            Tensor::view(Dtype::F32, shape.to_vec(), strides.to_vec(), offset, &held).unwrap()
        };
        assert_eq!(view(&[2, 3], &[3, 1], 1).to_f32("x").unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let transposed = view(&[3, 2], &[1, 3], 1);
        assert_eq!(transposed.to_f32("x").unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(transposed.rows("x", 1..3).unwrap(), [2.0, 5.0, 3.0, 6.0]);
        assert_eq!(view(&[2, 2], &[3, 1], 0).to_f32("x").unwrap(), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(view(&[2, 1, 3], &[3, 99, 1], 0).rows("x", 1..2).unwrap(), [3.0, 4.0, 5.0]);
        assert_eq!(view(&[], &[], 6).to_f32("x").unwrap(), [6.0]);
        assert!(view(&[0, 9], &[9, 1], 0).to_f32("x").unwrap().is_empty());
    }

    #[test]
    fn views_that_leave_their_storage_are_refused() {
        const HUGE: usize = 1 << (usize::BITS - 4);
        let held = storage(&[0.0; 6]);
        let view = |shape: &[usize], strides: &[usize], offset| {
            Tensor::view(Dtype::F32, shape.to_vec(), strides.to_vec(), offset, &held)
        };
        assert!(view(&[2, 3], &[3, 1], 0).is_ok());
        for (shape, strides, offset) in [
            (&[2, 3][..], &[3, 1][..], 1),
            (&[2, 3], &[4, 1], 0),
            (&[7], &[1], 0),
            (&[1], &[1], 6),
            (&[1], &[1], usize::MAX),
            (&[HUGE, HUGE], &[1, 1], 0),
            (&[HUGE], &[0], 0),    // one value, broadcast
            (&[3, 3], &[1, 1], 0), // overlapping rows
            (&[2], &[usize::MAX], 0),
            (&[2, 3], &[1], 0),
        ] {
            assert!(view(shape, strides, offset).is_err(), "{shape:?} {strides:?} {offset}");
        }
    }
}
