"""Which documents of a whole corpus go, said by a step that compares their keys."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from workbench import durable
from workbench.corpus.cleaning.step import CorpusStep
from workbench.corpus.pipeline import notes

DECISION_BYTES = 512 << 20
NEAR_DUPLICATES = "near-duplicates"  # the step whose clusters people are shown


def decide(step: CorpusStep, task: tuple[Path, list[Path], Path]) -> None:
    """Have `step` decide about the keys in a folder, without those that earlier decisions reject."""
    keys, earlier, decisions = task
    partial = durable.fresh_directory(decisions.with_name(f"{decisions.name}.partial"))
    if earlier:
        left = decisions.with_name(f"{decisions.name}.keys")
        keys = _surviving(keys, earlier, durable.fresh_directory(left))
    if any(keys.glob("*.parquet")):
        step.decide(keys, partial, DECISION_BYTES)
    if step.name == NEAR_DUPLICATES:
        chosen = _chosen_clusters(partial)
        durable.write_json(partial / "clusters.json", sorted(chosen))
    durable.publish_directory(partial, decisions)
    if earlier:
        shutil.rmtree(keys)


def _surviving(keys: Path, earlier: Sequence[Path], output: Path) -> Path:
    """The keys of documents that no earlier decision rejects."""
    for path in sorted(keys.glob("*.parquet")):
        table = pq.read_table(path, use_threads=False)
        before = len(table)
        for folder in earlier:
            if (folder / path.name).exists():
                found = pq.read_table(folder / path.name, columns=["document", "kept"], use_threads=False)
                gone = found.filter(pc.invert(found["kept"]))["document"]
                table = table.filter(pc.invert(pc.is_in(table["document"], value_set=gone.combine_chunks())))
        if len(table) == before:
            os.link(path, output / path.name)
        else:
            pq.write_table(table, output / path.name, compression="lz4", use_dictionary=False)
    return output


def _chosen_clusters(decisions: Path) -> set[int]:
    """Of the clusters that lose documents, those with the lowest hashes."""
    lowest = notes.Lowest(notes.CLUSTERS)
    for path in sorted(decisions.glob("*.parquet")):
        table = pq.read_table(path, columns=["kept", "cluster"], use_threads=False)
        clusters = pc.unique(table.filter(pc.invert(table["kept"]))["cluster"])
        for cluster in clusters.to_pylist():
            number = xxhash.xxh3_64_intdigest(cluster.to_bytes(8, "little"))
            if lowest.wants(None, number) and all(cluster != known for *_, known in lowest.groups.get(None, ())):
                lowest.add(None, number, cluster, cluster)
    return {cluster for _, _, cluster in lowest.rows()}
