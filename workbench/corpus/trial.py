"""What would be kept instead if a step's parameter were another: the steps run again on a corpus' sample."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.corpus.cleaning.presets import AnyStep, plain, step_from, steps_from
from workbench.corpus.cleaning.step import Document, Step, Verdict
from workbench.corpus.documents import TABLES
from workbench.corpus.pipeline.work import EMPTY, HTML_TEXT
from workbench.errors import WorkbenchError
from workbench.recipes.nearest import nearest

SECONDS = 0.8  # that the first look may take; it covers as much of the sample as fits
LEAST = 50  # documents that it covers even so: fewer say nothing. Some 0.3 s for `web-en` on one free core


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a sampled document: `step` "" and no verdict where it is kept."""

    document: Document  # as the deciding step got it
    step: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """Before and after. `funnel`: step -> (rejected before, rejected after), of `documents` sampled ones."""

    documents: int
    sampled: int  # that the corpus has; what was not looked at did not fit into the time
    kept_before: int
    kept_after: int
    funnel: dict[str, tuple[int, int]]
    now_kept: list[Fate] = field(default_factory=list)  # with the verdict that rejected them before
    now_rejected: list[Fate] = field(default_factory=list)


class Trial:
    """The sample of the corpus in `folder`, whose recipe had the steps `entries`.

    Steps that compare documents of the whole corpus are left out: a sample cannot say what they do. Texts on their
    way are remembered, so that a moved threshold runs again from its step on only.
    """

    def __init__(self, folder: Path, entries: Sequence[Mapping[str, Any]]):
        """Raises `WorkbenchError` if the corpus has no sample."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.steps: list[AnyStep] = steps_from(entries)
        try:
            table = pq.read_table(folder / "sample.parquet", schema=TABLES["sample"], use_threads=False)
        except (pa.ArrowException, OSError):
            raise WorkbenchError(
                "This corpus has no sample to try thresholds on.", "Import it again: newer imports keep one."
            ) from None
        self.sample = [
            Document(
                row["text"], row["source"], row["position"], language=row["language"], licence=row["licence"],
                markup=row["markup"] or "",
            )
            for row in table.to_pylist()
        ]  # fmt: skip
        self._reached: list[dict[int, Document]] = []  # of each looked-at document: place of a step -> what came there
        self._fates: list[Fate] = []

    def prepare(self) -> None:
        """Run the steps over the whole sample once: each `move` after it has only its own steps to run."""
        for number in range(len(self._fates), len(self.sample)):
            self._settle(number)

    def _settle(self, number: int) -> None:
        reached: dict[int, Document] = {}
        fate = _through(self.steps, 0, self.sample[number], reached)
        self._reached.append(reached)
        self._fates.append(fate)

    def move(self, settings: Mapping[str, Any], seconds: float = SECONDS) -> Effect:
        """What `{"STEP.PARAMETER": value}` would change. Raises `WorkbenchError` for what is no such parameter.

        It covers `LEAST` documents, and of the others what fits into `seconds`.
        """
        moved, first = self._moved(settings)
        end = time.monotonic() + seconds
        fates = []
        for number in range(len(self.sample)):
            if number == len(self._fates):
                self._settle(number)
            start = self._reached[number].get(first)
            fates.append(self._fates[number] if start is None else _through(moved, first, start, {}))
            if len(fates) >= LEAST and time.monotonic() > end:
                break
        return self._effect(fates)

    def _moved(self, settings: Mapping[str, Any]) -> tuple[list[AnyStep], int]:
        """The steps with other parameters, and the place of the first of those."""
        entries = plain(self.steps)
        places = []
        for key, value in settings.items():
            name, _, parameter = key.partition(".")
            matching = [place for place, entry in enumerate(entries) if entry["step"] == name]
            if not matching:
                known = list(dict.fromkeys(entry["step"] for entry in entries))
                raise WorkbenchError(f"The corpus was not cleaned with a step {name!r}.", nearest(name, known))
            for place in matching:
                if not isinstance(self.steps[place], Step):
                    raise WorkbenchError(
                        f"The step {name} compares all documents of a corpus: a sample cannot show its effect.",
                        "Import again with the other value to see it.",
                    )
                entries[place][parameter] = value
            places += matching
        if not places:
            raise WorkbenchError("Nothing is to be tried.", "Say what: STEP.PARAMETER=VALUE.")
        return [step_from(entry, "the trial") for entry in entries], min(places)

    def _effect(self, fates: list[Fate]) -> Effect:
        before = self._fates[: len(fates)]
        names = dict.fromkeys(step.name for step in self.steps if isinstance(step, Step))
        return Effect(
            documents=len(fates),
            sampled=len(self.sample),
            kept_before=sum(fate.verdict is None for fate in before),
            kept_after=sum(fate.verdict is None for fate in fates),
            funnel={
                name: (sum(fate.step == name for fate in before), sum(fate.step == name for fate in fates))
                for name in names
            },
            now_kept=[old for old, new in zip(before, fates, strict=True) if old.verdict and not new.verdict],
            now_rejected=[new for old, new in zip(before, fates, strict=True) if new.verdict and not old.verdict],
        )


def _through(steps: Sequence[AnyStep], start: int, document: Document, reached: dict[int, Document]) -> Fate:
    for place in range(start, len(steps)):
        step = steps[place]
        reached[place] = document
        if not isinstance(step, Step):
            continue
        verdict = step.apply(document)
        if verdict.outcome == "changed" and (not verdict.text or verdict.text.isspace()):
            verdict = Verdict("rejected", EMPTY)
        if verdict.outcome == "rejected":
            return Fate(document, step.name, verdict)
        if verdict.outcome == "changed":
            assert verdict.text is not None
            document = document.with_text(verdict.text, "" if step.name == HTML_TEXT else document.markup)
        if verdict.language is not None:
            document.language = verdict.language
    return Fate(document)
