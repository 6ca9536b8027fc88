//! The strict reader: nothing missing, nothing extra, every shape and number checked before use.

use super::Bundle;
use super::format::{Metadata, Method};
use crate::model::text::TokenTable;
use crate::model::weights::{read_header, to_f32};
use crate::prompt::learner::{Learner, MetaNet};
use crate::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeSet;

/// The longest header that is read, bytes.
const MAX_HEADER: u64 = 1 << 20;

struct Reader<'a> {
    file: SafeTensors<'a>,
    unread: BTreeSet<String>,
}

impl Reader<'_> {
    /// The f32 tensor `name`, whose shape must fit `expected`; None there is any length but 0.
    fn tensor(&mut self, name: &str, expected: &[Option<usize>]) -> Result<(Vec<usize>, Vec<f32>)> {
        let tensor =
            self.file.tensor(name).map_err(|_| Error::MissingTensor { name: name.into() })?;
        self.unread.remove(name);
        let got = tensor.shape().to_vec();
        let fits = got.len() == expected.len()
            && got
                .iter()
                .zip(expected)
                .all(|(got, expected)| *got > 0 && expected.is_none_or(|e| e == *got));
        if !fits {
            let expected = expected.iter().map(|length| length.unwrap_or(0)).collect();
            return Err(Error::Shape { name: name.into(), expected, got });
        }
        if tensor.dtype() != Dtype::F32 {
            let got = format!("{:?}", tensor.dtype());
            return Err(Error::Dtype { name: name.into(), expected: "F32".into(), got });
        }
        Ok((got, to_f32(name, Dtype::F32, tensor.data())?))
    }

    fn has(&self, name: &str) -> bool {
        self.unread.contains(name)
    }

    fn token_ids(&mut self) -> Result<Vec<u32>> {
        let name = "token_ids";
        let tensor =
            self.file.tensor(name).map_err(|_| Error::MissingTensor { name: name.into() })?;
        self.unread.remove(name);
        if tensor.dtype() != Dtype::U32 || tensor.shape().len() != 1 {
            let got = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
            return Err(Error::Dtype {
                name: name.into(),
                expected: "U32, one dimension".into(),
                got,
            });
        }
        Ok(tensor
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect())
    }
}

pub(super) fn bundle(bytes: &[u8]) -> Result<Bundle> {
    let bad = |why: String| Error::Bundle { why };
    let header = bytes.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    if header > MAX_HEADER {
        return Err(bad(format!("a header of {header} bytes, the limit is {MAX_HEADER}")));
    }
    let file = read_header(bytes)?;
    let (_, info) = SafeTensors::read_metadata(bytes)
        .map_err(|error| Error::Safetensors { why: error.to_string() })?;
    let json = info.metadata().as_ref().and_then(|metadata| metadata.get("cocoop"));
    let metadata =
        Metadata::from_json(json.ok_or_else(|| bad("no metadata `cocoop`: not a bundle".into()))?)?;
    let unread = crate::set_of(file.names().into_iter().map(ToString::to_string));
    let mut reader = Reader { file, unread };

    let (n_cls, embed_dim) = (metadata.classnames.len(), metadata.model.embed_dim);
    let learned = metadata.method != Method::ZeroShot;
    let learner = if learned { Some(learner(&mut reader, &metadata)?) } else { None };
    let static_text = metadata.method != Method::Cocoop;
    let text_features = if static_text {
        Some(reader.tensor("text_features", &[Some(n_cls), Some(embed_dim)])?.1)
    } else {
        None
    };
    let tokens = match &learner {
        Some(learner) => {
            let ids = reader.token_ids()?;
            if !ids.is_sorted_by(|a, b| a < b) {
                return Err(bad("token_ids do not ascend".into()));
            }
            let rows = reader.tensor("token_rows", &[Some(ids.len()), Some(learner.ctx_dim)])?.1;
            Some(TokenTable::some(ids, rows, learner.ctx_dim)?)
        }
        None => None,
    };
    let probe_logits = reader.tensor("probe.logits", &[Some(n_cls)])?.1;
    match reader.unread.first() {
        Some(name) => {
            Err(bad(format!("a tensor `{name}` that method {:?} does not have", metadata.method)))
        }
        None => Ok(Bundle { metadata, learner, text_features, tokens, probe_logits }),
    }
}

fn learner(reader: &mut Reader, metadata: &Metadata) -> Result<Learner> {
    let (prompt, n_cls) = (&metadata.prompt, metadata.classnames.len());
    let mut shape = vec![Some(prompt.n_ctx), None];
    if prompt.csc {
        shape.insert(0, Some(n_cls));
    }
    let (shape, ctx) = reader.tensor("ctx", &shape)?;
    let ctx_dim = shape[shape.len() - 1];
    let meta_net = if metadata.method == Method::Cocoop || reader.has("meta_net.linear1.weight") {
        let (shape, linear1_weight) =
            reader.tensor("meta_net.linear1.weight", &[None, Some(metadata.model.embed_dim)])?;
        let hidden = Some(shape[0]);
        Some(MetaNet {
            linear1_weight,
            linear1_bias: reader.tensor("meta_net.linear1.bias", &[hidden])?.1,
            linear2_weight: reader.tensor("meta_net.linear2.weight", &[Some(ctx_dim), hidden])?.1,
            linear2_bias: reader.tensor("meta_net.linear2.bias", &[Some(ctx_dim)])?.1,
        })
    } else {
        None
    };
    if meta_net.is_some() && metadata.method != Method::Cocoop {
        return Err(Error::Bundle { why: "a Meta-Net, which only method cocoop has".into() });
    }
    Ok(Learner::new(ctx, prompt.n_ctx, ctx_dim, prompt.csc, meta_net))
}
