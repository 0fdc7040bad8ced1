"""Which N-grams of words of a benchmark's items stand in documents.

As in the GPT-3 paper (Brown et al. 2020, Appendix C): N is, for each task, the 5th percentile of its items' lengths in
words, at least 8 and at most 13. What a word is, `shingles` says: case and punctuation count for nothing, and in
scripts without spaces each character is one.

The items' N-grams are few: their hashes stay in memory, and the text streams past them once, whatever its size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.corpus.scripts import lower

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SHORTEST, LONGEST = 8, 13  # words of an N-gram
PERCENTILE = 5
TEMPLATE_ITEMS, TEMPLATE_SHARE = 10, 0.1  # an N-gram in more items than both is the task's wording, not an item's
PLACES = 3  # documents named for each item


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

        from workbench.corpus.shingles import word_hashes

        self.gram: dict[str, int] = {}
        self.too_short: dict[str, int] = {}
        self._texts = [text for _, text in items]
        words = [word_hashes(text) for text in self._texts]
        told = [_tells(text) for text in self._texts]
        by_task: dict[str, list[int]] = defaultdict(list)
        for number, (task, _) in enumerate(items):
            by_task[task].append(number)
        entries: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = defaultdict(list)
        for task, members in by_task.items():
            lengths = np.array([len(words[member]) for member in members])
            n = self.gram[task] = int(min(LONGEST, max(SHORTEST, np.percentile(lengths, PERCENTILE))))
            self.too_short[task] = int((lengths < n).sum())
            entries[n].append(_entries(n, members, words, told))
        self._tables = {
            n: _Table(*(np.concatenate(part) for part in zip(*parts, strict=True))) for n, parts in entries.items()
        }
        self._hits: dict[int, Hit] = {}

    def look(self, texts: pa.Array, corpus: str, first: int, sources: Sequence[str] | pa.Array) -> None:
        """Look for the items in documents of `corpus`, of which the first has the number `first`."""
        for number, text in enumerate(texts):
            for _, table, _, grams in self._found(text.as_py()):
                for item in table.touch(grams):
                    hit = self._hits.setdefault(item, Hit(""))
                    hit.documents += 1
                    if len(hit.places) < PLACES:
                        hit.places.append(Place(corpus, first + number, str(sources[number])))

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
                hit.words = _words(self._texts[item], int(starts[item]), n)
        return self._hits

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where items' N-grams stand in `text`, in characters: in order and apart."""
        import numpy as np

        from workbench.corpus.shingles import word_places

        found = [(n, places) for n, _, places, _ in self._found(text)]
        if not found:
            return []
        characters = word_places(text)
        covered = np.zeros(len(characters) + 1, np.int64)
        for n, places in found:
            np.add.at(covered, places, 1)
            np.add.at(covered, places + n, -1)
        edges = np.flatnonzero(np.diff(np.cumsum(covered) > 0, prepend=False)).reshape(-1, 2)
        return [(int(characters[first, 0]), int(characters[after - 1, 1])) for first, after in edges.tolist()]

    def _found(self, text: str) -> Iterator[tuple[int, _Table, np.ndarray, np.ndarray]]:
        """For each N that is hit: its table, the places of the hits among the words, and the N-grams' numbers."""
        from workbench.corpus.shingles import runs, word_hashes

        words = word_hashes(text)
        for n, table in self._tables.items():
            places, grams = table.find(runs(words, n))
            if len(places):
                yield n, table, places, grams


def _entries(
    n: int, members: Sequence[int], words: Sequence[np.ndarray], told: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A task's different N-grams without its wording and rows of numbers: (hash, item, place of first word)."""
    import numpy as np

    from workbench.corpus.shingles import runs

    hashes, items, starts = [], [], []
    for item in members:
        own, where = np.unique(runs(words[item], n), return_index=True)
        telling = np.cumsum(told[item])
        kept = telling[where + n - 1] - telling[where] + told[item][where] >= n / 2
        own, where = own[kept], where[kept]
        hashes.append(own)
        items.append(np.full(len(own), item))
        starts.append(where)
    hash_E, item_E, start_E = np.concatenate(hashes), np.concatenate(items), np.concatenate(starts)
    _, which, counts = np.unique(hash_E, return_inverse=True, return_counts=True)
    rare = counts[which] <= max(TEMPLATE_ITEMS, TEMPLATE_SHARE * len(members))
    return hash_E[rare], item_E[rare], start_E[rare]


def _tells(text: str) -> np.ndarray:
    """1 for each word that is more than digits: 0, 0, 0, … stands in many a text that has nothing of the item."""
    import numpy as np

    from workbench.corpus.shingles import word_places

    return np.array([not text[begin:end].isdigit() for begin, end in word_places(text).tolist()], np.int64)


def _words(text: str, start: int, n: int) -> str:
    """`n` words of `text` from the one at `start`, in lower case and without what is between them."""
    from workbench.corpus.shingles import word_places

    small = lower(text)
    return " ".join(small[begin:end] for begin, end in word_places(text)[start : start + n].tolist())


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

    def touch(self, grams: np.ndarray) -> list[int]:
        """The items that have one of these N-grams; all entries with one count as seen."""
        import numpy as np

        counts = self.counts[grams]
        entries = np.repeat(self.firsts[grams] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        self.seen[entries] = True
        return np.unique(self.item[entries]).tolist()
