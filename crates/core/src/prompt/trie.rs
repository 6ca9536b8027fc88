//! The prefix trie. The text tower is causal: a row depends only on the rows before it, so prompts that begin alike
//! share the rows of their beginning, exactly, forward and backward. Nothing after the end token exists.
//! [`Sharing::Packed`] and [`Sharing::Padded`] lay the same prompts out without sharing, to be compared with.

use super::template::Symbol;
use std::collections::HashMap;

/// How prompts are laid out as rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// A row for each distinct beginning.
    Trie,
    /// Each prompt on its own, up to its end token.
    Packed,
    /// Each prompt on its own, filled with token 0 up to this many rows: what the original computes.
    Padded(usize),
}

/// One row of the text tower.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// What stands here.
    pub symbol: Symbol,
    /// The row before; only first positions have none. A parent's index is below its children's.
    pub parent: Option<u32>,
    /// Position in the prompt, from 0.
    pub depth: u32,
    /// Whether a shared learned vector stands here or before: such rows differ from image to image in CoCoOp.
    pub after_ctx: bool,
}

/// All prompts of a set of classes.
pub struct Trie {
    /// The rows.
    pub nodes: Vec<Node>,
    /// The row of each prompt's end token.
    pub ends: Vec<u32>,
}

impl Trie {
    /// Lays out `prompts`.
    /// # Panics
    /// If one is empty: every prompt has a start and an end token.
    pub fn new(prompts: &[Vec<Symbol>], sharing: Sharing) -> Self {
        let mut trie = Self { nodes: Vec::new(), ends: Vec::with_capacity(prompts.len()) };
        let mut children: HashMap<(Option<u32>, Symbol), u32> = HashMap::new();
        for prompt in prompts {
            let mut at = None;
            for &symbol in prompt {
                let known =
                    children.get(&(at, symbol)).copied().filter(|_| sharing == Sharing::Trie);
                let next = known.unwrap_or_else(|| trie.push(symbol, at));
                children.insert((at, symbol), next);
                at = Some(next);
            }
            trie.ends.push(at.expect("a prompt has a start and an end token"));
            if let Sharing::Padded(length) = sharing {
                for _ in prompt.len()..length {
                    at = Some(trie.push(Symbol::Token(0), at));
                }
            }
        }
        trie
    }

    fn push(&mut self, symbol: Symbol, parent: Option<u32>) -> u32 {
        let before = parent.map(|parent| self.nodes[parent as usize]);
        let depth = before.map_or(0, |before| before.depth + 1);
        let after_ctx =
            matches!(symbol, Symbol::Ctx(_)) || before.is_some_and(|before| before.after_ctx);
        self.nodes.push(Node { symbol, parent, depth, after_ctx });
        self.nodes.len() as u32 - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::template::{ClassTokenPosition, around_ctx};

    fn prompts(position: ClassTokenPosition) -> Vec<Vec<Symbol>> {
        ["red circle", "red square", "dog"]
            .iter()
            .enumerate()
            .map(|(i, name)| around_ctx(name, i, 4, false, position, 77).unwrap())
            .collect()
    }

    #[test]
    fn beginnings_are_shared_and_nothing_else() {
        let trie = Trie::new(&prompts(ClassTokenPosition::End), Sharing::Trie);
        // start, 4 ctx, red, circle . >, square . >, dog . >
        assert_eq!(trie.nodes.len(), 1 + 4 + 1 + 3 + 3 + 3);
        assert_eq!(trie.nodes.iter().filter(|node| !node.after_ctx).count(), 1);
        let front = Trie::new(&prompts(ClassTokenPosition::Front), Sharing::Trie);
        // start, red, (circle, square, dog) each with 4 ctx . >
        assert_eq!(front.nodes.len(), 2 + 3 * 7);
        assert_eq!(front.nodes.iter().filter(|node| !node.after_ctx).count(), 5);
    }

    #[test]
    fn the_other_layouts_share_nothing() {
        let prompts = prompts(ClassTokenPosition::End);
        assert_eq!(Trie::new(&prompts, Sharing::Packed).nodes.len(), 9 + 9 + 8);
        let padded = Trie::new(&prompts, Sharing::Padded(77));
        assert_eq!(padded.nodes.len(), 3 * 77);
        assert_eq!(padded.ends, [8, 77 + 8, 154 + 7]);
    }

    #[test]
    fn equal_prompts_end_in_one_row() {
        let twice = [prompts(ClassTokenPosition::End), prompts(ClassTokenPosition::End)].concat();
        let trie = Trie::new(&twice, Sharing::Trie);
        assert_eq!(trie.ends[..3], trie.ends[3..]);
    }
}
