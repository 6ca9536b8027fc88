//! Unicode's normal form C. Its tables are `marks.bin` and `composed.bin`, columns of numbers that the tests here make:
//! searched in place, as crates have them, they would be 50 kB of a WASM module.

use super::{numbers, slots};
use std::sync::OnceLock;

/// `text` in normal form C.
pub(super) fn nfc(text: &str) -> String {
    if text.chars().all(|c| c < '\u{300}') {
        return text.to_owned(); // nothing to compose, and every one of them is composed
    }
    let mut decomposed: Vec<(u8, u32)> = Vec::new();
    text.chars().for_each(|c| decompose(c.into(), &mut decomposed));
    for marks in decomposed.split_mut(|&(class, _)| class == 0) {
        // By class, in place: there are few, and the library's sort is 3 kB.
        for end in 1..marks.len() {
            let mut at = end;
            while at > 0 && marks[at - 1].0 > marks[at].0 {
                marks.swap(at - 1, at);
                at -= 1;
            }
        }
    }
    let (mut composed, mut starter, mut last_class): (Vec<u32>, _, _) = (Vec::new(), None, 0);
    for (class, c) in decomposed {
        // A mark of the same or a higher class in between keeps a mark from its starter.
        let reaches = |_: &usize| last_class == 0 || last_class < class;
        let pair =
            starter.filter(reaches).and_then(|at: usize| Some((at, compose(composed[at], c)?)));
        if let Some((at, whole)) = pair {
            composed[at] = whole;
            continue;
        }
        if class == 0 {
            starter = Some(composed.len());
        }
        last_class = class;
        composed.push(c);
    }
    composed.into_iter().filter_map(char::from_u32).collect()
}

// Hangul is computed: a syllable is a lead, a vowel and perhaps a tail, where the first tail means none.
const SYLLABLES: u32 = 0xac00;
const LEADS: u32 = 0x1100;
const VOWELS: u32 = 0x1161;
const TAILS: u32 = 0x11a7;
const N_LEADS: u32 = 19;
const N_VOWELS: u32 = 21;
const N_TAILS: u32 = 28;

/// The number of a syllable among the syllables.
fn syllable(c: u32) -> Option<u32> {
    c.checked_sub(SYLLABLES).filter(|&at| at < N_LEADS * N_VOWELS * N_TAILS)
}

/// Appends the canonical decomposition of `c`, each character with its combining class.
fn decompose(c: u32, out: &mut Vec<(u8, u32)>) {
    if let Some(at) = syllable(c) {
        let (both, tail) = (at / N_TAILS, at % N_TAILS);
        out.extend([(0, LEADS + both / N_VOWELS), (0, VOWELS + both % N_VOWELS)]);
        out.extend((tail > 0).then_some((0, TAILS + tail)));
        return;
    }
    let entries = &table().entries;
    match entries.binary_search_by_key(&c, |entry| entry.whole) {
        Ok(at) => {
            decompose(entries[at].first, out);
            if entries[at].second > 0 {
                decompose(entries[at].second, out);
            }
        }
        Err(_) => out.push((combining_class(c), c)),
    }
}

/// The character that is `first` and `second` in one.
fn compose(first: u32, second: u32) -> Option<u32> {
    let (lead, vowel) = (first.wrapping_sub(LEADS), second.wrapping_sub(VOWELS));
    if lead < N_LEADS && vowel < N_VOWELS {
        return Some(SYLLABLES + (lead * N_VOWELS + vowel) * N_TAILS);
    }
    let tail = second.wrapping_sub(TAILS);
    if syllable(first).is_some_and(|at| at % N_TAILS == 0) && (1..N_TAILS).contains(&tail) {
        return Some(first + tail);
    }
    let table = table();
    let mut pairs = slots(hashed(first, second), SLOT_BITS)
        .map_while(|slot| table.entries.get(usize::from(table.slots[slot])));
    let pair = pairs.find(|entry| entry.first == first && entry.second == second);
    pair.map(|entry| entry.whole)
}

/// The canonical combining class, out of columns of distances between the characters where it changes, and of what it is there.
fn combining_class(c: u32) -> u8 {
    static RUNS: OnceLock<(Vec<u32>, Vec<u32>)> = OnceLock::new();
    let (starts, classes) = RUNS.get_or_init(|| {
        let mut starts = numbers(include_bytes!("marks.bin"));
        let classes = starts.split_off(starts.len() / 2);
        (1..starts.len()).for_each(|at| starts[at] += starts[at - 1]);
        (starts, classes)
    });
    let at = starts.partition_point(|&start| start <= c);
    at.checked_sub(1).map_or(0, |at| classes[at] as u8)
}

/// Decompositions by one step, sorted by `whole`, and where in a hash table those are that also compose.
struct Table {
    entries: Vec<Entry>,
    slots: Vec<u16>,
}

/// `second` is 0 where there is none.
#[derive(Clone, Copy, Default)]
struct Entry {
    whole: u32,
    first: u32,
    second: u32,
}

/// There are four times as many slots as pairs.
const SLOT_BITS: u32 = 12;
const EMPTY: u16 = u16::MAX;

fn hashed(first: u32, second: u32) -> u32 {
    second << 16 ^ first
}

/// The columns of `composed.bin`: distances of `whole`, doubled, with 1 added for what is never composed; of `first` and
/// of `second`, doubled, with 1 added for a distance back.
fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let columns = numbers(include_bytes!("composed.bin"));
        let n_entries = columns.len() / 3;
        let mut table = Table { entries: Vec::new(), slots: vec![EMPTY; 1 << SLOT_BITS] };
        let mut entry = Entry::default();
        for at in 0..n_entries {
            let step = |column: usize| columns[column * n_entries + at];
            let move_by = |from: u32, step: u32| {
                if step & 1 == 0 { from + step / 2 } else { from - step / 2 }
            };
            entry = Entry {
                whole: entry.whole + step(0) / 2,
                first: move_by(entry.first, step(1)),
                second: move_by(entry.second, step(2)),
            };
            if step(0) & 1 == 0 {
                let mut slots = slots(hashed(entry.first, entry.second), SLOT_BITS);
                let free = slots.find(|&slot| table.slots[slot] == EMPTY);
                table.slots[free.expect("there are more slots than pairs")] = at as u16;
            }
            table.entries.push(entry);
        }
        table
    })
}

#[cfg(test)]
mod tests {
    use super::super::bytes_of;
    use super::*;
    use unicode_normalization::{UnicodeNormalization, char as unicode};

    #[test]
    fn nfc_is_unicodes() {
        let mut random = crate::random::Random::new(1, crate::random::Purpose::Init, [0, 0]);
        let pool: Vec<char> = ('\u{300}'..='\u{345}')
            .chain("aeioucAÅ\u{212b}Ǣя\u{e01}\u{915}\u{93f}가각\u{f900}\u{1e0a}\u{323}ô".chars())
            .chain('\u{1100}'..'\u{1120}')
            .chain("\u{1d15e}\u{11131}\u{11127}\u{105d2}\u{307}\u{1161}\u{11a8}\u{11a7}".chars())
            .collect();
        for _ in 0..20_000 {
            let text: String =
                (0..=random.below(6)).map(|_| pool[random.below(pool.len())]).collect();
            assert_eq!(nfc(&text), text.nfc().collect::<String>(), "{text:?}");
        }
        let all: String = ('\0'..=char::MAX).flat_map(|c| [c, 'a', '\u{301}']).collect();
        assert_eq!(nfc(&all), all.nfc().collect::<String>());
    }

    /// To renew `marks.bin`, write `bytes` to it here.
    #[test]
    fn combining_classes_are_unicodes() {
        let (mut starts, mut classes, mut last, mut class) = (Vec::new(), Vec::new(), 0, 0);
        for c in '\0'..=char::MAX {
            let of_c = unicode::canonical_combining_class(c);
            assert_eq!(combining_class(c.into()), of_c, "{c:?}");
            if of_c != class {
                starts.push(u32::from(c) - last);
                classes.push(of_c.into());
                (class, last) = (of_c, c.into());
            }
        }
        let bytes = bytes_of(&[starts, classes].concat());
        assert_eq!(bytes, include_bytes!("marks.bin"));
    }

    /// To renew `composed.bin`, write `bytes` to it here.
    #[test]
    fn compositions_are_unicodes() {
        let whole = |c: char| {
            let mut parts = Vec::new();
            unicode::decompose_canonical(c, |c| parts.push(c));
            parts
        };
        let composed: Vec<(char, Vec<char>)> = ('\0'..=char::MAX)
            .filter(|&c| syllable(c.into()).is_none())
            .map(|c| (c, whole(c)))
            .filter(|(c, parts)| *parts != [*c])
            .collect();
        let mut columns = [const { Vec::new() }; 3];
        let mut last = [0; 3];
        for (c, parts) in &composed {
            let (end, before) = parts.split_last().unwrap();
            let (first, second) = match before {
                [] => (*end, '\0'),
                [first] => (*first, *end),
                _ => (composed.iter().find(|(_, parts)| parts == before).unwrap().0, *end),
            };
            let composes = second != '\0' && unicode::compose(first, second) == Some(*c);
            let entry = [u32::from(*c), first.into(), second.into()];
            columns[0].push((entry[0] - last[0]) * 2 + u32::from(!composes));
            for at in 1..3 {
                columns[at]
                    .push(entry[at].abs_diff(last[at]) * 2 + u32::from(entry[at] < last[at]));
            }
            last = entry;
        }
        let bytes = bytes_of(&columns.concat());
        assert_eq!(bytes, include_bytes!("composed.bin"));
    }
}
