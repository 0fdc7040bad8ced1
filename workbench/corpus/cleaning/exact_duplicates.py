"""Documents whose texts are the same, by a 128-bit hash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from workbench.corpus.cleaning.step import KEPT, CorpusStep, Decision, Document, Verdict

if TYPE_CHECKING:
    import numpy as np


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

        digest = xxhash.xxh3_128_digest(document.text.encode())
        return np.frombuffer(digest, ">u8").astype(np.uint64)

    def decide(self, keys: Path, decisions: Path, memory_bytes: int) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = sorted(keys.glob("*.parquet"))
        tables = [pq.read_table(file, columns=["document", "keys"]) for file in files]
        ordinals = [table["document"].to_numpy() for table in tables]
        hashes = [table["keys"].combine_chunks().flatten().to_numpy().reshape(-1, 2) for table in tables]
        ordinal, digest = np.concatenate(ordinals), np.concatenate(hashes)
        order = np.lexsort((ordinal, digest[:, 1], digest[:, 0]))
        new = np.ones(len(order), bool)
        new[1:] = (digest[order][1:] != digest[order][:-1]).any(axis=1)
        first = ordinal[order][np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        gone, cluster = ordinal[order][~new], first[~new]
        sort = np.argsort(gone)
        gone, cluster = gone[sort], cluster[sort]
        for file in files:
            part = np.uint64(int(file.stem))
            mine = (gone >> np.uint64(24)) == part
            count = int(mine.sum())
            if count:
                table = pa.table(
                    {
                        "document": pa.array(gone[mine], pa.uint64()),
                        "kept": pa.array(np.zeros(count, bool)),
                        "cluster": pa.array(cluster[mine], pa.uint64()),
                        "similarity": pa.array(np.ones(count, np.float32)),
                        "parts": pa.array([[]] * count, pa.list_(pa.uint32())),
                    }
                )
                pq.write_table(table, decisions / file.name)

    def apply(self, document: Document, decision: Decision | None) -> Verdict:
        if decision is None or decision.kept:
            return KEPT
        return Verdict("rejected", "duplicate")
