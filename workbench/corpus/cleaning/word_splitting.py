"""Where the words of a text are, all at once, with a number for each that says which word it is.

A word is what Unicode's Annex 29 calls one, simplified: a run of letters, digits and marks, in which a full stop, an
apostrophe or an underscore may stand between two of them (`don't`, `e.g`, `3.14`, `snake_case`); any other sign is a
word of its own, together with its repetitions (`...`, `=====`). White space is what `str.split` takes for it. In
scripts that do without spaces (Han, kana, Thai, Lao, Myanmar, Khmer) each letter is a word, so that a pair of words
is what is called a bigram of characters there.

Tokenisers by rules of each language (spaCy's, which datatrove uses) part more at hyphens and contractions, and keep
addresses whole; tests/corpus/test_cleaning_parity.py says how often that decides about a document.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np

SPACE, SIGN, DIGIT, LETTER, ALONE, ATTACHED = 0, 1, 2, 6, 14, 16  # LETTER and ALONE have the bits of DIGIT, too
_WORD_BIT, _LETTER_BIT, _ALONE_BIT = 2, 4, 8
_JOINERS = (".", "'", "’", "_")

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # Han's iteration mark and zero
    (0x3021, 0x3029),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3105, 0x312F),  # Bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # Katakana of half width
)
_BEYOND = 0x20000  # the planes from here on hold Han only, of what is letters

_BLOCK = 1 << 16  # characters whose numbers are made at once: what is in work fits a core's cache
_HASHED = 1024  # characters of a word that tell it from others; beyond that its length does
_BASE = 0x9E3779B97F4A7C15
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a text in their order; all arrays are [words]."""

    starts: np.ndarray  # int64, in characters
    stops: np.ndarray
    hashes: np.ndarray  # uint64: the same for the same word, in every text
    kinds: np.ndarray  # uint8: bits of the classes of the word's characters

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [words]: characters."""
        return self.stops - self.starts

    @property
    def signs(self) -> np.ndarray:
        """bool [words]: no letter, digit or mark in it."""
        return (self.kinds & _WORD_BIT) == 0

    @property
    def lettered(self) -> np.ndarray:
        """bool [words]: at least one letter in it."""
        return (self.kinds & _LETTER_BIT) != 0

    def spanned(self, n: int) -> np.ndarray:
        """int64 [words - n + 1, or 0]: characters of every `n` words in a row."""
        sums = np.concatenate(([0], np.cumsum(self.lengths)))
        return sums[n:] - sums[:-n]

    def n_grams(self, n: int) -> np.ndarray:
        """uint64 [words - n + 1, or 0]: a number for every `n` words in a row, the same for the same words."""
        count = max(0, len(self) - n + 1)
        numbers = self.hashes[:count]
        for i in range(1, n):
            numbers = self.appended(numbers, slice(i, i + count))
        return numbers

    def appended(self, numbers: np.ndarray, places: np.ndarray | slice) -> np.ndarray:
        """uint64 [n-grams]: the numbers of these n-grams with the word at each one's place added."""
        numbers = numbers * _MIX
        numbers ^= numbers >> _HALF
        numbers += self.hashes[places]
        return numbers


def split_words(text: str) -> Words:
    """The words of `text`."""
    if text.isascii():
        characters = np.frombuffer(text.encode("ascii"), np.uint8)
        classes = np.frombuffer(text.encode("ascii").translate(_ascii_classes()), np.uint8)
    else:
        characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        classes = _classes()[np.minimum(characters, _BEYOND)]
    begins = _begins(characters, classes)
    starts = np.flatnonzero(begins)
    if not len(starts):
        none = np.zeros(0, np.int64)
        return Words(none, none, np.zeros(0, np.uint64), np.zeros(0, np.uint8))
    # A word ends where the next begins or white space does; white space has no bits, so a word's stretch of classes
    # may reach to the next word.
    kinds = np.bitwise_or.reduceat(classes, starts)
    filled = classes != SPACE
    ends = filled.copy()
    ends[:-1] &= begins[1:] | ~filled[1:]
    stops = np.flatnonzero(ends) + 1
    return Words(starts, stops, _hashes(characters, starts, stops), kinds)


def _begins(characters: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """bool [characters]: a word begins here."""
    begins = classes != SPACE
    if len(classes) < 2:
        return begins
    before, here = classes[:-1], classes[1:]
    joined = ((before & (_WORD_BIT | ATTACHED)) != 0) & (here & _WORD_BIT != 0) & (here & _ALONE_BIT == 0)
    joined &= before & _ALONE_BIT == 0
    joined |= (here == ATTACHED) & (before != SPACE)
    joined |= (characters[1:] == characters[:-1]) & (here == SIGN)
    # A joiner between two word characters belongs to them, and so does what follows it.
    inner = np.flatnonzero(
        _joins(characters[1:-1])
        & (classes[:-2] & _WORD_BIT != 0)
        & (classes[2:] & _WORD_BIT != 0)
        & ((classes[:-2] | classes[2:]) & _ALONE_BIT == 0)
    )
    joined[inner] = True
    joined[inner + 1] = True
    begins[1:] &= ~joined
    return begins


def _joins(characters: np.ndarray) -> np.ndarray:
    found = characters == ord(_JOINERS[0])
    for joiner in _JOINERS[1:]:
        if ord(joiner) <= np.iinfo(characters.dtype).max:
            found |= characters == ord(joiner)
    return found


def _hashes(characters: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """uint64 [words]: polynomials of the characters modulo 2^64, each mixed with its length.

    Differences of running sums over a block, divided by the power that the word's place brought in.
    """
    hashes = np.empty(len(starts), np.uint64)
    powers, inverses = _powers()
    cuts = np.minimum(stops, starts + _HASHED)
    first = 0
    while first < len(starts):
        offset = starts[first]
        last = int(np.searchsorted(starts, offset + _BLOCK))
        stop = cuts[last - 1]
        sums = np.zeros(stop - offset + 1, np.uint64)
        np.cumsum(characters[offset:stop] * powers[: stop - offset], out=sums[1:])
        begin = starts[first:last] - offset
        hashes[first:last] = (sums[cuts[first:last] - offset] - sums[begin]) * inverses[begin]
        first = last
    hashes ^= (stops - starts).astype(np.uint64) << _HALF
    hashes *= _MIX
    hashes ^= hashes >> _HALF
    return hashes


@cache
def _powers() -> tuple[np.ndarray, np.ndarray]:
    """Powers of the base and of its inverse modulo 2^64."""
    size = _BLOCK + _HASHED

    def series(base: int) -> np.ndarray:
        factors = np.full(size, base, np.uint64)
        factors[0] = 1
        return np.cumprod(factors)

    return series(_BASE), series(pow(_BASE, -1, 1 << 64))


@cache
def _ascii_classes() -> bytes:
    return bytes(map(_class, range(256)))


@cache
def _classes() -> np.ndarray:
    """uint8 [0x20001]: the class of each character, and of all those beyond."""
    table = np.fromiter(map(_class, range(_BEYOND + 1)), np.uint8, _BEYOND + 1)
    for first, last in _UNSPACED:
        letters = table[first : last + 1]
        letters[letters & _WORD_BIT != 0] = ALONE
    return table


def _class(code: int) -> int:
    if chr(code).isspace():
        return SPACE
    match unicodedata.category(chr(code)):
        case "Lu" | "Ll" | "Lt" | "Lm" | "Lo":
            return ALONE if code >= _BEYOND else LETTER
        case "Nd" | "Nl" | "No":
            return DIGIT
        case "Mn" | "Mc" | "Me" | "Cf":
            return ATTACHED
        case _:
            return SIGN
