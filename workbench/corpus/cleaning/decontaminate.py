"""Documents in which words of benchmark items stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict
from workbench.errors import WorkbenchError
from workbench.recipes.base import PATH

if TYPE_CHECKING:
    from workbench.corpus.overlap import Search

ITEMS = "items.jsonl"  # in a folder of a project's data of tasks
REASON = "benchmark items"


class Decontaminate(Step):
    """Reject documents that hold N words in a row of a benchmark's item, or cut these words out.

    As in the GPT-3 paper (Brown et al. 2020, Appendix C): N is 13, or fewer for tasks of short items, at least 8; see
    `workbench.corpus.overlap`. What stands in many items of a task is its wording, and no item's. Cutting takes 200
    characters on both sides as well, up to the next white space; of a document with less than that left, nothing is.
    """

    name: ClassVar[str] = "decontaminate"

    items: tuple[str, ...] = Field(
        min_length=1,
        description="The items: .jsonl files, whose texts all count, or folders of such. A project's data of tasks, "
        "its own and the harness's, lie in its folder benchmark-data.",
        json_schema_extra=PATH,
    )
    action: Literal["reject", "cut"] = Field("reject", description="What is done with a document that has some.")
    around: int = Field(
        200,
        ge=0,
        description="Cut this much on both sides as well, and reject a document with less left.",
        json_schema_extra={"unit": "characters"},
    )

    def apply(self, document: Document) -> Verdict:
        spans = tuple(_search(self.items).spans(document.text))
        if not spans:
            return KEPT
        if self.action == "reject":
            return Verdict("rejected", REASON, value=len(spans), limit=0, spans=spans)
        text = document.text
        pieces, end = [], 0
        for start, stop in spans:
            pieces.append(text[end : max(end, _before(text, start - self.around))])
            end = _after(text, stop + self.around)
        pieces.append(text[end:])
        left = "\n\n".join(piece.strip() for piece in pieces if piece.strip())
        if len(left) < max(self.around, 1):
            return Verdict("rejected", REASON, value=len(left), limit=self.around, parameter="around", spans=spans)
        return Verdict("changed", REASON, value=len(spans), spans=spans, text=left)


def _before(text: str, place: int) -> int:
    """The last white space at or before `place`."""
    while place > 0 and not text[place].isspace():
        place -= 1
    return max(place, 0)


def _after(text: str, place: int) -> int:
    """The first white space at or behind `place`."""
    while place < len(text) and not text[place].isspace():
        place += 1
    return place


@lru_cache(maxsize=4)
def _search(items: tuple[str, ...]) -> Search:
    """Raises `WorkbenchError` if a file cannot be read, or there is no item."""
    from workbench.corpus.overlap import Search

    texts = [(str(file), text) for path in items for file in _files(Path(path)) for text in _texts(file)]
    if not texts:
        raise WorkbenchError(f"There are no items in {', '.join(items)}.", "Give .jsonl files, or folders of them.")
    return Search(texts)


def _files(path: Path) -> list[Path]:
    """Of a folder of tasks' data the items alone: worked examples are shown to models, and no test."""
    if not path.is_dir():
        return [path]
    return sorted(path.rglob(ITEMS)) or sorted(path.rglob("*.jsonl"))


def _texts(file: Path) -> Iterator[str]:
    """All texts of each row, one after another."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise WorkbenchError(f"The items in {file} cannot be read: {error.strerror}.", "Give their path.") from None
    except UnicodeDecodeError:
        raise WorkbenchError(f"{file} is not UTF-8.", "Give .jsonl files in UTF-8.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                what = f"Line {number:,} of {file} is no JSON: {error}."
                raise WorkbenchError(what, "Give .jsonl files: one row of a benchmark a line.") from None
            yield " ".join(_strings(row))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
