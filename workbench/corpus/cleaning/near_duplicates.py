"""Documents that are nearly the same, by MinHash over the whole corpus."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workbench.corpus.cleaning.step import KEPT, CorpusStep, Decision, Document, Verdict

if TYPE_CHECKING:
    import numpy as np

PERMUTATIONS = 112
SEED = 1
DETECTION = 0.99  # of pairs that are exactly as similar as is asked


class NearDuplicates(CorpusStep):
    """Keep one of the documents that share most of their runs of words.

    Similarity is the Jaccard index of two documents' sets of runs (Broder 1997). Candidates are pairs that agree in a
    whole band of MinHash values (Leskovec et al., Mining of Massive Datasets, section 3.4): the bands are as long as
    finds 99% of pairs that are just as similar as is asked, 18 of 6 values for 0.8. Each candidate's similarity is
    then estimated from a sketch of all its runs, within 0.013 (standard deviation), and must reach what is asked.
    A document goes only if it is similar to one that is kept, not to one that goes itself.
    """

    name: ClassVar[str] = "near-duplicates"
    edits: ClassVar[bool] = False

    similarity: float = Field(0.8, ge=0.5, le=0.95, description="From which share of common runs two are duplicates.")
    run: int = Field(
        5,
        ge=1,
        le=50,
        description="Words in a run; characters where a script has no spaces.",
        json_schema_extra={"unit": "words"},
    )
    keep: Literal["first", "longest"] = Field("first", description="Which of the documents that are alike is kept.")

    def keys(self, document: Document) -> np.ndarray:
        """A hash of each band, then the sketch; nothing for a text without words."""
        import numpy as np
        import rensa

        from workbench.corpus.cleaning.sketches import sketch
        from workbench.corpus.shingles import mixed, shingles

        hashes = shingles(document.text, self.run)
        if not len(hashes):
            return hashes
        count, rows = bands(self.similarity)
        # Not rensa's faster "rho" mode: it misses two of three pairs at 0.8.
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, [0, len(hashes)], count * rows, SEED)
        values = np.array(matrix.to_rows()[0], np.uint64) * _factors()[: count * rows]
        return np.concatenate([mixed(values.reshape(count, rows).sum(axis=1, dtype=np.uint64)), sketch(hashes)])

    def decide(self, keys: Path, decisions: Path, memory_bytes: int) -> None:
        from workbench.corpus.cleaning.likeness import decide

        count, _ = bands(self.similarity)
        decide(keys, decisions, memory_bytes, bands=count, similarity=self.similarity, longest=self.keep == "longest")

    def apply(self, document: Document, decision: Decision | None) -> Verdict:
        if decision is None or decision.kept:
            return KEPT
        found = round(decision.similarity, 4)
        return Verdict("rejected", "near duplicate", value=found, limit=self.similarity, parameter="similarity")


def bands(similarity: float) -> tuple[int, int]:
    """How many bands of how many values: the longest that find `DETECTION` of the pairs of this `similarity`."""
    for rows in range(PERMUTATIONS, 1, -1):
        count = PERMUTATIONS // rows
        if 1 - (1 - similarity**rows) ** count >= DETECTION:
            return count, rows
    return PERMUTATIONS, 1


@cache
def _factors() -> np.ndarray:
    """A random odd number for each value of a signature: a band's hash is the sum of its products."""
    import numpy as np

    return np.random.default_rng(SEED).integers(0, 2**63, size=PERMUTATIONS, dtype=np.uint64) * np.uint64(
        2
    ) + np.uint64(1)
