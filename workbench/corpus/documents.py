"""A corpus on disk: its documents in Parquet files, and beside them what became of the others.

`documents-00000.parquet`, … have the columns of `DOCUMENTS`, in zstd-compressed row groups of about 8 MiB, so that
reading takes little memory and one document is found without reading the rest. `rejects.parquet` has examples of what
was left out, `changes.parquet` of what steps changed, `clusters.parquet` of near duplicates, and `sample.parquet`
documents as they were before the first step. Of several sources, `given.parquet` tells which one each document is of.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import WorkbenchError

ROW_GROUP_CHARACTERS = 8 << 20
ROW_GROUP_ROWS = 16_384
FILE_CHARACTERS = 1 << 30

_PLACE = [("source", pa.string()), ("position", pa.int64())]
DOCUMENTS = pa.schema([("text", pa.string()), *_PLACE, ("language", pa.string()), ("licence", pa.string())])
SPANS = pa.list_(pa.struct([("start", pa.int32()), ("stop", pa.int32())]))  # in characters of `text`
REJECTS = pa.schema(
    [
        ("step", pa.string()), ("reason", pa.string()), *_PLACE, ("value", pa.float64()), ("limit", pa.float64()),
        ("parameter", pa.string()), ("spans", SPANS), ("text", pa.string()),
    ]
)  # fmt: skip
CHANGES = pa.schema(
    [("step", pa.string()), ("reason", pa.string()), *_PLACE, ("before", pa.string()), ("after", pa.string())]
)
CLUSTERS = pa.schema(
    [("cluster", pa.int64()), *_PLACE, ("kept", pa.bool_()), ("similarity", pa.float32()), ("text", pa.string())]
)
SAMPLE = pa.schema([*DOCUMENTS, ("markup", pa.string())])
TABLES = {"rejects": REJECTS, "changes": CHANGES, "clusters": CLUSTERS, "sample": SAMPLE}
"""What lies beside the documents, in `NAME.parquet`."""

GIVEN = pa.schema([("given", pa.uint16())])  # a row a document: the place of its source in the recipe's list

GIVEN_FILE = "given.parquet"
_UNLIKE = ("text", "before", "after")  # rarely repeat from row to row, and their minima are of no use


class RowWriter:
    """Rows into one Parquet file, a row group at a time."""

    def __init__(self, path: Path, schema: pa.Schema):
        self.schema = schema
        names = [field.name for field in schema if pa.types.is_string(field.type) and field.name not in _UNLIKE]
        self.writer = pq.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=names, write_statistics=False, store_schema=True
        )
        self.rows: list[tuple[Any, ...]] = []
        self.characters = 0

    def add(self, row: tuple[Any, ...]) -> None:
        self.rows.append(row)
        self.characters += sum(len(value) for value in row if type(value) is str)
        if self.characters >= ROW_GROUP_CHARACTERS or len(self.rows) >= ROW_GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self.writer.close()

    def _flush(self) -> None:
        if self.rows:
            columns = zip(*self.rows, strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(columns, self.schema, strict=True)]
            self.writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
        self.rows, self.characters = [], 0


class CorpusWriter:
    """Writes the documents of a corpus into `folder`; a context manager."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.documents = 0
        self._writer: RowWriter | None = None
        self._files = 0
        self._characters = 0  # in the open file

    def add(
        self, text: str, source: str, position: int = 0, language: str | None = None, licence: str | None = None
    ) -> None:
        if self._writer is None:
            path = self.folder / f"documents-{self._files:05d}.parquet"
            self._writer, self._characters = RowWriter(path, DOCUMENTS), 0
            self._files += 1
        self._writer.add((text, source, position, language, licence))
        self._characters += len(text)
        self.documents += 1
        if self._characters >= FILE_CHARACTERS:
            self._close_file()

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._close_file()


def iterate_documents(folder: Path, columns: Sequence[str] = ("text",)) -> Iterator[pa.RecordBatch]:
    """The documents of a corpus in order, in batches of one row group at most.

    Raises `WorkbenchError` if there are none or a file cannot be read.
    """
    for path in _files(folder):
        with _open(path) as file:
            for group in range(file.num_row_groups):
                yield from _read_group(file, path, group, columns).to_batches()


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One of the row groups of a corpus. `bytes` of text, within 0.1%, from the file's footer."""

    file: str
    number: int
    rows: int
    bytes: int


def row_groups(folder: Path) -> Iterator[RowGroup]:
    """The row groups of a corpus in order. Raises as `iterate_documents`."""
    for path in _files(folder):
        with _open(path) as file:
            column = file.schema_arrow.get_field_index("text")
            for number in range(file.num_row_groups):
                found = file.metadata.row_group(number)
                size = found.column(column).total_uncompressed_size - 4 * found.num_rows  # 4: each text's length
                yield RowGroup(path.name, number, found.num_rows, max(size, 0))


def read_row_group(folder: Path, group: RowGroup, columns: Sequence[str] = ("text",)) -> pa.Table:
    """The documents of one row group. Raises as `iterate_documents`."""
    path = folder / group.file
    with _open(path) as file:
        return _read_group(file, path, group.number, columns)


def count_documents(folder: Path) -> int:
    """How many documents a corpus holds. Raises as `iterate_documents`."""
    total = 0
    for path in _files(folder):
        with _open(path) as file:
            total += file.metadata.num_rows
    return total


def text_bytes(folder: Path) -> int:
    """About how many bytes of UTF-8 a corpus holds (within 0.1%), from the files' footers."""
    return sum(group.bytes for group in row_groups(folder))


def document_at(folder: Path, index: int) -> dict[str, Any]:
    """Document number `index`, from 0: its columns by name. Raises `IndexError` if there is no such."""
    if index >= 0:
        first = 0
        for path in _files(folder):
            with _open(path) as file:
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if index < first + rows:
                        table = _read_group(file, path, group, file.schema_arrow.names)
                        return table.slice(index - first, 1).to_pylist()[0]
                    first += rows
    raise IndexError(f"document {index} of {count_documents(folder)}")


def write_given(parts: Iterable[Path], folder: Path) -> None:
    """Join the parts of `given.parquet`, in their order; one that is not there holds nothing."""
    with pq.ParquetWriter(folder / GIVEN_FILE, GIVEN, compression="zstd") as writer:
        for part in parts:
            if part.exists():
                writer.write_table(pq.read_table(part, use_threads=False))


def sources_of(folder: Path) -> Iterator[str]:
    """Of each document of a corpus, the source that was given, by the end of its path; "" if there was one only."""
    try:
        given = _told_apart(json.loads((folder / "artifact.json").read_bytes())["recipe"]["sources"])
        places = pq.ParquetFile(folder / GIVEN_FILE)
    except (OSError, ValueError, LookupError):
        return itertools.repeat("")
    return (given[place] for batch in places.iter_batches() for place in batch.column("given").to_pylist())


def _told_apart(paths: Sequence[str]) -> list[str]:
    """Each path's last parts, as many as no two have in common."""
    parts = [PurePath(path).parts for path in paths]
    for length in range(1, max(map(len, parts))):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("documents-*.parquet"))
    if not files:
        raise WorkbenchError(f"The corpus in {folder} has no documents.", "Import it again: workbench import SOURCE.")
    return files


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _read_group(file: pq.ParquetFile, path: Path, group: int, columns: Sequence[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> WorkbenchError:
    reason = str(error).splitlines()[0].rstrip(".")
    return WorkbenchError(f"{path} cannot be read: {reason}.", "Import the corpus again.")
