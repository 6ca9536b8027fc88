//! CLIP's own prompts: class names in hand-written templates. Several templates make an ensemble: each text feature is
//! normalised, they are averaged, and the mean is normalised (Radford et al. 2021, 3.1.4).

use super::plan::Rows;
use super::template::fill;
use super::trie::{Sharing, Trie};
use crate::model::block::Workspace;
use crate::model::clip::Clip;
use crate::ops::{Ops, normalize};
use crate::{Error, Result};

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
    let (embed_dim, text) = (clip.config.embed_dim, clip.text()?);
    let mut mean = Vec::with_capacity(classnames.len() * embed_dim);
    for classnames in classnames.chunks((PROMPTS_AT_A_TIME / templates.len()).max(1)) {
        let prompts = classnames
            .iter()
            .flat_map(|name| {
                templates
                    .iter()
                    .map(move |template| fill(template, name, clip.config.context_length))
            })
            .collect::<Result<Vec<_>>>()?;
        let rows = Rows::new(&clip.ops, &Trie::new(&prompts, Sharing::Trie), 1, false);
        let x = rows.embed(text, &text.tokens, &[], 0, &[]);
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
