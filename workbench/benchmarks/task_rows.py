"""Rows of a task's data from files on disk, with the row and the field named where something is wrong.

Unlike training data, of which a bad row may be left out, a benchmark with a row missing is another benchmark:
the first bad row refuses the file.
"""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

KINDS = ("jsonl", "json", "csv", "tsv", "parquet")
READABLE = "Rows are read from .jsonl, .json, .csv, .tsv and .parquet, texts from .txt, .md and .raw."
TEXTS = (".txt", ".md", ".raw", ".tokens")
EXCERPT = 60  # characters of a value that an error quotes


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One row; its accessors raise `WorkbenchError` that names the row and the field."""

    place: str  # "row 3 of quiz.jsonl"
    values: Mapping[str, Any]

    def has(self, *names: str) -> bool:
        return all(self.values.get(name) is not None for name in names)

    def value(self, name: str) -> Any:
        found = self.values.get(name)
        if found is None:
            raise WorkbenchError(f"{_begin(self.place)} has no field {name!r}; it has {_names(self.values)}.", ADD_IT)
        return found

    def text(self, name: str, *, empty: bool = False) -> str:
        found = self.value(name)
        if not isinstance(found, str):
            raise self.wrong(name, "is not text")
        if not empty and not found.strip():
            raise self.wrong(name, "is empty")
        return found

    def texts(self, name: str, at_least: int = 1) -> list[str]:
        found = _listed(self.value(name))
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise self.wrong(name, "is no list of texts")
        if len(found) < at_least:
            has = f"{len(found)} {'entry' if len(found) == 1 else 'entries'}"
            raise self.wrong(name, f"has {has} where {at_least} are needed")
        return found

    def numbers(self, name: str, count: int) -> list[int]:
        found = _listed(self.value(name))
        if not isinstance(found, list) or len(found) != count or not all(isinstance(item, int) for item in found):
            raise self.wrong(name, f"is no list of {count} whole numbers")
        return found

    def place_of(self, name: str, below: int, names: Sequence[str] = ()) -> int:
        """The number from 0 of a right answer among `below`, which a row may also give by one of `names`."""
        found = self.value(name)
        if isinstance(found, str) and found.strip() in names:
            return names.index(found.strip())
        try:
            number = int(found)
        except (TypeError, ValueError):
            number = -1
        if (isinstance(found, float) and found != number) or not 0 <= number < below:
            raise self.wrong(
                name, f"is no number from 0 to {below - 1}" + (f" or one of {_list(names)}" if names else "")
            )
        return number

    def inner(self, name: str) -> TaskRow:
        """The object that a field holds."""
        found = _listed(self.value(name))
        if not isinstance(found, Mapping):
            raise self.wrong(name, "is no object")
        return TaskRow(f"{name!r} in {self.place}", found)

    def wrong(self, name: str, why: str) -> WorkbenchError:
        value = repr(self.values.get(name))
        shown = value if len(value) <= EXCERPT else f"{value[:EXCERPT]}…"
        return WorkbenchError(
            f"The field {name!r} of {self.place} {why}: {shown}.", "Mend that row; nothing was added."
        )


ADD_IT = "Give every row that field; nothing was added."


def read(files: Sequence[Path], columns: Sequence[str] = ()) -> list[TaskRow]:
    """All rows of `files`, in order. A table with as many `columns`, the name of the first not above it, has no header.

    Raises `WorkbenchError` for a file that cannot be read, is empty, or has a row that is broken.
    """
    found = [row for file in files for row in _rows_of(file, columns)]
    if not found:
        raise WorkbenchError(f"{_list([file.name for file in files])} has no rows.", "Nothing was added.")
    return found


def read_text(file: Path) -> str:
    """A text file. Raises `WorkbenchError` if it cannot be read, is not UTF-8, or is empty."""
    content = _content(file)
    text = content.decode("utf-8-sig")
    if not text.strip():
        raise WorkbenchError(f"{file.name} holds no text.", "Nothing was added.")
    return text


def _rows_of(file: Path, columns: Sequence[str]) -> Iterator[TaskRow]:
    from workbench.corpus.chats.rows import BadRow, RowFile, read_rows
    from workbench.corpus.reading import UnusableFile

    kind = file.suffix.lower()[1:]
    if file.is_dir():
        raise WorkbenchError(f"{file} is a folder.", "Name the files in it; nothing was added.")
    if kind not in KINDS:
        raise WorkbenchError(f"{file.name} is of no kind that holds rows.", READABLE)
    if kind == "csv" and columns and (table := _without_header(file, columns)):
        yield from table
        return
    if kind != "parquet":
        _content(file)
    elif not file.is_file():
        raise _missing(file)
    try:
        for row in read_rows(RowFile(name=file.name, kind=kind, path=file, size=0), lambda _: None):
            name, _, number = row.source.rpartition(":")
            place = f"row {number} of {name}"
            if isinstance(row, BadRow):
                what = f"{_begin(place)} cannot be read ({row.reason}): {row.excerpt[: 2 * EXCERPT]}"
                raise WorkbenchError(what, "Mend that row; nothing was added.")
            if not isinstance(row.value, Mapping):
                raise WorkbenchError(f"{_begin(place)} is no object with fields.", "Write a JSON object a row.")
            yield TaskRow(place, row.value)
    except UnusableFile as error:
        raise WorkbenchError(error.what, f"{error.remedy} Nothing was added.") from None


def _without_header(file: Path, columns: Sequence[str]) -> list[TaskRow]:
    """The rows of a table that begins with its first row; empty if it begins with names."""
    found = []
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(_content(file).decode("utf-8-sig"), ""), strict=True), 1):
            if number == 1 and (len(cells) != len(columns) or columns[0] in cells):
                return []
            if len(cells) != len(columns):
                what = f"Row {number} of {file.name} has {len(cells)} cells where {len(columns)} are needed."
                raise WorkbenchError(what, "Mend that row; nothing was added.")
            found.append(TaskRow(f"row {number} of {file.name}", dict(zip(columns, cells, strict=True))))
    except csv.Error:
        return []  # told by what reads tables with a header
    return found


def _content(file: Path) -> bytes:
    """The bytes of a file that is UTF-8 throughout."""
    if not file.is_file():
        raise _missing(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise WorkbenchError(f"{file} cannot be read: {error.strerror}.", "Check that you may read it.") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise WorkbenchError(f"{file.name} is written in UTF-16.", "Save it in UTF-8; nothing was added.")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"{file.name} is not UTF-8: line {line} holds the byte 0x{content[error.start]:02x}."
        raise WorkbenchError(what, "Save it in UTF-8; nothing was added.") from None
    return content


def _missing(file: Path) -> WorkbenchError:
    return WorkbenchError(f"There is no file {file}.", "Check the path.")


def _listed(value: Any) -> Any:
    """A cell that holds a list or an object as Python writes it, as tables of pandas do."""
    if isinstance(value, str) and value[:1] in "[{" and value[-1:] in "]}":
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return value


def _begin(place: str) -> str:
    return place[0].upper() + place[1:]


def _names(values: Mapping[str, Any]) -> str:
    return _list([repr(str(name)) for name in values]) or "none"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
