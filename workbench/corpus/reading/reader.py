"""Sources as a stream of raw documents, always in the same order, in bounded memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from workbench.corpus.reading.archives import read_compressed, read_tar, read_zip
from workbench.corpus.reading.entry import Entry, printable
from workbench.corpus.reading.raw import Raw, ReadOptions, Reject, UnusableFile, unopened
from workbench.corpus.reading.rows import read_csv, read_jsonl
from workbench.corpus.reading.tables import read_arrow, read_parquet
from workbench.corpus.reading.text import read_text, read_whole
from workbench.corpus.sources import Expansion

GONE = "gone"  # the reason of a file that was listed, and is there no more when its turn comes


def read(expansion: Expansion, options: ReadOptions, advance: Callable[[int], None]) -> Iterator[Raw | Reject]:
    """Everything in the expansion's files, in their order.

    Light: what takes time is left to `extract`, in other processes. Memory is bounded by a few of the longest
    documents. `advance` hears of bytes of the files; all together they are the files' sizes. A file that cannot be
    used, or no longer, is a reject with a remedy, and the next one is read; one of no known kind is a reject in the
    end. The same sources give the same stream.
    """
    for name, why in expansion.unreadable:
        remedy = "Check where it leads and that you may read it."
        name = printable(name)
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
                name=printable(file.name),
                label=file.path.name,
                kind=file.kind,
                file=number,
                options=options,
                advance=count,
                path=file.path,
                size=file.size,
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
    for name in map(printable, expansion.unknown):
        yield unopened(name)


def read_entry(entry: Entry) -> Iterator[Raw | Reject]:
    """What is in a file or a member; where it cannot be used from some place on, that as a reject in the end."""
    try:
        yield from reader_of(entry.kind)(entry)
    except UnusableFile as problem:
        if problem.of and problem.of != entry.name:
            raise
        yield Reject(entry.name, problem.reason, problem.what, remedy=problem.remedy, file=entry.file)
    except OSError as error:
        why = error.strerror or str(error).splitlines()[0]
        remedy = "Check that you may read the file, and that its disk is sound."
        reason = GONE if entry.path is not None and not os.path.exists(entry.path) else "unreadable"
        yield Reject(entry.name, reason, f"{entry.name} cannot be read: {why}.", remedy=remedy, file=entry.file)


def _bytes_of(raw: Raw) -> int:
    return len(raw.content.encode() if isinstance(raw.content, str) else raw.content)


def reader_of(kind: str) -> Callable[[Entry], Iterator[Raw | Reject]]:
    """What reads a kind of file. Libraries that only one kind needs are loaded with it."""
    match kind:
        case "text" | "code":
            return read_text
        case "html" | "notebook" | "pdf" | "epub":
            return read_whole
        case "jsonl":
            return read_jsonl
        case "csv" | "tsv":
            return read_csv
        case "parquet":
            return read_parquet
        case "arrow":
            return read_arrow
        case "python":
            from workbench.corpus.reading.python_docs import read_python

            return read_python
        case "zip":
            return partial(read_zip, read=read_entry)
        case "tar":
            return partial(read_tar, read=read_entry)
        case "compressed":
            return partial(read_compressed, read=read_entry)
        case "warc":
            from workbench.corpus.reading.warc import read_warc

            return read_warc
        case "address":
            from workbench.corpus.reading.web import read_address

            return partial(read_address, read=read_entry)
        case "hub":
            from workbench.corpus.reading.hub import read_hub

            return read_hub
    raise AssertionError(f"nothing reads {kind!r}")
