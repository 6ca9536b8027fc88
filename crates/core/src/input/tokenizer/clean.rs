//! What CLIP does to a text before it splits it: `ftfy.fix_text` with its defaults (ftfy 6.3, Robyn Speer, Apache-2.0),
//! HTML references twice more, white space collapsed, lower case.

use super::{html, mojibake, normal};
use std::borrow::Cow;

/// The text that is split into pieces.
pub(super) fn clean(text: &str) -> String {
    let text = html::unescape(&html::unescape(&fix_text(text)));
    let words: Vec<&str> = text.split(is_space).filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}

/// Python's `str.isspace`, which takes four separators more than Unicode's white space.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `ftfy.fix_text`: line by line, each until nothing changes any more.
fn fix_text(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'&') {
        return text.to_owned(); // nothing to fix
    }
    let (mut fixed, mut unescape) = (String::with_capacity(text.len()), true);
    for line in text.split_inclusive('\n') {
        unescape &= !line.contains('<'); // from here on it is HTML that is meant as such
        fixed.push_str(&fix_line(line, unescape));
    }
    fixed
}

fn fix_line(line: &str, unescape: bool) -> String {
    let mut line = line.to_owned();
    loop {
        let before = line.clone();
        if unescape && line.contains('&') {
            line = html::unescape_strict(&line);
        }
        line = mojibake::fix_encoding(&line);
        line = mojibake::fix_c1_controls(&line);
        line = line.chars().map(fix_character).collect();
        line = line.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n");
        line = remove_terminal_escapes(&line);
        line.retain(|c| !is_control(c));
        line = normal::nfc(&line);
        if line == before {
            return line;
        }
    }
}

/// Ligatures apart, full and half width to the usual width, curly quotes straight; in this order.
fn fix_character(c: char) -> Cow<'static, str> {
    Cow::Borrowed(match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "'n", // ʼn, whose mark is a curly quote
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        '\u{3000}' => " ",
        '￣' => " \u{304}",
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => "'",
        '\u{201c}'..='\u{201f}' => "\"",
        _ => return Cow::Owned(width(c).into()),
    })
}

/// NFKC of U+FF01..=U+FFEF where that is one character.
fn width(c: char) -> char {
    // U+FF5F..=U+FFEF; before them stands ASCII.
    const FORMS: &str = "⦅⦆。「」、・ヲァィゥェォャュョッーアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン\u{3099}\u{309a}\u{1160}\
        ᄀᄁᆪᄂᆬᆭᄃᄄᄅᆰᆱᆲᆳᆴᆵᄚᄆᄇᄈᄡᄉᄊᄋᄌᄍᄎᄏᄐᄑᄒ\u{ffbf}\u{ffc0}\u{ffc1}\u{1161}ᅢᅣᅤᅥᅦ\u{ffc8}\u{ffc9}ᅧᅨᅩᅪᅫᅬ\u{ffd0}\u{ffd1}ᅭᅮᅯᅰᅱᅲ\u{ffd8}\u{ffd9}ᅳᅴᅵ\u{ffdd}\u{ffde}\u{ffdf}\
        ¢£¬￣¦¥₩\u{ffe7}│←↑→↓■○\u{ffef}";
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from((u32::from(c) - 0xfee0) as u8),
        '\u{ff5f}'..='\u{ffef}' => FORMS.chars().nth((u32::from(c) - 0xff5f) as usize).unwrap_or(c),
        _ => c,
    }
}

/// Without sequences such as those that colour a terminal's text: escape, `[`, digits and semicolons, a letter.
fn remove_terminal_escapes(line: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(at) = rest.find("\u{1b}[") {
        let after = rest[at + 2..].trim_start_matches(|c: char| c == ';' || c.is_ascii_digit());
        out.push_str(&rest[..at]);
        // Of a sequence that does not end in a letter, the escape goes later, as a control character.
        let skipped = after.strip_prefix(|c: char| c.is_ascii_alphabetic());
        rest = skipped.unwrap_or_else(|| {
            out.push('\u{1b}');
            &rest[at + 1..]
        });
    }
    out + rest
}

/// What never belongs in a text: controls except white space, deprecated and annotation marks, the byte order mark.
fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffc}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are those of ftfy 6.3.1 and Python 3.11.
    #[test]
    fn texts_are_cleaned_as_by_the_original() {
        for (text, expected) in [
            ("  HELLO \t\u{a0}World\u{3000}\n", "hello world"),
            ("ﬁne ŉ Ǆ ﬅ", "fine 'n dž ſt"),
            ("Ｆｕｌｌ ｶﾞ ￣ ﾡ ￩", "full ガ \u{304} ᄀ ←"),
            ("‘a’ “b” ʼc", "'a' \"b\" 'c"),
            ("a\u{1b}[36;44mb\u{1b}[c\u{0}\u{feff}d\u{1b}[1", "abd[1"),
            ("e\u{301} Å ΟΔΟΣ İ", "é å οδος i\u{307}"),
            ("a\u{2028}b\r\nc\u{85}d", "a b c…d"),
            ("&lt;i&gt; <b> &amp;lt;", "<i> <b> <"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }
}
