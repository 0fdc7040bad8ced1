"""Examples for people: what was rejected, what was changed, which documents are alike, what came in.

Which ones are kept is decided by a hash of each, so that it is the same however the work was done.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import xxhash

from workbench.corpus.cleaning.step import Document, Verdict
from workbench.corpus.documents import TABLES, RowWriter
from workbench.corpus.pipeline.parts import NOTES, PartWriter, PassFolder, Row

REJECT_CHARACTERS = 20_000
CHANGES_PER_STEP = 20
CHANGE_CHARACTERS = 400  # of each side
SAMPLE_DOCUMENTS = 1_000
SAMPLE_CHARACTERS = 50_000
CLUSTERS = 1_000
CLUSTER_MEMBERS = 20  # of one, the first
MAX_SPANS = 200


class Lowest:
    """Of rows by group, those with the lowest hashes."""

    def __init__(self, limit: int):
        self.limit = limit
        self.groups: dict[Any, list[tuple[int, int, Any]]] = {}

    def wants(self, group: Any, number: int) -> bool:
        """Whether a row with the hash `number` would be among them, as far as is known."""
        heap = self.groups.get(group, [])
        return self.limit > 0 and (len(heap) < self.limit or number < -heap[0][0])

    def add(self, group: Any, number: int, ordinal: int, row: Any) -> None:
        heap = self.groups.setdefault(group, [])
        if len(heap) < self.limit:
            heapq.heappush(heap, (-number, -ordinal, row))
        else:
            heapq.heappushpop(heap, (-number, -ordinal, row))

    def rows(self) -> list[tuple[int, int, Any]]:
        """(ordinal, hash, row) of all groups, by ordinal."""
        found = [(-ordinal, -number, row) for heap in self.groups.values() for number, ordinal, row in heap]
        return sorted(found, key=lambda item: item[:2])


class Notes:
    """The examples of one part of a pass."""

    def __init__(self, keep_rejects: int, part: int):
        self._rejects = Lowest(keep_rejects)
        self._changes = Lowest(CHANGES_PER_STEP)
        # Later parts hold ever smaller shares of all, so the lowest of all are hardly ever missed.
        self._sample = Lowest(SAMPLE_DOCUMENTS if part < 4 else 4 * SAMPLE_DOCUMENTS // part + 8)
        self._members: list[tuple[int, int, Any]] = []

    def reject(self, step: str, row: Row, verdict: Verdict) -> None:
        document = row.document
        group = (step, verdict.reason)
        number = _hash(*group, document)
        if self._rejects.wants(group, number):
            text, spans = excerpt(document.text, verdict.spans)
            values = (verdict.value, verdict.limit, verdict.parameter, spans, text)
            self._rejects.add(group, number, row.ordinal, (*group, document.source, document.position, *values))

    def change(self, step: str, row: Row, verdict: Verdict) -> None:
        document = row.document
        number = _hash(step, verdict.reason, document)
        if self._changes.wants(step, number):
            assert verdict.text is not None
            sides = around_change(document.text, verdict.text)
            place = (step, verdict.reason, document.source, document.position)
            self._changes.add(step, number, row.ordinal, (*place, *sides))

    def sample(self, row: Row) -> None:
        document = row.document
        number = _hash("sample", "", document)
        if self._sample.wants(None, number):
            values = (
                document.text[:SAMPLE_CHARACTERS], document.source, document.position, document.language,
                document.licence, document.markup,
            )  # fmt: skip
            self._sample.add(None, number, row.ordinal, values)

    def member(self, cluster: int, row: Row, kept: bool, similarity: float) -> None:
        document = row.document
        values = (cluster, document.source, document.position, kept, similarity, document.text[:REJECT_CHARACTERS])
        self._members.append((row.ordinal, 0, values))

    def write(self, folder: PassFolder, part: int) -> None:
        tables = {
            "rejects": self._rejects.rows(), "changes": self._changes.rows(), "clusters": self._members,
            "sample": self._sample.rows(),
        }  # fmt: skip
        for name, rows in tables.items():
            writer = PartWriter(folder.root / name / f"{part:06d}.parquet", NOTES[name])
            for ordinal, number, values in rows:
                writer.add((ordinal, number, *values))
            writer.close()


def gather(name: str, passes: Sequence[Sequence[Path]], output: Path, keep_rejects: int) -> None:
    """The table `name` in the folder `output`, of what the files of each pass hold; all in the order of the documents.

    Texts are read again for the chosen rows alone: memory stays within a row group a pass, and 50 bytes a row.
    """
    chosen = _chosen(name, [file for files in passes for file in files], keep_rejects)
    writer = RowWriter(output / f"{name}.parquet", TABLES[name])
    for _, values in heapq.merge(*(_rows(files, chosen) for files in passes), key=lambda row: row[0]):
        writer.add(values)
    writer.close()


def _rows(files: Sequence[Path], chosen: dict[Path, set[int]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """(ordinal, row) of the chosen rows of one pass, whose files follow each other as the documents do."""
    for path in files:
        wanted = sorted(chosen.get(path, ()))
        if not wanted:
            continue
        begin = 0
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                inside = [place - begin for place in wanted if begin <= place < end]
                if inside:
                    for row in file.read_row_group(group, use_threads=False).take(inside).to_pylist():
                        ordinal, _, *values = row.values()
                        yield ordinal, tuple(values)
                begin = end


def _chosen(name: str, files: list[Path], keep_rejects: int) -> dict[Path, set[int]]:
    limit = {"rejects": keep_rejects, "changes": CHANGES_PER_STEP, "sample": SAMPLE_DOCUMENTS}.get(name)
    if limit is None:
        return _members(files)
    lowest = Lowest(limit)
    keys = {"rejects": ["step", "reason"], "changes": ["step"], "sample": []}[name]
    for file in files:
        table = pq.read_table(file, columns=["ordinal", "hash", *keys], use_threads=False)
        for place, row in enumerate(table.to_pylist()):
            group = tuple(row[key] for key in keys)
            if lowest.wants(group, row["hash"]):
                lowest.add(group, row["hash"], row["ordinal"], (file, place))
    chosen: dict[Path, set[int]] = {}
    for _, _, (file, place) in lowest.rows():
        chosen.setdefault(file, set()).add(place)
    return chosen


def _members(files: list[Path]) -> dict[Path, set[int]]:
    seen: Counter[int] = Counter()
    chosen: dict[Path, set[int]] = {}
    for file in sorted(files, key=lambda path: path.stem):
        for place, cluster in enumerate(pq.read_table(file, columns=["cluster"])["cluster"].to_pylist()):
            seen[cluster] += 1
            if seen[cluster] <= CLUSTER_MEMBERS:
                chosen.setdefault(file, set()).add(place)
    return chosen


def excerpt(
    text: str, spans: tuple[tuple[int, int], ...], characters: int = REJECT_CHARACTERS
) -> tuple[str, list[dict[str, int]]]:
    """At most `characters` around the first span, and the spans in it, from its beginning."""
    begin = 0
    if spans and len(text) > characters:
        begin = min(max(0, spans[0][0] - characters // 4), len(text) - characters)
    text = text[begin : begin + characters]
    inside = [
        {"start": max(start - begin, 0), "stop": min(stop - begin, len(text))}
        for start, stop in spans[:MAX_SPANS]
        if start - begin < len(text) and stop > begin
    ]
    return text, inside


def around_change(before: str, after: str, characters: int = CHANGE_CHARACTERS) -> tuple[str, str]:
    """Both texts around the first place where they differ."""
    place = _common(before, after)
    begin = max(0, place - characters // 4)
    return before[begin : begin + characters], after[begin : begin + characters]


def _common(one: str, other: str) -> int:
    """How many characters both begin with, found by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _hash(step: str, reason: str, document: Document) -> int:
    name = f"{step}\0{reason}\0{document.source}\0{document.position}"
    return xxhash.xxh3_64_intdigest(name.encode(errors="surrogatepass"))
