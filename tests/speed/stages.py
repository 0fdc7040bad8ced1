"""Runs the real stages from text to shards to a model in a folder, for the scripts beside it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.pytorch import PyTorchEngine
from workbench.contract import Event, Failed, Finished, Job, Metrics, Warned, parse_event
from workbench.corpus.engine import CorpusEngine
from workbench.errors import WorkbenchError
from workbench.recipes.fields import nested
from workbench.recipes.load import recipe_from
from workbench.reporting import RunReporter


@dataclass(frozen=True)
class Workspace:
    """One artifact of each kind: `corpus/`, `tokenizer/`, `shards/`, and a run's folder for each job."""

    folder: Path

    def prepare(self, sources: list[str], vocab_size: int) -> None:
        """Text to shards."""
        self.run("import", sources=sources)
        self.run("tokenizer", corpus="corpus", vocab_size=vocab_size)
        self.run("shards", corpus="corpus", tokenizer="tokenizer")

    def run(self, stage: str, name: str | None = None, **settings: Any) -> Attempt:
        """Run a stage to its end in this process; `settings` are the recipe's dotted keys with `__`.

        Raises `WorkbenchError` as the stage does.
        """
        job = self.job(stage, name, **settings)
        job.write(job.directory / "job.json")
        reporter = TimedReporter(job.directory)
        engine = PyTorchEngine() if stage == "pretrain" else CorpusEngine()
        try:
            engine.run(job, reporter)
        finally:
            reporter.close()
        return Attempt(job, reporter.moments)

    def job(self, stage: str, name: str | None = None, **settings: Any) -> Job:
        values = nested({key.replace("__", "."): value for key, value in settings.items()})
        recipe = recipe_from({"stage": stage, **values}).resolved()
        outputs = {"import": "corpus"}
        output = self.folder / (name or outputs.get(stage, stage))
        directory = self.folder / "runs" / (name or stage)
        output.mkdir(parents=True)
        directory.mkdir(parents=True)
        return Job(
            run=name or stage,
            stage=stage,
            recipe=recipe.model_dump(mode="json"),
            inputs={role: self.folder / role for role in ("corpus", "tokenizer", "shards")},
            output=output,
            directory=directory,
        )


@dataclass(frozen=True)
class Moment:
    """When a step had been made: on the wall's clock, and in processor time of this process."""

    step: int
    wall: float
    processor: float


class TimedReporter(RunReporter):
    """Remembers when the bunches of steps ended that the training reports together."""

    def __init__(self, directory: Path):
        super().__init__(directory)
        self.moments: list[Moment] = []

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Metrics) and event.loss is not None:
            if self.moments and time.perf_counter() - self.moments[-1].wall < 0.002:
                self.moments.pop()  # the same bunch: its last step is the one that has just been made
            self.moments.append(Moment(event.step, time.perf_counter(), time.process_time()))


@dataclass(frozen=True)
class Rate:
    """Tokens per second of the wall's clock, and per second of processor time, which a busy machine blurs less."""

    wall: float
    processor: float

    @classmethod
    def between(cls, first: Moment, last: Moment, tokens_per_step: int) -> Rate:
        tokens = (last.step - first.step) * tokens_per_step
        return cls(tokens / (last.wall - first.wall), tokens / (last.processor - first.processor))

    def over(self, other: Rate) -> tuple[float, float]:
        return self.wall / other.wall, self.processor / other.processor

    def __str__(self) -> str:
        return f"{self.wall:,.0f} tokens/s ({self.processor:,.0f} a processor second)"


@dataclass(frozen=True)
class Attempt:
    """What a run said."""

    job: Job
    moments: list[Moment]
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        lines = (self.job.directory / "events.jsonl").read_text(encoding="utf-8").splitlines()
        self.events.extend(parse_event(line) for line in lines)
        for event in self.all(Warned):
            print(f"warning: {event.message}", file=sys.stderr)
        for event in self.all(Failed):
            raise WorkbenchError(event.reason, event.remedy)

    def all(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def rate(self, after_step: int) -> Rate:
        """From the first bunch that ended after `after_step` to the end, a checkpoint between them included."""
        batch, model = self.job.recipe["batch"], self.job.recipe["model"]
        first = next(moment for moment in self.moments if moment.step >= after_step)
        return Rate.between(first, self.moments[-1], batch["batch_size"] * model["max_length"])

    def report(self) -> dict[str, Any]:
        return dict(self.all(Finished)[0].report)
