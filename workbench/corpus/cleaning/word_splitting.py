"""Where the words of a text are, all at once, with a number for each that says which word it is.

What a word is follows the rules of English tokenisers (spaCy's, which datatrove uses; Penn Treebank's) as far as they
can be told from neighbouring characters:

- White space, as `str.split` has it, parts words. A run of letters, digits and marks is one.
- A sign at an end of such a run is a word of its own, each one; but `- / \\ @ ~ | ^ +`, and a full stop before a word,
  stay with it: `--help`, `/usr`, `.txt`. A full stop after a word is its own, except in `J.` and `e.g.`; so is `...`.
- Signs between two such characters stay with them: `3.14`, `snake_case`, `std::move`, `f(x`; but a hyphen parts
  (`well - known`, not `UTF-8`), a comma between letters does, `/ : = < >` before a letter do, and so does a full stop
  between a small letter and a capital one.
- Contractions part as `it 's` and `do n't`.
- In scripts without spaces (Han, kana, Thai, Khmer, …) each letter is a word, so that a pair of words there
  is what is called a bigram of characters. Signs beyond ASCII are words of their own everywhere.

What tokenisers know of each language (abbreviations, addresses, `cannot`) is left out; how often that decides about a
document is in tests/corpus/cleaning/test_parity.py.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np

from workbench.corpus.scripts import WITHOUT_SPACES

# Classes of characters; LETTER has the bits of DIGIT, ALONE those of both.
SPACE, SIGN, DIGIT, LETTER, ALONE, ATTACHED, SOFT = 0, 1, 2, 6, 14, 16, 32
_WORD_BIT, _LETTER_BIT, _ALONE_BIT = 2, 4, 8
_SOFT = r".-/\@~|^+"

_ALONE = (*WITHOUT_SPACES, (0xFF66, 0xFF9F))  # the last: Katakana of half width
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
    sums: np.ndarray  # int64 [words + 1]: characters of all words before

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
        return self.sums[n:] - self.sums[:-n]

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
        return Words(none, none, np.zeros(0, np.uint64), np.zeros(0, np.uint8), np.zeros(1, np.int64))
    # A word ends where the next begins or white space does; white space has no bits, so a word's stretch of classes
    # may reach to the next word.
    kinds = np.bitwise_or.reduceat(classes, starts)
    filled = classes != SPACE
    ends = filled.copy()
    ends[:-1] &= begins[1:] | ~filled[1:]
    stops = np.flatnonzero(ends) + 1
    sums = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(stops - starts, out=sums[1:])
    return Words(starts, stops, _hashes(characters, starts, stops), kinds, sums)


def _begins(characters: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """bool [characters]: a word begins here."""
    begins = classes != SPACE
    if len(classes) < 2:
        return begins
    word = ((classes & (_WORD_BIT | ATTACHED)) != 0) & ((classes & _ALONE_BIT) == 0)
    soft = classes == SOFT
    either = word | soft
    joined = either[:-1] & either[1:]
    joined &= ~(word[:-1] & (characters[1:] == ord(".")))
    joined |= (classes[1:] == ATTACHED) & begins[:-1]
    begins[1:] &= ~joined
    signs = soft | (classes == SIGN)
    edges = np.flatnonzero(signs[1:] != signs[:-1]) + 1
    if signs[0]:
        edges = edges[1:]  # signs at the text's beginning are between nothing
    runs = edges[: len(edges) // 2 * 2].reshape(-1, 2)  # first sign, and what follows the last
    inner = word[runs[:, 0] - 1] & word[runs[:, 1]]
    _mark_inner_signs(characters, classes, runs[inner], begins)
    stops = np.flatnonzero(characters[1:] == ord(".")) + 1
    stops = stops[classes[stops - 1] == LETTER]
    begins[stops[begins[stops - 1] | (characters[stops - 2] == ord("."))]] = False
    return begins


def _mark_inner_signs(characters: np.ndarray, classes: np.ndarray, runs: np.ndarray, begins: np.ndarray) -> None:
    """Say in `begins` which signs between two word characters, and what follows them, begin a word."""
    firsts, afters = runs[:, 0], runs[:, 1]
    if not len(firsts):
        return
    role = _roles_of(characters[firsts])
    before, after = characters[firsts - 1], characters[afters]
    left, right = classes[firsts - 1] & _LETTER_BIT != 0, classes[afters] & _LETTER_BIT != 0
    lone = afters - firsts == 1
    contracts = lone & left & right & (role == _APOSTROPHE)
    parts = right & (role == _BEFORE_LETTER)
    parts |= left & right & (role == _COMMA)
    parts |= (right | ~left) & (role == _HYPHEN)
    dots = role == _DOT
    if dots.any():
        parts |= dots & (before - ord("a") < 26) & (after - ord("A") < 26)  # unsigned: smaller ones wrap around
    parts &= lone
    if not lone.all():
        parts |= ~lone & dots & (characters[afters - 1] == ord("."))
    if characters.itemsize > 1:
        parts |= ~contracts & ((characters[firsts] > 127) | (characters[afters - 1] > 127))
    begins[firsts[parts]] = True
    begins[afters[parts]] = True
    joins = ~(parts | contracts)
    begins[firsts[joins]] = False
    begins[afters[joins]] = False
    for place in np.flatnonzero(joins & ~lone).tolist():
        begins[firsts[place] : afters[place]] = False
    apostrophes = firsts[contracts]
    begins[apostrophes + 1] = False
    negations = apostrophes[(before[contracts] == ord("n")) & (after[contracts] == ord("t"))]
    begins[negations] = False
    begins[negations - 1] = True


# What a sign may do between two word characters.
_STAYS, _BEFORE_LETTER, _COMMA, _HYPHEN, _DOT, _APOSTROPHE = range(6)
_ROLES = np.full(129, _STAYS, np.uint8)  # by character; the last for those beyond ASCII
_ROLES[[ord(sign) for sign in "/:=<>"]] = _BEFORE_LETTER
_ROLES[[ord(sign) for sign in ",-.'"]] = _COMMA, _HYPHEN, _DOT, _APOSTROPHE


def _roles_of(signs: np.ndarray) -> np.ndarray:
    if signs.itemsize == 1:
        return _ROLES[signs]
    roles = _ROLES[np.minimum(signs, 128)]
    roles[signs == ord("’")] = _APOSTROPHE
    return roles


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
    for first, last in _ALONE:
        letters = table[first : last + 1]
        letters[letters & _LETTER_BIT != 0] = ALONE
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
            return SOFT if chr(code) in _SOFT else SIGN
