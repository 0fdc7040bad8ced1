"""The one form in which text is kept: what differs only invisibly becomes the same.

NFC, line feeds for line ends, no control characters, no white space at line ends, and no endless
runs of it: tokenizers' regular expressions need time and memory quadratic in such a run, or give up.
Indentation, tabs and empty lines stay as they are.
"""

from __future__ import annotations

import re
import unicodedata

MAX_BLANKS = 256  # deeper indentation than any code's
MAX_EMPTY_LINES = 16

_LINE_ENDS = ("\r\n", "\r", "\v", "\f", "\x85")
# C0 without tab and line feed, DEL, C1; a byte-order mark inside text is an invisible left-over.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff]")
_ASCII_CONTROL = bytes(code for code in range(128) if _CONTROL.match(chr(code)))
_BLANKS = re.compile(rf"[^\S\n]{{{MAX_BLANKS + 1},}}")
_EMPTY_LINES = re.compile(rf"\n{{{MAX_EMPTY_LINES + 2},}}")
_STRIDE = 32  # every so many characters are looked at first, whether there is such a run at all
_BLANKS_SAMPLED = re.compile(rf"[^\S\n]{{{MAX_BLANKS // _STRIDE}}}")


def normalise(text: str) -> str:
    """The normal form of `text`; normalising it again changes nothing."""
    for line_end in _LINE_ENDS:
        if line_end in text:
            text = text.replace(line_end, "\n")
    if text.isascii():  # the expression runs at 100 MB/s, this at gigabytes a second
        text = text.encode().translate(None, _ASCII_CONTROL).decode()
    else:
        text = _CONTROL.sub("", text)
        if not unicodedata.is_normalized("NFC", text):
            text = unicodedata.normalize("NFC", text)
    text = "\n".join(map(str.rstrip, text.split("\n")))
    if _BLANKS_SAMPLED.search(text[::_STRIDE]):
        text = _BLANKS.sub(lambda run: run.group()[:MAX_BLANKS], text)
    if "\n" * (MAX_EMPTY_LINES + 2) in text:
        text = _EMPTY_LINES.sub("\n" * (MAX_EMPTY_LINES + 1), text)
    return text.strip("\n").rstrip()
