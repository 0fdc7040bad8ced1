"""Which N-grams of words of a benchmark's items stand in documents.

As in the GPT-3 paper (Brown et al. 2020, Appendix C): words are lower-cased, separated by white space and freed of
punctuation; N is, for each task, the 5th percentile of its items' lengths in words, at least 8 and at most 13.

The items' N-grams are few: their hashes stay in memory, and the text streams past them once, whatever its size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SHORTEST, LONGEST = 8, 13  # words of an N-gram
PERCENTILE = 5
TEMPLATE_ITEMS, TEMPLATE_SHARE = 10, 0.1  # an N-gram in more items than both is the task's wording, not an item's
PLACES = 3  # documents named for each item

# Punctuation and symbols: what is neither a letter, a mark on one, a digit nor white space.
NO_WORD = r"[^\pL\pM\pN\s\pZ]+"
MULTIPLIER = 0x9E3779B97F4A7C15  # odd, of the rolling hash


@dataclass(frozen=True, slots=True)
class Place:
    """A document that holds words of an item."""

    corpus: str  # "corpus/books", "chats/alpaca"
    document: int  # its number, from 0
    source: str  # where it was read from


@dataclass(slots=True)
class Hit:
    """What was found of one item."""

    words: str
    found: int = 0
    of: int = 0
    documents: int = 0
    places: list[Place] = field(default_factory=list)


class Search:
    """Finds in documents the N-grams of items; `items` are (task, text), and known by their number.

    `gram` has the N of each task, `too_short` how many of its items have fewer words.
    """

    def __init__(self, items: Sequence[tuple[str, str]]):
        import numpy as np
        import pyarrow as pa

        self.gram: dict[str, int] = {}
        self.too_short: dict[str, int] = {}
        texts = pa.array([text for _, text in items], pa.string())
        words, self._ends = _words(texts)
        self._item_words = words
        self._vocabulary = words.unique()
        # A random number for each word of an item; the last is for every other word, and so in no item's N-gram.
        draw = np.random.default_rng(0)
        self._numbers = draw.integers(1, 2**64 - 1, size=len(self._vocabulary) + 1, dtype=np.uint64)
        numbers = self._numbered(words)
        lengths = np.diff(self._ends, prepend=0)
        by_task: dict[str, list[int]] = defaultdict(list)
        for number, (task, _) in enumerate(items):
            by_task[task].append(number)
        entries: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = defaultdict(list)
        for task, members in by_task.items():
            own = lengths[members]
            n = self.gram[task] = int(min(LONGEST, max(SHORTEST, np.percentile(own, PERCENTILE))))
            self.too_short[task] = int((own < n).sum())
            entries[n].append(self._entries(n, members, lengths, numbers))
        self._tables = {
            n: _Table(*(np.concatenate(part) for part in zip(*parts, strict=True))) for n, parts in entries.items()
        }
        self._hits: dict[int, Hit] = {}

    def look(self, texts: pa.Array, corpus: str, first: int, sources: Sequence[str] | pa.Array) -> None:
        """Look for the items in documents of `corpus`, of which the first has the number `first`."""
        import numpy as np

        words, ends = _words(texts)
        if not len(words):
            return
        numbers = self._numbered(words)
        for n, table in self._tables.items():
            places, grams = table.find(_rolling(numbers, n))
            # A run of N words is one document's if it ends before that document does.
            document = np.searchsorted(ends, places, side="right")
            whole = places + n <= ends[np.minimum(document, len(ends) - 1)]
            items, documents, entries = table.items_of(grams[whole], document[whole])
            table.seen[entries] = True
            pairs = np.unique(np.stack([items, documents]), axis=1)
            for item, place in pairs.T.tolist():
                hit = self._hits.setdefault(item, Hit(""))
                hit.documents += 1
                if len(hit.places) < PLACES:
                    hit.places.append(Place(corpus, first + place, str(sources[place])))

    def hits(self) -> dict[int, Hit]:
        """The number of each touched item, and what was found of it."""
        import numpy as np

        for n, table in self._tables.items():
            of, found = np.bincount(table.item), np.bincount(table.item[table.seen], minlength=1)
            starts = np.full(len(of), np.iinfo(np.int64).max)
            np.minimum.at(starts, table.item[table.seen], table.start[table.seen])
            for item in np.flatnonzero(found).tolist():
                hit = self._hits[item]
                hit.found, hit.of = int(found[item]), int(of[item])
                hit.words = " ".join(self._item_words.slice(int(starts[item]), n).to_pylist())
        return self._hits

    def _entries(
        self, n: int, members: Sequence[int], lengths: np.ndarray, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The different N-grams of a task without its wording: (hash, item, place of its first word)."""
        import numpy as np

        rolled = _rolling(numbers, n)
        ends = self._ends
        hashes, items, starts = [], [], []
        for item in members:
            first = ends[item] - lengths[item]
            own, where = np.unique(rolled[first : max(first, ends[item] - n + 1)], return_index=True)
            hashes.append(own)
            items.append(np.full(len(own), item))
            starts.append(first + where)
        hash_E, item_E, start_E = np.concatenate(hashes), np.concatenate(items), np.concatenate(starts)
        _, which, counts = np.unique(hash_E, return_inverse=True, return_counts=True)
        kept = counts[which] <= max(TEMPLATE_ITEMS, TEMPLATE_SHARE * len(members))
        return hash_E[kept], item_E[kept], start_E[kept]

    def _numbered(self, words: pa.Array) -> np.ndarray:
        """The number of each word (uint64)."""
        import pyarrow.compute as pc

        places = pc.index_in(words, value_set=self._vocabulary).fill_null(len(self._vocabulary))
        return self._numbers[places.to_numpy(zero_copy_only=False)]


class _Table:
    """N-grams of one N by their hash: entry e is an N-gram `hash[e]` of item `item[e]`, first at word `start[e]`.

    64 bits: among 10^6 N-grams of items and 10^11 words of text one false hit is to be expected in 180 searches.
    """

    def __init__(self, hash_E: np.ndarray, item_E: np.ndarray, start_E: np.ndarray):
        import numpy as np

        order = np.argsort(hash_E, kind="stable")
        self.item, self.start = item_E[order], start_E[order]
        self.hashes, self.firsts = np.unique(hash_E[order], return_index=True)
        self.counts = np.diff(self.firsts, append=len(hash_E))
        self.seen = np.zeros(len(hash_E), dtype=bool)
        # Nearly all text is told to be no hit by one look-up: of the sixteen places for each hash one is set.
        self._shift = np.uint64(64 - max(16, (16 * len(self.hashes)).bit_length()))
        self._filter = np.zeros(1 << (64 - int(self._shift)), dtype=bool)
        self._filter[self.hashes >> self._shift] = True

    def find(self, rolled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in `rolled` hashes of ours stand, and the place of each in `hashes`."""
        import numpy as np

        places = np.flatnonzero(self._filter[rolled >> self._shift])
        grams = np.searchsorted(self.hashes, rolled[places])
        known = grams < len(self.hashes)
        places, grams = places[known], grams[known]
        same = self.hashes[grams] == rolled[places]
        return places[same], grams[same]

    def items_of(self, grams: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(item, document, entry) for every entry with such an N-gram."""
        import numpy as np

        counts = self.counts[grams]
        entries = np.repeat(self.firsts[grams] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        return self.item[entries], np.repeat(documents, counts), entries


def _words(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The words of all texts, one after another, and where each text ends among them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    bare = pc.replace_substring_regex(pc.utf8_lower(texts), NO_WORD, "")
    # A text that begins or ends with white space, or has none but that, gives empty words.
    lists = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(bare))
    words, ends = lists.values, np.asarray(lists.offsets)[1:].astype(np.int64)
    real = pc.not_equal(words, pa.scalar("", words.type))
    if pc.all(real).as_py() is False:
        kept = np.concatenate([[0], np.cumsum(real.to_numpy(zero_copy_only=False))])
        words, ends = words.filter(real), kept[ends]
    return words, ends


def _rolling(numbers: np.ndarray, n: int) -> np.ndarray:
    """A hash of every run of `n` words: sum of numbers[i + j] M^(n - 1 - j), modulo 2^64; shorter by n - 1.

    Runs of 1, 2, 4, 8 words are put together from halves, and `n` from those.
    """
    import numpy as np

    if len(numbers) < n:
        return np.empty(0, dtype=np.uint64)
    power, covered = numbers, 0
    result: np.ndarray | None = None
    width = 1
    while covered < n:
        if n & width:
            # `width` more words behind those that are covered.
            more = power[covered : len(power)] if covered else power
            factor = np.uint64(pow(MULTIPLIER, width, 2**64))
            result = more if result is None else result[: len(more)] * factor + more[: len(result)]
            covered += width
        if covered < n:
            factor = np.uint64(pow(MULTIPLIER, width, 2**64))
            power = power[:-width] * factor + power[width:]
            width *= 2
    assert result is not None
    return result[: len(numbers) - n + 1]
