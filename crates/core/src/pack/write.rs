//! Makes a pack of any source of weights, tensor by tensor: one tensor and one shard are in memory at a time.

use super::format::{
    FORMAT, Format, KEY_VALUE, Manifest, Shard, TOKEN_IDS, Tensor, Tower, VERSION, place,
};
use super::read::is_projection;
use crate::kernels::gemm::Packed;
use crate::model::clip::{Clip, hex};
use crate::model::config::{Config, Vision};
use crate::model::tensors as model;
use crate::model::weights::{TOKEN_TABLE, Weights};
use crate::ops::{Matrix, Ops};
use crate::{Error, Result};
use half::f16;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What to write.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// A name for people.
    pub id: String,
    /// Of the linear layers: 32, 16, 8 or 4.
    pub bits: u8,
    /// The towers whose shards are written; `text` brings the token table.
    pub towers: Vec<Tower>,
}

/// Who takes the shards.
pub trait Sink {
    /// Takes a whole shard.
    /// # Errors
    /// Whatever its medium says; writing stops then.
    fn shard(&mut self, name: &str, bytes: &[u8]) -> Result<()>;
    /// So many bytes of all are made. Asked often; false stops the writing.
    fn goes_on(&mut self, bytes: u64, total: u64) -> bool;
}

/// How linear layers are stored: the one place that knows which are kept finer than `bits` says. At 4 bits these are the
/// first and last layers of a tower, which see values of a wider range than the blocks do and are 2 % of its weights, and
/// what the image features are most sensitive to: the first block, and the first layer of the MLPs in the first half of
/// the `layers` blocks. All together they make a pack of ViT-B/32 an eighth larger.
fn policy(name: &str, bits: u8, layers: usize) -> (Format, Option<u8>) {
    let edge = name == "visual.conv1.weight" || is_projection(name);
    let block = name.strip_prefix("visual.transformer.resblocks.").and_then(|rest| {
        let (block, leaf) = rest.split_once('.')?;
        Some((block.parse::<usize>().ok()?, leaf))
    });
    let sensitive =
        block.is_some_and(|(i, leaf)| i == 0 || i < layers / 2 && leaf == "mlp.c_fc.weight");
    match bits {
        32 => (Format::F32, None),
        16 => (Format::F16, None),
        8 => (Format::Q8, Some(1)),
        _ if edge || sensitive => (Format::Q8, Some(1)),
        _ => (Format::Q4, Some(1)),
    }
}

/// Writes a pack of `clip`.
/// # Errors
/// [`Error::Option`] for other bits or no towers; [`Error::Cancelled`]; of [`Weights::get`] and of `sink`.
pub fn write<O: Ops>(clip: &Clip<O>, spec: &Spec, sink: &mut dyn Sink) -> Result<Manifest> {
    let option = |name: &str, expected: &str, got: String| {
        Err(Error::Option { name: name.into(), expected: expected.into(), got })
    };
    if ![32, 16, 8, 4].contains(&spec.bits) {
        return option("bits", "32, 16, 8 or 4", spec.bits.to_string());
    }
    if !spec.towers.contains(&Tower::Vision) && !spec.towers.contains(&Tower::Text) {
        return option("towers", "vision, text or both", format!("{:?}", spec.towers));
    }
    if !clip.logit_scale.is_finite() {
        return Err(Error::MissingTensor { name: "logit_scale".into() }); // one tower's file
    }
    let weights = clip.source();
    let resnet = matches!(clip.config.vision, Vision::Resnet(_));
    let mut tensors = tensors(weights.as_ref(), &clip.config, spec.bits)?;
    let towers = place(&mut tensors)?;
    let mut manifest = Manifest {
        format: FORMAT.into(),
        version: VERSION,
        id: spec.id.clone(),
        bits: spec.bits,
        source_sha256: clip.sha256().into(),
        config: clip.config_json.clone(),
        logit_scale: clip.logit_scale,
        towers,
        tensors,
        shards: Vec::new(),
    };
    let held: Vec<Tower> = Tower::ALL
        .into_iter()
        .filter(|tower| {
            spec.towers.contains(if *tower == Tower::Tokens { &Tower::Text } else { tower })
        })
        .collect();
    let total = held.iter().map(|&tower| towers.of(tower)).sum();
    let mut done = 0;
    for tower in held {
        let mut cutter = Cutter {
            cut: manifest.cut(tower).collect(),
            shard: Vec::new(),
            at: 0,
            shards: Vec::new(),
        };
        for tensor in manifest.tensors.iter().filter(|tensor| tensor.tower == tower) {
            if !sink.goes_on(done + cutter.at, total) {
                return Err(Error::Cancelled);
            }
            let (values, scales) = encode(weights.as_ref(), tensor, resnet)?;
            cutter.put(tensor.offset, &values, sink)?;
            if let (Some(at), Some(scales)) = (tensor.scales, scales) {
                cutter.put(at, &scales, sink)?;
            }
        }
        done += cutter.at;
        manifest.shards.extend(cutter.shards);
    }
    sink.goes_on(done, total);
    Ok(manifest)
}

/// Cuts a tower's bytes into shards.
struct Cutter {
    /// The shards to come, in their order.
    cut: Vec<(String, Tower, u64)>,
    shard: Vec<u8>,
    /// Bytes so far.
    at: u64,
    shards: Vec<Shard>,
}

impl Cutter {
    /// Takes `bytes` at `offset`, with zeros before them.
    fn put(&mut self, offset: u64, bytes: &[u8], sink: &mut dyn Sink) -> Result<()> {
        let gap = vec![0; (offset - self.at) as usize];
        for mut bytes in [&gap, bytes] {
            while !bytes.is_empty() {
                let (name, tower, length) = &self.cut[self.shards.len()];
                let (now, rest) =
                    bytes.split_at(bytes.len().min(*length as usize - self.shard.len()));
                self.shard.extend_from_slice(now);
                self.at += now.len() as u64;
                bytes = rest;
                if self.shard.len() as u64 == *length {
                    let sha256 = hex(&Sha256::digest(&self.shard));
                    sink.shard(name, &self.shard)?;
                    self.shards.push(Shard {
                        name: name.clone(),
                        tower: *tower,
                        bytes: *length,
                        sha256,
                    });
                    self.shard.clear();
                }
            }
        }
        Ok(())
    }
}

/// Little-endian values of a tensor as they are stored, and its scales.
fn encode(
    weights: &dyn Weights,
    tensor: &Tensor,
    resnet: bool,
) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let (name, shape) = (&tensor.name, &tensor.shape);
    let f32s = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let Some([outputs, inputs]) = tensor.linear else {
        return Ok((
            match tensor.format {
                Format::U32 => {
                    let ids = weights.token_ids()?.unwrap_or_default();
                    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
                }
                Format::F16 => weights
                    .get(name, shape)?
                    .iter()
                    .flat_map(|&x| f16::from_f32(x).to_le_bytes())
                    .collect(),
                _ => match convolution_of(name) {
                    Some(conv) => f32s(&folded_bias(weights, &conv)?),
                    None => f32s(&weights.get(name, shape)?),
                },
            },
            None,
        ));
    };
    let matrix = if is_projection(name) {
        weights.projection(name, inputs, outputs)?
    } else if name == KEY_VALUE {
        let [k, v] = ["k_proj", "v_proj"].map(|leaf| name.replace("kv_proj", leaf));
        weights.stacked([&k, &v], [outputs / 2, inputs])?
    } else if let Some((conv, bn)) = folded(name, shape).filter(|_| resnet) {
        weights.convolution(conv, &bn, [shape[0], shape[1], shape[2]])?.0
    } else {
        weights.matrix(name, shape, 0..outputs)?
    };
    let values = match matrix {
        Matrix::F32 { values, .. } => values,
        Matrix::Packed(packed) => packed.decode(),
    };
    let format = tensor.format.gemm().expect("linear layers have a format of the GEMM");
    let planes = usize::from(tensor.planes.unwrap_or(1));
    let (panels, scales) = Packed::encode(&values, inputs, outputs, format, planes).portable();
    Ok((panels.to_vec(), scales.as_deref().map(f32s)))
}

/// Of a ResNet's convolution by its tensor: its own name and that of the batch normalisation behind it.
fn folded<'a>(name: &'a str, shape: &[usize]) -> Option<(&'a str, String)> {
    let conv = name.strip_suffix(".weight").filter(|_| shape.len() == 4)?;
    let bn = match conv.strip_suffix("downsample.0") {
        Some(block) => format!("{block}downsample.1"),
        None => conv.replace("conv", "bn"),
    };
    Some((conv, bn))
}

/// The convolution in front of the batch normalisation whose bias this is.
fn convolution_of(name: &str) -> Option<String> {
    let bn = name.strip_suffix(".bias")?;
    let (block, leaf) = bn.rsplit_once('.')?;
    match leaf {
        "bn1" | "bn2" | "bn3" => Some(format!("{block}.{}", leaf.replace("bn", "conv"))),
        "1" => Some(format!("{block}.0")),
        _ => None,
    }
}

fn folded_bias(weights: &dyn Weights, conv: &str) -> Result<Vec<f32>> {
    let name = format!("{conv}.weight");
    let shape = weights.shape(&name).ok_or_else(|| Error::MissingTensor { name: name.clone() })?;
    match (folded(&name, &shape), &shape[..]) {
        (Some((conv, bn)), &[out, inputs, kernel, _]) => {
            Ok(weights.convolution(conv, &bn, [out, inputs, kernel])?.1)
        }
        _ => Err(Error::Shape { name, expected: vec![0; 4], got: shape }),
    }
}

/// Every tensor of a model but `logit_scale`, tower by tower, without its place.
fn tensors(weights: &dyn Weights, config: &Config, bits: u8) -> Result<Vec<Tensor>> {
    let ids = weights.token_ids()?;
    let rows = weights.shape(TOKEN_TABLE).map_or(0, |shape| shape[0]);
    let layers = if let Vision::Vit(vit) = &config.vision { vit.layers } else { 0 };
    let resnet = matches!(config.vision, Vision::Resnet(_));
    let mut listed = model::tensors(config, rows);
    if let Some(ids) = ids {
        listed.push((TOKEN_IDS.into(), vec![ids.len()]));
    }
    let mut tensors = Vec::new();
    for (mut name, mut shape) in listed {
        // A ResNet's normalisations are in its convolutions but for their biases, its keys' weight stands for the values'.
        let statistics = resnet && NORMALISATION.iter().any(|leaf| name.ends_with(leaf));
        if name == "logit_scale" || statistics || name == "visual.attnpool.v_proj.weight" {
            continue;
        }
        if name == "visual.attnpool.k_proj.weight" {
            (name, shape[0]) = (KEY_VALUE.into(), 2 * shape[0]);
        }
        let tower = match name.as_str() {
            TOKEN_TABLE => Tower::Tokens,
            name if name.starts_with("visual.") => Tower::Vision,
            _ => Tower::Text,
        };
        let linear = match shape[..] {
            [inputs, outputs] if is_projection(&name) => Some([outputs, inputs]),
            [outputs, .., _]
                if LINEAR.iter().any(|leaf| name.ends_with(leaf)) || shape.len() == 4 =>
            {
                Some([outputs, shape[1..].iter().product()])
            }
            _ => None,
        };
        let (format, planes) = match (linear, name.as_str()) {
            (Some(_), _) => policy(&name, bits, layers),
            (None, TOKEN_IDS) => (Format::U32, None),
            (None, TOKEN_TABLE) if bits < 32 => (Format::F16, None),
            _ => (Format::F32, None),
        };
        tensors.push(Tensor {
            name,
            shape,
            tower,
            format,
            linear,
            planes,
            offset: 0,
            bytes: 0,
            scales: None,
        });
    }
    tensors.sort_by_key(|tensor| tensor.tower);
    Ok(tensors)
}

/// How the names of linear layers' weights end.
const LINEAR: [&str; 8] = [
    "attn.in_proj_weight",
    "attn.out_proj.weight",
    "mlp.c_fc.weight",
    "mlp.c_proj.weight",
    "attnpool.q_proj.weight",
    "attnpool.kv_proj.weight",
    "attnpool.c_proj.weight",
    "visual.conv1.weight",
];

/// What of a ResNet's batch normalisations is not stored.
const NORMALISATION: [&str; 6] = [
    ".running_mean",
    ".running_var",
    "bn1.weight",
    "bn2.weight",
    "bn3.weight",
    "downsample.1.weight",
];
