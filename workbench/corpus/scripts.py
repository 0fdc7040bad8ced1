"""What scripts differ in where texts are compared.

Some have no spaces between words: what counts words elsewhere counts their characters.
"""

from __future__ import annotations

# First and last code point: Thai, Lao, Tibetan, Myanmar; Khmer; Han with radicals, kana and Bopomofo; Yi.
WITHOUT_SPACES = (
    (0x0E00, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x312F), (0x31A0, 0xA4CF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip


def has_no_spaces(character: str) -> bool:
    """Whether `character` is of such a script, punctuation of its blocks included."""
    code = ord(character)
    return code >= WITHOUT_SPACES[0][0] and any(first <= code <= last for first, last in WITHOUT_SPACES)


def lower(text: str) -> str:
    """In lower case, each character in its place: the few that would become two stay as they are."""
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(one if len(one := character.lower()) == 1 else character for character in text)
