"""Runs of words as numbers: what near duplicates are told by.

A word is a run of letters, marks, digits and underscores, in lower case. Scripts without spaces between words
(Chinese, Japanese, Thai, …) give one word a character, so that there a run of words is a run of characters.
Punctuation, white space and symbols count for nothing: two layouts of a program are alike.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np

PIECE = 1 << 16  # characters hashed at once: powers are kept for as many
SEPARATOR, LETTER, ALONE = 0, 1, 2
# UTF-16 units of which each is a word: Thai, Lao, Tibetan, Myanmar, Khmer, kana, Han, private and astral.
_ALONE = (
    (0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x312F), (0x31A0, 0xA4CF),
    (0xD800, 0xDFFF), (0xF900, 0xFAFF),
)  # fmt: skip
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_MIX = np.uint64(0xBF58476D1CE4E5B9)


def shingles(text: str, words: int) -> np.ndarray:
    """uint64 [about as many as there are words]: a hash of each run of `words` words, in their order.

    A shorter text has one, of all its words; one without words has none.
    """
    hashes = [_words(piece) for piece in _pieces(text.lower())]
    word_W = hashes[0] if len(hashes) == 1 else np.concatenate(hashes)
    if not len(word_W):
        return word_W
    run = min(words, len(word_W))
    total = word_W[: len(word_W) - run + 1].copy()
    for place in range(1, run):
        total *= np.uint64(_MULTIPLIER)
        total += word_W[place : len(word_W) - run + 1 + place]
    return mixed(total)


def mixed(values: np.ndarray) -> np.ndarray:
    """Each bit of the answer depends on each bit of a value (the finaliser of splitmix64, shortened)."""
    values = values ^ (values >> np.uint64(30))
    values *= _MIX
    values ^= values >> np.uint64(27)
    return values


def _pieces(text: str) -> list[np.ndarray]:
    """UTF-16 units, or bytes where the text is ASCII; cut between words where one is near."""
    units = np.frombuffer(text.encode("ascii"), np.uint8) if text.isascii() else _utf16(text)
    pieces = []
    while len(units) > PIECE:
        breaks = np.flatnonzero(_tables()[0][units[PIECE - 1024 : PIECE]] != LETTER)
        cut = PIECE - 1024 + int(breaks[-1]) + 1 if len(breaks) else PIECE
        pieces.append(units[:cut])
        units = units[cut:]
    return [*pieces, units]


def _utf16(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.dtype("<u2"))


def _words(units: np.ndarray) -> np.ndarray:
    """uint64 [words]: sum of random[unit] M^(place - start), of each word."""
    classes, random, powers, inverses = _tables()
    kind = classes[units]
    # A word begins at a letter behind none, and at each character that is a word by itself.
    begins = kind == LETTER
    begins[1:] &= kind[:-1] != LETTER
    if units.dtype != np.uint8:
        begins |= kind == ALONE
    starts = np.flatnonzero(begins)
    if not len(starts):
        return np.empty(0, np.uint64)
    values = random[units]  # 0 for separators: those behind a word add nothing to it
    values *= powers[: len(units)]
    return mixed(np.add.reduceat(values, starts) * inverses[starts])


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Class and random number of each UTF-16 unit; powers of M and of its inverse."""
    letters = [unicodedata.category(chr(unit))[0] in "LMN" or unit == ord("_") for unit in range(1 << 16)]
    classes = np.array(letters, np.uint8)
    for first, last in _ALONE:
        within = classes[first : last + 1]
        within[within == LETTER] = ALONE
    classes[0xD800:0xE000] = ALONE
    random = np.random.default_rng(0).integers(1, 2**64 - 1, size=1 << 16, dtype=np.uint64)
    random[classes == SEPARATOR] = 0
    ones = np.full(PIECE, _MULTIPLIER, np.uint64)
    ones[0] = 1
    inverse = np.full(PIECE, pow(_MULTIPLIER, -1, 2**64), np.uint64)
    inverse[0] = 1
    return classes, random, np.cumprod(ones), np.cumprod(inverse)
