//! The rows of a batch: one trie for every image where the context depends on the image, the rows before any learned
//! vector (the start token) once for all. Rows of all images and classes are one packed matrix.

use super::template::Symbol;
use super::trie::Trie;
use crate::kernels::attention;
use crate::model::block;
use crate::model::text::{Text, TokenTable};
use crate::ops::Ops;

/// The rows of a batch and which of them see which.
pub struct Rows<O: Ops> {
    /// What each row stands for.
    symbols: Vec<Symbol>,
    /// Each row's position.
    depths: Vec<u32>,
    /// Each row's image; rows that all images share have image 0 and no learned vector.
    images: Vec<u32>,
    /// What the tower needs.
    pub plan: block::Plan<O>,
}

impl<O: Ops> Rows<O> {
    /// Lays out `trie` for `images` images, each with its own learned vectors (1 where they do not depend on the image).
    /// The rows that leave the tower are, image by image, the end of each prompt; all rows if `all_leave`.
    pub fn new(ops: &O, trie: &Trie, images: usize, all_leave: bool) -> Self {
        let mut rows: Vec<(Symbol, u32, u32)> = Vec::new();
        // Ancestors and self of every row, in the order of positions.
        let (mut offsets, mut path) = (vec![0u32], Vec::new());
        let mut row_of = vec![0u32; trie.nodes.len()];
        let mut ends = Vec::with_capacity(images * trie.ends.len());
        for image in 0..images {
            for (i, node) in trie.nodes.iter().enumerate() {
                if image > 0 && !node.after_ctx {
                    continue;
                }
                row_of[i] = rows.len() as u32;
                if let Some(parent) = node.parent {
                    let parent = row_of[parent as usize] as usize;
                    path.extend_from_within(offsets[parent] as usize..offsets[parent + 1] as usize);
                }
                path.push(row_of[i]);
                offsets.push(path.len() as u32);
                rows.push((node.symbol, node.depth, image as u32));
            }
            ends.extend(trie.ends.iter().map(|&end| row_of[end as usize]));
        }
        if all_leave {
            ends = (0..rows.len() as u32).collect();
        }
        let (mut end_offsets, mut end_path) = (vec![0], Vec::new());
        for &end in &ends {
            end_path.extend_from_slice(
                &path[offsets[end as usize] as usize..offsets[end as usize + 1] as usize],
            );
            end_offsets.push(end_path.len() as u32);
        }
        let plan = block::Plan {
            all: ops.new_plan(attention::Plan::listed(offsets, path, rows.len())),
            last: ops.new_plan(attention::Plan::listed(end_offsets, end_path, rows.len())),
            ends: ops.new_rows(ends),
        };
        let (symbols, rest): (Vec<_>, Vec<_>) =
            rows.into_iter().map(|(symbol, depth, image)| (symbol, (depth, image))).unzip();
        let (depths, images) = rest.into_iter().unzip();
        Self { symbols, depths, images, plan }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// (row, image, index into `ctx` rows) of every row that holds a learned vector; class-specific context has
    /// `n_ctx` rows for each class.
    pub fn learned(&self, n_ctx: usize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        self.symbols.iter().enumerate().filter_map(move |(row, symbol)| {
            let index = match symbol {
                Symbol::Token(_) => return None,
                Symbol::Ctx(j) => *j as usize,
                Symbol::ClassCtx { class, j } => *class as usize * n_ctx + *j as usize,
            };
            Some((row, self.images[row] as usize, index))
        })
    }

    /// `x` = the tower's input (rows, width): embeddings plus positions. `ctx` is (`n_ctx` or `n_cls`·`n_ctx`, width), `shift`
    /// (images, width) is what the Meta-Net adds to each image's vectors, or empty.
    pub fn embed(
        &self,
        x: &mut Vec<f32>,
        text: &Text<O>,
        tokens: &TokenTable,
        ctx: &[f32],
        n_ctx: usize,
        shift: &[f32],
    ) {
        let width = text.width();
        x.clear();
        x.reserve(self.len() * width);
        for (symbol, &depth) in self.symbols.iter().zip(&self.depths) {
            let position = text.position(depth as usize);
            match symbol {
                Symbol::Token(id) => {
                    x.extend(tokens.row(*id).iter().zip(position).map(|(x, p)| x + p));
                }
                _ => x.extend_from_slice(position),
            }
        }
        for (row, image, index) in self.learned(n_ctx) {
            let x = &mut x[row * width..][..width];
            let vector = &ctx[index * width..][..width];
            if shift.is_empty() {
                x.iter_mut().zip(vector).for_each(|(x, v)| *x += v);
            } else {
                let shift = &shift[image * width..][..width];
                x.iter_mut().zip(vector.iter().zip(shift)).for_each(|(x, (v, s))| *x += v + s);
            }
        }
    }
}
