//! CLIP's own prompts: plain texts, and class names in hand-written templates. Several templates make an ensemble: each
//! text feature is normalised, they are averaged, and the mean is normalised (Radford et al. 2021, 3.1.4).

use super::plan::Rows;
use super::template::{Symbol, TooLong, fill, plain, token_ids};
use super::trie::{Sharing, Trie};
use crate::model::block::Workspace;
use crate::model::clip::Clip;
use crate::ops::{Ops, normalize};
use crate::{Error, Result};

/// Rows of the text tower that are computed at a time, so that memory stays bounded for any number of texts.
const ROWS_AT_A_TIME: usize = 2048;

/// L2-normalised features (n, `embed_dim`) of plain texts (n). `cancelled` is asked between batches.
/// # Errors
/// [`Error::Text`], [`Error::TextTooLong`], [`Error::Cancelled`]; of [`Clip::text`].
pub fn embed_texts<O: Ops>(
    clip: &Clip<O>,
    work: &mut Workspace<O>,
    texts: &[String],
    too_long: TooLong,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<f32>> {
    let context_length = clip.config.context_length;
    let prompts = texts
        .iter()
        .map(|text| plain(text, context_length, too_long))
        .collect::<Result<Vec<_>>>()?;
    let mut features = Vec::with_capacity(texts.len() * clip.config.embed_dim);
    each_batch(clip, work, &prompts, cancelled, |batch| features.extend_from_slice(batch))?;
    Ok(features)
}

/// L2-normalised `text_features` (`n_cls`, `embed_dim`). `cancelled` is asked between batches.
/// # Errors
/// [`Error::Classes`] if there are no classes, [`Error::Option`] if there are no templates; [`Error::Text`],
/// [`Error::TextTooLong`], [`Error::Cancelled`]; of [`Clip::text`].
pub fn text_features<O: Ops>(
    clip: &Clip<O>,
    work: &mut Workspace<O>,
    classnames: &[String],
    templates: &[String],
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<f32>> {
    let prompts = prompts(classnames, templates, clip.config.context_length)?;
    let mut mean = Mean::new(classnames.len(), clip.config.embed_dim);
    each_batch(clip, work, &prompts, cancelled, |batch| mean.add(batch))?;
    Ok(mean.finish())
}

/// The prompts of every template and class, template by template: those of one share its beginning.
/// # Errors
/// [`Error::Classes`] if there are no classes, [`Error::Option`] if there are no templates; [`Error::Text`],
/// [`Error::TextTooLong`].
pub fn prompts(
    classnames: &[String],
    templates: &[String],
    context_length: usize,
) -> Result<Vec<Vec<Symbol>>> {
    if classnames.is_empty() {
        return Err(Error::Classes { why: "the list is empty".into() });
    }
    if templates.is_empty() {
        let expected = "at least one template".into();
        return Err(Error::Option { name: "templates".into(), expected, got: "none".into() });
    }
    templates
        .iter()
        .flat_map(|template| {
            classnames.iter().map(move |name| fill(template, name, context_length))
        })
        .collect()
}

/// The features of classes from those of their [`prompts`].
pub struct Mean {
    sums: Vec<f32>,
    embed_dim: usize,
    next: usize,
}

impl Mean {
    /// Of `n_cls` classes.
    pub fn new(n_cls: usize, embed_dim: usize) -> Self {
        Self { sums: vec![0.0; n_cls * embed_dim], embed_dim, next: 0 }
    }

    /// Adds the L2-normalised features (n, `embed_dim`) of the next n prompts.
    pub fn add(&mut self, features: &[f32]) {
        for feature in features.chunks_exact(self.embed_dim) {
            let sum = &mut self.sums[self.next..][..self.embed_dim];
            sum.iter_mut().zip(feature).for_each(|(sum, x)| *sum += x);
            self.next = (self.next + self.embed_dim) % self.sums.len();
        }
    }

    /// L2-normalised features (`n_cls`, `embed_dim`).
    pub fn finish(mut self) -> Vec<f32> {
        normalize::forward(&mut self.sums, self.embed_dim);
        self.sums
    }
}

/// Hands the L2-normalised features of `prompts` to `take`, a batch (prompts, `embed_dim`) at a time, in their order.
fn each_batch<O: Ops>(
    clip: &Clip<O>,
    work: &mut Workspace<O>,
    prompts: &[Vec<Symbol>],
    cancelled: &dyn Fn() -> bool,
    mut take: impl FnMut(&[f32]),
) -> Result<()> {
    // The embeddings of all prompts at once, before anything slow: they may first have to be brought from elsewhere.
    let (text, tokens) = (clip.text()?, clip.tokens(&token_ids(prompts))?);
    let (mut rest, mut x, mut features) = (prompts, Vec::new(), Vec::new());
    while !rest.is_empty() {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        let (batch, after) = rest.split_at(batch_len(rest));
        let rows = Rows::new(&clip.ops, &Trie::new(batch, Sharing::Trie), 1, false);
        rows.embed(&mut x, text, &tokens, &[], 0, &[]);
        text.encode(&clip.ops, work, &mut features, &x, &rows.plan);
        normalize::forward(&mut features, clip.config.embed_dim);
        take(&features);
        rest = after;
    }
    Ok(())
}

/// How many of `prompts` fit into [`ROWS_AT_A_TIME`], at least one: a prompt adds no more rows than it has after what it
/// shares with the one before.
fn batch_len(prompts: &[Vec<Symbol>]) -> usize {
    let mut rows = 0;
    let mut before: &[Symbol] = &[];
    for (i, prompt) in prompts.iter().enumerate() {
        let shared = prompt.iter().zip(before).take_while(|(a, b)| a == b).count();
        rows += prompt.len() - shared;
        if rows > ROWS_AT_A_TIME {
            return i.max(1);
        }
        before = prompt;
    }
    prompts.len()
}
