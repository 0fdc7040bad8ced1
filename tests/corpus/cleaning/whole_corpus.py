"""Runs a corpus step over documents, parted as an import parts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.corpus.cleaning.step import CorpusStep, Decision, Document, Verdict

MEMORY = 128 << 20


def write_keys(step: CorpusStep, texts: Sequence[str], folder: Path, a_part: int) -> Path:
    keys = folder / "keys"
    keys.mkdir(parents=True)
    for part, start in enumerate(range(0, len(texts), a_part)):
        own = texts[start : start + a_part]
        table = pa.table(
            {
                "document": pa.array([part << 24 | row for row in range(len(own))], pa.uint64()),
                "length": pa.array([len(text) for text in own], pa.uint32()),
                "keys": pa.array([step.keys(Document(text, "s")) for text in own], pa.list_(pa.uint64())),
            }
        )
        pq.write_table(table, keys / f"{part:05d}.parquet")
    return keys


def read_decisions(folder: Path) -> dict[int, Decision]:
    rows = [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row.pop("document"): Decision(**row | {"parts": tuple(row["parts"])}) for row in rows}


def clean(
    step: CorpusStep, texts: Sequence[str], folder: Path, a_part: int = 3, memory: int = MEMORY
) -> tuple[list[Verdict], dict[int, Decision]]:
    """The verdict on each text, and the decisions by the number of the text."""
    keys = write_keys(step, texts, folder, a_part)
    step.decide(keys, folder / "decisions", memory)
    numbers = {(n // a_part) << 24 | n % a_part: n for n in range(len(texts))}
    decisions = {numbers[ordinal]: decision for ordinal, decision in read_decisions(folder / "decisions").items()}
    return [step.apply(Document(text, "s"), decisions.get(n)) for n, text in enumerate(texts)], decisions
