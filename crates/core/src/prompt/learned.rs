//! Learned prompts of a set of classes: the one forward pass of CoOp and CoCoOp, in training and in classification,
//! and its backward. Logits are `exp(logit_scale)`·cos(image, text) (Radford et al. 2021, Fig. 3).

use super::learner::Learner;
use super::plan::Rows;
use super::template::{ClassTokenPosition, Symbol, around_ctx};
use super::trie::{Node, Sharing, Trie};
use crate::kernels::dot::dots;
use crate::kernels::for_rows;
use crate::model::block::Workspace;
use crate::model::clip::Clip;
use crate::model::text::TokenTable;
use crate::ops::{Ops, normalize};
use crate::{Error, Result};
use std::collections::BTreeSet;

/// Learned vectors among the names of some classes.
pub struct Learned<O: Ops> {
    /// What is learned.
    pub learner: Learner,
    n_cls: usize,
    trie: Trie,
    /// The rows of the latest batch size.
    rows: Option<(usize, Rows<O>)>,
    latest: Forward,
}

/// What a forward pass leaves for its user and for backward; its room stays for the next.
#[derive(Default)]
struct Forward {
    /// `exp(logit_scale)`·cosine (batch, `n_cls`).
    logits: Vec<f32>,
    /// L2-normalised: (`n_cls`, `embed_dim`), or (batch, `n_cls`, `embed_dim`) where they depend on the image.
    text_features: Vec<f32>,
    /// Of the text features before.
    lengths: Vec<f32>,
    /// Of the Meta-Net.
    hidden: Vec<f32>,
    shift: Vec<f32>,
    /// (rows, width): the text tower's input.
    x: Vec<f32>,
}

impl<O: Ops> Learned<O> {
    /// Places `learner`'s vectors among `classnames`.
    /// # Errors
    /// [`Error::Classes`] if there are none, or if class-specific vectors are for another number of classes;
    /// [`Error::Text`], [`Error::TextTooLong`].
    pub fn new(
        learner: Learner,
        classnames: &[String],
        position: ClassTokenPosition,
        context_length: usize,
        sharing: Sharing,
    ) -> Result<Self> {
        let prompts = prompts(&learner, classnames, position, context_length)?;
        Ok(Self {
            n_cls: classnames.len(),
            trie: Trie::new(&prompts, sharing),
            learner,
            rows: None,
            latest: Forward::default(),
        })
    }

    /// Number of classes.
    pub fn n_cls(&self) -> usize {
        self.n_cls
    }

    /// Rows of the text tower for one image.
    pub fn rows_per_image(&self) -> usize {
        self.trie.nodes.len()
    }

    /// The tokens of all prompts.
    pub fn token_ids(&self) -> BTreeSet<u32> {
        let token = |node: &Node| if let Symbol::Token(id) = node.symbol { Some(id) } else { None };
        crate::set_of(self.trie.nodes.iter().filter_map(token))
    }

    /// Whether the text features differ from image to image.
    pub fn conditional(&self) -> bool {
        self.learner.meta_net.is_some()
    }

    /// Logits (batch, `n_cls`) of `image_features` (batch, `embed_dim`), L2-normalised, batch ≥ 1. They stay until the
    /// next pass.
    /// # Errors
    /// Of [`Clip::text`].
    pub fn forward(
        &mut self,
        clip: &Clip<O>,
        tokens: &TokenTable,
        work: &mut Workspace<O>,
        image_features: &[f32],
    ) -> Result<&[f32]> {
        let embed_dim = clip.config.embed_dim;
        self.encode(clip, tokens, work, image_features)?;
        let Forward { logits: z, text_features, .. } = &mut self.latest;
        logits(z, clip.logit_scale, image_features, text_features, self.n_cls, embed_dim);
        Ok(z)
    }

    /// The text features of each image, or of all.
    fn encode(
        &mut self,
        clip: &Clip<O>,
        tokens: &TokenTable,
        work: &mut Workspace<O>,
        image_features: &[f32],
    ) -> Result<()> {
        let (text, embed_dim) = (clip.text()?, clip.config.embed_dim);
        let Forward { text_features, lengths, hidden, shift, x, .. } = &mut self.latest;
        let mut images = 1;
        if let Some(net) = &self.learner.meta_net {
            images = image_features.len() / embed_dim;
            net.forward(shift, hidden, image_features);
        }
        if self.rows.as_ref().is_none_or(|(known, _)| *known != images) {
            self.rows = Some((images, Rows::new(&clip.ops, &self.trie, images, false)));
        }
        let (_, rows) = self.rows.as_ref().expect("just made");
        rows.embed(x, text, tokens, &self.learner.ctx, self.learner.n_ctx, shift);
        text.encode(&clip.ops, work, text_features, x, &rows.plan);
        normalize::forward_keeping(text_features, embed_dim, lengths);
        Ok(())
    }

    /// The gradient of what is learned, given that of the logits (batch, `n_cls`) of the latest forward pass, which was
    /// in this workspace and of these `image_features`.
    /// # Errors
    /// Of [`Clip::text`]; never after that forward pass.
    /// # Panics
    /// If there was none.
    pub fn backward(
        &self,
        clip: &Clip<O>,
        work: &mut Workspace<O>,
        image_features: &[f32],
        dlogits: &[f32],
    ) -> Result<Learner> {
        let (embed_dim, ctx_dim) = (clip.config.embed_dim, self.learner.ctx_dim);
        let scale = clip.logit_scale.exp();
        let (forward, rows) = (&self.latest, &self.rows.as_ref().expect("a forward pass").1);
        let mut dtext = vec![0.0; forward.text_features.len()];
        for (i, (image, dlogits)) in
            image_features.chunks_exact(embed_dim).zip(dlogits.chunks_exact(self.n_cls)).enumerate()
        {
            let first = if self.conditional() { i * self.n_cls } else { 0 };
            for (dtext, dlogit) in
                dtext[first * embed_dim..].chunks_exact_mut(embed_dim).zip(dlogits)
            {
                dtext.iter_mut().zip(image).for_each(|(d, x)| *d += scale * dlogit * x);
            }
        }
        normalize::backward(&mut dtext, &forward.text_features, &forward.lengths, embed_dim);
        let dx = clip.text()?.backward(&clip.ops, work, &dtext, &rows.plan, rows.len());
        let mut d = self.learner.zeros();
        let mut dshift =
            vec![
                0.0;
                if self.conditional() { image_features.len() / embed_dim * ctx_dim } else { 0 }
            ];
        for (row, image, index) in rows.learned(self.learner.n_ctx) {
            let dx = &dx[row * ctx_dim..][..ctx_dim];
            d.ctx[index * ctx_dim..].iter_mut().zip(dx).for_each(|(d, x)| *d += x);
            if self.conditional() {
                dshift[image * ctx_dim..].iter_mut().zip(dx).for_each(|(d, x)| *d += x);
            }
        }
        if let (Some(net), Some(d)) = (&self.learner.meta_net, &mut d.meta_net) {
            net.backward(d, &dshift, image_features, &forward.hidden);
        }
        Ok(d)
    }
}

/// L2-normalised `text_features` (`n_cls`, `embed_dim`) of prompts that are the same for every image; `tokens` are those of
/// `classnames` where they are known, else they are read.
/// # Errors
/// As [`Learned::new`]; of [`Clip::text`] and [`Clip::tokens`].
/// # Panics
/// If they are not ([`Learned::conditional`]).
pub fn text_features<O: Ops>(
    clip: &Clip<O>,
    learner: Learner,
    classnames: &[String],
    position: ClassTokenPosition,
    tokens: Option<&TokenTable>,
) -> Result<Vec<f32>> {
    let context_length = clip.config.context_length;
    let mut learned =
        Learned::<O>::new(learner, classnames, position, context_length, Sharing::Trie)?;
    let read;
    let tokens = if let Some(tokens) = tokens {
        tokens
    } else {
        read = clip.tokens(&learned.token_ids())?;
        &read
    };
    assert!(!learned.conditional());
    learned.encode(clip, tokens, &mut Workspace::inference(), &[])?;
    Ok(learned.latest.text_features)
}

/// The prompts of `classnames` around `learner`'s vectors.
/// # Errors
/// As [`Learned::new`].
pub fn prompts(
    learner: &Learner,
    classnames: &[String],
    position: ClassTokenPosition,
    context_length: usize,
) -> Result<Vec<Vec<Symbol>>> {
    if classnames.is_empty() {
        return Err(Error::Classes { why: "the list is empty".into() });
    }
    let vectors = if learner.csc { classnames.len() * learner.n_ctx } else { learner.n_ctx };
    if learner.ctx.len() != vectors * learner.ctx_dim {
        let got = learner.ctx.len() / (learner.n_ctx * learner.ctx_dim);
        let why = format!(
            "class-specific context was learned for {got} classes and fits no others, got {}",
            classnames.len()
        );
        return Err(Error::Classes { why });
    }
    let prompt = |(class, name): (usize, &String)| {
        around_ctx(name, class, learner.n_ctx, learner.csc, position, context_length)
    };
    classnames.iter().enumerate().map(prompt).collect()
}

/// `logits` = exp(`logit_scale`)·image·text (batch, `n_cls`); `text_features` are (`n_cls`, `embed_dim`), or those for
/// each image one after the other.
/// # Panics
/// If `text_features` fit neither shape.
pub fn logits(
    logits: &mut Vec<f32>,
    logit_scale: f32,
    image_features: &[f32],
    text_features: &[f32],
    n_cls: usize,
    embed_dim: usize,
) {
    let (batch, scale) = (image_features.len() / embed_dim, logit_scale.exp());
    let one = n_cls * embed_dim;
    let own = if text_features.len() > one { one } else { 0 };
    assert!(text_features.len() == one || text_features.len() == batch * one);
    logits.resize(batch * n_cls, 0.0);
    for_rows(logits, n_cls, 1, |image, logits| {
        dots(
            logits,
            &image_features[image * embed_dim..][..embed_dim],
            &text_features[image * own..][..one],
        );
        logits.iter_mut().for_each(|z| *z *= scale);
    });
}
