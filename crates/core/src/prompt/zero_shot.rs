//! CLIP's own prompts: class names in hand-written templates. Several templates make an ensemble: each text feature is
//! normalised, they are averaged, and the mean is normalised (Radford et al. 2021, 3.1.4).

use super::plan::Rows;
use super::template::{fill, token_ids};
use super::trie::{Sharing, Trie};
use crate::model::block::Workspace;
use crate::model::clip::Clip;
use crate::ops::{Ops, normalize};
use crate::{Error, Result};
use std::collections::BTreeSet;

/// Prompts that are encoded at a time, so that memory stays bounded for thousands of classes.
const PROMPTS_AT_A_TIME: usize = 1024;

/// L2-normalised `text_features` (`n_cls`, `embed_dim`).
/// # Errors
/// [`Error::Classes`] if there are no classes, [`Error::Option`] if there are no templates; [`Error::Text`],
/// [`Error::TextTooLong`]; of [`Clip::text`].
pub fn text_features<O: Ops>(
    clip: &Clip<O>,
    work: &mut Workspace<O>,
    classnames: &[String],
    templates: &[String],
) -> Result<Vec<f32>> {
    if classnames.is_empty() {
        return Err(Error::Classes { why: "the list is empty".into() });
    }
    if templates.is_empty() {
        let expected = "at least one template".into();
        return Err(Error::Option { name: "templates".into(), expected, got: "none".into() });
    }
    let context_length = clip.config.context_length;
    let filled = |names: &[String]| {
        let of = |name: &String| {
            templates
                .iter()
                .map(|template| fill(template, name, context_length))
                .collect::<Vec<_>>()
        };
        names.iter().flat_map(of).collect::<Result<Vec<_>>>()
    };
    let parts = || classnames.chunks((PROMPTS_AT_A_TIME / templates.len()).max(1));
    // The embeddings of all prompts at once, before anything slow: they may first have to be brought from elsewhere.
    let mut ids = BTreeSet::new();
    for names in parts() {
        ids.extend(token_ids(&filled(names)?));
    }
    let (embed_dim, text, tokens) = (clip.config.embed_dim, clip.text()?, clip.tokens(&ids)?);
    let mut mean = Vec::with_capacity(classnames.len() * embed_dim);
    for names in parts() {
        let prompts = filled(names)?;
        let rows = Rows::new(&clip.ops, &Trie::new(&prompts, Sharing::Trie), 1, false);
        let x = rows.embed(text, &tokens, &[], 0, &[]);
        let mut features = text.encode(&clip.ops, work, &x, &rows.plan);
        normalize::forward(&mut features, embed_dim);
        for class in features.chunks_exact(templates.len() * embed_dim) {
            mean.extend(
                (0..embed_dim).map(|i| class.iter().skip(i).step_by(embed_dim).sum::<f32>()),
            );
        }
    }
    normalize::forward(&mut mean, embed_dim);
    Ok(mean)
}
