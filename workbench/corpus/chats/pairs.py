"""Preferences on disk: `pairs.parquet` with a better and a worse answer, `marks.parquet` with single ones marked.

Messages are JSON text; an answer is usually one assistant message. Either file may be empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from workbench.corpus.chats.messages import Message
from workbench.corpus.chats.table import TableWriter, read_table
from workbench.errors import WorkbenchError

PAIRS, MARKS = "pairs.parquet", "marks.parquet"
TAGS = pa.list_(pa.string())
PAIR_SCHEMA = pa.schema(
    [("prompt", pa.string()), ("chosen", pa.string()), ("rejected", pa.string()), ("margin", pa.float64()),
     ("rater", pa.string()), ("time", pa.float64()), ("source", pa.string()), ("tags", TAGS)]
)  # fmt: skip
MARK_SCHEMA = pa.schema(
    [("prompt", pa.string()), ("completion", pa.string()), ("label", pa.bool_()),
     ("rater", pa.string()), ("time", pa.float64()), ("source", pa.string()), ("tags", TAGS)]
)  # fmt: skip
REMEDY = "Import the preferences again: workbench import-preferences SOURCE."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers to one prompt, of which one was preferred."""

    prompt: list[Message]  # ends in what is answered
    chosen: list[Message]
    rejected: list[Message]
    margin: float | None = None  # how much better; None: not said
    rater: str = ""
    time: float | None = None  # seconds since the epoch
    source: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One answer that is good (`label`) or bad by itself."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
    rater: str = ""
    time: float | None = None
    source: str = ""
    tags: tuple[str, ...] = ()


class PreferenceWriter:
    """Writes preferences into `folder`; a context manager."""

    def __init__(self, folder: Path):
        self._pairs = TableWriter(folder / PAIRS, PAIR_SCHEMA)
        self._marks = TableWriter(folder / MARKS, MARK_SCHEMA)

    @property
    def pairs(self) -> int:
        return self._pairs.rows

    @property
    def marks(self) -> int:
        return self._marks.rows

    def add(self, item: Pair | Mark) -> None:
        about = (item.rater, item.time, item.source, list(item.tags))
        if isinstance(item, Pair):
            self._pairs.add(_json(item.prompt), _json(item.chosen), _json(item.rejected), item.margin, *about)
        else:
            self._marks.add(_json(item.prompt), _json(item.completion), item.label, *about)

    def __enter__(self) -> PreferenceWriter:
        return self

    def __exit__(self, *details: Any) -> None:
        self._pairs.__exit__(*details)
        self._marks.__exit__(*details)


def read_pairs(folder: Path) -> Iterator[Pair]:
    """The pairs in folder `folder` of kind preferences, in order.

    Raises `WorkbenchError` if the file is missing or cannot be read.
    """
    for row in _rows(folder / PAIRS):
        yield Pair(
            prompt=orjson.loads(row["prompt"]),
            chosen=orjson.loads(row["chosen"]),
            rejected=orjson.loads(row["rejected"]),
            margin=row["margin"],
            rater=row["rater"],
            time=row["time"],
            source=row["source"],
            tags=tuple(row["tags"] or ()),
        )


def read_marks(folder: Path) -> Iterator[Mark]:
    """The marked answers in folder `folder` of kind preferences, in order. Raises as `read_pairs`."""
    for row in _rows(folder / MARKS):
        yield Mark(
            prompt=orjson.loads(row["prompt"]),
            completion=orjson.loads(row["completion"]),
            label=row["label"],
            rater=row["rater"],
            time=row["time"],
            source=row["source"],
            tags=tuple(row["tags"] or ()),
        )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise WorkbenchError(f"{path.parent} holds no preferences: {path.name} is missing.", REMEDY)
    return read_table(path, REMEDY)


def _json(messages: list[Message]) -> str:
    return orjson.dumps(messages).decode()
