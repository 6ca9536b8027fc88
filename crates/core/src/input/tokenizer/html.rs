//! HTML character references, as Python's `html.unescape` reads them and as ftfy does.
//! `entities.txt` is the WHATWG's list of named references, sorted: a line holds name, space, characters.

use std::sync::OnceLock;

/// Python's `html.unescape`: also references without a semicolon, and names that only begin like one.
pub(super) fn unescape(text: &str) -> String {
    replace(text, |body| {
        if let Some(number) = body.strip_prefix('#') {
            return numeric(number);
        }
        let end =
            body.char_indices().take(32).take_while(|&(_, c)| !"\t\n\u{c} <&#;".contains(c)).last();
        let end = end.map_or(0, |(i, c)| i + c.len_utf8());
        let name = if body[end..].starts_with(';') { &body[..=end] } else { &body[..end] };
        if let Some(characters) = named(name) {
            return Some((name.len(), characters.to_owned()));
        }
        let mut prefixes = name.char_indices().rev().map(|(i, _)| &name[..i]);
        prefixes.find_map(|prefix| Some((prefix.len(), named(prefix)?.to_owned())))
    })
}

/// ftfy's `unescape_html`: only references that end with a semicolon; names of one case also in upper case.
pub(super) fn unescape_strict(text: &str) -> String {
    replace(text, |body| {
        let digits = body.strip_prefix('#').unwrap_or(body);
        let length = digits.find(|c: char| !c.is_ascii_alphanumeric())?;
        if !(1..=24).contains(&length) || !digits[length..].starts_with(';') {
            return None;
        }
        if digits.len() < body.len() {
            let (consumed, characters) = numeric(digits)?;
            let whole = consumed == length + 2 && characters != ";";
            return whole.then_some((consumed, characters));
        }
        let name = &body[..=length];
        if let Some(characters) = named(name) {
            return Some((name.len(), characters.to_owned()));
        }
        let lower = name.to_ascii_lowercase();
        let reference = format!("&{name}");
        let unknown = name == lower.to_ascii_uppercase() && unescape(&reference) == reference;
        Some((name.len(), uppercase(named(&lower).filter(|_| unknown)?)))
    })
}

/// Replaces each `&` for which `read`, given what follows it, tells how many bytes it takes and what they stand for.
fn replace(text: &str, read: impl Fn(&str) -> Option<(usize, String)>) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some((length, characters)) = read(rest) {
            out.push_str(&characters);
            rest = &rest[length..];
        } else {
            out.push('&');
        }
    }
    out + rest
}

/// `to_uppercase` of what a name in small letters stands for: the table of all characters is 12 kB.
fn uppercase(characters: &str) -> String {
    const IRREGULAR: [(char, &str); 16] = [
        ('µ', "Μ"),
        ('ß', "SS"),
        ('ı', "I"),
        ('ŉ', "ʼN"),
        ('ς', "Σ"),
        ('ϑ', "Θ"),
        ('ϕ', "Φ"),
        ('ϖ', "Π"),
        ('ϰ', "Κ"),
        ('ϱ', "Ρ"),
        ('ϵ', "Ε"),
        ('ﬀ', "FF"),
        ('ﬁ', "FI"),
        ('ﬂ', "FL"),
        ('ﬃ', "FFI"),
        ('ﬄ', "FFL"),
    ];
    let mut out = String::with_capacity(characters.len());
    for c in characters.chars() {
        if let Some((_, capitals)) = IRREGULAR.iter().find(|entry| entry.0 == c) {
            out.push_str(capitals);
        } else {
            // Latin, Greek and Cyrillic: the capital is what has this as its small letter.
            let capital =
                ('A'..'\u{530}').find(|&capital| capital != c && capital.to_lowercase().eq([c]));
            out.push(capital.unwrap_or(c));
        }
    }
    out
}

fn named(name: &str) -> Option<&'static str> {
    static TABLE: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let lines = include_str!("entities.txt").lines();
        lines.filter_map(|line| line.split_once(' ')).collect()
    });
    match name {
        "NewLine;" => Some("\n"), // cannot stand in a file of lines
        _ => table.binary_search_by_key(&name, |entry| entry.0).ok().map(|i| table[i].1),
    }
}

/// What follows `&#`: the number's bytes, `#` and semicolon included, and its character.
fn numeric(body: &str) -> Option<(usize, String)> {
    let (radix, prefix) = if body.starts_with(['x', 'X']) { (16, 1) } else { (10, 0) };
    let digits = body[prefix..]
        .split(|c: char| !c.is_digit(radix))
        .next()
        .filter(|digits| !digits.is_empty())?;
    let length =
        1 + prefix + digits.len() + usize::from(body[prefix + digits.len()..].starts_with(';'));
    // A number too large for 32 bits is as wrong as any above U+10FFFF.
    let number = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    let character = match number {
        0 => Some('\u{fffd}'),
        0x0d => Some('\r'),
        0x80..=0x9f => Some(WINDOWS_1252[number as usize - 0x80]),
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => None,
        _ if number <= 0x10_ffff && number & 0xfffe == 0xfffe => None,
        _ => Some(char::from_u32(number).unwrap_or('\u{fffd}')),
    };
    Some((length, character.map(String::from).unwrap_or_default()))
}

/// The numbers 128..160 mean the characters of Windows-1252.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescape_is_pythons() {
        for (text, expected) in [
            ("a & b &", "a & b &"),
            ("&lt;b&gt &notit; &notin;", "<b> ¬it; ∉"),
            (
                "&#65;&#x41&#X41;&#0;&#150;&#xd800;&#1114112;&#99999999999;",
                "AAA\u{fffd}–\u{fffd}\u{fffd}\u{fffd}",
            ),
            ("&#1;&#127;&#xfffe;|&#13;|&#;|&#x;", "|\r|&#;|&#x;"),
            ("&NewLine;&amp;amp;&é;", "\n&amp;&é;"),
        ] {
            assert_eq!(unescape(text), expected, "{text:?}");
        }
    }

    #[test]
    fn strict_unescape_is_ftfys() {
        for (text, expected) in [
            ("&gt &gt; P&EACUTE;REZ &nTILDE;", "&gt > PÉREZ &nTILDE;"),
            ("&SZLIG;&LT;&#65;&#65 &#59; &#12ab;", "SS<A&#65 &#59; &#12ab;"),
        ] {
            assert_eq!(unescape_strict(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_name_is_found() {
        for line in include_str!("entities.txt").lines() {
            let (name, characters) = line.split_once(' ').unwrap();
            assert_eq!(named(name), Some(characters));
        }
        assert_eq!(named("nosuch;"), None);
    }

    #[test]
    fn what_small_names_stand_for_has_its_capitals() {
        for line in include_str!("entities.txt").lines() {
            let (name, characters) = line.split_once(' ').unwrap();
            if name == name.to_lowercase() {
                assert_eq!(uppercase(characters), characters.to_uppercase(), "{name}");
            }
        }
    }
}
