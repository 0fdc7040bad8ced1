"""Rows of structured data, streamed from jsonl, json, csv, parquet, txt, a folder that `datasets` saved, or the hub."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.corpus.python_library import TOPICS
from workbench.corpus.reading import UnusableFile
from workbench.corpus.sources import expand
from workbench.errors import WorkbenchError
from workbench.recipes.base import HUB, PYTHON_DOCS

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")
READABLE = (
    "Rows can be read from .jsonl, .json, .csv, .tsv, .parquet, a folder of datasets.save_to_disk, or hf:ORG/NAME."
)
MAX_LINE_BYTES = 64 << 20
PARQUET_ROWS = 256
REPLACED = "\ufffd".encode()
FOREIGN_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


@dataclass(frozen=True, slots=True)
class Row:
    """`value` is what stands there, of whatever type; `source` is its file and number, from 1. `repaired`: bytes that
    were not UTF-8 became U+FFFD."""

    source: str
    value: Any
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not even be parsed."""

    source: str
    reason: str
    excerpt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFile:
    """Something that holds rows: a file, or a data set of the hub."""

    name: str  # as sources are named in results
    kind: str  # jsonl, json, csv, tsv, parquet, txt, arrow or hub
    path: Path = field(default_factory=Path)
    size: int = 0  # bytes; 0 where it is not known


@dataclass(slots=True)
class RowSources:
    """What sources stand for. `left_out` are splits of data sets beside their `train`, and files that cannot be read,
    with the reason."""

    files: list[RowFile] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def find_rows(sources: Sequence[str]) -> RowSources:
    """The files of `sources`.

    Raises `WorkbenchError` for a source that is not there, or holds nothing of a known kind.
    """
    found = RowSources()
    for source in sources:
        if source == PYTHON_DOCS:
            library = expand([source]).files
            found.files += [
                RowFile(name=f"{PYTHON_DOCS}/{file.name}", kind="docstrings", path=file.path, size=file.size)
                for file in library
                if file.name != TOPICS
            ]
            continue
        if source.startswith(HUB):
            found.files.append(RowFile(name=source, kind="hub"))
        elif (folder := Path(source).expanduser()).is_dir() and _is_saved(folder):
            _saved(folder, found)
        else:
            expansion = expand([source], SUFFIXES, READABLE)
            found.left_out += [f"{name} cannot be read: {why}" for name, why in expansion.unreadable]
            found.files += [
                RowFile(name=file.name, kind=file.path.suffix.lower()[1:], path=file.path, size=file.size)
                for file in expansion.files
            ]
    return found


def read_rows(file: RowFile, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    """The rows of a file; `advance` hears of the bytes read.

    Raises `UnusableFile` where a file, or the rest of it, cannot be used.
    """
    reader = {
        "jsonl": _jsonl, "json": _json, "csv": _csv, "tsv": _csv, "parquet": _parquet, "txt": _txt, "arrow": _arrow,
        "hub": _hub, "docstrings": _docstrings,
    }[file.kind]  # fmt: skip
    try:
        yield from reader(file, advance)
    except OSError as error:
        why = error.strerror or str(error).splitlines()[0]
        what = f"{file.name} cannot be read: {why}."
        raise UnusableFile("unreadable", what, "Check that you may read it, and that it is whole.") from error


def _lines(file: RowFile, advance: Callable[[int], None]) -> Iterator[tuple[str, str | None, bool]]:
    """(source, line, was it repaired?) of a text file in UTF-8; None for a line that is too long."""
    with open(file.path, "rb") as content:
        _check_encoding(file, content.read(4))
        content.seek(0)
        number = 0
        while line := content.readline(MAX_LINE_BYTES):
            number += 1
            advance(len(line))
            source = f"{file.name}:{number}"
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := content.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    advance(len(rest))
                yield source, None, False
            else:
                yield source, *_decoded(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)


def _decoded(content: bytes) -> tuple[str, bool]:
    """(text, had it bytes that are not UTF-8, which are U+FFFD now?)."""
    try:
        return content.decode(), False
    except UnicodeDecodeError:
        return content.decode(errors="replace"), True


def _check_encoding(file: RowFile, start: bytes) -> None:
    for mark, name in FOREIGN_MARKS.items():
        if start.startswith(mark):
            raise UnusableFile("not UTF-8", f"{file.name} is written in {name}.", "Save it in UTF-8.")


def _jsonl(file: RowFile, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    import orjson

    for source, line, repaired in _lines(file, advance):
        if line is None:
            yield BadRow(source, f"line over {MAX_LINE_BYTES >> 20} MiB", "")
        elif line.strip():
            try:
                yield Row(source, orjson.loads(line), repaired)
            except orjson.JSONDecodeError as error:
                yield BadRow(source, "broken JSON", f"{error.msg}: {line.strip()}")


def _txt(file: RowFile, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    """A line is a row: prompts, one a line."""
    for source, line, repaired in _lines(file, advance):
        if line is None:
            yield BadRow(source, f"line over {MAX_LINE_BYTES >> 20} MiB", "")
        elif line.strip():
            yield Row(source, line.strip(), repaired)


def _json(file: RowFile, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    import orjson

    content = file.path.read_bytes()
    _check_encoding(file, content[:4])
    text, repaired = _decoded(content.removeprefix(codecs.BOM_UTF8))
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        first = content.lstrip()[:1]
        if first == b"{" and b"\n" in content.strip():  # one object a line, under this name
            yield from _jsonl(file, advance)
            return
        what = f"{file.name} is not valid JSON: {error.msg}, at line {error.lineno}."
        raise UnusableFile("broken JSON", what, "Write it anew, or as one object a line in a .jsonl file.") from None
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 and len(value) <= 3 and not _is_row(value) else [value]
    if not isinstance(value, list):
        raise UnusableFile("no rows", f"{file.name} holds no list of rows.", "Write it as a list of objects.")
    done = 0
    for number, item in enumerate(value, 1):
        share = number * file.size // len(value)
        advance(share - done)
        done = share
        yield Row(f"{file.name}:{number}", item, repaired and REPLACED in orjson.dumps(item))


def _is_row(value: dict[str, Any]) -> bool:
    """Whether an object with one list in it is a row itself, rather than what holds the rows."""
    return bool({"messages", "conversations", "conversation", "chosen"} & set(value))


def _csv(file: RowFile, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    csv.field_size_limit(MAX_LINE_BYTES)

    repaired = False  # a line of the row that is being read

    def lines() -> Iterator[str]:
        nonlocal repaired
        for _, line, mended in _lines(file, advance):
            if line is None:
                raise csv.Error(f"a line is over {MAX_LINE_BYTES >> 20} MiB")
            repaired |= mended
            yield line.replace("\0", "")

    reader = csv.DictReader(lines(), delimiter="\t" if file.kind == "tsv" else ",", restkey="", strict=True)
    try:
        for number, row in enumerate(reader, 1):
            source = f"{file.name}:{number}"
            if row.pop("", None):
                yield BadRow(source, "more cells than columns", json.dumps(row, ensure_ascii=False))
            else:
                yield Row(source, {key: _cell(value) for key, value in row.items() if value is not None}, repaired)
            repaired = False
    except csv.Error as error:
        what = f"{file.name} is not valid CSV: {error}."
        raise UnusableFile("broken CSV", what, "Write it anew, with quotes around cells that hold line ends.") from None


def _cell(text: str) -> Any:
    """A cell, read as JSON where it is a list or an object of it."""
    import orjson

    if text[:1] in ("[", "{") and text[-1:] in ("]", "}"):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text


def _parquet(file: RowFile, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file.path) as content:
            rows = content.metadata.num_rows
            batches = content.iter_batches(PARQUET_ROWS, use_threads=False)
            yield from _batches(file, batches, rows, advance)
    except (pa.ArrowException, OSError) as error:
        raise _unsound(file, error) from None


def _arrow(file: RowFile, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    import pyarrow as pa

    try:
        with pa.memory_map(str(file.path)) as source, pa.ipc.open_stream(source) as reader:
            batches = list(reader)  # mapped, not read
            yield from _batches(file, batches, sum(batch.num_rows for batch in batches), advance)
    except (pa.ArrowException, OSError) as error:
        raise _unsound(file, error) from None


def _unsound(file: RowFile, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error
    why = str(error).splitlines()[0].rstrip(".")
    what = f"{file.name} is not a sound {file.kind} file: {why}."
    return UnusableFile(f"corrupt {file.kind}", what, "Fetch or write it anew.")


def _batches(file: RowFile, batches: Any, total: int, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    number, done = 0, 0
    for batch in batches:
        for start in range(0, batch.num_rows, PARQUET_ROWS):
            part = batch.slice(start, PARQUET_ROWS)
            share = (number + part.num_rows) * file.size // max(total, 1)
            advance(share - done)
            done = share
            for value in _values(part):
                number += 1
                source = f"{file.name}:{number}"
                yield BadRow(source, "not UTF-8", "") if value is None else Row(source, value)


def _values(part: Any) -> Iterator[dict[str, Any] | None]:
    """The rows as mappings; None for one whose strings are not UTF-8, which nothing promises."""
    try:
        yield from part.to_pylist()
    except UnicodeDecodeError:
        for place in range(part.num_rows):
            try:
                yield part.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


def _is_saved(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` wrote it."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _saved(folder: Path, found: RowSources) -> None:
    """The Arrow files of a saved data set; of several splits `train` alone, if there is one of that name."""
    parts = [folder]
    if (folder / "dataset_dict.json").is_file():
        names = [str(name) for name in _read(folder / "dataset_dict.json").get("splits", [])]
        chosen = ["train"] if "train" in names else names
        found.left_out += [f"the split {name!r} of {folder.name} is not read" for name in names if name not in chosen]
        parts = [folder / name for name in chosen]
    for part in parts:
        listed = [str(item.get("filename")) for item in _read(part / "state.json").get("_data_files", [])]
        for name in listed:
            path = part / name
            if Path(name).name != name or not path.is_file():
                raise WorkbenchError(f"The data set {folder} lacks its file {name!r}.", "Save it anew.")
            shown = str(path.relative_to(folder.parent))
            found.files.append(RowFile(name=shown, kind="arrow", path=path, size=path.stat().st_size))


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"{path} cannot be read: {error}.", "Save the data set anew.") from None
    return value if isinstance(value, dict) else {}


def _docstrings(file: RowFile, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    from workbench.corpus.chats.docstrings import questions
    from workbench.corpus.reading.python_docs import module_name

    advance(file.size)
    name = module_name(file.name.removeprefix(f"{PYTHON_DOCS}/"))
    try:
        for number, value in enumerate(questions(file.path.read_bytes(), name), 1):
            yield Row(f"{PYTHON_DOCS}/{name}:{number}", value)
    except (SyntaxError, ValueError) as error:
        yield BadRow(f"{PYTHON_DOCS}/{name}", "not Python", str(error))


def _hub(file: RowFile, advance: Callable[[int], None]) -> Iterator[Row | BadRow]:
    """The split `train` of a data set on the hub, or its first split."""
    try:
        import datasets
    except ImportError:
        what = f"{file.name} needs the library datasets, which is not installed."
        raise WorkbenchError(what, "Install it: pip install datasets") from None
    name = file.name.removeprefix(HUB)
    try:
        splits = datasets.load_dataset(name, streaming=True)  # without a second copy on the disk
    except Exception as error:  # of many kinds: no connection, no such name, a gate, a broken file
        why = str(error).strip().splitlines()[0].rstrip(".")
        raise WorkbenchError(
            f"The data set {name!r} cannot be fetched: {why}.",
            "Check the name and the connection, or download its files and give their folder.",
        ) from None
    chosen = splits["train"] if "train" in splits else next(iter(splits.values()))
    for number, value in enumerate(chosen, 1):
        yield Row(f"{file.name}:{number}", value)
