//! Text that was written in UTF-8 and read in another encoding ("Ã©" for "é"): found and undone as `ftfy.fix_encoding`
//! does (ftfy 6.3, Robyn Speer, Apache-2.0). The tables and rules are ftfy's; a text without them is left alone.
#![allow(
    clippy::single_range_in_vec_init,
    reason = "a class of bytes is a list of ranges, often of one"
)]

use super::{Kind, clean::is_space};
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

/// Undoes wrong decodings until none is found.
pub(super) fn fix_encoding(text: &str) -> String {
    let mut text = Cow::Borrowed(text);
    while let Some(fixed) = fix_once(&text).filter(|fixed| *fixed != text) {
        text = Cow::Owned(fixed);
    }
    text.into_owned()
}

/// C1 controls as the characters that Windows-1252 has in their place.
pub(super) fn fix_c1_controls(text: &str) -> String {
    let fix = |c: char| match c {
        '\u{80}'..='\u{9f}' => windows_1252(c as u8).unwrap_or(c),
        _ => c,
    };
    text.chars().map(fix).collect()
}

/// The first repair that applies, if any.
fn fix_once(text: &str) -> Option<String> {
    if text.is_ascii() || !is_bad(text) {
        return None;
    }
    let as_latin_1 = Encoding::Latin1.encode(text);
    let encodings = std::iter::once(Encoding::Latin1).chain(TABLES.iter().map(Encoding::Table));
    for encoding in encodings {
        if let Some(fixed) = encoding.encode(text).and_then(|bytes| encoding.decode_as_utf8(bytes))
        {
            return Some(fixed);
        }
    }
    let fixed = fix_embedded(text);
    if fixed != text {
        return Some(fixed);
    }
    // Latin-1 that is not Windows-1252 as well holds C1 controls, which were meant as Windows-1252.
    let strict = |byte: u8| windows_1252(byte).filter(|c| !('\u{80}'..='\u{9f}').contains(c));
    let meant =
        as_latin_1.and_then(|bytes| bytes.into_iter().map(strict).collect::<Option<String>>());
    Some(meant.filter(|meant| meant != text).unwrap_or_else(|| fix_c1_controls(text)))
}

/// Repairs runs of characters that look like UTF-8 by themselves.
fn fix_embedded(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let is = |i: usize, class: u32| chars.get(i).is_some_and(|&c| classes(c) & class != 0);
    let sequence = |i: usize| {
        let firsts = [(FIRST_OF_2, 2), (FIRST_OF_3, 3), (FIRST_OF_4, 4)];
        let fits = |&(first, length): &(u32, usize)| {
            is(i, first) && (1..length).all(|k| is(i + k, CONTINUATION))
        };
        firsts.into_iter().find(fits).map(|(_, length)| length)
    };
    let (mut out, mut i) = (String::with_capacity(text.len()), 0);
    while i < chars.len() {
        let start = i;
        if i == 0 || !is(i - 1, CONTINUATION_STRICT) {
            while let Some(length) = sequence(i) {
                i += length;
            }
        }
        if i == start {
            out.push(chars[i]);
            i += 1;
            continue;
        }
        let run: String = chars[start..i].iter().collect();
        // A run that is the whole text has been tried already.
        out.push_str(&if i - start < chars.len() && is_bad(&run) {
            fix_encoding(&run)
        } else {
            run
        });
    }
    out
}

/// An encoding of one byte per character.
enum Encoding {
    Latin1,
    Table(&'static Table),
}

/// The characters of the bytes 128..256. A sloppy encoding takes U+FFFD as byte 0x1A: a character that was lost.
struct Table {
    sloppy: bool,
    /// A dash and a space are too common in it to be a byte sequence.
    spaces_stay: bool,
    high: &'static str,
}

impl Encoding {
    /// The bytes of `text`, if it has only characters of this encoding.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let byte = |c: char| match self {
            Self::Latin1 => u8::try_from(u32::from(c)).ok(),
            Self::Table(table) => match c {
                '\u{1a}' if table.sloppy => None,
                '\u{fffd}' if table.sloppy => Some(0x1a),
                '\0'..='\u{7f}' => Some(c as u8),
                _ => table.high.chars().position(|high| high == c).map(|i| 128 + i as u8),
            },
        };
        text.chars().map(byte).collect()
    }

    /// Bytes of this encoding read as UTF-8, after repairing what the way through the encoding does to UTF-8.
    fn decode_as_utf8(&self, mut bytes: Vec<u8>) -> Option<String> {
        let (sloppy, spaces_stay) = match self {
            Self::Latin1 => (false, false),
            Self::Table(table) => (table.sloppy, table.spaces_stay),
        };
        if !spaces_stay
            && (0..bytes.len()).any(|i| length_of_match(ALTERED_UTF8, &bytes[i..]).is_some())
        {
            bytes = restore_byte_a0(&bytes);
        }
        if sloppy {
            bytes = replace(&bytes, LOSSY_UTF8, |_| "\u{fffd}".as_bytes().to_vec());
        }
        String::from_utf8(decode_variants(&bytes)).ok()
    }
}

/// Puts back bytes 0xA0 that some program took for spaces.
fn restore_byte_a0(bytes: &[u8]) -> Vec<u8> {
    let mut spaced = Vec::with_capacity(bytes.len());
    for (i, &byte) in bytes.iter().enumerate() {
        spaced.push(byte);
        // "Ã la" is "à la", but "Ã s" is "às" and "Ã quele" is "àquele".
        if let (0xc3, Some(rest)) = (byte, bytes[i + 1..].strip_prefix(b" ")) {
            let joined: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
            if !joined.iter().any(|word| rest.starts_with(word)) {
                spaced.push(0xa0);
            }
        }
    }
    replace(&spaced, ALTERED_UTF8, |found| {
        found.iter().map(|&byte| if byte == b' ' { 0xa0 } else { byte }).collect()
    })
}

/// Java's zero (C0 80) and surrogate pairs (CESU-8) as plain UTF-8. A line's end after C0 is taken for the 80, as by ftfy.
fn decode_variants(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some((&byte, tail)) = rest.split_first() {
        match rest {
            [0xc0, next, tail @ ..] if *next == 0x80 || (*next == b'\n' && tail.is_empty()) => {
                out.push(0);
                rest = tail;
            }
            [
                0xed,
                a @ 0xa0..=0xaf,
                b @ 0x80..=0xbf,
                0xed,
                c @ 0xb0..=0xbf,
                d @ 0x80..=0xbf,
                tail @ ..,
            ] => {
                let bits = |byte: u8, mask: u8, shift: u32| u32::from(byte & mask) << shift;
                let offset =
                    bits(*a, 0x0f, 16) | bits(*b, 0x3f, 10) | bits(*c, 0x0f, 6) | bits(*d, 0x3f, 0);
                let character = char::from_u32(0x1_0000 + offset)
                    .expect("20 bits above 65,536 are a character");
                out.extend(character.encode_utf8(&mut [0; 4]).bytes());
                rest = tail;
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// A byte of a Windows-1252 text; the five bytes without a character stay C1 controls.
fn windows_1252(byte: u8) -> Option<char> {
    if byte < 128 {
        Some(char::from(byte))
    } else {
        TABLES[0].high.chars().nth(usize::from(byte) - 128)
    }
}

/// Alternatives of sequences of byte classes.
type Pattern = &'static [&'static [&'static [RangeInclusive<u8>]]];

fn length_of_match(pattern: Pattern, bytes: &[u8]) -> Option<usize> {
    let fits = |sequence: &&&[&[RangeInclusive<u8>]]| {
        sequence.len() <= bytes.len()
            && sequence
                .iter()
                .zip(bytes)
                .all(|(class, byte)| class.iter().any(|range| range.contains(byte)))
    };
    pattern.iter().find(fits).map(|sequence| sequence.len())
}

fn replace(bytes: &[u8], pattern: Pattern, with: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while !rest.is_empty() {
        if let Some(length) = length_of_match(pattern, rest) {
            out.extend(with(&rest[..length]));
            rest = &rest[length..];
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    out
}

type Bytes = &'static [RangeInclusive<u8>];
const SPACE: Bytes = &[0x20..=0x20];
const NEXT: Bytes = &[0x80..=0xbf];
/// Continuations that do not make a rare character likely.
const NEXT_LIKELY: Bytes = &[0x80..=0x84, 0x86..=0x9f, 0xa1..=0xbf];
const LOST: Bytes = &[0x1a..=0x1a];
const LOST_OR_ASKED: Bytes = &[0x1a..=0x1a, 0x3f..=0x3f];
const LOST_OR_NEXT: Bytes = &[0x1a..=0x1a, 0x80..=0xbf];
const ANY_NEXT: Bytes = &[0x1a..=0x1a, 0x3f..=0x3f, 0x80..=0xbf];

/// What would be UTF-8 if a space were the byte 0xA0.
const ALTERED_UTF8: Pattern = &[
    &[&[0xc2..=0xc3, 0xc5..=0xc5, 0xce..=0xce, 0xd0..=0xd0, 0xd9..=0xd9], SPACE],
    &[&[0xe2..=0xe3], SPACE, NEXT_LIKELY],
    &[&[0xe0..=0xe3], NEXT_LIKELY, SPACE],
    &[&[0xf0..=0xf0], SPACE, NEXT, NEXT],
    &[&[0xf0..=0xf0], NEXT, SPACE, NEXT],
    &[&[0xf0..=0xf0], NEXT, NEXT, SPACE],
];

/// UTF-8 and CESU-8 of which bytes were lost.
const LOSSY_UTF8: Pattern = &[
    &[&[0xc2..=0xdf], LOST],
    &[&[0xc2..=0xc3], &[0x3f..=0x3f]],
    &[&[0xed..=0xed], &[0xa0..=0xaf], LOST_OR_ASKED, &[0xed..=0xed], &[0xb0..=0xbf], ANY_NEXT],
    &[&[0xed..=0xed], &[0xa0..=0xaf], ANY_NEXT, &[0xed..=0xed], &[0xb0..=0xbf], LOST_OR_ASKED],
    &[&[0xe0..=0xef], LOST_OR_ASKED, LOST_OR_NEXT],
    &[&[0xe0..=0xef], LOST_OR_NEXT, LOST_OR_ASKED],
    &[&[0xf0..=0xf4], LOST_OR_ASKED, LOST_OR_NEXT, LOST_OR_NEXT],
    &[&[0xf0..=0xf4], LOST_OR_NEXT, LOST_OR_ASKED, LOST_OR_NEXT],
    &[&[0xf0..=0xf4], LOST_OR_NEXT, LOST_OR_NEXT, LOST_OR_ASKED],
    &[LOST],
];

/// Whether some sequence of characters is one that people hardly write and wrong decodings often make.
fn is_bad(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let fits = |rule: &&[(u32, &str)], at: &[char]| {
        let matches = |&((class, others), c): &(&(u32, &str), &char)| {
            classes(*c) & class != 0 || others.contains(*c)
        };
        rule.len() <= at.len() && rule.iter().zip(at).all(|pair| matches(&pair))
    };
    matches!(chars[..], ['Ã' | 'Â', ' ', ..])
        || (0..chars.len()).any(|i| RULES.iter().any(|rule| fits(rule, &chars[i..])))
}

/// The classes of a character, as bits.
fn classes(c: char) -> u32 {
    static TABLE: OnceLock<Vec<(char, u32)>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut table = std::collections::BTreeMap::new();
        for (bit, class) in CLASSES.iter().enumerate() {
            let mut chars = class.chars().peekable();
            while let Some(first) = chars.next() {
                let last = if chars.next_if_eq(&'-').is_some() {
                    chars.next().unwrap_or(first)
                } else {
                    first
                };
                for c in first..=last {
                    *table.entry(c).or_insert(0) |= 1 << bit;
                }
            }
        }
        table.into_iter().collect()
    });
    let general = match c {
        'a'..='z' => ASCII_LOWER | ASCII | WORD,
        'A'..='Z' => ASCII | WORD,
        _ if is_space(c) => NOT_ASCII | WHITE,
        _ if c == '_' || matches!(Kind::of(c), Kind::Letter | Kind::Number) => NOT_ASCII | WORD,
        _ => NOT_ASCII,
    };
    let any = if c == '\n' { 0 } else { NOT_NEWLINE };
    general | any | table.binary_search_by_key(&c, |entry| entry.0).map_or(0, |i| table[i].1)
}

const ASCII_LOWER: u32 = 1 << 19;
/// An unaccented Latin letter.
const ASCII: u32 = 1 << 20;
/// Anything but an unaccented Latin letter.
const NOT_ASCII: u32 = 1 << 21;
const WHITE: u32 = 1 << 22;
const WORD: u32 = 1 << 23;
const NOT_NEWLINE: u32 = 1 << 24;

const ACCENTED: u32 = LOWER | UPPER;
const MARKS: u32 = START | END | CURRENCY | NUMERIC | LAW;

/// Sequences of characters, each given by classes and single characters: ftfy's `BADNESS_RE`, in its order.
const RULES: &[&[(u32, &str)]] = &[
    &[(C1, "")],
    &[(BAD | ACCENTED | BOX | MARKS, ""), (BAD, "")],
    &[(ASCII, ""), (LOWER_COMMON | UPPER_COMMON, ""), (BAD, "")],
    &[(BAD, ""), (ACCENTED | BOX | MARKS, "")],
    &[(LOWER | LOWER_COMMON | BOX | END | CURRENCY | NUMERIC, ""), (UPPER, "")],
    &[(BOX | END | CURRENCY | NUMERIC, ""), (LOWER, "")],
    &[(LOWER | BOX | END, ""), (CURRENCY, "")],
    &[(WHITE, ""), (UPPER, ""), (CURRENCY, "")],
    &[(UPPER | BOX, ""), (NUMERIC | LAW, "")],
    &[(ACCENTED | BOX | CURRENCY | END, ""), (START, ""), (NUMERIC, "")],
    &[(ACCENTED | CURRENCY | NUMERIC | BOX | LAW, ""), (END, ""), (START, "")],
    &[(CURRENCY | NUMERIC | BOX, ""), (START, "")],
    &[(ASCII_LOWER, ""), (UPPER, ""), (START | CURRENCY, "")],
    &[(BOX, ""), (KAOMOJI, "")],
    &[(ACCENTED | MARKS, ""), (BOX, "")],
    &[(BOX, ""), (END, "")],
    &[(ACCENTED, ""), (START | END, ""), (WORD, "")],
    // The ligature œ when not followed by an unaccented Latin letter.
    &[(0, "Œœ"), (NOT_ASCII, "")],
    // Degree signs after capital letters.
    &[(UPPER, ""), (0, "°")],
    // UTF-8 read as Windows-1252: two characters, Arabic, South Asian.
    &[(0, "ÂÃÎÐ"), (START | END, "€œŠš¢£Ÿž\u{a0}\u{ad}®©°·»–—\u{b4}")],
    &[(0, "×"), (0, "²³")],
    &[
        (0, "ØÙ"),
        (COMMON | CURRENCY | BAD | NUMERIC | START, "ŸŠ®°µ»"),
        (0, "ØÙ"),
        (COMMON | CURRENCY | BAD | NUMERIC | START, "ŸŠ®°µ»"),
    ],
    &[(0, "à"), (0, "²µ¹¼½¾")],
    // As MacRoman.
    &[(0, "√"), (0, "±∂†≠®™\u{b4}≤≥¥µø")],
    &[(0, "≈"), (0, "°¢")],
    &[(0, "‚"), (0, "Ä"), (0, "ìîïòôúùû†°¢π")],
    &[(0, "‚"), (0, "âó"), (0, "àä°ê")],
    // As Windows-1251.
    &[(0, "в"), (0, "Ђ")],
    &[(0, "ВГРС"), (C1 | BAD | START | END | CURRENCY, "°µ"), (0, "ВГРС")],
    &[(0, "Г"), (0, "ў"), (0, "В"), (0, "Ђ"), (0, "В"), (NOT_NEWLINE, ""), (ASCII, " ")],
    // à, á and the no-break space as Windows-1252. At the start of a text `is_bad` looks itself.
    &[(0, "Ã"), (0, "\u{a0}¡")],
    &[(ASCII_LOWER, ""), (0, "ÃÂ"), (0, " ")],
    &[(ASCII_LOWER, ""), (WHITE, ""), (0, "ÃÂ"), (0, " ")],
    &[(ASCII_LOWER | END, ".,?!"), (0, "Â"), (START | END, " ")],
    // As Windows-1253 and Windows-1257.
    &[(0, "β"), (0, "€"), (0, "™\u{a0}Ά\u{ad}®°")],
    &[(0, "ΒΓΞΟ"), (C1 | BAD | START | END | CURRENCY, "°"), (0, "ΒΓΞΟ")],
    &[(0, "ā"), (0, "€")],
];

/// Classes of characters; a dash between two stands for a range.
const CLASSES: [&str; 19] = [
    "\u{a0}\u{ad}\u{b4}·–—―’…",
    "\u{80}-\u{9f}",
    "¤¦\u{a8}ª¬\u{af}\u{b8}ºƒ\u{2c6}\u{2c7}\u{2d8}\u{2db}\u{2dc}†‡‰⌐◊�",
    "§¶",
    "¢£¥₧€",
    "¡©«¿\u{384}\u{385}‘‚“„•‹\u{f8ff}",
    "®»\u{2dd}”›™",
    "±²³µ¹¼½¾×÷⁄№∂∆∏∑√∞∩∫≈≠≡≤≥",
    "°Ò-ÖÙ-Üò-öø-üŌŐŪŲ",
    "À-ÑØÜÝĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĹĻĽŁŃŅŇŒŘŚŞŠŢŤŮŰŸŹŻŽҐ",
    "ß-ñüāăąćčďđēėęěğģīįķĺļľłœŕśşšťźżžґﬁﬂ",
    "ÞΆΈΉΊΌΎΏΑ-ΫЁ-Я",
    "ά-ωа-џ",
    "│┌┐┘├┤┬┼═-╬▀▄█▌▐-▓",
    "Â-ßĀĂĆČĎĐĒĖĘĚĞĢĪİĶĹĻŁŃŅŇŌŐŘŚŞŠŢŪŮŰŲŹŻŽΒ-ΡΣ-ίВ-Я",
    "à-ïāăąćčďēėęěģīįķĺļŕźΰ-οа-п",
    "ðóđğšπσру",
    "\u{20}\u{80}-¿ÆØæøĄąĽľŁłŒœŖŗŚśŞ-šŤťŸ-žƒ\u{2c6}\u{2c7}\u{2d8}\u{2db}\u{2dc}\u{2dd}\u{384}\u{385}ΆΈΉΊΌΎΏЁ-ЌЎЏё-ќўџҐґ–—―‘’‚“”„†‡•…‰‹›€№™",
    "\u{80}-¿ÆØæøĄąĽľŁłŒœŖŗŚśŞ-šŤťŸ-žƒ\u{2c6}\u{2c7}\u{2d8}\u{2db}\u{2dc}\u{2dd}\u{384}\u{385}ΆΈΉΊΌΎΏЁ-ЌЎЏё-ќўџҐґ†‡‰‹›€№™",
];
const COMMON: u32 = 1 << 0;
const C1: u32 = 1 << 1;
const BAD: u32 = 1 << 2;
const LAW: u32 = 1 << 3;
const CURRENCY: u32 = 1 << 4;
const START: u32 = 1 << 5;
const END: u32 = 1 << 6;
const NUMERIC: u32 = 1 << 7;
const KAOMOJI: u32 = 1 << 8;
const UPPER: u32 = 1 << 9;
const LOWER: u32 = 1 << 10;
const UPPER_COMMON: u32 = 1 << 11;
const LOWER_COMMON: u32 = 1 << 12;
const BOX: u32 = 1 << 13;
const FIRST_OF_2: u32 = 1 << 14;
const FIRST_OF_3: u32 = 1 << 15;
const FIRST_OF_4: u32 = 1 << 16;
const CONTINUATION: u32 = 1 << 17;
const CONTINUATION_STRICT: u32 = 1 << 18;

/// In the order in which they are tried: Windows-1252, 1251, 1250, 1253, 1254, 1257, ISO 8859-2, `MacRoman`, CP437.
static TABLES: [Table; 9] = [
    Table {
        sloppy: true,
        spaces_stay: false,
        high: "€\u{81}‚ƒ„…†‡\u{2c6}‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—\u{2dc}™š›œ\u{9d}žŸ\u{a0}¡¢£¤¥¦§\u{a8}©ª«¬\u{ad}®\u{af}°±²³\u{b4}µ¶·\u{b8}¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
    },
    Table {
        sloppy: true,
        spaces_stay: false,
        high: "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\u{98}™љ›њќћџ\u{a0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{ad}®Ї°±Ііґµ¶·ё№є»јЅѕїАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
    },
    Table {
        sloppy: true,
        spaces_stay: false,
        high: "€\u{81}‚\u{83}„…†‡\u{88}‰Š‹ŚŤŽŹ\u{90}‘’“”•–—\u{98}™š›śťžź\u{a0}\u{2c7}\u{2d8}Ł¤Ą¦§\u{a8}©Ş«¬\u{ad}®Ż°±\u{2db}ł\u{b4}µ¶·\u{b8}ąş»Ľ\u{2dd}ľżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ\u{2d9}",
    },
    Table {
        sloppy: true,
        spaces_stay: false,
        high: "€\u{81}‚ƒ„…†‡\u{88}‰\u{8a}‹\u{8c}\u{8d}\u{8e}\u{8f}\u{90}‘’“”•–—\u{98}™\u{9a}›\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}\u{385}Ά£¤¥¦§\u{a8}©ª«¬\u{ad}®―°±²³\u{384}µ¶·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώÿ",
    },
    Table {
        sloppy: true,
        spaces_stay: false,
        high: "€\u{81}‚ƒ„…†‡\u{2c6}‰Š‹Œ\u{8d}\u{8e}\u{8f}\u{90}‘’“”•–—\u{2dc}™š›œ\u{9d}\u{9e}Ÿ\u{a0}¡¢£¤¥¦§\u{a8}©ª«¬\u{ad}®\u{af}°±²³\u{b4}µ¶·\u{b8}¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
    },
    Table {
        sloppy: true,
        spaces_stay: false,
        high: "€\u{81}‚\u{83}„…†‡\u{88}‰\u{8a}‹\u{8c}\u{a8}\u{2c7}\u{b8}\u{90}‘’“”•–—\u{98}™\u{9a}›\u{9c}\u{af}\u{2db}\u{9f}\u{a0}¡¢£¤¥¦§Ø©Ŗ«¬\u{ad}®Æ°±²³\u{b4}µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž\u{2d9}",
    },
    Table {
        sloppy: false,
        spaces_stay: false,
        high: "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\u{a0}Ą\u{2d8}Ł¤ĽŚ§\u{a8}ŠŞŤŹ\u{ad}ŽŻ°ą\u{2db}ł\u{b4}ľś\u{2c7}\u{b8}šşťź\u{2dd}žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ\u{2d9}",
    },
    Table {
        sloppy: false,
        spaces_stay: true,
        high: "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™\u{b4}\u{a8}≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙı\u{2c6}\u{2dc}\u{af}\u{2d8}\u{2d9}\u{2da}\u{b8}\u{2dd}\u{2db}\u{2c7}",
    },
    Table {
        sloppy: false,
        spaces_stay: false,
        high: "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√\u{207f}²■\u{a0}",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are those of ftfy 6.3.1.
    #[test]
    fn wrong_decodings_are_undone_as_by_ftfy() {
        for (text, expected) in [
            ("sÃ³", "só"),
            ("voilÃ le travail", "voilà le travail"),
            ("Ã s vezes, Ã quela", "às vezes, àquela"),
            ("â€œquotedâ€\u{9d} textâ€¦", "“quoted” text…"),
            ("â€œ like this â€�", "“ like this �"),
            ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"),
            ("РџСЂРёРІРµС‚", "Привет"),
            ("ðŸ˜€ í\u{a0}½í¸\u{80}", "😀 😀"),
            (
                "The Mona Lisa doesnÃƒÂ¢Ã¢â€šÂ¬Ã¢â€žÂ¢t have eyebrows.",
                "The Mona Lisa doesn’t have eyebrows.",
            ),
            ("naïve café – Größe, ÅÄÖ £5 ½", "naïve café – Größe, ÅÄÖ £5 ½"),
        ] {
            assert_eq!(fix_encoding(text), expected, "{text:?}");
        }
        assert_eq!(fix_c1_controls("\u{85}\u{81}é"), "…\u{81}é");
    }
}
