"""Documents whose texts are the same, by a 128-bit hash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from workbench.corpus.cleaning.step import KEPT, CorpusStep, Decision, Document, Verdict

if TYPE_CHECKING:
    import numpy as np

    from workbench.corpus.cleaning.grouping import Columns


class ExactDuplicates(CorpusStep):
    """Keep the first of the documents with the same text.

    Two different texts are taken for the same with probability n² / 2^129 among n of them.
    """

    name: ClassVar[str] = "exact-duplicates"
    edits: ClassVar[bool] = False

    def keys(self, document: Document) -> np.ndarray:
        """xxh3-128 of the text: its high 64 bits, then its low ones."""
        import numpy as np
        import xxhash

        digest = xxhash.xxh3_128_digest(document.text.encode("utf-8", "surrogatepass"))
        return np.frombuffer(digest, ">u8").astype(np.uint64)

    def decide(self, keys: Path, decisions: Path, memory_bytes: int) -> None:
        from workbench.corpus.cleaning.grouping import later_ones, open_sorter, write_decisions

        with open_sorter(decisions, memory_bytes) as sorter:
            alike = sorter.sort(_rows(keys), ("high", "low", "document"))
            gone = sorter.settled(later_ones(alike, ("high", "low")), "gone")
            write_decisions(sorter.sort(gone(), ("document",)), keys, decisions, _table)

    def apply(self, document: Document, decision: Decision | None) -> Verdict:
        if decision is None or decision.kept:
            return KEPT
        return Verdict("rejected", "duplicate")


def _rows(keys: Path) -> Iterator[Columns]:
    from workbench.corpus.cleaning.grouping import read_keys

    for part in read_keys(keys):
        yield {"high": part.keys[0::2], "low": part.keys[1::2], "document": part.document}


def _table(columns: Columns) -> dict[str, object]:
    import numpy as np

    from workbench.corpus.cleaning.grouping import no_parts

    count = len(columns["document"])
    return {
        "document": columns["document"],
        "kept": np.zeros(count, bool),
        "cluster": columns["first"],
        "similarity": np.ones(count, np.float32),
        "parts": no_parts(count),
    }
