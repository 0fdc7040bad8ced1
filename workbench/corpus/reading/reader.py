"""Sources as a stream of raw documents, always in the same order, in bounded memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator

from workbench.corpus import python_docs
from workbench.corpus.reading.entry import Entry
from workbench.corpus.reading.raw import Raw, ReadOptions, Reject, UnusableFile
from workbench.corpus.reading.rows import cell, read_csv, read_jsonl
from workbench.corpus.reading.tables import read_arrow, read_parquet
from workbench.corpus.reading.text import read_text, read_whole
from workbench.corpus.sources import Expansion
from workbench.recipes.base import PYTHON_DOCS


def read(expansion: Expansion, options: ReadOptions, advance: Callable[[int], None]) -> Iterator[Raw | Reject]:
    """Everything in the expansion's files, in their order.

    Light: what takes time is left to `extract`, in other processes. Memory is bounded by a few of the longest
    documents. `advance` hears of bytes of the files; all together they are the files' sizes. A file that cannot be
    used, or no longer, is a reject with a remedy, and the next one is read. The same sources give the same stream.
    """
    for name, why in expansion.unreadable:
        remedy = "Check where it leads and that you may read it."
        yield Reject(name, "unreadable", f"{name} cannot be read: {why}.", remedy=remedy)
    rows: Counter[str] = Counter()  # by source as given
    size: Counter[str] = Counter()
    full: set[str] = set()
    for number, file in enumerate(expansion.files):
        done = 0

        def count(amount: int) -> None:
            nonlocal done
            done += amount
            advance(amount)

        if file.given not in full:
            entry = Entry(
                name=file.name,
                kind=file.kind,
                file=number,
                options=options,
                advance=count,
                path=file.path,
                size=file.size,
                given=file.given,
            )
            for item in read_entry(entry):
                if isinstance(item, Raw):
                    rows[file.given] += 1
                    size[file.given] += _bytes_of(item) if options.max_bytes is not None else 0
                    if (options.max_rows is not None and rows[file.given] > options.max_rows) or (
                        options.max_bytes is not None and size[file.given] > options.max_bytes
                    ):
                        full.add(file.given)
                        break
                yield item
        advance(max(file.size - done, 0))


def read_entry(entry: Entry) -> Iterator[Raw | Reject]:
    """What is in a file or a member; where it cannot be used from some place on, that as a reject in the end."""
    try:
        yield from READERS[entry.kind](entry)
    except UnusableFile as problem:
        yield Reject(entry.name, problem.reason, problem.what, remedy=problem.remedy, file=entry.file)
    except OSError as error:
        why = error.strerror or str(error).splitlines()[0]
        remedy = "Check that you may read the file, and that its disk is sound."
        yield Reject(entry.name, "unreadable", f"{entry.name} cannot be read: {why}.", remedy=remedy, file=entry.file)


def _python(entry: Entry) -> Iterator[Raw | Reject]:
    """The documentation inside a module of the standard library, or the topics of `help()`."""
    if entry.name == "pydoc_data/topics.py":
        for topic, text in python_docs.topics():
            yield from cell(dataclasses.replace(entry, name=f"{PYTHON_DOCS}/topics/{topic}"), text, 0, {})
        return
    assert entry.path is not None
    name = python_docs.module_name(entry.name)
    module = dataclasses.replace(entry, name=f"{PYTHON_DOCS}/{name}")
    try:
        text = python_docs.module_text(entry.path.read_bytes(), name)
    except (SyntaxError, ValueError) as error:
        yield module.reject("not Python", str(error))
        return
    if text:
        yield from cell(module, text, 0, {})


def _bytes_of(raw: Raw) -> int:
    return len(raw.content.encode() if isinstance(raw.content, str) else raw.content)


READERS: dict[str, Callable[[Entry], Iterator[Raw | Reject]]] = {
    "text": read_text,
    "code": read_text,
    "html": read_whole,
    "notebook": read_whole,
    "pdf": read_whole,
    "epub": read_whole,
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_csv,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "python": _python,
}
