//! From a class name to the symbols of its prompt. What a row of the text tower stands for: a token, a learned vector
//! shared by all classes, or one of a class's own. The layouts are CoOp's (Zhou et al. 2022, 3.1; its `PromptLearner`).

use crate::input::tokenizer::{self, EOT, SOT};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One position of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// A token's embedding.
    Token(u32),
    /// Row `j` of the `ctx` that all classes share.
    Ctx(u32),
    /// Row `j` of class `class`'s own `ctx`.
    ClassCtx {
        /// The class.
        class: u32,
        /// The row.
        j: u32,
    },
}

/// Where the class name stands among the learned vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassTokenPosition {
    /// `[ctx] name .`
    #[default]
    End,
    /// `[first half of ctx] name [rest of ctx] .`
    Middle,
    /// `name [ctx] .`
    Front,
}

/// What becomes of a text that is longer than the model's context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// It is an error that names the text.
    Refuse,
    /// It loses its end, as by `truncate=True` of the original: the last token that fits is the end token.
    Truncate,
}

/// The symbols of a text as it stands.
/// # Errors
/// [`Error::Text`] if it is empty or holds special tokens; [`Error::TextTooLong`].
pub fn plain(text: &str, context_length: usize, too_long: TooLong) -> Result<Vec<Symbol>> {
    let truncate = too_long == TooLong::Truncate;
    let text = if truncate { tokenizer::beginning(text) } else { text };
    tokenizer::check_plain(text)?;
    let mut tokens = tokenizer::encode(text);
    if truncate {
        tokens.truncate(context_length - 2);
    }
    fits(sentence(tokens), text, context_length)
}

/// The symbols of `template` with the class name for `{}`.
/// # Errors
/// [`Error::Text`] if the template has no `{}` or holds special tokens; [`Error::TextTooLong`].
pub fn fill(template: &str, classname: &str, context_length: usize) -> Result<Vec<Symbol>> {
    if !template.contains("{}") {
        return Err(Error::Text {
            text: template.into(),
            why: "a template needs {} where the class name goes".into(),
        });
    }
    let text = template.replace("{}", &spaced(classname)?);
    tokenizer::check_plain(&text)?;
    fits(sentence(tokenizer::encode(&text)), &text, context_length)
}

/// `tokens` between start and end token.
fn sentence(tokens: Vec<u32>) -> Vec<Symbol> {
    [SOT].into_iter().chain(tokens).chain([EOT]).map(Symbol::Token).collect()
}

/// The symbols of class `class` around `n_ctx` learned vectors; `csc`: the class has its own.
/// The name and its full stop are tokenised together, as in the original: where they merge into one token ("prey)."),
/// that token travels with the name.
/// # Errors
/// [`Error::Text`] if the name is empty or holds special tokens; [`Error::TextTooLong`].
pub fn around_ctx(
    classname: &str,
    class: usize,
    n_ctx: usize,
    csc: bool,
    position: ClassTokenPosition,
    context_length: usize,
) -> Result<Vec<Symbol>> {
    let name = spaced(classname)?;
    let suffix = tokenizer::encode(&format!("{name}."));
    let name_len = tokenizer::encode(&name).len().min(suffix.len());
    let (name_part, rest) = suffix.split_at(name_len);
    let tokens = |part: &[u32]| part.iter().copied().map(Symbol::Token).collect::<Vec<_>>();
    let class = class as u32;
    let ctx = |range: std::ops::Range<usize>| {
        range
            .map(|j| j as u32)
            .map(|j| if csc { Symbol::ClassCtx { class, j } } else { Symbol::Ctx(j) })
            .collect()
    };
    let half = n_ctx / 2;
    let middle = match position {
        ClassTokenPosition::End => [ctx(0..n_ctx), tokens(name_part), tokens(rest)],
        ClassTokenPosition::Middle => {
            [[ctx(0..half), tokens(name_part)].concat(), ctx(half..n_ctx), tokens(rest)]
        }
        ClassTokenPosition::Front => [tokens(name_part), ctx(0..n_ctx), tokens(rest)],
    };
    let symbols = [tokens(&[SOT]), middle.concat(), tokens(&[EOT])].concat();
    fits(symbols, classname, context_length)
}

/// The class name as it is written in a prompt: `_` is a space.
fn spaced(classname: &str) -> Result<String> {
    let name = classname.replace('_', " ");
    tokenizer::check_plain(&name)?;
    Ok(name)
}

fn fits(symbols: Vec<Symbol>, text: &str, limit: usize) -> Result<Vec<Symbol>> {
    let got = symbols.len();
    if got <= limit {
        Ok(symbols)
    } else {
        Err(Error::TextTooLong { text: text.into(), got, limit })
    }
}

/// The tokens of some prompts.
pub fn token_ids(prompts: &[Vec<Symbol>]) -> BTreeSet<u32> {
    let token = |symbol: &Symbol| if let Symbol::Token(id) = symbol { Some(*id) } else { None };
    crate::set_of(prompts.iter().flatten().filter_map(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(classname: &str, position: ClassTokenPosition) -> String {
        let symbols = around_ctx(classname, 0, 4, false, position, 77).unwrap();
        let word = |symbol: &Symbol| match symbol {
            Symbol::Token(SOT) => "<".into(),
            Symbol::Token(EOT) => ">".into(),
            Symbol::Token(id) => id.to_string(),
            Symbol::Ctx(j) => format!("v{j}"),
            Symbol::ClassCtx { class, j } => format!("c{class}v{j}"),
        };
        symbols.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_three_layouts_are_the_originals() {
        assert_eq!(layout("dog", ClassTokenPosition::End), "< v0 v1 v2 v3 1929 269 >");
        assert_eq!(layout("dog", ClassTokenPosition::Middle), "< v0 v1 1929 v2 v3 269 >");
        assert_eq!(layout("dog", ClassTokenPosition::Front), "< 1929 v0 v1 v2 v3 269 >");
    }

    #[test]
    fn a_full_stop_that_merges_travels_with_the_name() {
        let name = "kite_(bird_of_prey)"; // "(prey)." ends in one token 1818
        assert_eq!(
            layout(name, ClassTokenPosition::Front),
            "< 19867 263 3329 539 17131 1818 v0 v1 v2 v3 >"
        );
    }

    #[test]
    fn a_plain_text_keeps_its_underscores_and_may_lose_its_end() {
        let ids = |symbols: Vec<Symbol>| {
            let id = |symbol| if let Symbol::Token(id) = symbol { id } else { unreachable!() };
            symbols.into_iter().map(id).collect::<Vec<_>>()
        };
        let plain_ids = |text: &str, too_long| Ok::<_, Error>(ids(plain(text, 77, too_long)?));
        assert_eq!(plain_ids("a dog", TooLong::Refuse), Ok(vec![SOT, 320, 1929, EOT]));
        assert_ne!(
            plain_ids("a_dog", TooLong::Refuse).unwrap(),
            plain_ids("a dog", TooLong::Refuse).unwrap()
        );
        let long = "dog ".repeat(76);
        assert_eq!(
            plain_ids(&long, TooLong::Refuse),
            Err(Error::TextTooLong { text: long.clone(), got: 78, limit: 77 })
        );
        let cut = plain_ids(&long, TooLong::Truncate).unwrap();
        assert_eq!(cut, [vec![SOT], vec![1929; 75], vec![EOT]].concat());
        assert_eq!(plain_ids(&"dog é ".repeat(9000), TooLong::Truncate).unwrap().len(), 77);
        for bad in ["", " ", "a <|endoftext|>"] {
            assert!(matches!(plain(bad, 77, TooLong::Truncate), Err(Error::Text { .. })), "{bad}");
        }
    }

    #[test]
    fn prompts_that_do_not_fit_are_refused_by_name() {
        let long = "word ".repeat(80);
        assert!(matches!(
            fill("a photo of a {}.", &long, 77),
            Err(Error::TextTooLong { got: 87, limit: 77, .. })
        ));
        assert!(around_ctx("dog", 0, 74, false, ClassTokenPosition::End, 77).is_err());
        assert!(around_ctx("dog", 0, 73, false, ClassTokenPosition::End, 77).is_ok());
        assert!(fill("a photo", "dog", 77).is_err() && fill("a {}", "<|endoftext|>", 77).is_err());
    }
}
