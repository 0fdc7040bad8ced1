"""Words, and runs of words, as numbers: what near duplicates and benchmark items are told by.

A word is a run of letters, marks, digits and underscores, in lower case. In scripts without spaces between words each
character is one, so that there a run of words is a run of characters. Punctuation, white space and symbols count for
nothing: two layouts of a program are alike.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache

import numpy as np

from workbench.corpus.scripts import WITHOUT_SPACES, lower

PIECE = 1 << 16  # UTF-16 units hashed at once: powers are kept for as many
CUT = 1024  # a piece ends between words where one ends within so many units
SEPARATOR, LETTER, ALONE = 0, 1, 2
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_MIX = np.uint64(0xBF58476D1CE4E5B9)


def shingles(text: str, words: int) -> np.ndarray:
    """uint64 [about as many as there are words]: a hash of each run of `words` words, in their order.

    A shorter text has one, of all its words; one without words has none.
    """
    word_W = word_hashes(text)
    return mixed(runs(word_W, min(words, len(word_W)))) if len(word_W) else word_W


def word_hashes(text: str) -> np.ndarray:
    """uint64 [words]: a hash of each word."""
    return np.concatenate([_hashes(units) for units, _ in _pieces(text)])


def word_places(text: str) -> np.ndarray:
    """int64 [words, 2]: where each word begins and ends, in characters."""
    places = np.concatenate([_bounds(units) + offset for units, offset in _pieces(text)])
    if places.size and not text.isascii():
        units = _units(text)
        # The second half of what UTF-16 writes in two units begins no character.
        characters = np.cumsum(~((units >= 0xDC00) & (units < 0xE000)))
        places = np.stack([characters[places[:, 0]] - 1, characters[places[:, 1] - 1]], axis=1)
    return places


def runs(word_W: np.ndarray, count: int) -> np.ndarray:
    """uint64 [W - count + 1]: of each run of `count` words, the sum of word[i + j] M^(count - 1 - j) modulo 2^64."""
    size = max(0, len(word_W) - count + 1)
    total = word_W[:size].copy()
    for place in range(1, count if size else 1):
        total *= np.uint64(_MULTIPLIER)
        total += word_W[place : size + place]
    return total


def mixed(values: np.ndarray) -> np.ndarray:
    """Each bit of the answer depends on each bit of a value (the finaliser of splitmix64, shortened)."""
    values = values ^ (values >> np.uint64(30))
    values *= _MIX
    values ^= values >> np.uint64(27)
    return values


def _units(text: str) -> np.ndarray:
    """Bytes of an ASCII text, UTF-16 units of others; in lower case."""
    small = lower(text)
    if small.isascii():
        return np.frombuffer(small.encode("ascii"), np.uint8)
    return np.frombuffer(small.encode("utf-16-le", "surrogatepass"), np.dtype("<u2"))


def _pieces(text: str) -> Iterator[tuple[np.ndarray, int]]:
    """Units with the place of the first; cut between words where one ends near."""
    units, offset = _units(text), 0
    while len(units) - offset > PIECE:
        end = offset + PIECE
        breaks = np.flatnonzero(_tables()[0][units[end - CUT : end]] != LETTER)
        cut = end - CUT + int(breaks[-1]) + 1 if len(breaks) else end
        yield units[offset:cut], offset
        offset = cut
    yield units[offset:], offset


def _kinds(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class of each unit; places at which a word begins: a letter behind none, or a character that is one itself."""
    kind = _tables()[0][units]
    begins = kind == LETTER
    begins[1:] &= kind[:-1] != LETTER
    if units.dtype != np.uint8:
        begins |= kind == ALONE
    return kind, np.flatnonzero(begins)


def _hashes(units: np.ndarray) -> np.ndarray:
    """uint64 [words]: sum of random[unit] M^(place - start), of each word."""
    _, random, powers, inverses = _tables()
    _, starts = _kinds(units)
    if not len(starts):
        return np.empty(0, np.uint64)
    values = random[units]  # 0 for separators: those behind a word add nothing to it
    values *= powers[: len(units)]
    return mixed(np.add.reduceat(values, starts) * inverses[starts])


def _bounds(units: np.ndarray) -> np.ndarray:
    kind, starts = _kinds(units)
    last = kind == LETTER
    last[:-1] &= kind[1:] != LETTER
    last |= kind == ALONE
    return np.stack([starts, np.flatnonzero(last) + 1], axis=1)


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Class and random number of each UTF-16 unit; powers of M and of its inverse."""
    letters = [unicodedata.category(chr(unit))[0] in "LMN" or unit == ord("_") for unit in range(1 << 16)]
    classes = np.array(letters, np.uint8)
    for first, last in WITHOUT_SPACES:
        within = classes[first : last + 1]
        within[within == LETTER] = ALONE
    classes[0xD800:0xE000] = ALONE  # halves of what lies beyond: rarer Han, and symbols
    random = np.random.default_rng(0).integers(1, 2**64 - 1, size=1 << 16, dtype=np.uint64)
    random[classes == SEPARATOR] = 0
    ones = np.full(PIECE, _MULTIPLIER, np.uint64)
    ones[0] = 1
    inverse = np.full(PIECE, pow(_MULTIPLIER, -1, 2**64), np.uint64)
    inverse[0] = 1
    return classes, random, np.cumprod(ones), np.cumprod(inverse)
