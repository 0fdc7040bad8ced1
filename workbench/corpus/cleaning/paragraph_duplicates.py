"""Paragraphs that stand in several documents, or several times in one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workbench.corpus.cleaning.step import KEPT, CorpusStep, Decision, Document, Verdict

if TYPE_CHECKING:
    import numpy as np

    from workbench.corpus.cleaning.grouping import Columns

# A paragraph with what parts it from the next.
_PARAGRAPH = re.compile(r"(?:[^\n]+\n?)+\n*")
_LINE = re.compile(r"[^\n]+\n*")


class ParagraphDuplicates(CorpusStep):
    """Keep the first copy of each paragraph of the corpus, as CCNet does (Wenzek et al. 2020, section 3.1).

    Two paragraphs are the same if their words are, whatever the white space and case. A document of which nothing
    is left is rejected. Two that differ are taken for the same with probability n² / 2^65 among n of them.
    """

    name: ClassVar[str] = "paragraph-duplicates"
    edits: ClassVar[bool] = True

    unit: Literal["paragraph", "line"] = Field(
        "paragraph", description="What is compared: text between empty lines, or single lines."
    )
    min_characters: int = Field(
        60,
        ge=1,
        description="Shorter ones stay: short lines repeat in honest text.",
        json_schema_extra={"unit": "characters"},
    )

    def keys(self, document: Document) -> np.ndarray:
        """xxh3-64 of each paragraph that is long enough, in their order."""
        import numpy as np
        import xxhash

        return np.array(
            [
                xxhash.xxh3_64_intdigest(" ".join(text.split()).lower().encode("utf-8", "surrogatepass"))
                for text, _ in self._paragraphs(document.text)
            ],
            np.uint64,
        )

    def decide(self, keys: Path, decisions: Path, memory_bytes: int) -> None:
        from workbench.corpus.cleaning.grouping import later_ones, open_sorter, write_decisions

        with open_sorter(decisions, memory_bytes) as sorter:
            alike = sorter.sort(_rows(keys), ("key", "document", "place"))
            gone = sorter.settled(later_ones(alike, ("key",)), "gone")
            write_decisions(sorter.sort(gone(), ("document", "place")), keys, decisions, _table)

    def apply(self, document: Document, decision: Decision | None) -> Verdict:
        if decision is None or not decision.parts:
            return KEPT
        all_spans = [span for _, span in self._paragraphs(document.text)]
        spans = tuple(all_spans[part] for part in decision.parts)
        left, end = [], 0
        for start, stop in spans:
            left.append(document.text[end:start])
            end = stop
        text = "".join([*left, document.text[end:]]).strip("\n")
        share = sum(stop - start for start, stop in spans) / len(document.text)
        if not text.strip():
            return Verdict("rejected", "nothing but duplicate paragraphs", value=share, spans=spans)
        return Verdict("changed", "duplicate paragraphs", value=share, spans=spans, text=text)

    def _paragraphs(self, text: str) -> Iterator[tuple[str, tuple[int, int]]]:
        """Each paragraph that is long enough, and its place with the line ends behind it."""
        for found in (_PARAGRAPH if self.unit == "paragraph" else _LINE).finditer(text):
            if found.end() - found.start() >= self.min_characters:
                stripped = found.group().strip()
                if len(stripped) >= self.min_characters:
                    yield stripped, found.span()


def _rows(keys: Path) -> Iterator[Columns]:
    import numpy as np

    from workbench.corpus.cleaning.grouping import read_keys

    for part in read_keys(keys):
        counts = np.diff(part.ends, prepend=0)
        first = np.repeat(part.ends - counts, counts)
        place = np.arange(len(part.keys)) - first
        yield {"key": part.keys, "document": np.repeat(part.document, counts), "place": place.astype(np.uint32)}


def _table(columns: Columns) -> dict[str, object]:
    """One row a document, of one row a paragraph."""
    import numpy as np
    import pyarrow as pa

    documents, begins = np.unique(columns["document"], return_index=True)
    ends = np.append(begins, len(columns["document"])).astype(np.int32)
    return {
        "document": documents,
        "kept": np.ones(len(documents), bool),
        "cluster": columns["first"][begins],
        "similarity": np.ones(len(documents), np.float32),
        "parts": pa.ListArray.from_arrays(pa.array(ends), pa.array(columns["place"], pa.uint32())),
    }
