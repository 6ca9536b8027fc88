"""Writes fixtures/tokenizer-extra.json: damaged texts and the ids that CLIP's own tokenizer gives them.

Needs ftfy 6.3 and regex, and CLIP's simple_tokenizer.py with its vocabulary beside it (repository openai/CLIP, clip/).
Usage: PYTHONPATH=path/to/CLIP/clip python3 scripts/make-tokenizer-extra.py
"""

import html.entities
import json
import pathlib
import random

import ftfy.bad_codecs  # registers the sloppy encodings
from ftfy.badness import MOJIBAKE_CATEGORIES
from simple_tokenizer import SimpleTokenizer

TEXTS = ["à la mode", "às vezes", "“quoted” text—dash…", "café ☕ naïve", "日本語テキスト", "Привет мир", "γεια σου",
         "العربية", "😀🎉", "É È Ñ Ç", "€100 £5", "don’t • stop™", "ﬁﬂ", "šđžć", "½ ² ³ × ÷"]
ENCODINGS = ["latin-1", "sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1250", "sloppy-windows-1253",
             "sloppy-windows-1254", "sloppy-windows-1257", "iso-8859-2", "macroman", "cp437"]
WIDE = [chr(c) for r in (range(0xA0, 0x180), range(0x1C4, 0x1CD), range(0x2010, 0x2030), range(0x300, 0x315),
                         range(0x3040, 0x3060), range(0xFB00, 0xFB07), range(0xFF01, 0xFFBF)) for c in r]
NUMBERS = ["9", "13", "128", "150", "x41", "65", "1114112", "99999999999", "xfffe", "xd800", "59", "12ab", "x7f", "0"]
TAILS = ["", " end", "’", "\n", "<b>", "\x1b[31m", "\u2028", "\r\nx", "\x85", "ŉ", "'ſ", "＇s", "￣"]


def wrongly_decoded(rng):
    text = rng.choice(TEXTS)
    for _ in range(rng.choice([1, 1, 1, 2])):
        text = text.encode().decode(rng.choice(ENCODINGS), "replace")
        if rng.random() < 0.3:
            text = text.replace("\xa0", " ")
    return rng.choice(["", "abc ", "é", "日本"]) + text + rng.choice(TAILS)


def referenced(rng):
    names = sorted(html.entities.html5)
    text = ""
    for _ in range(rng.randint(1, 4)):
        name = rng.choice(names + ["#" + number for number in NUMBERS])
        text += rng.choice(["&", "&amp;"]) + rng.choice([name, name.upper(), name[:-1], name + "x", name + ";"])
    return text + rng.choice(TAILS)


def juxtaposed(rng):
    pool = list("".join(MOJIBAKE_CATEGORIES.values())) + list("ВГРСвЂў°µŒœÂÃÎÐ×²³ØÙà√≈‚Äìâêβ€™ā abcAZ \n,.!?_9")
    return "".join(rng.choice(pool) for _ in range(rng.randint(2, 8)))


def wide(rng):
    return "".join(rng.choice(WIDE + list("ab c1.")) for _ in range(rng.randint(2, 8)))


def main():
    rng, tokenizer = random.Random(1), SimpleTokenizer()
    texts = [make(rng) for make in (wrongly_decoded, referenced, juxtaposed, wide) for _ in range(75)]
    cases = [{"text": text, "ids": tokenizer.encode(text)} for text in texts]
    path = pathlib.Path(__file__).parent.parent / "fixtures" / "tokenizer-extra.json"
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


main()
