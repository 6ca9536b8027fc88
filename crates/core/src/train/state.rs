//! A checkpoint: what was learned, the optimiser's velocity, the position. One safetensors file.

use super::watch::Watch;
use crate::bundle::{f32_bytes, serialize};
use crate::model::weights::{read_header, to_f32};
use crate::prompt::learner::Learner;
use crate::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

const KEY: &str = "cocoop_checkpoint";

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs done.
    pub epoch: usize,
    /// Steps done in the current epoch.
    pub batch: usize,
    /// Sum of the losses of the epoch's images so far.
    pub loss_sum: f64,
    /// How many of them were classified right.
    pub correct: usize,
    /// The losses of the whole run so far.
    pub watch: Watch,
}

/// A checkpoint to be written.
pub struct State<'a> {
    /// What was learned.
    pub learner: &'a Learner,
    /// The optimiser's velocity.
    pub velocity: &'a Learner,
    /// Where the run stands.
    pub position: Position,
}

#[derive(Serialize, Deserialize)]
struct Header {
    run: String,
    position: Position,
}

impl State<'_> {
    /// The checkpoint's bytes; `run` is what [`Self::read`] must be given to accept them.
    /// # Panics
    /// Never: the tensors fit their shapes.
    pub fn write(&self, run: &str) -> Vec<u8> {
        let sides = [("learner", self.learner), ("velocity", self.velocity)];
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = sides
            .iter()
            .flat_map(|(side, learner)| {
                learner.tensors().into_iter().map(move |tensor| (side, tensor))
            })
            .map(|(side, (name, shape, values))| {
                (format!("{side}.{name}"), shape, f32_bytes(values))
            })
            .collect();
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, shape, bytes)| (name.as_str(), Dtype::F32, shape.clone(), bytes.clone()))
            .collect();
        let header = Header { run: run.into(), position: self.position };
        let json = serde_json::to_string(&header).expect("plain data is JSON");
        serialize(&tensors, (KEY, json)).expect("the tensors fit their shapes")
    }

    /// (learner, velocity, position) of a checkpoint of `run`, shaped as `like`.
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn read(bytes: &[u8], run: &str, like: &Learner) -> Result<(Learner, Learner, Position)> {
        let bad = |why: String| Error::Checkpoint { why };
        let file = read_header(bytes).map_err(|error| bad(error.to_string()))?;
        let (_, info) =
            SafeTensors::read_metadata(bytes).map_err(|error| bad(error.to_string()))?;
        let json = info.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let json = json.ok_or_else(|| bad("not a checkpoint".into()))?;
        let header: Header = serde_json::from_str(json).map_err(|error| bad(error.to_string()))?;
        if header.run != run {
            return Err(bad(
                "it belongs to a run with other options, images or another model".into()
            ));
        }
        let side = |side: &str| {
            let mut learner = like.zeros();
            let wanted: Vec<_> =
                like.tensors().into_iter().map(|(name, shape, _)| (name, shape)).collect();
            for ((name, shape), values) in wanted.into_iter().zip(learner.tensors_mut()) {
                let name = format!("{side}.{name}");
                let tensor =
                    file.tensor(&name).map_err(|_| bad(format!("tensor `{name}` is missing")))?;
                if tensor.shape() != shape {
                    return Err(bad(format!(
                        "tensor `{name}`: expected shape {shape:?}, got {:?}",
                        tensor.shape()
                    )));
                }
                *values = to_f32(&name, tensor.dtype(), tensor.data())
                    .map_err(|error| bad(error.to_string()))?;
            }
            Ok(learner)
        };
        Ok((side("learner")?, side("velocity")?, header.position))
    }
}
