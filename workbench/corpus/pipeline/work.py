"""What is done with one part of a corpus in one pass; the same bytes wherever and whenever it is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.corpus.cleaning.step import CorpusStep, Decision, Document, Step, Verdict
from workbench.corpus.pipeline.batches import Batch
from workbench.corpus.pipeline.funnel import READ, Count, Funnel
from workbench.corpus.pipeline.notes import Notes
from workbench.corpus.pipeline.parts import (
    CUT,
    PART,
    REPAIRED,
    ROW_BITS,
    PartWriter,
    PassFolder,
    Row,
    as_tuple,
    read_decisions,
    read_rows,
    size_of,
    write_keys,
)
from workbench.corpus.pipeline.passes import AnyStep, Pass
from workbench.corpus.reading import Reject, extract
from workbench.errors import WorkbenchError

MAX_PROBLEMS = 6  # of one part, told one by one
EMPTY = "empty"
HTML_TEXT = "html-text"  # the step after which a text is no markup any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is the same for all parts of a pass."""

    folder: Path
    earlier: Path | None  # the folder of the pass before
    decisions: dict[int, Path]  # of the corpus steps that were decided -> their folder
    clusters: dict[int, frozenset[int]]  # the same -> the clusters that people are shown
    steps: tuple[AnyStep, ...]
    do: Pass
    given: tuple[int, ...]  # file -> which of the recipe's sources it is of
    keep_rejects: int
    max_document_bytes: int


def clean_batch(work: Work, batch: Batch) -> dict[str, Any]:
    """The first pass: raw documents to a part. Answers its receipt."""
    part = _Part(work, batch.number)
    part.receipt |= {"digest": batch.digest, "consumed": batch.consumed}
    return part.run(part.extracted(batch))


def clean_part(work: Work, number: int) -> dict[str, Any]:
    """A later pass on part `number`. Answers its receipt."""
    assert work.earlier is not None
    part = _Part(work, number)
    return part.run(read_rows(PassFolder(work.earlier).documents(number)))


class Judge:
    """Takes rows through the decided and the judging steps of a pass, counting and noting on the way."""

    def __init__(self, work: Work, part: int):
        self.work, self.part = work, part
        self.funnel = Funnel()
        self.notes = Notes(work.keep_rejects, part)
        self._decided: list[tuple[int, CorpusStep, dict[int, Decision], frozenset[int]]] = []
        self._judging: list[tuple[int, Step, Count]] = []
        for place in work.do.judged:
            step = work.steps[place]
            assert isinstance(step, Step)
            self._judging.append((place, step, self.funnel[place]))
        self.turn_to(part)

    def turn_to(self, part: int) -> None:
        """Take the decisions on this part."""
        self._decided = []
        for place in self.work.do.decided:
            step = self.work.steps[place]
            assert isinstance(step, CorpusStep)
            decisions = read_decisions(self.work.decisions[place] / f"{part:06d}.parquet")
            self._decided.append((place, step, decisions, self.work.clusters.get(place, frozenset())))

    def passes(self, row: Row) -> bool:
        """Whether the document stays; `row` has it as the steps left it."""
        for place, corpus_step, decisions, clusters in self._decided:
            decision = decisions.get(row.ordinal)
            if clusters:
                cluster = row.ordinal if decision is None else decision.cluster
                if cluster in clusters:
                    kept, similarity = (True, 1.0) if decision is None else (decision.kept, decision.similarity)
                    self.notes.member(cluster, row, kept, similarity)
            verdict = _asked(corpus_step, row, lambda s=corpus_step, d=decision: s.apply(row.document, d))  # type: ignore[misc]
            if not self._take(row, corpus_step.name, self.funnel[place], verdict):
                return False
        for _, step, count in self._judging:
            verdict = _asked(step, row, lambda s=step: s.apply(row.document))  # type: ignore[misc]
            if not self._take(row, step.name, count, verdict):
                return False
        return True

    def _take(self, row: Row, step: str, count: Count, verdict: Verdict) -> bool:
        count.entered += 1
        count.bytes_in += row.size
        if verdict.outcome == "changed":
            assert verdict.text is not None
            if not verdict.text or verdict.text.isspace():  # a corpus has no use for it
                verdict = Verdict("rejected", EMPTY)
            else:
                # Files end in a line feed: that it is taken off says nothing of the documents.
                if verdict.text == row.document.text.rstrip("\n"):
                    count.kept += 1
                else:
                    count.changed += 1
                    count.edits[verdict.reason] += 1
                    self.notes.change(step, row, verdict)
                markup = "" if step == HTML_TEXT else row.document.markup
                row.document = row.document.with_text(verdict.text, markup)
                row.size = size_of(verdict.text)
        elif verdict.outcome == "kept":
            count.kept += 1
        if verdict.outcome == "rejected":
            count.rejected += 1
            count.reasons[verdict.reason] += 1
            self.notes.reject(step, row, verdict)
            return False
        if verdict.language is not None:
            row.document.language = verdict.language
        count.bytes_out += row.size
        return True


class _Part:
    def __init__(self, work: Work, number: int):
        self.work, self.number = work, number
        self.folder = PassFolder(work.folder)
        self.folder.make(work.do.keyed)
        self.folder.forget(number)
        self.judge = Judge(work, number)
        self.receipt: dict[str, Any] = {"part": number}

    def run(self, rows: Iterable[Row]) -> dict[str, Any]:
        keyed = [
            (place, step) for place in self.work.do.keyed if isinstance(step := self.work.steps[place], CorpusStep)
        ]
        keys: dict[int, list[tuple[int, int, Any]]] = {place: [] for place, _ in keyed}
        writer = PartWriter(self.folder.documents(self.number), PART)
        documents = size = 0
        for row in rows:
            if not self.judge.passes(row):
                continue
            for place, step in keyed:
                found = _asked(step, row, lambda s=step, r=row: s.keys(r.document))  # type: ignore[misc]
                keys[place].append((row.ordinal, len(row.document.text), found))
            writer.add(as_tuple(row))
            documents += 1
            size += row.size
        writer.close()
        for place, found in keys.items():
            write_keys(self.folder.keys(place) / f"{self.number:06d}.parquet", found)
        self.judge.notes.write(self.folder, self.number)
        self.receipt |= {"documents": documents, "bytes": size, "funnel": self.judge.funnel.plain()}
        self.folder.finish(self.number, self.receipt)
        return self.receipt

    def extracted(self, batch: Batch) -> Iterator[Row]:
        """The documents of a batch; counts what was read, and what gave none."""
        count = self.judge.funnel[-1]
        ordinal = (batch.number << ROW_BITS) - 1
        problems: list[tuple[str, str]] = []
        left_out = 0
        for item in batch.items:
            count.bytes_in += 0 if isinstance(item, Reject) else len(item.content)
            found = [item] if isinstance(item, Reject) else extract(item, self.work.max_document_bytes)
            for one in found:
                ordinal += 1
                if isinstance(one, Reject):
                    if one.remedy:
                        left_out += 1
                        if len(problems) < MAX_PROBLEMS:
                            problems.append((one.excerpt, one.remedy))
                    if one.reason:
                        rejected = _row(Document(_valid(one.excerpt), one.source, one.position), ordinal)
                        self._refuse(count, rejected, one.reason)
                    continue
                given = self.work.given[item.file]
                flags = REPAIRED * (one.bad_bytes > 0) | CUT * one.cut
                row = _row(one.document, ordinal, item.file, given, flags)
                if not row.document.text or row.document.text.isspace():
                    self._refuse(count, row, EMPTY)
                    continue
                count.entered += 1
                count.kept += 1
                count.bytes_out += row.size
                self.judge.notes.sample(row)
                yield row
        self.receipt |= {"problems": problems, "left_out": left_out}

    def _refuse(self, count: Count, row: Row, reason: str) -> None:
        count.entered += 1
        count.rejected += 1
        count.reasons[reason] += 1
        self.judge.notes.reject(READ, row, Verdict("rejected", reason))


def _row(document: Document, ordinal: int, file: int = 0, given: int = 0, flags: int = 0) -> Row:
    document.source = _valid(document.source)
    try:
        size = size_of(document.text)
    except UnicodeEncodeError:  # a lone surrogate, as JSON may hold
        document = document.with_text(_valid(document.text), document.markup)
        size = size_of(document.text)
    return Row(document, ordinal, file, given, flags, size)


def _valid(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _asked(step: AnyStep, row: Row, ask: Any) -> Any:
    """The step's answer. Raises `WorkbenchError` that names the document if it has none."""
    try:
        return ask()
    except (WorkbenchError, MemoryError):
        raise
    except Exception as error:
        place = f"{row.document.source}, number {row.document.position}"
        raise WorkbenchError(
            f"The step {step.name} failed at a document of {place}: {type(error).__name__}: {error}.",
            f"Leave out the step {step.name} or that source; this is a fault of the step.",
        ) from error
