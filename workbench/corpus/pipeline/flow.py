"""A corpus from its sources to its files, in passes over parts, going on where an earlier attempt was ended.

Memory: this process holds one batch of raw documents and one more for each worker (8 MiB and the longest document
each), a worker the texts of its part as the steps see them: with two workers some 500 MiB in all for `plain`, 750 for
`web-en`. A corpus step's decision takes `DECISION_BYTES`, while no worker is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from workbench import durable
from workbench.corpus.cleaning.presets import plain
from workbench.corpus.cleaning.step import CorpusStep
from workbench.corpus.documents import TABLES, write_given
from workbench.corpus.pipeline import notes
from workbench.corpus.pipeline.batches import Batch, Consumed, batches
from workbench.corpus.pipeline.decisions import decide
from workbench.corpus.pipeline.funnel import Funnel
from workbench.corpus.pipeline.parts import PassFolder
from workbench.corpus.pipeline.passes import AnyStep, Pass, passes_of
from workbench.corpus.pipeline.pool import Pool
from workbench.corpus.pipeline.work import MAX_PROBLEMS, Work, clean_batch, clean_part
from workbench.corpus.pipeline.writing import Tally, collect, groups_of, write_group
from workbench.corpus.progress import ProgressReport
from workbench.corpus.reading import GONE, ReadOptions, read
from workbench.corpus.reading.entry import printable
from workbench.corpus.sources import Expansion
from workbench.errors import WorkbenchError

LAYOUT = 2  # of what lies in a work folder
COMPLETE = "complete.json"


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
        described = [LAYOUT, plain(self.steps), self.options.max_document_bytes, self.keep_rejects]
        digest = xxhash.xxh3_128(repr(described).encode(errors="surrogatepass"))
        for file in self.found.files:
            digest.update(f"{file.name}\0{file.given}\0".encode(errors="surrogatepass"))
        mark = digest.hexdigest()
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
        complete = folder.root / COMPLETE
        if not complete.exists():
            # Time passes differently while what is done already is looked for: it counts apart.
            if folder.receipt(0):
                self.progress.begin("finding the place where it was")
            else:
                self.importing(0)
            reading = _Reading(self, folder)
            for receipt in self.pool.map(clean_batch, self._work(0, do), reading.tasks()):
                self.progress.advance(receipt["consumed"])
            self._require_all(folder, reading.parts)
            folder.root.mkdir(exist_ok=True)
            durable.write_json(complete, reading.parts)
        return self._receipts(folder, json.loads(complete.read_text()), outcome)

    def _require_all(self, folder: PassFolder, parts: int) -> None:
        """Raises `WorkbenchError` if listed files went away before they were read.

        The corpus counts as what all of them give: without some it would be taken for that once they are back.
        """
        read = Outcome(Funnel(), Tally())
        self._receipts(folder, parts, read)
        if count := read.funnel[-1].reasons[GONE]:
            files = "1 file" if count == 1 else f"{count:,} files"
            missing = (file for file in self.found.files if not file.path.exists())
            first = next((f"; the first is {printable(file.name)}" for file in missing), "")
            raise WorkbenchError(
                f"{files} went away while the import was reading{first}.",
                "Bring back what is missing and run the same again: it goes on. Or go without: it begins anew.",
            )

    def importing(self, done: int) -> None:
        """Count the bytes of sources from here on."""
        self.progress.begin("importing", total=self.found.size or None, unit="bytes", done=done)

    def _next(
        self, number: int, passes: int, do: Pass, parts: list[dict[str, Any]], outcome: Outcome
    ) -> list[dict[str, Any]]:
        folder = PassFolder(self._pass(number))
        size = {part["part"]: part["bytes"] for part in parts}
        if not (folder.root / COMPLETE).exists():
            left = [(f"part {part}", part) for part in size if folder.receipt(part) is None]
            total = sum(size.values())
            done = total - sum(size[part] for _, part in left)
            self.progress.begin(f"cleaning, pass {number + 1} of {passes}", total=total, unit="bytes", done=done)
            for receipt in self.pool.map(clean_part, self._work(number, do), left):
                self.progress.advance(size[receipt["part"]])
            durable.write_json(folder.root / COMPLETE, len(parts))
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
        done = {}
        left = []
        for place, group in enumerate(groups):
            receipt = folder.receipt(place)
            if receipt is not None and receipt["parts"] == group:
                done[place] = receipt
            else:
                left.append((f"file {place}", (place, group)))
        written = sum(size[part] for receipt in done.values() for part in receipt["parts"])
        self.progress.begin("writing", total=sum(size.values()), unit="bytes", done=written)
        for receipt in self.pool.map(write_group, self._work(number, do), left):
            done[receipt["part"]] = receipt
            self.progress.advance(sum(size[part] for part in receipt["parts"]))
        for _, receipt in sorted(done.items()):
            outcome.funnel.add(receipt["funnel"])
            outcome.tally.join(receipt["tally"])
        collect(folder.root, range(len(groups)), output)
        if len(self.sources) > 1:
            write_given((folder.given(group) for group in range(len(groups))), output)
        self._gather(number, len(parts), len(groups), output)

    def _gather(self, last: int, parts: int, groups: int, output: Path) -> None:
        """The tables beside the documents, from what the parts noted."""
        for name in TABLES:
            passes = []
            for number in range(last + 1):
                count = groups if number == last else parts
                paths = (self._pass(number) / name / f"{part:06d}.parquet" for part in range(count))
                passes.append([path for path in paths if path.exists()])
            notes.gather(name, passes, output, self.keep_rejects)
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


class _Reading:
    """The first pass' tasks: what of the sources has not been done. `parts` counts all, once they are drawn."""

    def __init__(self, flow: Flow, folder: PassFolder):
        self.flow, self.folder = flow, folder
        self.parts = 0

    def tasks(self) -> Iterator[tuple[str, Batch]]:
        progress = self.flow.progress
        consumed = Consumed(progress.check)
        skipped = 0
        begun = self.folder.receipt(0) is None  # nothing to skip: counting has begun
        for batch in batches(read(self.flow.found, self.flow.options, consumed.add), consumed):
            done = not batch.items
            if batch.items:
                self.parts = batch.number + 1
                receipt = self.folder.receipt(batch.number)
                done = receipt is not None and receipt["digest"] == batch.digest
            if not begun and done:
                skipped += batch.consumed
                continue
            if not begun:
                begun = True
                self.flow.importing(skipped)
            if done:
                progress.advance(batch.consumed)
            else:
                yield batch.name(), batch
