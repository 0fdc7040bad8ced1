"""The keys of a whole corpus, sorted beyond memory, and the decisions that follow from them.

duckdb sorts: it spills into a folder above its limit (30 million rows of 16 bytes within 300 MB in 5 s on two
cores). All orders are total, so that the same keys give the same bytes on any number of cores.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.corpus.pipeline.pool import cores
from workbench.durable import fresh_directory

SPILL = ".spill"
PART_BITS = np.uint64(24)  # a document's ordinal: part number above, row in the part below
ROWS = 1 << 16  # at once
SORTER_SHARE = 0.7  # of the memory; the rest is for what streams through
MEMORY_A_THREAD = 256 << 20  # duckdb needs some for each, or gives up

DECISIONS = pa.schema(
    [
        ("document", pa.uint64()),
        ("kept", pa.bool_()),
        ("cluster", pa.uint64()),
        ("similarity", pa.float32()),
        ("parts", pa.list_(pa.uint32())),
    ]
)

Columns = dict[str, np.ndarray]


class PartKeys(NamedTuple):
    """Documents of one part: ordinals and lengths [documents], all keys one after another, and where each's end."""

    document: np.ndarray
    length: np.ndarray
    keys: np.ndarray
    ends: np.ndarray


class Sorter:
    """Sorts rows of numbers beyond memory; see `open_sorter`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path):
        self._connection = connection
        self.folder = folder  # for what else is spilled

    def settled(self, rows: Iterator[Columns], name: str) -> Callable[[], Iterator[Columns]]:
        """All of `rows` written down: a sort must have ended before the next one begins. Read as often as called."""
        path = self.folder / name
        with pa.OSFile(str(path), "wb") as file:
            writer: pa.RecordBatchStreamWriter | None = None
            for columns in rows:
                batch = pa.record_batch(columns)
                writer = writer or pa.ipc.new_stream(file, batch.schema)
                writer.write_batch(batch)
            if writer is not None:
                writer.close()
        return lambda: _read_stream(path)

    def sort(self, rows: Iterator[Columns], order: tuple[str, ...], *, distinct: bool = False) -> Iterator[Columns]:
        """`rows` by the columns `order`; with `distinct`, each of the same rows once."""
        batches = (pa.record_batch(columns) for columns in rows)
        first = next(batches, None)
        if first is None:
            return
        source = pa.RecordBatchReader.from_batches(first.schema, _chain(first, batches))
        self._connection.register("source", source)
        kind = "DISTINCT *" if distinct else "*"
        result = self._connection.sql(f"SELECT {kind} FROM source ORDER BY {', '.join(order)}")
        for batch in result.to_arrow_reader(ROWS):
            yield {name: batch.column(name).to_numpy() for name in batch.schema.names}
        self._connection.unregister("source")


def _read_stream(path: Path) -> Iterator[Columns]:
    if path.stat().st_size:
        with pa.OSFile(str(path), "rb") as file:
            for batch in pa.ipc.open_stream(file):
                yield {name: batch.column(name).to_numpy() for name in batch.schema.names}


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


@contextmanager
def open_sorter(decisions: Path, memory_bytes: int) -> Iterator[Sorter]:
    """A sorter that takes at most about `memory_bytes` and spills into `decisions`, which is emptied."""
    folder = fresh_directory(fresh_directory(decisions) / SPILL)
    limit = int(memory_bytes * SORTER_SHARE)
    threads = max(1, min(cores(), limit // MEMORY_A_THREAD))
    memory = f"{limit // 1_000_000}MB"
    connection = duckdb.connect(config={"memory_limit": memory, "temp_directory": str(folder), "threads": threads})
    try:
        connection.execute("SET enable_progress_bar = false")  # it would go to standard output
        yield Sorter(connection, folder)
    finally:
        connection.close()
        shutil.rmtree(folder, ignore_errors=True)


def read_keys(keys: Path) -> Iterator[PartKeys]:
    """The keys of all parts in order, some thousand documents at a time."""
    for path in sorted(keys.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(4096, columns=["document", "length", "keys"], use_threads=False):
                lists = batch.column("keys")
                yield PartKeys(
                    batch.column("document").to_numpy(),
                    batch.column("length").to_numpy(),
                    lists.flatten().to_numpy(),
                    np.cumsum(lists.value_lengths().to_numpy(), dtype=np.int64),
                )


def later_ones(rows: Iterator[Columns], keys: tuple[str, ...]) -> Iterator[Columns]:
    """Of rows sorted by `keys`, those that are not the first with theirs: with `first`, the document that is."""
    last: tuple[int, ...] | None = None
    leader = np.uint64(0)
    for columns in rows:
        document = columns["document"]
        new = np.zeros(len(document), bool)
        new[0] = last is None or last != tuple(int(columns[key][0]) for key in keys)
        for key in keys:
            new[1:] |= columns[key][1:] != columns[key][:-1]
        place = np.maximum.accumulate(np.where(new, np.arange(len(document)), -1))
        first = np.where(place < 0, leader, document[place])
        last, leader = tuple(int(columns[key][-1]) for key in keys), first[-1]
        if not new.all():
            yield {name: values[~new] for name, values in columns.items() if name not in keys} | {"first": first[~new]}


def write_decisions(
    rows: Iterator[Columns], keys: Path, decisions: Path, table: Callable[[Columns], Mapping[str, object]]
) -> None:
    """Write the decisions on documents, one file a part that has some; `rows` are sorted by `document`.

    `table` makes the columns of `DECISIONS` from the rows of one part.
    """
    names = {int(path.stem): path.name for path in keys.glob("*.parquet")}
    for part, columns in _by_part(rows):
        made = table(columns)
        arrays = [pa.array(made[field.name], field.type) for field in DECISIONS]
        pq.write_table(pa.Table.from_arrays(arrays, schema=DECISIONS), decisions / names[part])


def _by_part(rows: Iterator[Columns]) -> Iterator[tuple[int, Columns]]:
    waiting: list[Columns] = []
    current = -1
    for columns in rows:
        part = (columns["document"] >> PART_BITS).astype(np.int64)
        cuts = np.flatnonzero(np.diff(part)) + 1
        for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(part)], strict=True):
            if int(part[begin]) != current and waiting:
                yield current, _joined(waiting)
                waiting = []
            current = int(part[begin])
            waiting.append({name: values[begin:end] for name, values in columns.items()})
    if waiting:
        yield current, _joined(waiting)


def _joined(pieces: list[Columns]) -> Columns:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def no_parts(count: int) -> pa.Array:
    """`parts` of as many documents that lose none."""
    return pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.uint32()))
