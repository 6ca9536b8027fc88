//! A model whose towers another runtime computes: what stands around them. Pixels for the image tower, prompts as the
//! text graphs take them (padded to the longest), and scores of what comes back.

use crate::bundle::Bundle;
use crate::classifier::Scores;
use crate::door;
use crate::input::image::{Limits, probe};
use crate::input::tokenizer::EOT;
use crate::input::transform::{Normalization, normalize, test_view, view_of_file};
use crate::model::clip::require;
use crate::model::text::TokenTable;
use crate::model::weights::TOKEN_TABLE;
use crate::ops::normalize as unit;
use crate::prompt::learned::{self, logits};
use crate::prompt::learner::Learner;
use crate::prompt::template::{Symbol, TooLong, plain};
use crate::prompt::zero_shot::{self, Mean};
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;

/// What is known of the model: its `ModelInfo`.
#[derive(Debug, Deserialize)]
pub struct Host {
    sha256: String,
    image_size: usize,
    embed_dim: usize,
    context_length: usize,
    /// Nothing where the files hold one tower alone.
    logit_scale: Option<f32>,
    normalization: Normalization,
    text: Text,
}

#[derive(Debug, Deserialize)]
struct Text {
    width: usize,
}

/// Prompts of equal length, one for each class, text, or template and class.
pub struct Prompts {
    symbols: Vec<Vec<Symbol>>,
    width: usize,
    learner: Option<Learner>,
    tokens: Option<TokenTable>,
}

impl Host {
    /// Reads the text of a `ModelInfo`.
    /// # Errors
    /// [`Error::Model`] if it is none.
    pub fn open(info: &str) -> Result<Self> {
        let bad = |why: String| Error::Model { why: format!("its description: {why}") };
        let host: Self = serde_json::from_str(info).map_err(|error| bad(error.to_string()))?;
        let lengths = [host.image_size, host.embed_dim, host.context_length, host.text.width];
        // What no CLIP exceeds, so that sizes computed of them cannot either; a tower that is not there has lengths of 0.
        if host.embed_dim == 0 || lengths.iter().any(|length| *length > 1 << 16) {
            return Err(bad(format!("a length is outside 1..=65536: {lengths:?}")));
        }
        Ok(host)
    }

    /// The image tower's input (3, `image_size`, `image_size`) of one encoded image file.
    /// # Errors
    /// [`Error::Image`], [`Error::ImageTooLarge`], [`Error::ImageFormat`].
    pub fn pixels(&self, image: &[u8]) -> Result<Vec<f32>> {
        let size = self.image_tower()?;
        Ok(self.input(&view_of_file(image, &Limits::default(), size)?))
    }

    /// The image tower's input of the probe image.
    /// # Errors
    /// [`Error::MissingTensor`] if there is no image tower.
    pub fn probe_pixels(&self) -> Result<Vec<f32>> {
        let size = self.image_tower()?;
        Ok(self.input(&test_view(&probe(size), size)))
    }

    /// The side of its images.
    fn image_tower(&self) -> Result<usize> {
        require(self.image_size, "visual.conv1.weight")?;
        Ok(self.image_size)
    }

    fn input(&self, view: &[u8]) -> Vec<f32> {
        let mut pixels = vec![0.0; view.len()];
        normalize(view, self.image_size, &self.normalization, &mut pixels);
        pixels
    }

    /// Features (n, `embed_dim`), L2-normalised, of what a tower returned (n, `embed_dim`).
    /// # Errors
    /// [`Error::Shape`].
    pub fn features(&self, embeds: &[f32]) -> Result<Vec<f32>> {
        self.check("embeds", embeds)?;
        let mut features = embeds.to_vec();
        unit::forward(&mut features, self.embed_dim);
        Ok(features)
    }

    /// Features (`n_cls`, `embed_dim`) of the prompts of [`Self::templates`]: the normalised mean of each class.
    /// # Errors
    /// [`Error::Shape`] if they are not those of `n_cls` classes.
    pub fn class_features(&self, embeds: &[f32], n_cls: usize) -> Result<Vec<f32>> {
        let features = self.features(embeds)?;
        if n_cls == 0 || !features.len().is_multiple_of(n_cls * self.embed_dim) {
            let (expected, got) = (vec![n_cls, self.embed_dim], vec![embeds.len()]);
            return Err(Error::Shape { name: "embeds".into(), expected, got });
        }
        let mut mean = Mean::new(n_cls, self.embed_dim);
        mean.add(&features);
        Ok(mean.finish())
    }

    /// Scores of L2-normalised `image_features` (n, `embed_dim`) against `text_features` (`n_cls`, `embed_dim`), or of
    /// one image against its own.
    /// # Errors
    /// [`Error::Shape`].
    pub fn score(&self, image_features: &[f32], text_features: &[f32]) -> Result<Scores> {
        self.check("image_features", image_features)?;
        self.check("text_features", text_features)?;
        let (n_cls, scale) = (text_features.len() / self.embed_dim, self.scale()?);
        let mut z = Vec::new();
        logits(&mut z, scale, image_features, text_features, n_cls, self.embed_dim);
        Ok(Scores::of(&z, n_cls, scale))
    }

    /// The log of the logits' scale.
    fn scale(&self) -> Result<f32> {
        self.logit_scale.ok_or_else(|| Error::MissingTensor { name: "logit_scale".into() })
    }

    fn check(&self, name: &str, features: &[f32]) -> Result<()> {
        if !features.is_empty() && features.len().is_multiple_of(self.embed_dim) {
            return Ok(());
        }
        let (expected, got) = (vec![self.embed_dim], vec![features.len()]);
        Err(Error::Shape { name: name.into(), expected, got })
    }

    /// JSON `{metadata, head}` of a bundle for its own classes or for others. `head` says what its text features are:
    /// `own` (in the bundle), `templates`, `learned` (computed once), `conditional` (computed for each image).
    /// # Errors
    /// As [`crate::classifier::Classifier::open`].
    pub fn open_bundle(&self, bundle: &Bundle, classnames: Option<Vec<String>>) -> Result<String> {
        bundle.check_fits(&self.sha256, self.embed_dim, self.text.width)?;
        let other = bundle.other_classes(classnames)?;
        let head = match (&bundle.learner, &bundle.text_features) {
            (_, Some(_)) if other.is_none() => "own",
            (None, _) => "templates",
            (Some(learner), _) if learner.meta_net.is_some() => "conditional",
            _ => "learned",
        };
        let mut metadata = bundle.metadata.clone();
        if let Some(names) = other {
            metadata.classnames = names;
        }
        Ok(json!({ "metadata": metadata.to_json(), "head": head }).to_string())
    }

    /// The prompts of a learned bundle for `classnames`. Their tokens are the bundle's where it has them all.
    /// # Errors
    /// As [`crate::prompt::learned::Learned::new`]; [`Error::Bundle`] if nothing was learned.
    pub fn learned(&self, bundle: &Bundle, classnames: &[String]) -> Result<Prompts> {
        let Some(learner) = &bundle.learner else {
            return Err(Error::Bundle { why: "nothing was learned: it has templates".into() });
        };
        let position = bundle.metadata.prompt.class_token_position;
        let symbols = learned::prompts(learner, classnames, position, self.context_length)?;
        let own = *classnames == bundle.metadata.classnames;
        let tokens = if own { bundle.tokens.clone() } else { None };
        Ok(Prompts { symbols, width: self.text.width, learner: Some(learner.clone()), tokens })
    }

    /// The prompts of every template and class.
    /// # Errors
    /// As [`zero_shot::text_features`].
    pub fn templates(&self, classnames: &[String], templates: &[String]) -> Result<Prompts> {
        require(self.text.width, TOKEN_TABLE)?;
        let symbols = zero_shot::prompts(classnames, templates, self.context_length)?;
        Ok(Prompts { symbols, width: self.text.width, learner: None, tokens: None })
    }

    /// The prompts of texts as they stand.
    /// # Errors
    /// As [`zero_shot::embed_texts`].
    pub fn texts(&self, texts: &[String], too_long: TooLong) -> Result<Prompts> {
        require(self.text.width, TOKEN_TABLE)?;
        let plain = |text: &String| plain(text, self.context_length, too_long);
        let symbols = texts.iter().map(plain).collect::<Result<Vec<_>>>()?;
        Ok(Prompts { symbols, width: self.text.width, learner: None, tokens: None })
    }

    /// How far the logits of the probe image, whose `cosines` these are, are from those in the bundle: largest difference
    /// over the largest of them.
    /// # Errors
    /// [`Error::Classes`] if they are of other classes.
    pub fn probe(&self, bundle: &Bundle, cosines: &[f32]) -> Result<f32> {
        bundle.probe_difference(&self.logits(cosines)?)
    }

    /// The bytes of a bundle of templates; `spec` as of the doors, `cosines` (`n_cls`) those of the probe image.
    /// # Errors
    /// Of [`door::zero_shot_metadata`] and [`Bundle::write`].
    pub fn zero_shot_bundle(
        &self,
        spec: &str,
        text_features: Vec<f32>,
        cosines: &[f32],
    ) -> Result<Vec<u8>> {
        let metadata =
            door::zero_shot_metadata(spec, &self.sha256, self.embed_dim, self.image_size)?;
        Bundle {
            metadata,
            learner: None,
            text_features: Some(text_features),
            tokens: None,
            probe_logits: self.logits(cosines)?,
        }
        .write()
    }

    fn logits(&self, cosines: &[f32]) -> Result<Vec<f32>> {
        let scale = self.scale()?.exp();
        Ok(cosines.iter().map(|cosine| cosine * scale).collect())
    }
}

impl Prompts {
    /// How many.
    pub fn count(&self) -> usize {
        self.symbols.len()
    }

    /// Length of the longest, tokens: that of all, filled up behind their ends.
    pub fn length(&self) -> usize {
        self.symbols.iter().map(Vec::len).max().unwrap_or_default()
    }

    /// (count) where each ends.
    pub fn ends(&self) -> Vec<i64> {
        self.symbols.iter().map(|prompt| prompt.len() as i64 - 1).collect()
    }

    /// (count, length) token ids, filled up with end tokens; learned vectors are 0.
    pub fn ids(&self) -> Vec<i64> {
        let id = |symbol: &Symbol| if let Symbol::Token(id) = symbol { i64::from(*id) } else { 0 };
        let end = i64::from(EOT);
        self.rows().map(|symbol| symbol.map_or(end, id)).collect()
    }

    /// The symbols of all prompts, row by row; nothing behind their ends.
    fn rows(&self) -> impl Iterator<Item = Option<&Symbol>> {
        let length = self.length();
        self.symbols.iter().flat_map(move |prompt| (0..length).map(|i| prompt.get(i)))
    }

    /// The ids whose embeddings [`Self::embeds`] still waits for, ascending.
    pub fn wanted(&self) -> Vec<u32> {
        if self.tokens.is_some() { Vec::new() } else { self.known().into_iter().collect() }
    }

    fn known(&self) -> BTreeSet<u32> {
        let id = |symbol: &Symbol| if let Symbol::Token(id) = symbol { Some(*id) } else { None };
        crate::set_of(self.symbols.iter().flatten().filter_map(id))
    }

    /// Takes the embeddings (n, width) of the tokens that [`Self::wanted`] names.
    /// # Errors
    /// [`Error::Shape`].
    pub fn set_tokens(&mut self, rows: Vec<f32>) -> Result<()> {
        self.tokens = Some(TokenTable::some(self.wanted(), rows, self.width)?);
        Ok(())
    }

    /// (count, length, width) embeddings without positions, for one image; zeros behind the ends. `image_features`
    /// (`embed_dim`) count only where there is a Meta-Net.
    /// # Errors
    /// [`Error::MissingTensor`] while tokens are wanted; [`Error::Shape`].
    pub fn embeds(&self, image_features: &[f32]) -> Result<Vec<f32>> {
        let missing = || Error::MissingTensor { name: "token rows".into() };
        let (tokens, width) = (self.tokens.as_ref().ok_or_else(missing)?, self.width);
        let learner = self.learner.as_ref();
        let mut shift = vec![0.0; width];
        match learner.and_then(|learner| learner.meta_net.as_ref()) {
            Some(net) if net.embed_dim() == image_features.len() => {
                net.forward(&mut shift, &mut Vec::new(), image_features);
            }
            Some(net) => {
                let (expected, got) = (vec![net.embed_dim()], vec![image_features.len()]);
                return Err(Error::Shape { name: "image_features".into(), expected, got });
            }
            None => {}
        }
        let mut embeds = Vec::with_capacity(self.count() * self.length() * width);
        for symbol in self.rows() {
            let index = match symbol {
                None => {
                    embeds.resize(embeds.len() + width, 0.0);
                    continue;
                }
                Some(Symbol::Token(id)) => {
                    embeds.extend_from_slice(tokens.row(*id));
                    continue;
                }
                Some(Symbol::Ctx(j)) => *j as usize,
                Some(Symbol::ClassCtx { class, j }) => {
                    *class as usize * learner.map_or(0, |learner| learner.n_ctx) + *j as usize
                }
            };
            let ctx = learner.map_or(&[][..], |learner| &learner.ctx);
            embeds.extend(ctx[index * width..][..width].iter().zip(&shift).map(|(v, s)| v + s));
        }
        Ok(embeds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::learner::MetaNet;
    use crate::prompt::template::ClassTokenPosition;

    const INFO: &str = r#"{"sha256": "ab", "image_size": 8, "embed_dim": 2, "context_length": 77, "logit_scale": 0.0,
                           "text": {"width": 2, "layers": 1}, "parameters": 9,
                           "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}"#;

    fn learned(csc: bool, meta_net: Option<MetaNet>) -> Prompts {
        let ctx: Vec<f32> = (0..if csc { 8 } else { 4 }).map(|i| i as f32).collect();
        let learner = Learner::new(ctx, 2, 2, csc, meta_net);
        let names = ["dog".to_string(), "two dogs".to_string()];
        let symbols = learned::prompts(&learner, &names, ClassTokenPosition::End, 77).unwrap();
        Prompts { symbols, width: 2, learner: Some(learner), tokens: None }
    }

    #[test]
    fn prompts_are_filled_up_behind_their_ends() {
        let prompts = learned(false, None);
        // <start> ctx ctx dog . <end>, and one token more
        assert_eq!((prompts.count(), prompts.length(), prompts.ends()), (2, 7, vec![5, 6]));
        let ids = prompts.ids();
        assert_eq!(ids[..7], [49406, 0, 0, 1929, 269, 49407, 49407]);
        assert_eq!(ids[7..], [49406, 0, 0, 1237, 3255, 269, 49407]);
    }

    #[test]
    fn embeddings_are_the_tokens_rows_and_the_shifted_vectors() {
        for (csc, second) in [(false, [0.0, 1.0, 2.0, 3.0]), (true, [4.0, 5.0, 6.0, 7.0])] {
            let mut prompts = learned(csc, None);
            assert_eq!(prompts.embeds(&[]).unwrap_err().code(), "missing_tensor");
            let wanted = prompts.wanted();
            assert!(wanted.is_sorted() && wanted.contains(&1929) && wanted.contains(&49407));
            let rows = wanted.iter().flat_map(|id| [*id as f32, -1.0]).collect();
            prompts.set_tokens(rows).unwrap();
            let embeds = prompts.embeds(&[]).unwrap();
            assert_eq!(embeds.len(), 2 * 7 * 2);
            assert_eq!(embeds[..8], [49406.0, -1.0, 0.0, 1.0, 2.0, 3.0, 1929.0, -1.0]);
            assert_eq!(embeds[10..14], [49407.0, -1.0, 0.0, 0.0]);
            assert_eq!(embeds[16..20], second);
        }
        // A Meta-Net whose hidden unit is off gives its second bias.
        let meta_net = MetaNet {
            linear1_weight: vec![0.0; 2],
            linear1_bias: vec![-1.0],
            linear2_weight: vec![1.0; 2],
            linear2_bias: vec![0.5, -0.5],
        };
        let mut prompts = learned(false, Some(meta_net));
        prompts.set_tokens(vec![0.0; prompts.wanted().len() * 2]).unwrap();
        assert_eq!(prompts.embeds(&[1.0, 0.0]).unwrap()[2..6], [0.5, 0.5, 2.5, 2.5]);
        assert_eq!(prompts.embeds(&[1.0]).unwrap_err().code(), "bad_shape");
        assert_eq!(prompts.set_tokens(vec![0.0; 3]).unwrap_err().code(), "bad_shape");
    }

    #[test]
    fn features_are_normalised_and_averaged_over_templates() {
        let host = Host::open(INFO).unwrap();
        assert_eq!(host.features(&[3.0, 4.0]).unwrap(), [0.6, 0.8]);
        // Template by template: (1, 0), (0, 1) of the first, (0, 2), (0, 2) of the second.
        let mean = host.class_features(&[1.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 2.0], 2).unwrap();
        let half = 0.5f32.sqrt();
        assert!((mean[0] - half).abs() < 1e-6 && (mean[1] - half).abs() < 1e-6);
        assert_eq!(mean[2..], [0.0, 1.0]);
        let scores = host.score(&[1.0, 0.0], &[1.0, 0.0, 0.0, 1.0]).unwrap();
        assert_eq!(scores.cosines, [1.0, 0.0]);
        assert!((scores.probs[0] - 0.731_058_6).abs() < 1e-6);
        for wrong in
            [host.features(&[1.0]), host.features(&[]), host.class_features(&[1.0, 0.0], 2)]
        {
            assert_eq!(wrong.unwrap_err().code(), "bad_shape");
        }
    }

    #[test]
    fn what_a_tower_that_is_not_there_would_do_is_refused_by_name() {
        let blind = Host::open(&INFO.replace('8', "0").replace("0.0", "null")).unwrap();
        assert_eq!(blind.pixels(&[]).unwrap_err().code(), "missing_tensor");
        assert_eq!(blind.probe_pixels().unwrap_err().code(), "missing_tensor");
        assert_eq!(blind.score(&[1.0, 0.0], &[1.0, 0.0]).unwrap_err().code(), "missing_tensor");
        let mute = Host::open(&INFO.replace(r#""width": 2"#, r#""width": 0"#)).unwrap();
        let names = ["dog".to_string()];
        assert_eq!(mute.templates(&names, &names).err().unwrap().code(), "missing_tensor");
        assert_eq!(mute.texts(&names, TooLong::Refuse).err().unwrap().code(), "missing_tensor");
    }

    #[test]
    fn a_description_that_is_none_is_refused() {
        assert!(Host::open(INFO).is_ok());
        for info in ["", "{}", &INFO.replace(": 2,", ": 0,"), &INFO.replace('8', "99999999")] {
            assert_eq!(Host::open(info).unwrap_err().code(), "bad_model", "{info}");
        }
    }
}
