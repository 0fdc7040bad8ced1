"""Names of languages, as sources state them, in one form: ISO 639-1 where there is such a code."""

from __future__ import annotations

import re

MAX_CHARACTERS = 40
_CODE = re.compile(r"[a-z]{2,3}(?=$|[-_])")

# ISO 639-1: ISO 639-3 and English name, of the languages that most of the web is written in.
_KNOWN = {
    "af": "afr afrikaans", "ar": "ara arb arabic", "az": "aze azerbaijani", "be": "bel belarusian",
    "bg": "bul bulgarian", "bn": "ben bengali", "bs": "bos bosnian", "ca": "cat catalan", "cs": "ces cze czech",
    "cy": "cym welsh", "da": "dan danish", "de": "deu ger german", "el": "ell gre greek", "en": "eng english",
    "eo": "epo esperanto", "es": "spa spanish", "et": "est estonian", "eu": "eus basque",
    "fa": "fas pes per persian", "fi": "fin finnish", "fr": "fra fre french", "ga": "gle irish",
    "gl": "glg galician", "gu": "guj gujarati", "he": "heb hebrew", "hi": "hin hindi", "hr": "hrv croatian",
    "hu": "hun hungarian", "hy": "hye armenian", "id": "ind indonesian", "is": "isl icelandic", "it": "ita italian",
    "ja": "jpn japanese", "ka": "kat georgian", "kk": "kaz kazakh", "kn": "kan kannada", "ko": "kor korean",
    "la": "lat latin", "lt": "lit lithuanian", "lv": "lav lvs latvian", "mk": "mkd macedonian",
    "ml": "mal malayalam", "mn": "mon khk mongolian", "mr": "mar marathi", "ms": "msa zsm malay",
    "my": "mya burmese", "ne": "nep npi nepali", "nl": "nld dut dutch", "no": "nor nob norwegian",
    "pa": "pan punjabi", "pl": "pol polish", "pt": "por portuguese", "ro": "ron rum romanian", "ru": "rus russian",
    "sk": "slk slovak", "sl": "slv slovenian", "sq": "sqi als albanian", "sr": "srp serbian", "sv": "swe swedish",
    "sw": "swa swh swahili", "ta": "tam tamil", "te": "tel telugu", "th": "tha thai", "tr": "tur turkish",
    "uk": "ukr ukrainian", "ur": "urd urdu", "uz": "uzb uzn uzbek", "vi": "vie vietnamese",
    "zh": "zho cmn chi chinese",
}  # fmt: skip
_CODES = {name: code for code, names in _KNOWN.items() for name in names.split()}

# Endings that two programming languages share: what the file's name says, signs of the other, the other.
_SIGNS = {
    "matlab": (re.compile(r"^\s*(?:@interface|@implementation|@import|#import)\b", re.MULTILINE), "objective-c"),
    "verilog": (re.compile(r"^\s*(?:Proof|Qed|Lemma|Theorem|Require|Inductive)\b", re.MULTILINE), "coq"),
}


def code_language(named: str | None, text: str) -> str | None:
    """The programming language of a text, whose file's name says that it is `named`."""
    if named not in _SIGNS:
        return named
    sign, other = _SIGNS[named]
    return other if sign.search(text) else named


def language_code(stated: str) -> str | None:
    """`en-GB`, `eng_Latn` and `English` are `en`; what is not known stays as it is, in lower case."""
    if not 0 < len(stated) <= MAX_CHARACTERS:
        return None
    stated = stated.strip().lower()
    found = _CODE.match(stated)
    name = found.group() if found else stated
    return _CODES.get(name, name) or None
