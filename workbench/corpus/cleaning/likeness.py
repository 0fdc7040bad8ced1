"""Which near duplicates are kept, decided over a whole corpus from bands and sketches.

1. Documents that agree in a band are sorted together; each is paired with the first of its band and the one before it.
2. Pairs that are not similar enough by their sketches are dropped.
3. Documents are taken by rank. One goes if a neighbour was kept, or the document that a neighbour went for is
   similar to it as well; otherwise it is kept. So nothing goes for the sake of a document that is itself gone.

Beyond the sorter's memory it takes about 100 bytes for each document that is in a pair: with 512 MiB, 3.2 million
documents (12 GB of text), a third of them in pairs, took 610 MB in all, 0.8 million 580 MB.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from workbench.corpus.cleaning import sketches
from workbench.corpus.cleaning.grouping import Columns, Sorter, no_parts, open_sorter, read_keys, write_decisions

# An estimate may miss by as much and the pair still counts: of pairs at the limit itself, 9 of 10 are found.
MARGIN = 0.015
PAIRS = 1 << 13  # compared at once: 4 MiB of sketches twice
LOOKS = 1 << 14  # single comparisons after which pages of the sketches are given back


def decide(keys: Path, decisions: Path, memory_bytes: int, *, bands: int, similarity: float, longest: bool) -> None:
    """See `CorpusStep.decide`. Keys are `bands` hashes and a sketch; of documents alike the first or longest stays."""
    least = similarity - MARGIN
    with open_sorter(decisions, memory_bytes) as sorter:
        banded = sorter.sort(_band_rows(keys, bands), ("key", "document"))
        met = sorter.settled(_pairs(banded), "met")
        pairs = sorter.settled(sorter.sort(met(), ("low", "high"), distinct=True), "pairs")
        candidates = _Candidates(keys, bands, pairs, sorter)
        graph = _Graph(len(candidates.document), candidates.alike(pairs, least))
        size = len(candidates.document)
        rank = np.lexsort((np.arange(size), -candidates.length.astype(np.int64))) if longest else np.arange(size)
        keeper, found = _choose(graph, candidates, rank, least)
        write_decisions(_rows(candidates.document, keeper, found), keys, decisions, _table)


class _Candidates:
    """The documents that are in a pair, by number in their order: ordinals, lengths, and sketches on the disk."""

    def __init__(self, keys: Path, bands: int, pairs: Callable[[], Iterator[Columns]], sorter: Sorter):
        single = ({"document": columns[side]} for columns in pairs() for side in ("low", "high"))
        each = [columns["document"] for columns in sorter.sort(single, ("document",), distinct=True)]
        self.document = np.concatenate(each) if each else np.empty(0, np.uint64)
        size = len(self.document)
        self.length = np.empty(size, np.uint32)
        self._sketches = np.memmap(sorter.folder / "sketches", np.uint8, "w+", shape=(max(size, 1), sketches.BYTES))
        self._looks = 0
        if size:
            self._fill(keys, bands)

    def _fill(self, keys: Path, bands: int) -> None:
        """The keys come in the order of ordinals, as the candidates are."""
        width = bands + sketches.WORDS
        for part in read_keys(keys):
            rows = np.flatnonzero(
                np.diff(part.ends, prepend=0)
            )  # those with keys: the k-th has the k-th `width` of them
            ordinals = part.document[rows]
            numbers = np.minimum(np.searchsorted(self.document, ordinals), len(self.document) - 1)
            ours = self.document[numbers] == ordinals
            self.length[numbers[ours]] = part.length[rows[ours]]
            table = part.keys.reshape(-1, width)[ours, bands:].astype("<u8")
            self._sketches[numbers[ours]] = table.view(np.uint8).reshape(-1, sketches.BYTES)
            self._let_go()

    def alike(self, pairs: Callable[[], Iterator[Columns]], least: float) -> Iterator[tuple[np.ndarray, ...]]:
        """(left, right, similarity) of the pairs that are similar enough, by their numbers."""
        for columns in pairs():
            left, right = (np.searchsorted(self.document, columns[side]) for side in ("low", "high"))
            for start in range(0, len(left), PAIRS):
                own = slice(start, start + PAIRS)
                found = sketches.similarity(self._sketches[left[own]], self._sketches[right[own]])
                enough = found >= least
                yield left[own][enough], right[own][enough], found[enough]
                self._let_go()

    def similarity(self, one: int, others: list[int]) -> np.ndarray:
        """float32 [others]."""
        self._looks += len(others)
        if self._looks > LOOKS:
            self._looks = 0
            self._let_go()
        return sketches.similarity(self._sketches[one : one + 1], self._sketches[others])

    def _let_go(self) -> None:
        """Have the pages not count as memory of this process; they stay in the file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._sketches._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


class _Graph:
    """Neighbours of each number: `other[start[n]:start[n + 1]]`, with their `similarity`."""

    def __init__(self, size: int, edges: Iterator[tuple[np.ndarray, ...]]):
        parts = list(edges)
        left, right, found = (
            np.concatenate([part[side] for part in parts]) if parts else np.empty(0, np.int64) for side in range(3)
        )
        begin, end = (np.concatenate(ends).astype(np.uint32) for ends in ((left, right), (right, left)))
        order = np.lexsort((end, begin))
        self.other, self.similarity = end[order], np.concatenate([found, found])[order]
        self.start = np.searchsorted(begin[order], np.arange(size + 1))


def _choose(graph: _Graph, candidates: _Candidates, rank: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """int64 [size]: for which one each goes, itself if it is kept; float32 [size]: how similar the two are."""
    size = len(rank)
    keeper = np.arange(size)
    found = np.ones(size, np.float32)
    done = np.zeros(size, bool)
    for number in rank.tolist():
        begin, end = graph.start[number], graph.start[number + 1]
        others = graph.other[begin:end]
        seen = done[others]
        done[number] = True
        if not seen.any():
            continue
        near, near_similarity = others[seen], graph.similarity[begin:end][seen]
        keepers = keeper[near]
        kept = keepers == near
        if kept.any():
            best = int(np.flatnonzero(kept)[np.argmax(near_similarity[kept])])
            keeper[number], found[number] = near[best], near_similarity[best]
            continue
        choices = np.unique(keepers)
        similarities = candidates.similarity(number, choices.tolist())
        best = int(np.argmax(similarities))
        if similarities[best] >= least:
            keeper[number], found[number] = choices[best], similarities[best]
    return keeper, found


def _band_rows(keys: Path, bands: int) -> Iterator[Columns]:
    width = bands + sketches.WORDS
    for part in read_keys(keys):
        with_keys = np.diff(part.ends, prepend=0) > 0
        table = part.keys.reshape(-1, width)[:, :bands]
        yield {"key": table.reshape(-1), "document": np.repeat(part.document[with_keys], bands)}


def _pairs(rows: Iterator[Columns]) -> Iterator[Columns]:
    """(low, high) ordinals: of rows sorted by key and document, each with the first of its key, and the one before."""
    last: int | None = None
    leader = before = np.uint64(0)
    for columns in rows:
        key, document = columns["key"], columns["document"]
        new = np.empty(len(key), bool)
        new[0] = last != int(key[0])
        new[1:] = key[1:] != key[:-1]
        place = np.maximum.accumulate(np.where(new, np.arange(len(key)), -1))
        first = np.where(place < 0, leader, document[place])
        previous = np.concatenate([[before], document[:-1]])
        last, leader, before = int(key[-1]), first[-1], document[-1]
        further = ~new & (first != previous)
        low = np.concatenate([first[~new], previous[further]])
        high = np.concatenate([document[~new], document[further]])
        # The same document twice: two of its bands have the same hash.
        apart = low != high
        yield {"low": low[apart], "high": high[apart]}


def _rows(document: np.ndarray, keeper: np.ndarray, found: np.ndarray) -> Iterator[Columns]:
    """Of those that go, and of those that they go for."""
    gone = keeper != np.arange(len(keeper))
    stays = np.zeros(len(keeper), bool)
    stays[keeper[gone]] = True
    shown = gone | stays
    if shown.any():
        yield {
            "document": document[shown],
            "kept": stays[shown],
            "cluster": document[keeper[shown]],
            "similarity": found[shown],
        }


def _table(columns: Columns) -> dict[str, object]:
    return columns | {"parts": no_parts(len(columns["document"]))}  # type: ignore[operator]
