//! The originals' checkpoints (`prompt_learner/model.pth.tar-N`, written by Dassl) into bundles, and back. Method, number of
//! vectors and class-specific ones are read from the tensors. `token_prefix` and `token_suffix`, the embeddings around the
//! vectors, are not needed, but they say which classes and which backbone the prompt was learned on: both are checked.

use crate::bundle::{Bundle, Metadata, Method, ModelId, Prompt};
use crate::classifier::learned_bundle;
use crate::input::tokenizer::{self, EOT, SOT};
use crate::model::clip::Clip;
use crate::model::text::TokenTable;
use crate::model::weights::tensor::Tensor;
use crate::model::weights::torch::{self, write::State};
use crate::prompt::learner::{Learner, MetaNet};
use crate::prompt::template::{ClassTokenPosition, Symbol, around_ctx};
use crate::{Error, Result};
use bytes::Bytes;
use half::f16;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a checkpoint does not say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportSpec {
    /// The classes in the order of the labels; nothing: as the checkpoint's own embeddings spell them.
    pub classnames: Option<Vec<String>>,
    /// Where the class name stood.
    pub class_token_position: ClassTokenPosition,
    /// The words that the vectors started at, if any.
    pub ctx_init: Option<String>,
    /// The bundle's name.
    pub name: String,
    /// The model's name.
    pub model_id: String,
    /// What the bundle is to say of the run; `checkpoint` is added.
    pub training: Map<String, Value>,
}

/// Reads a checkpoint into a bundle of `clip`.
/// # Errors
/// [`Error::Checkpoint`] if the file is none, or was learned on another backbone; [`Error::Shape`], [`Error::MissingTensor`],
/// [`Error::Dtype`], [`Error::NotFinite`] of its tensors; [`Error::Classes`] if the class names are not those it was learned
/// with; of [`learned_bundle`].
pub fn import(clip: &Arc<Clip>, file: &Bytes, spec: ImportSpec) -> Result<Bundle> {
    let torch::Torch { tensors, epoch, .. } = torch::checkpoint(file)?;
    let mut tensors = Tensors::named(tensors)?;
    let dtype = tensors.0.get("ctx").map(|ctx| format!("{:?}", ctx.dtype));
    let learner = learner(clip, &mut tensors)?;
    let around = Around::read(clip, &mut tensors, &learner)?;
    if let Some(name) = tensors.0.keys().next() {
        let why =
            format!("a tensor `{name}`, which neither CoOp's prompt learner nor CoCoOp's has");
        return Err(Error::Checkpoint { why });
    }
    let classnames = match (spec.classnames, &around) {
        (Some(names), _) => names,
        (None, Some(around)) => around.classnames(clip)?,
        (None, None) => {
            let why = "the checkpoint does not hold them (no `token_suffix`): give them".into();
            return Err(Error::Classes { why });
        }
    };
    if let Some(around) = &around {
        around.check(clip, &classnames)?;
    }
    let mut training = spec.training;
    training.insert("checkpoint".into(), json!({"epoch": epoch, "dtype": dtype}));
    let metadata = Metadata {
        name: spec.name,
        method: if learner.meta_net.is_some() { Method::Cocoop } else { Method::Coop },
        classnames,
        prompt: Prompt {
            n_ctx: learner.n_ctx,
            ctx_init: spec.ctx_init,
            csc: learner.csc,
            class_token_position: spec.class_token_position,
            templates: Vec::new(),
        },
        model: ModelId {
            id: spec.model_id,
            sha256: clip.sha256().into(),
            embed_dim: clip.config.embed_dim,
            image_size: clip.config.image_size,
        },
        training,
        metrics: Map::new(),
    };
    learned_bundle(clip, metadata, learner)
}

/// The tensors that are still to be read.
struct Tensors(BTreeMap<String, Tensor>);

impl Tensors {
    /// By the prompt learner's own names, also where it was saved as a part of the whole, or from several GPUs.
    fn named(tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let mut named = BTreeMap::new();
        for (name, tensor) in tensors {
            let own = name.strip_prefix("module.").unwrap_or(&name);
            let own = own.strip_prefix("prompt_learner.").unwrap_or(own).to_string();
            if named.insert(own, tensor).is_some() {
                return Err(Error::Checkpoint { why: format!("tensor `{name}` is there twice") });
            }
        }
        Ok(Self(named))
    }

    /// Tensor `name`, whose shape must fit `expected`; 0 is any length but 0.
    fn take(&mut self, name: &str, expected: &[usize]) -> Result<(Vec<usize>, Vec<f32>)> {
        let tensor =
            self.0.remove(name).ok_or_else(|| Error::MissingTensor { name: name.into() })?;
        let got = tensor.shape.clone();
        let fits =
            |(got, expected): (&usize, &usize)| got == expected || *expected == 0 && *got > 0;
        if got.len() != expected.len() || !got.iter().zip(expected).all(fits) {
            return Err(Error::Shape { name: name.into(), expected: expected.to_vec(), got });
        }
        Ok((got, tensor.to_f32(name)?))
    }
}

fn learner(clip: &Clip, tensors: &mut Tensors) -> Result<Learner> {
    let (embed_dim, ctx_dim) = (clip.config.embed_dim, clip.config.text.width);
    let csc = tensors.0.get("ctx").is_some_and(|ctx| ctx.shape.len() == 3);
    let expected: &[usize] = if csc { &[0, 0, ctx_dim] } else { &[0, ctx_dim] };
    let (shape, ctx) = tensors.take("ctx", expected)?;
    let (n_ctx, context_length) = (shape[shape.len() - 2], clip.config.context_length);
    if n_ctx + 2 > context_length {
        let why = format!("{n_ctx} vectors, the model's context holds {context_length} tokens");
        return Err(Error::Checkpoint { why });
    }
    let conditional = tensors.0.keys().any(|name| name.starts_with("meta_net."));
    if csc && conditional {
        let why = "class-specific vectors and a Meta-Net, which no method has both".into();
        return Err(Error::Checkpoint { why });
    }
    let meta_net = if conditional {
        let (shape, linear1_weight) = tensors.take("meta_net.linear1.weight", &[0, embed_dim])?;
        let hidden = shape[0];
        Some(MetaNet {
            linear1_weight,
            linear1_bias: tensors.take("meta_net.linear1.bias", &[hidden])?.1,
            linear2_weight: tensors.take("meta_net.linear2.weight", &[ctx_dim, hidden])?.1,
            linear2_bias: tensors.take("meta_net.linear2.bias", &[ctx_dim])?.1,
        })
    } else {
        None
    };
    Ok(Learner::new(ctx, n_ctx, ctx_dim, csc, meta_net))
}

/// The embeddings around a checkpoint's vectors.
struct Around {
    /// (`n_cls`, `length`, width): what follows the vectors, the name first.
    suffix: Vec<f32>,
    length: usize,
    n_ctx: usize,
}

impl Around {
    /// Reads and removes them, where they are there, and checks the backbone by the start token.
    fn read(clip: &Clip, tensors: &mut Tensors, learner: &Learner) -> Result<Option<Self>> {
        let width = clip.config.text.width;
        let mut n_cls = if learner.csc { learner.ctx.len() / (learner.n_ctx * width) } else { 0 };
        if tensors.0.contains_key("token_prefix") {
            let (shape, rows) = tensors.take("token_prefix", &[n_cls, 1, width])?;
            n_cls = shape[0];
            let start = clip.tokens(&[SOT].into())?;
            if !rows.chunks_exact(width).all(|row| same(row, start.row(SOT))) {
                let why = "`token_prefix` is not this model's start token: the prompt was learned on another backbone";
                return Err(Error::Checkpoint { why: why.into() });
            }
        }
        if !tensors.0.contains_key("token_suffix") {
            return Ok(None);
        }
        let length = clip.config.context_length - 1 - learner.n_ctx;
        let suffix = tensors.take("token_suffix", &[n_cls, length, width])?.1;
        Ok(Some(Self { suffix, length, n_ctx: learner.n_ctx }))
    }

    /// That these are the prompts of `classnames`.
    fn check(&self, clip: &Clip, classnames: &[String]) -> Result<()> {
        let width = clip.config.text.width;
        let n_cls = self.suffix.len() / (self.length * width);
        if classnames.len() != n_cls {
            let why = format!("the checkpoint has {n_cls} classes, got {}", classnames.len());
            return Err(Error::Classes { why });
        }
        let ids = suffixes(classnames, self.n_ctx, clip.config.context_length)?;
        let table = clip.tokens(&crate::set_of(ids.iter().flatten().copied()))?;
        // What follows the end token is never looked at, nor need the model know it.
        let classes = self.suffix.chunks_exact(self.length * width);
        let wrong = classes.zip(&ids).position(|(rows, ids)| {
            !rows.chunks_exact(width).zip(ids).all(|(row, &id)| same(row, table.row(id)))
        });
        let Some(class) = wrong else { return Ok(()) };
        let known = Known::of(clip)?;
        let spelled = match known.spell(self.rows(class, width)) {
            Some(text) => format!("{text:?}"),
            None => "tokens that this model does not know".into(),
        };
        let name = &classnames[class];
        let why = format!("class {class}: got {name:?}, the checkpoint was learned with {spelled}");
        Err(Error::Classes { why })
    }

    /// The names that the embeddings spell.
    fn classnames(&self, clip: &Clip) -> Result<Vec<String>> {
        let width = clip.config.text.width;
        let known = Known::of(clip)?;
        let name = |class| {
            let why =
                || format!("class {class} of the checkpoint cannot be spelled: give the names");
            let text = known.spell(self.rows(class, width));
            text.ok_or_else(|| Error::Classes { why: why() })
        };
        (0..self.suffix.len() / (self.length * width)).map(name).collect()
    }

    fn rows(&self, class: usize, width: usize) -> impl Iterator<Item = &[f32]> {
        self.suffix[class * self.length * width..][..self.length * width].chunks_exact(width)
    }
}

/// The model's tokens by their embeddings, as exactly as f16 tells them: the originals train in it.
struct Known {
    ids: BTreeMap<Vec<u16>, u32>,
}

impl Known {
    fn of(clip: &Clip) -> Result<Self> {
        let table = clip.known_tokens()?;
        let (ids, rows) = table.parts();
        let rows = rows.chunks_exact(clip.config.text.width).map(halves);
        Ok(Self { ids: rows.zip(ids.iter().copied()).collect() })
    }

    /// The class name of a prompt's end: its text before the full stop and the end token.
    fn spell<'a>(&self, rows: impl Iterator<Item = &'a [f32]>) -> Option<String> {
        let mut text = String::new();
        for row in rows {
            let id = *self.ids.get(&halves(row))?;
            if id == EOT {
                let name = text.trim_end().strip_suffix('.')?.trim_end();
                return Some(name.to_string());
            }
            text += &tokenizer::decode(id).replace("</w>", " ");
        }
        None
    }
}

fn halves(row: &[f32]) -> Vec<u16> {
    row.iter().map(|x| f16::from_f32(*x).to_bits()).collect()
}

/// Whether two embeddings are one, up to how they were stored: f16 has 11 bits, bf16 has 8. Two tokens, and one token of two
/// backbones, are about as far apart as they are long.
fn same(a: &[f32], b: &[f32]) -> bool {
    let sum = |values: &mut dyn Iterator<Item = f32>| values.map(f64::from).sum::<f64>();
    let apart = sum(&mut a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)));
    apart <= 1e-4 * sum(&mut b.iter().map(|b| b * b))
}

/// The tokens behind `n_ctx` vectors, of each class: the name and its full stop, and the end.
fn suffixes(classnames: &[String], n_ctx: usize, context_length: usize) -> Result<Vec<Vec<u32>>> {
    let position = ClassTokenPosition::End;
    let token = |symbol: &Symbol| if let Symbol::Token(id) = symbol { Some(*id) } else { None };
    let suffix = |name: &String| {
        let symbols = around_ctx(name, 0, n_ctx, false, position, context_length)?;
        Ok(symbols[1..].iter().filter_map(token).collect())
    };
    classnames.iter().map(suffix).collect()
}

/// The checkpoint that the original would have saved of a bundle of `clip`, without the optimiser's state.
/// # Errors
/// [`Error::Bundle`] if nothing was learned; of [`Bundle::check_fits`] and [`torch::write::checkpoint`].
pub fn export(clip: &Clip, bundle: &Bundle, epoch: u32) -> Result<Vec<u8>> {
    let (width, context_length) = (clip.config.text.width, clip.config.context_length);
    bundle.check_fits(clip.sha256(), clip.config.embed_dim, width)?;
    let Some(learner) = &bundle.learner else {
        let why = "a prompt of templates, in which nothing was learned".into();
        return Err(Error::Bundle { why });
    };
    let names = &bundle.metadata.classnames;
    let mut ids = suffixes(names, learner.n_ctx, context_length)?;
    let length = context_length - 1 - learner.n_ctx; // that it fits was just seen
    ids.iter_mut().for_each(|ids| ids.resize(length, PAD));
    let ids = ids.concat();
    let all: BTreeSet<u32> = crate::set_of(ids.iter().copied().chain([SOT]));
    let table: TokenTable = clip.tokens(&all)?;
    let rows =
        |ids: &[u32]| -> Vec<f32> { ids.iter().flat_map(|&id| table.row(id)).copied().collect() };
    let (prefix, suffix) = (rows(&vec![SOT; names.len()]), rows(&ids));
    let mut states: Vec<State<'_>> = learner
        .tensors()
        .into_iter()
        .map(|(name, shape, values)| State { name, shape, values })
        .collect();
    // The order of the original's module: parameters, buffers, then what is below them, each weight before its bias.
    states.push(State {
        name: "token_prefix",
        shape: vec![names.len(), 1, width],
        values: &prefix,
    });
    states.push(State {
        name: "token_suffix",
        shape: vec![names.len(), length, width],
        values: &suffix,
    });
    states.sort_by_key(|state| ORDER.iter().position(|name| *name == state.name));
    torch::write::checkpoint(&states, epoch)
}

/// What CLIP fills the context with behind the end token.
const PAD: u32 = 0;
const ORDER: [&str; 7] = [
    "ctx",
    "token_prefix",
    "token_suffix",
    "meta_net.linear1.weight",
    "meta_net.linear1.bias",
    "meta_net.linear2.weight",
    "meta_net.linear2.bias",
];
