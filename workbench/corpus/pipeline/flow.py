"""A corpus from its sources to its files, in passes over parts, going on where an earlier attempt was ended.

Memory: this process holds one batch of raw documents and one more for each worker (8 MiB and the longest document
each), a worker the texts of its part as the steps see them: with two workers some 500 MiB in all for `plain`, 750 for
`web-en`. A corpus step's decision takes `DECISION_BYTES`, while no worker is there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from workbench import durable
from workbench.corpus.cleaning.presets import plain
from workbench.corpus.cleaning.step import CorpusStep
from workbench.corpus.documents import TABLES
from workbench.corpus.pipeline import notes
from workbench.corpus.pipeline.batches import Consumed, batches
from workbench.corpus.pipeline.funnel import Funnel
from workbench.corpus.pipeline.parts import PassFolder
from workbench.corpus.pipeline.passes import AnyStep, Pass, passes_of
from workbench.corpus.pipeline.pool import Pool
from workbench.corpus.pipeline.work import MAX_PROBLEMS, Work, clean_batch, clean_part
from workbench.corpus.pipeline.writing import Tally, collect, groups_of, write_group
from workbench.corpus.progress import ProgressReport
from workbench.corpus.reading import ReadOptions, read
from workbench.corpus.sources import Expansion

LAYOUT = 1  # of what lies in a work folder
DECISION_BYTES = 512 << 20
COMPLETE = "complete.json"
NEAR_DUPLICATES = "near-duplicates"  # the step whose clusters people are shown


@dataclass(slots=True)
class Outcome:
    """What came of it: counts, and files that were left out as (what happened, what helps)."""

    funnel: Funnel
    tally: Tally
    problems: list[tuple[str, str]] = field(default_factory=list)
    left_out: int = 0


@dataclass(slots=True)
class Flow:
    """`folder` outlives the process; `sources` says which of the recipe's sources each file is of."""

    found: Expansion
    sources: Sequence[str]
    options: ReadOptions
    steps: Sequence[AnyStep]
    keep_rejects: int
    folder: Path
    pool: Pool
    progress: ProgressReport

    def run(self, output: Path) -> Outcome:
        """Fill `output`; what `folder` holds of an earlier attempt at the same is not done again."""
        self._open()
        passes = passes_of(self.steps)
        outcome = Outcome(Funnel(), Tally())
        parts = self._first(passes[0], outcome)
        for number, do in enumerate(passes[1:-1], 1):
            self._decide(number - 1, passes[number - 1], parts)
            parts = self._next(number, len(passes) - 1, do, parts, outcome)
            shutil.rmtree(self._pass(number - 1) / "documents", ignore_errors=True)
        self._decide(len(passes) - 2, passes[-2], parts)
        self._write(len(passes) - 1, passes[-1], parts, output, outcome)
        return outcome

    def _open(self) -> None:
        """Use the folder where it is of this very work, else empty it."""
        described = [LAYOUT, plain(self.steps), repr(self.options.max_document_bytes), self.keep_rejects]
        described.append([(file.name, file.given) for file in self.found.files])
        mark = xxhash.xxh3_128_hexdigest(json.dumps(described, default=str).encode(errors="surrogatepass"))
        path = self.folder / "of.json"
        if not path.exists() or json.loads(path.read_text()) != mark:
            durable.fresh_directory(self.folder)
            durable.write_json(path, mark)

    def _pass(self, number: int) -> Path:
        return self.folder / f"pass-{number}"

    def _work(self, number: int, do: Pass) -> Work:
        places = {source: place for place, source in enumerate(self.sources)}
        clusters = {}
        for place in do.decided:
            chosen = self._decisions(place) / "clusters.json"
            if chosen.exists():
                clusters[place] = frozenset(json.loads(chosen.read_text()))
        return Work(
            folder=self._pass(number),
            earlier=self._pass(number - 1) if number else None,
            decisions={place: self._decisions(place) for place in do.decided},
            clusters=clusters,
            steps=tuple(self.steps),
            do=do,
            given=tuple(places[file.given] for file in self.found.files) if number == 0 else (),
            keep_rejects=self.keep_rejects,
            max_document_bytes=self.options.max_document_bytes,
        )

    # ------------------------------------------------------------------ the passes

    def _first(self, do: Pass, outcome: Outcome) -> list[dict[str, Any]]:
        """Read the sources. Answers number, documents and bytes of each part."""
        folder = PassFolder(self._pass(0))
        self.progress.begin("importing", total=self.found.size or None, unit="bytes")
        complete = folder.root / COMPLETE
        if not complete.exists():
            count = 0

            def tasks() -> Iterator[tuple[str, Any]]:
                nonlocal count
                consumed = Consumed(self.progress.check)
                for batch in batches(read(self.found, self.options, consumed.add), consumed):
                    if not batch.items:
                        self.progress.advance(batch.consumed)
                        continue
                    count = batch.number + 1
                    receipt = folder.receipt(batch.number)
                    if receipt is not None and receipt["digest"] == batch.digest:
                        self.progress.advance(batch.consumed)
                    else:
                        yield batch.name(), batch

            for receipt in self.pool.map(clean_batch, self._work(0, do), tasks()):
                self.progress.advance(receipt["consumed"])
            folder.root.mkdir(exist_ok=True)
            durable.write_json(complete, count)
        else:
            self.progress.advance(self.found.size or 0)
        return self._receipts(folder, json.loads(complete.read_text()), outcome)

    def _next(
        self, number: int, passes: int, do: Pass, parts: list[dict[str, Any]], outcome: Outcome
    ) -> list[dict[str, Any]]:
        folder = PassFolder(self._pass(number))
        size = {part["part"]: part["bytes"] for part in parts}
        self.progress.begin(f"cleaning, pass {number + 1} of {passes}", total=sum(size.values()), unit="bytes")
        if not (folder.root / COMPLETE).exists():
            left = []
            for part in size:
                if folder.receipt(part) is None:
                    left.append((f"part {part}", part))
                else:
                    self.progress.advance(size[part])
            for receipt in self.pool.map(clean_part, self._work(number, do), left):
                self.progress.advance(size[receipt["part"]])
            durable.write_json(folder.root / COMPLETE, len(parts))
        else:
            self.progress.advance(sum(size.values()))
        return self._receipts(folder, len(parts), outcome)

    def _receipts(self, folder: PassFolder, count: int, outcome: Outcome) -> list[dict[str, Any]]:
        parts = []
        for number in range(count):
            receipt = folder.receipt(number)
            assert receipt is not None
            outcome.funnel.add(receipt["funnel"])
            outcome.left_out += receipt.get("left_out", 0)
            room = MAX_PROBLEMS - len(outcome.problems)
            outcome.problems += [(what, remedy) for what, remedy in receipt.get("problems", ())[: max(room, 0)]]
            parts.append({key: receipt[key] for key in ("part", "documents", "bytes")})
        return parts

    def _write(self, number: int, do: Pass, parts: list[dict[str, Any]], output: Path, outcome: Outcome) -> None:
        folder = PassFolder(self._pass(number))
        groups = groups_of(parts)
        size = {part["part"]: part["bytes"] for part in parts}
        self.progress.begin("writing", total=sum(size.values()), unit="bytes")
        done = {}
        left = []
        for place, group in enumerate(groups):
            receipt = folder.receipt(place)
            if receipt is not None and receipt["parts"] == group:
                done[place] = receipt
                self.progress.advance(sum(size[part] for part in group))
            else:
                left.append((f"file {place}", (place, group)))
        for receipt in self.pool.map(write_group, self._work(number, do), left):
            done[receipt["part"]] = receipt
            self.progress.advance(sum(size[part] for part in receipt["parts"]))
        for _, receipt in sorted(done.items()):
            outcome.funnel.add(receipt["funnel"])
            outcome.tally.join(receipt["tally"])
        collect(folder.root, range(len(groups)), output)
        self._gather(number, len(parts), len(groups), output)

    def _gather(self, last: int, parts: int, groups: int, output: Path) -> None:
        """The tables beside the documents, from what the parts noted."""
        for name in TABLES:
            files = []
            for number in range(last + 1):
                count = groups if number == last else parts
                paths = (self._pass(number) / name / f"{part:06d}.parquet" for part in range(count))
                files += [path for path in paths if path.exists()]
            notes.gather(name, files, output, self.keep_rejects)
            self.progress.check()

    # ------------------------------------------------------------------ decisions

    def _decisions(self, place: int) -> Path:
        return self.folder / f"decisions-{place}"

    def _decide(self, number: int, do: Pass, parts: list[dict[str, Any]]) -> None:
        """What the corpus steps at the end of pass `number` say, each of what those before it leave."""
        rejecting: list[int] = []
        for place in do.keyed:
            step = self.steps[place]
            assert isinstance(step, CorpusStep)
            if not self._decisions(place).exists():
                self.progress.begin(f"{step.name}: comparing documents")
                keys = PassFolder(self._pass(number)).keys(place)
                task = (keys, [self._decisions(earlier) for earlier in rejecting], self._decisions(place))
                self.pool.close()  # idle processes would hold memory beside the decision, and it beside them
                for _ in self.pool.map(decide, step, [(f"the decisions of {step.name}", task)]):
                    pass
                self.pool.close()
            rejecting.append(place)


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
