"""Rows into one Parquet file, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import WorkbenchError

GROUP_ROWS = 4096
GROUP_CHARACTERS = 8 << 20
REPEATING = {"source", "reason", "rater", "status"}
EXCERPT_CHARACTERS = 200
REJECTS = "rejects.parquet"
REJECT_SCHEMA = pa.schema([("source", pa.string()), ("reason", pa.string()), ("excerpt", pa.string())])


class TableWriter:
    """Writes `path` with the columns of `schema`; a context manager. Left by an exception, the file is not finished."""

    def __init__(self, path: Path, schema: pa.Schema):
        self.rows = 0
        self._schema = schema
        repeating = [name for name in schema.names if name in REPEATING]
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=repeating, write_statistics=False
        )
        self._pending: list[tuple[Any, ...]] = []
        self._characters = 0

    def add(self, *row: Any) -> None:
        """One row, its values in the order of the columns."""
        self._pending.append(row)
        self._characters += sum(len(value) for value in row if isinstance(value, str))
        self.rows += 1
        if len(self._pending) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        columns = list(zip(*self._pending, strict=True)) or [()] * len(self._schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._pending, self._characters = [], 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            if self._pending:
                self._flush()
            self._writer.close()


def read_table(path: Path, remedy: str) -> Iterator[dict[str, Any]]:
    """The rows of a file, as mappings. Raises `WorkbenchError`, with `remedy`, if it cannot be read."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(GROUP_ROWS, use_threads=False):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise WorkbenchError(f"{path} cannot be read: {why}.", remedy) from None
