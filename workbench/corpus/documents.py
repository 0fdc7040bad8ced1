"""A corpus on disk: documents in Parquet files, and what was left out, with the reason.

`documents-00000.parquet`, … have the columns `text` and `source`, in zstd-compressed row groups of
about 8 MiB, so that reading takes little memory and one document is found without reading the rest.
`rejects.parquet` has `source`, `reason` and `excerpt`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import WorkbenchError

REJECTS = "rejects.parquet"
EXCERPT_CHARACTERS = 200
ROW_GROUP_CHARACTERS = 8 << 20
ROW_GROUP_ROWS = 16_384
FILE_CHARACTERS = 1 << 30
DOCUMENT_COLUMNS = ("text", "source")
REJECT_COLUMNS = ("source", "reason", "excerpt")


class _RowWriter:
    """Rows of strings into one Parquet file, a row group at a time."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self.schema = pa.schema([(column, pa.string()) for column in columns])
        # Texts rarely repeat, and their minima are of no use; sources repeat from row to row.
        self.writer = pq.ParquetWriter(
            path,
            self.schema,
            compression="zstd",
            use_dictionary=[column for column in columns if column in ("source", "reason")],
            write_statistics=False,
        )
        self.rows: list[tuple[str, ...]] = []
        self.characters = 0

    def add(self, row: tuple[str, ...]) -> None:
        self.rows.append(row)
        self.characters += sum(map(len, row))
        if self.characters >= ROW_GROUP_CHARACTERS or len(self.rows) >= ROW_GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self.writer.close()

    def _flush(self) -> None:
        if self.rows:
            columns = [pa.array(column, pa.string()) for column in zip(*self.rows, strict=True)]
            self.writer.write_table(pa.Table.from_arrays(columns, schema=self.schema))
        self.rows, self.characters = [], 0


class CorpusWriter:
    """Writes a corpus into `folder`; a context manager. `dropped` counts the rejects by reason."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.documents = 0
        self.dropped: Counter[str] = Counter()
        self._rejects = _RowWriter(folder / REJECTS, REJECT_COLUMNS)
        self._writer: _RowWriter | None = None
        self._files = 0
        self._characters = 0  # in the open file

    def add(self, text: str, source: str) -> None:
        if self._writer is None:
            path = self.folder / f"documents-{self._files:05d}.parquet"
            self._writer, self._characters = _RowWriter(path, DOCUMENT_COLUMNS), 0
            self._files += 1
        self._writer.add((text, source))
        self._characters += len(text)
        self.documents += 1
        if self._characters >= FILE_CHARACTERS:
            self._close_file()

    def reject(self, source: str, reason: str, excerpt: str) -> None:
        self.dropped[reason] += 1
        self._rejects.add((source, reason, excerpt[:EXCERPT_CHARACTERS]))

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
            self._rejects.close()


def iterate_documents(folder: Path, columns: Sequence[str] = ("text",)) -> Iterator[pa.RecordBatch]:
    """The documents of a corpus in order, in batches of one row group at most.

    Raises `WorkbenchError` if there are none or a file cannot be read.
    """
    for path in _files(folder):
        with _open(path) as file:
            for group in range(file.num_row_groups):
                yield from _read_group(file, path, group, columns).to_batches()


def count_documents(folder: Path) -> int:
    """How many documents a corpus holds. Raises as `iterate_documents`."""
    total = 0
    for path in _files(folder):
        with _open(path) as file:
            total += file.metadata.num_rows
    return total


def text_bytes(folder: Path) -> int:
    """About how many bytes of UTF-8 a corpus holds (within 0.1%), from the files' footers."""
    total = 0
    for path in _files(folder):
        with _open(path) as file:
            column = file.schema_arrow.get_field_index("text")
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group)
                total += rows.column(column).total_uncompressed_size - 4 * rows.num_rows  # 4: each text's length
    return max(total, 0)


def document_at(folder: Path, index: int) -> dict[str, str]:
    """Document number `index`, from 0: its `text` and `source`. Raises `IndexError` if there is no such."""
    if index >= 0:
        first = 0
        for path in _files(folder):
            with _open(path) as file:
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if index < first + rows:
                        table = _read_group(file, path, group, DOCUMENT_COLUMNS)
                        return table.slice(index - first, 1).to_pylist()[0]
                    first += rows
    raise IndexError(f"document {index} of {count_documents(folder)}")


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
