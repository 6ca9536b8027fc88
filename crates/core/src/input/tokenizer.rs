//! CLIP's tokenizer, exactly: cleaning, splitting and byte-pair encoding (Sennrich et al. 2016) as in openai/CLIP.
//! The vocabulary is `merges.bin`, made by `scripts/make-merges.mjs`: 256 bytes, the same ending a word, 48,894 merges.

mod clean;
mod html;
mod merges;
mod mojibake;
mod normal;

use crate::{Error, Result};
use std::sync::OnceLock;

/// The start token.
pub const SOT: u32 = 49406;
/// The end token: the largest id, so the first maximum of a row of ids is its position.
pub const EOT: u32 = 49407;

const N_BYTES: u32 = 256;

/// The ids of `text`, without start and end token. The words `<|startoftext|>` and `<|endoftext|>` become [`SOT`] and
/// [`EOT`], as in the original; [`check_plain`] refuses them.
pub fn encode(text: &str) -> Vec<u32> {
    let text = clean::clean(text);
    let mut ids = Vec::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let length = piece(rest);
        let (piece, tail) = rest.split_at(length.max(first.len_utf8()));
        match piece {
            _ if length == 0 => {} // belongs to no piece
            "<|startoftext|>" => ids.push(SOT),
            "<|endoftext|>" => ids.push(EOT),
            _ => merge(piece.as_bytes(), &mut ids),
        }
        rest = tail;
    }
    ids
}

/// The text of one token; a token that ends a word ends with `</w>`. Bytes that are not UTF-8 by themselves are
/// replaced by U+FFFD. Empty for an id that is not in the vocabulary.
pub fn decode(id: u32) -> String {
    match id {
        SOT => return "<|startoftext|>".to_owned(),
        EOT => return "<|endoftext|>".to_owned(),
        _ if id > EOT => return String::new(),
        _ => {}
    }
    let (mut bytes, mut ends_word, mut open) = (Vec::new(), false, vec![id]);
    while let Some(id) = open.pop() {
        if let Some(rank) = id.checked_sub(2 * N_BYTES) {
            let (first, second) = pair(rank as usize);
            open.extend([second, first]);
        } else {
            ends_word |= id >= N_BYTES;
            bytes.push(byte_of(id % N_BYTES));
        }
    }
    String::from_utf8_lossy(&bytes).into_owned() + if ends_word { "</w>" } else { "" }
}

/// Longest text that [`check_plain`] lets through, in bytes: no prompt of 77 tokens is nearly as long.
const MAX_BYTES: usize = 10_000;

/// As much of the beginning of `text` as [`check_plain`] lets through.
pub fn beginning(text: &str) -> &str {
    let end = (0..=MAX_BYTES.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

/// Refuses a class name or template from outside that has no token, or that holds a special token, also after cleaning.
/// # Errors
/// [`Error::Text`], with the reason.
pub fn check_plain(text: &str) -> Result<()> {
    let refuse = |why: &str| {
        let shown = text.chars().take(100).collect();
        Err(Error::Text { text: shown, why: why.to_owned() })
    };
    if text.len() > MAX_BYTES {
        return refuse("it is longer than 10,000 bytes");
    }
    let ids = encode(text);
    if ids.is_empty() {
        refuse("it is empty")
    } else if ids.contains(&SOT) || ids.contains(&EOT) {
        refuse("it holds a special token")
    } else {
        Ok(())
    }
}

/// Bytes of the first piece of `text`, 0 if no piece starts there, as at white space. The original's regular expression, in its order:
/// special token | 's 't 're 've 'm 'll 'd | letters | one number | what is neither letter nor number nor white space.
fn piece(text: &str) -> usize {
    const FIXED: [&str; 9] =
        ["<|startoftext|>", "<|endoftext|>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
    let starts = |fixed: &&str| {
        // The expression ignores case, and the long s is a case of s.
        let mut chars = text.chars().map(|c| if c == 'ſ' { 's' } else { c });
        fixed.chars().all(|c| chars.next() == Some(c))
    };
    if let Some(fixed) = FIXED.iter().find(|fixed| starts(fixed)) {
        return text.chars().take(fixed.len()).map(char::len_utf8).sum();
    }
    let run =
        |kind: Kind| text.chars().take_while(|&c| Kind::of(c) == kind).map(char::len_utf8).sum();
    match text.chars().next().map(Kind::of) {
        None | Some(Kind::Space) => 0,
        Some(Kind::Number) => text.chars().next().map_or(0, char::len_utf8),
        Some(kind) => run(kind),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Number,
    Space,
    Other,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            'A'..='Z' | 'a'..='z' => Self::Letter,
            // The iota below is no letter, but its capital is; as the expression ignores case, no part of it takes it.
            '\u{345}' => Self::Space,
            _ if c.is_numeric() => Self::Number,
            _ if is_letter(c) => Self::Letter,
            _ if c.is_whitespace() => Self::Space,
            _ => Self::Other,
        }
    }
}

/// Unicode's general category L, which the standard library does not have.
fn is_letter(c: char) -> bool {
    static BOUNDS: OnceLock<Vec<u32>> = OnceLock::new();
    let bounds = BOUNDS.get_or_init(|| {
        // Distances between the bounds of runs of letters.
        let mut bounds = numbers(include_bytes!("tokenizer/letters.bin"));
        (1..bounds.len()).for_each(|at| bounds[at] += bounds[at - 1]);
        bounds
    });
    bounds.partition_point(|&bound| bound <= u32::from(c)) % 2 == 1
}

/// The numbers of a table: 7 bits per byte, low ones first, 0x80 for more.
fn numbers(bytes: &[u8]) -> Vec<u32> {
    let (mut numbers, mut number, mut shift) = (Vec::new(), 0, 0);
    for &byte in bytes {
        number |= u32::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            numbers.push(number);
            (number, shift) = (0, 0);
        }
    }
    numbers
}

/// The bytes that [`numbers`] reads.
#[cfg(test)]
fn bytes_of(numbers: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &number in numbers {
        let mut rest = number;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

/// Appends the ids of one word: its bytes, the last one as the end of a word, then again and again the pair of lowest
/// rank merged wherever it stands.
fn merge(word: &[u8], ids: &mut Vec<u32>) {
    let mut symbols: Vec<u32> = word.iter().map(|&byte| id_of(byte)).collect();
    if let Some(last) = symbols.last_mut() {
        *last += N_BYTES;
    }
    while let Some(rank) = symbols.windows(2).filter_map(|pair| rank_of(pair[0], pair[1])).min() {
        let (first, second) = pair(rank);
        let (mut read, mut write) = (0, 0);
        while read < symbols.len() {
            let merges = symbols[read] == first && symbols.get(read + 1) == Some(&second);
            symbols[write] = if merges { 2 * N_BYTES + rank as u32 } else { symbols[read] };
            read += if merges { 2 } else { 1 };
            write += 1;
        }
        symbols.truncate(write);
    }
    ids.append(&mut symbols);
}

/// Pairs of ids; the pair at `rank` becomes the id `512 + rank`. Read at the first use, in some 25 ms of WASM.
fn pairs() -> &'static [(u16, u16)] {
    static PAIRS: OnceLock<Vec<(u16, u16)>> = OnceLock::new();
    PAIRS.get_or_init(|| merges::read(include_bytes!("tokenizer/merges.bin")))
}

/// The two ids merged at `rank`.
fn pair(rank: usize) -> (u32, u32) {
    let (first, second) = pairs()[rank];
    (first.into(), second.into())
}

/// The slots of a hash table in which to look for `key`, in order; there are 2 to the power of `bits`.
fn slots(key: u32, bits: u32) -> impl Iterator<Item = usize> {
    let start = (key.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize; // Fibonacci hashing
    (start..).map(move |slot| slot & ((1 << bits) - 1))
}

/// The rank at which two ids merge. The table holds ranks only and is filled at the first use, in some milliseconds.
fn rank_of(first: u32, second: u32) -> Option<usize> {
    static TABLE: OnceLock<Vec<u16>> = OnceLock::new();
    /// More than twice as many slots as merges.
    const BITS: u32 = 17;
    const EMPTY: u16 = u16::MAX;
    let slots = |first, second| slots(first << 16 | second, BITS);
    let table = TABLE.get_or_init(|| {
        let mut table = vec![EMPTY; 1 << BITS];
        for (rank, &(first, second)) in (0..).zip(pairs()) {
            let free = slots(first.into(), second.into()).find(|&slot| table[slot] == EMPTY);
            table[free.expect("there are more slots than merges")] = rank;
        }
        table
    });
    let ranks = slots(first, second).map(|slot| table[slot]).take_while(|&rank| rank != EMPTY);
    ranks.map(usize::from).find(|&rank| pair(rank) == (first, second))
}

/// GPT-2's order of bytes: the printable ones of Latin-1, then the others.
const PRINTABLE: [(u8, u8); 3] = [(33, 126), (161, 172), (174, 255)];
const UNPRINTABLE: [(u8, u8); 3] = [(0, 32), (127, 160), (173, 173)];

fn byte_order() -> impl Iterator<Item = u8> {
    PRINTABLE.into_iter().chain(UNPRINTABLE).flat_map(|(first, last)| first..=last)
}

fn id_of(byte: u8) -> u32 {
    static IDS: OnceLock<[u32; 256]> = OnceLock::new();
    let ids = IDS.get_or_init(|| {
        let mut ids = [0; 256];
        byte_order().zip(0..).for_each(|(byte, id)| ids[usize::from(byte)] = id);
        ids
    });
    ids[usize::from(byte)]
}

/// `id` is below 256.
fn byte_of(id: u32) -> u8 {
    byte_order().nth(id as usize).expect("every byte is in the order")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::fmt::Write;

    #[test]
    fn known_texts_have_known_ids() {
        let cases: [(&str, &[u32]); 14] = [
            ("", &[]),
            ("a photo of a cat.", &[320, 1125, 539, 320, 2368, 269]),
            ("Hello, World!!", &[3306, 267, 1002, 748]),
            ("naïve café", &[1097, 35689, 563, 15304]),
            ("it's 2024", &[585, 568, 273, 271, 273, 275]),
            ("F-16A/B", &[325, 268, 272, 277, 320, 270, 321]),
            ("don't", &[847, 713]),
            ("&amp;amp; &lt;b&gt;", &[261, 283, 321, 285]),
            ("日本語", &[39121, 44353, 34002, 508]),
            ("😀", &[7334]),
            ("ﬁne", &[3797]),
            ("‘quoted’ text", &[262, 27706, 262, 4160]),
            ("kite (bird of prey).", &[19867, 263, 3329, 539, 17131, 1818]),
            ("end<|ENDoftext|>here <|startoftext|>", &[806, EOT, 763, SOT]),
        ];
        for (text, ids) in cases {
            assert_eq!(encode(text), ids, "{text:?}");
        }
    }

    /// The lines of the original file's merges, rebuilt from the table, have the hash that `make-merges.mjs` printed.
    #[test]
    fn the_vocabulary_is_the_originals() {
        let mut symbols: Vec<String> = Vec::new();
        let unprintable = (256..).filter_map(char::from_u32);
        symbols.extend(
            PRINTABLE.into_iter().flat_map(|(a, b)| a..=b).map(|byte| char::from(byte).to_string()),
        );
        symbols.extend(unprintable.take(68).map(String::from));
        symbols.extend_from_within(..);
        symbols[256..].iter_mut().for_each(|symbol| symbol.push_str("</w>"));
        let mut lines = String::new();
        for rank in 0..pairs().len() {
            let (first, second) = pair(rank);
            let (first, second) = (&symbols[first as usize], &symbols[second as usize]);
            writeln!(lines, "{first} {second}").unwrap();
            symbols.push(format!("{first}{second}"));
        }
        assert_eq!(symbols.len() as u32, SOT);
        let hash = Sha256::digest(lines)
            .iter()
            .fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
        assert_eq!(hash, "d308b7377a8ceaa9707a21614fe8c831b9196e197b7aeb69833359362907af02");
    }

    #[test]
    fn every_merge_is_found_and_every_token_has_a_text() {
        for rank in 0..pairs().len() {
            let (first, second) = pair(rank);
            assert_eq!(rank_of(first, second), Some(rank));
        }
        assert_eq!(rank_of(EOT, EOT), None);
        assert!((0..=EOT).all(|id| !decode(id).is_empty()));
        assert_eq!(
            [2368, 320, 64, 1125, SOT, EOT + 1].map(decode),
            ["cat</w>", "a</w>", "a", "photo</w>", "<|startoftext|>", ""]
        );
    }

    /// To renew `letters.bin`, write `bytes` to it here.
    #[test]
    fn letters_and_numbers_are_those_of_unicode() {
        use unicode_general_category::get_general_category;
        let (mut distances, mut last, mut inside) = (Vec::new(), 0, false);
        for c in '\0'..=char::MAX {
            let category = get_general_category(c).abbreviation();
            if category.starts_with('L') != inside {
                inside = !inside;
                distances.push(u32::from(c) - last);
                last = u32::from(c);
            }
            if category != "Cn" {
                assert_eq!(c.is_numeric(), category.starts_with('N'), "{c:?}");
            }
        }
        let bytes = bytes_of(&distances);
        assert_eq!(bytes, include_bytes!("tokenizer/letters.bin"));
    }

    #[test]
    fn texts_without_tokens_or_with_special_ones_are_refused() {
        for text in ["cat", "snoopy (cartoon beagle)", "</s>", "<|endoftext>"] {
            assert_eq!(check_plain(text), Ok(()));
        }
        let hidden = "&lt;|start&amp;#111;ftext|&gt;";
        for text in [
            "",
            " \n",
            "\u{1b}[31m",
            "<|endoftext|>",
            "a <|StartOfText|>b",
            hidden,
            &"a ".repeat(5001),
        ] {
            assert!(matches!(check_plain(text), Err(Error::Text { .. })), "{text:?}");
        }
    }
}
