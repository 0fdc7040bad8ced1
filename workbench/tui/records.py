"""The rows of a data set as conversations to read: any row at once, however many there are. No Textual here.

Parquet is read a row group at a time, and what was read last is kept; all of it belongs on a thread.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from workbench import figures
from workbench.errors import WorkbenchError

KINDS = ("corpus", "chats", "preferences", "candidates")
FILES = {
    "corpus": ("documents-*.parquet",),
    "chats": ("conversations.parquet",),
    "preferences": ("pairs.parquet", "marks.parquet"),
    "candidates": ("candidates.jsonl",),
    "rejects": ("rejects.parquet",),
}
KEPT_PAGES = 6  # of a row group each: some 8 MiB of text
KEPT_TITLES = 64  # pages: more than there are lines on a screen, should each hold but one row
PAGE_LINES = 512  # of candidates
TITLE = 120  # characters


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a record: a document, a turn, an answer. `label` says who or what it is; `style` as in `Painted`;
    `spans` are places in the text that it is about."""

    label: str
    text: str
    style: str = "text"
    spans: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One row. `status` is "new", "accepted" or "rejected" where rows wait for a person's yes or no, else ""."""

    number: int  # in its set, from 0
    title: str
    source: str
    parts: tuple[Part, ...]
    status: str = ""

    def holds(self, words: Sequence[str]) -> bool:
        """Whether each of the words, in small letters, stands in it."""
        text = "\n".join([self.source, *(f"{part.label} {part.text}" for part in self.parts)]).lower()
        return all(word in text for word in words)


class Records:
    """The records of one artifact's folder, by number."""

    def __init__(self, kind: str, folder: Path):
        """`kind` "rejects" is what an import left out. Raises `WorkbenchError` if the folder's files cannot be read."""
        self.kind, self.folder = kind, folder
        self._pages: OrderedDict[int, list[Record]] = OrderedDict()
        self._titles: OrderedDict[int, list[tuple[str, str]]] = OrderedDict()
        self._lock = threading.Lock()
        self._readers: list[Callable[[], Sequence[Mapping[str, Any]]]] = []
        sizes: list[int] = []
        for path in (path for pattern in FILES[kind] for path in sorted(folder.glob(pattern))):
            for size, reader in _lines(path) if kind == "candidates" else _groups(path):
                self._readers.append(reader)
                sizes.append(size)
        if not sizes:
            raise WorkbenchError(
                f"{folder} holds no {kind} that can be read.", "workbench verify says what is missing."
            )
        self._starts = list(accumulate(sizes, initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def pages(self) -> int:
        return len(self._readers)

    def page_of(self, number: int) -> int:
        """The page that holds the record `number`."""
        return bisect_right(self._starts, number) - 1

    def title(self, number: int) -> tuple[str, str] | None:
        """Title and source of a record whose page was read: for who must not wait."""
        page = self.page_of(number)
        found = self._titles.get(page)
        return found[number - self._starts[page]] if found is not None else None

    def page(self, page: int) -> list[Record]:
        """The records of a page, read if need be. Raises `WorkbenchError` if it is damaged."""
        with self._lock:
            found = self._pages.get(page)
            if found is None:
                found = self._pages[page] = self._read(page)
            self._pages.move_to_end(page)
            self._titles[page] = [(record.title, record.source) for record in found]
            for kept, most in ((self._pages, KEPT_PAGES), (self._titles, KEPT_TITLES)):
                while len(kept) > most:
                    kept.popitem(last=False)  # type: ignore[attr-defined]
            return found

    def record(self, number: int) -> Record:
        page = self.page_of(number)
        return self.page(page)[number - self._starts[page]]

    def matches(self, page: int, text: str) -> list[int]:
        """Numbers of the page's records that hold all words of `text`, in whatever case."""
        words = text.lower().split()
        return [record.number for record in self._pages.get(page) or self._read(page) if record.holds(words)]

    def _read(self, page: int) -> list[Record]:
        try:
            rows = self._readers[page]()
            read = RECORDS[self.kind]
            return [read(self._starts[page] + place, row) for place, row in enumerate(rows)]
        except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's errors are among these
            why = str(error).splitlines()[0][:200].rstrip(".") if str(error) else type(error).__name__
            raise WorkbenchError(f"{self.folder.name} is damaged: {why}.", "Make it again.") from None


def counts(kind: str, report: Mapping[str, Any]) -> str:
    """How much there is of a set, in words: "18,342 documents, 21.0 MiB"."""
    names = {
        "corpus": ("documents",),
        "chats": ("rows", "turns"),
        "preferences": ("pairs", "marks"),
        "candidates": ("prompts", "answers"),
    }[kind]
    words = {"rows": "prompts" if report.get("prompts") else "conversations"}
    found = [
        f"{report[name]:,} {_one(words.get(name, name), report[name])}"
        for name in names
        if isinstance(report.get(name), int) and (report[name] or name == names[0])
    ]
    if kind == "corpus" and isinstance(report.get("bytes"), int):
        found.append(figures.size(report["bytes"]))
    return ", ".join(found)


def _one(word: str, number: int) -> str:
    return word.removesuffix("s") if number == 1 else word


# --------------------------------------------------------------------------- files


def _groups(path: Path) -> Iterator[tuple[int, Callable[[], Sequence[Mapping[str, Any]]]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise WorkbenchError(f"{path.name} cannot be read: {why}.", "Make it again.") from None

    def reader(group: int) -> Callable[[], Sequence[Mapping[str, Any]]]:
        def read() -> Sequence[Mapping[str, Any]]:
            with pq.ParquetFile(path) as file:
                return file.read_row_group(group, use_threads=False).to_pylist()

        return read

    for group, size in enumerate(sizes):
        if size:
            yield size, reader(group)


def _lines(path: Path) -> Iterator[tuple[int, Callable[[], Sequence[Mapping[str, Any]]]]]:
    places: list[int] = []
    with open(path, "rb") as file:
        place = 0
        for line in file:
            if line.endswith(b"\n"):  # else it is being written at this moment
                places.append(place)
            place += len(line)

    def reader(first: int, count: int) -> Callable[[], Sequence[Mapping[str, Any]]]:
        def read() -> Sequence[Mapping[str, Any]]:
            with open(path, "rb") as file:
                file.seek(places[first])
                return [json.loads(file.readline()) for _ in range(count)]

        return read

    for first in range(0, len(places), PAGE_LINES):
        count = min(PAGE_LINES, len(places) - first)
        yield count, reader(first, count)


# --------------------------------------------------------------------------- rows


def _document(number: int, row: Mapping[str, Any]) -> Record:
    text = row["text"] or ""
    known = [f"{name}:{row[name]}" for name in ("language", "licence") if row.get(name)]
    return Record(number, _title(text), row["source"] or "", (Part("  ".join(["document", *known]), text),))


def _conversation(number: int, row: Mapping[str, Any]) -> Record:
    messages = json.loads(row["messages"])
    parts = _turns(messages)
    if row.get("tools"):
        parts = (Part("tools", row["tools"], "muted"), *parts)
    asked = next((str(turn["content"]) for turn in messages if turn["role"] == "user"), "")
    return Record(number, _title(asked), row["source"] or "", parts, row.get("status") or "")


def _judged(number: int, row: Mapping[str, Any]) -> Record:
    prompt = json.loads(row["prompt"])
    if "chosen" in row:
        margin = f", by {row['margin']:.2g}" if row["margin"] is not None else ""
        answers = [("chosen" + margin, row["chosen"], "good"), ("rejected", row["rejected"], "bad")]
    else:
        answers = [("good", row["completion"], "good") if row["label"] else ("bad", row["completion"], "bad")]
    parts = list(_turns(prompt))
    for label, listed, style in answers:
        parts += [
            Part(label if turn["role"] == "assistant" else f"{label}: {turn['role']}", _said(turn), style)
            for turn in json.loads(listed)
        ]
    about = ", ".join(filter(None, [row["rater"], *(row["tags"] or [])]))
    if about:
        parts.append(Part("rater", about, "muted"))
    return Record(number, _title(str(prompt[-1]["content"]) if prompt else ""), row["source"] or "", tuple(parts))


def _candidate(number: int, row: Mapping[str, Any]) -> Record:
    parts = list(_turns(row["messages"]))
    for answer in row["answers"]:
        label = f"{answer['model']}, temperature {answer['temperature']:g}"
        parts.append(Part(label, answer["text"] or "(empty)", "accent"))
    title = str(row["messages"][-1]["content"]) if row["messages"] else ""
    return Record(number, _title(title), f"prompt {row['id']}, {len(row['answers'])} answers", tuple(parts))


def _reject(number: int, row: Mapping[str, Any]) -> Record:
    text = row["text"] if "text" in row else row["excerpt"]  # of corpora; of conversations
    parts = (Part("left out", row["reason"] or "", "bad"), Part("how it begins", text or "(empty)"))
    return Record(number, _title(f"{row['reason']}: {text}"), row["source"] or "", parts)


RECORDS: dict[str, Callable[[int, Mapping[str, Any]], Record]] = {
    "corpus": _document,
    "chats": _conversation,
    "preferences": _judged,
    "candidates": _candidate,
    "rejects": _reject,
}

ROLE_STYLES = {"user": "strong", "system": "muted", "tool": "muted"}


def _turns(messages: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    return tuple(
        Part(
            " ".join(filter(None, [str(turn["role"]), turn.get("name")])),
            _said(turn),
            ROLE_STYLES.get(turn["role"], "text"),
        )
        for turn in messages
    )


def _said(turn: Mapping[str, Any]) -> str:
    calls = turn.get("tool_calls")
    return "\n".join(
        filter(None, [str(turn.get("content") or ""), json.dumps(calls, ensure_ascii=False) if calls else ""])
    )


def _title(text: str) -> str:
    return " ".join(text[: 4 * TITLE].split())[:TITLE]
