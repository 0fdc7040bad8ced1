"""Rows of JSON lines and CSV."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from workbench.corpus.reading.encodings import decode
from workbench.corpus.reading.entry import Entry
from workbench.corpus.reading.languages import language_code
from workbench.corpus.reading.pieces import LongLine, lines, pieces, too_long
from workbench.corpus.reading.raw import Raw, Reject, UnusableFile
from workbench.corpus.reading.text import utf8_blocks

JSON_LINE_FACTOR = 4  # a line of JSON is longer than its text: an escape takes 6 bytes for 2 or 3 of UTF-8
CSV_CELL_FACTOR = 2  # a cell that is longer than a document is cut; the parser takes 4 bytes for each character of it
LANGUAGE_KEYS = ("language", "lang")
LICENCE_KEYS = ("license", "licence", "licenses")
REMEDY = "Name the one that holds the text with --text-field."


def read_jsonl(entry: Entry) -> Iterator[Raw | Reject]:
    import orjson

    field, limit = entry.options.text_field, entry.options.max_document_bytes
    rows, with_field = 0, 0
    keys: dict[str, None] = {}  # of the first row without the field, in order
    with entry.open() as content:
        for number, line in enumerate(lines(utf8_blocks(entry, content), limit * JSON_LINE_FACTOR)):
            if isinstance(line, LongLine):
                yield entry.reject(too_long(limit * JSON_LINE_FACTOR), decode(line.start)[0], number)
                continue
            bad = 0
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if not line.strip():
                    continue
                text, bad = decode(line)
                try:
                    row = orjson.loads(text)
                except orjson.JSONDecodeError:
                    yield entry.reject("broken JSON", f"{error.msg}: {text}", number)
                    continue
            rows += 1
            value = row.get(field) if isinstance(row, dict) else None
            if isinstance(value, str):
                with_field += 1
                yield from cell(entry, value, number, row, bad)
            elif isinstance(row, dict) and field in row:
                with_field += 1
                yield entry.reject(f"{field!r} is not text", decode(line)[0], number)
            else:
                keys = keys or dict.fromkeys(row if isinstance(row, dict) else ())
                yield entry.reject(f"no {field!r}", decode(line)[0], number)
    if rows and not with_field:
        there = f"the first has {listed(keys)}" if keys else "they are not JSON objects"
        raise UnusableFile("", f"No line of {entry.name} has the key {field!r}; {there}.", REMEDY)


def read_csv(entry: Entry) -> Iterator[Raw | Reject]:
    """Rows of CSV or TSV with a header; a cell may hold line ends."""
    field, limit = entry.options.text_field, entry.options.max_document_bytes * CSV_CELL_FACTOR
    csv.field_size_limit(limit)
    bad = 0  # bytes of the row that is being read

    def text_lines(blocks: Iterator[bytes]) -> Iterator[str]:
        """Lines with their ends, as the parser wants them."""
        nonlocal bad
        rest = b""  # a line that goes on in the next block
        for block in itertools.chain(blocks, [b"\n"]):
            end = block.rfind(b"\n") + 1
            if len(rest) > limit:
                raise csv.Error(f"a {too_long(limit)}")
            if end:
                text, broken = decode(rest + block[:end])
                bad += broken
                yield from io.StringIO(text.replace("\0", ""), newline="\n")
                rest = b""
            rest += block[end:]

    with entry.open() as content:
        found = text_lines(utf8_blocks(entry, content, detect=True))
        try:
            header = next(found, "")
            delimiter = "\t" if entry.kind == "tsv" else _delimiter(header)
            columns = next(csv.reader([header], delimiter=delimiter, strict=True), [])
            if columns and field not in columns:
                what = f"{entry.name} has no column {field!r}; it has {listed(columns)}."
                raise UnusableFile(f"no {field!r}", what, REMEDY)
            for number, row in enumerate(csv.reader(found, delimiter=delimiter, strict=True)):
                if len(row) > len(columns):
                    yield entry.reject("more cells than columns", delimiter.join(row), number)
                elif row:
                    values = dict(zip(columns, row, strict=False))
                    if field in values:
                        yield from cell(entry, values[field], number, values, bad)
                    else:
                        yield entry.reject(f"no {field!r}", delimiter.join(row), number)
                bad = 0
        except csv.Error as error:
            what = f"{entry.name} is not valid CSV: {error}."
            remedy = "Write it anew, with quotes around cells that hold line ends or quotes."
            raise UnusableFile("broken CSV", what, remedy) from None


def cell(
    entry: Entry, value: str | bytes, position: int, row: Mapping[str, Any], bad: int = 0
) -> Iterator[Raw | Reject]:
    """The text of one row, and what else of the row belongs to it; pieces where it is too long.

    Bytes are UTF-8, or nearly.
    """
    limit = entry.options.max_document_bytes
    language, licence = language_in(row), licence_in(row)
    if len(value) * (4 if isinstance(value, str) else 1) <= limit:  # no character takes more than 4 bytes
        yield entry.raw(value, position, language=language, licence=licence, encoding="utf-8", bad_bytes=bad)
        return
    cut = False
    for piece in pieces([value.encode() if isinstance(value, str) else value], limit):
        if isinstance(piece, LongLine):
            yield entry.reject(too_long(limit), decode(piece.start)[0], position)
        else:
            yield entry.raw(
                piece, position, language=language, licence=licence, encoding="utf-8", bad_bytes=bad, cut=cut
            )
        bad, cut = 0, True


def language_in(row: Mapping[str, Any]) -> str | None:
    """The language that a row says it is in."""
    stated = (row.get(key) for key in LANGUAGE_KEYS)
    return next((code for value in stated if isinstance(value, str) and (code := language_code(value))), None)


def licence_in(row: Mapping[str, Any]) -> str | None:
    """The licence that a row says it has; of several, all."""
    for key in LICENCE_KEYS:
        value = row.get(key)
        if isinstance(value, str) and 0 < len(value) <= 100:
            return value
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) for item in value):
            return " OR ".join(sorted(set(value)))[:100]
    return None


def listed(names: Iterable[Any]) -> str:
    """Names in quotes, ten at most."""
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - 10} more" if len(quoted) > 10 else ""
    return ", ".join(quoted[:10]) + more


def _delimiter(header: str) -> str:
    """What separates the columns: a comma, unless the header has none but semicolons or tabs."""
    return next((mark for mark in (",", ";", "\t") if mark in header), ",")
