"""The files of one part of a corpus on its way: whole or absent, whatever is killed when.

A part's receipt is written last: where it stands, everything else of the part does, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workbench import durable
from workbench.corpus.cleaning.step import Decision, Document
from workbench.corpus.documents import TABLES, RowWriter

ROW_BITS = 24  # of an ordinal: the row in its part
MAX_ROWS = 1 << 16  # of a part, as it is cut; what is in one raw document may be several
REPAIRED, CUT = 1, 2  # flags: bytes were not valid text; not the first piece of its document

PART = pa.schema(
    [
        ("text", pa.string()), ("source", pa.string()), ("position", pa.int64()), ("language", pa.string()),
        ("licence", pa.string()), ("markup", pa.string()), ("ordinal", pa.uint64()), ("file", pa.uint32()),
        ("given", pa.uint16()), ("flags", pa.uint8()),
    ]
)  # fmt: skip
KEYS = pa.schema([("document", pa.uint64()), ("length", pa.uint32()), ("keys", pa.list_(pa.uint64()))])
NOTES = {name: pa.schema([("ordinal", pa.uint64()), ("hash", pa.uint64()), *schema]) for name, schema in TABLES.items()}


@dataclass(slots=True)
class Row:
    """A document and what is counted about it. `size` is its text's bytes in UTF-8."""

    document: Document
    ordinal: int
    file: int  # place in the list of source files
    given: int  # place in the recipe's list of sources
    flags: int
    size: int


class PassFolder:
    """Where one pass lays its parts down."""

    def __init__(self, root: Path):
        self.root = root

    def make(self, keyed: tuple[int, ...]) -> None:
        for name in ("documents", "receipts", "given", *NOTES, *(f"keys-{place}" for place in keyed)):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def documents(self, part: int) -> Path:
        return self.root / "documents" / f"{part:06d}.parquet"

    def given(self, part: int) -> Path:
        return self.root / "given" / f"{part:06d}.parquet"

    def keys(self, place: int) -> Path:
        return self.root / f"keys-{place}"

    def receipt(self, part: int) -> dict[str, Any] | None:
        """What the part came to, if it is done."""
        try:
            return json.loads((self.root / "receipts" / f"{part:06d}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def forget(self, part: int) -> None:
        """Remove what an earlier attempt at the part left."""
        for path in self.root.glob(f"*/{part:06d}.*"):
            path.unlink(missing_ok=True)

    def finish(self, part: int, receipt: dict[str, Any]) -> None:
        durable.write_json(self.root / "receipts" / f"{part:06d}.json", receipt)


class PartWriter:
    """Rows into one Parquet file, which appears when it is closed, and only if it has rows."""

    def __init__(self, path: Path, schema: pa.Schema):
        self.path, self.schema = path, schema
        self.temporary = path.with_name(f".{path.name}.tmp")
        self._writer: RowWriter | None = None

    def add(self, row: tuple[Any, ...]) -> None:
        if self._writer is None:
            self._writer = RowWriter(self.temporary, self.schema)
        self._writer.add(row)

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        _settle(self.temporary, self.path)


def write_keys(path: Path, rows: list[tuple[int, int, Any]]) -> None:
    """(ordinal, characters, keys: uint64 array) of a part's documents."""
    import numpy as np

    ends = np.cumsum([0, *(len(keys) for _, _, keys in rows)])
    values = np.concatenate([keys for _, _, keys in rows]) if rows else np.zeros(0, np.uint64)
    table = pa.Table.from_arrays(
        [
            pa.array([ordinal for ordinal, _, _ in rows], pa.uint64()),
            pa.array([length for _, length, _ in rows], pa.uint32()),
            pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values, pa.uint64())),
        ],
        schema=KEYS,
    )
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary, compression="lz4", use_dictionary=False, write_statistics=False)
    _settle(temporary, path)


def read_rows(path: Path) -> Iterator[Row]:
    """A part's documents in their order; none if it has no file."""
    if not path.exists():
        return
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            columns = [table.column(name).to_pylist() for name in PART.names]
            for text, source, position, language, licence, markup, ordinal, which, given, flags in zip(
                *columns, strict=True
            ):
                document = Document(text, source, position, language=language, licence=licence, markup=markup)
                yield Row(document, ordinal, which, given, flags, size_of(text))


def as_tuple(row: Row) -> tuple[Any, ...]:
    """`row` in the order of `PART`."""
    document = row.document
    return (
        document.text, document.source, document.position, document.language, document.licence, document.markup,
        row.ordinal, row.file, row.given, row.flags,
    )  # fmt: skip


def read_decisions(path: Path) -> dict[int, Decision]:
    """Ordinal -> what was decided of that document; empty if there is no such file."""
    if not path.exists():
        return {}
    table = pq.read_table(path, use_threads=False)
    names = ("document", "kept", "cluster", "similarity", "parts")
    columns = [table.column(name).to_pylist() for name in names]
    return {
        document: Decision(kept, cluster, 1.0 if similarity is None else similarity, tuple(parts or ()))
        for document, kept, cluster, similarity, parts in zip(*columns, strict=True)
    }


def size_of(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _settle(temporary: Path, path: Path) -> None:
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
