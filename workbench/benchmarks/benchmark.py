"""One benchmark, in the engine's process: the tasks are loaded, the model is opened, everything is asked and kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench import registry
from workbench.benchmarks import divergence, harness, results
from workbench.benchmarks.answered import Answered, file_of
from workbench.benchmarks.asked import weights_folder
from workbench.benchmarks.code import require_allowed
from workbench.benchmarks.panels import Panel, choices
from workbench.benchmarks.results import Item, Results, TaskFigures
from workbench.benchmarks.tasks import load_tasks
from workbench.contract import Job, LanguageModel, Progress, Reporter, Warned
from workbench.corpus.progress import Interrupted
from workbench.recipes.benchmark import BenchmarkRecipe
from workbench.store.artifacts import read_manifest
from workbench.store.project import open_project

SECONDS_BETWEEN_EVENTS = 0.2
SPEED_PROMPT = 64  # tokens before the answer whose speed is measured
CUDA_SCALE = 32  # how many times as much as on a CPU is asked at once


def benchmark(recipe: BenchmarkRecipe, job: Job, reporter: Reporter) -> dict[str, Any]:
    """Fill `job.output`; the report, which goes into the artifact's manifest.

    Raises `Interrupted` once a stop was asked for: what was answered until then is kept in the project.
    """
    from workbench.benchmarks.bridge import Bridge
    from workbench.benchmarks.evaluate import build, evaluate

    begun = time.monotonic()

    def warn(message: str) -> None:
        reporter.emit(Warned(message=message))

    folder = job.inputs["model"]
    made, project = read_manifest(folder), open_project(folder.parent.parent)
    chosen = choices(recipe.tasks) if recipe.tasks else Panel.read(project.root, recipe.panel).tasks
    apart = [choice for choice in chosen if divergence.is_one(choice.task)]
    tasks = load_tasks(
        [choice for choice in chosen if choice not in apart],
        project.root,
        shots=recipe.shots,
        limit=recipe.limit,
        chat_template=recipe.chat_template,
        warn=warn,
    )
    require_allowed(recipe.allow_code, [name for name, loaded in tasks.items() if loaded.code])
    progress = _Progress(reporter)
    progress.say("opening the model")
    weights = weights_folder(project, made, recipe.checkpoint)
    engine = registry.opener(weights, recipe.engine)
    model = _open(engine, weights)
    facts: dict[str, Any] = {"bytes": divergence.weights_bytes(weights)}
    answered = Answered(file_of(project, made.identity, engine, recipe.checkpoint))
    try:
        scale = CUDA_SCALE if registry.engine(engine).capabilities().devices[:1] not in ((), ("cpu",)) else 1
        bridge = Bridge(model, answered, seed=recipe.seed, advance=progress.advance, scale=scale)
        progress.say("writing the prompts")
        compared = [
            divergence.Divergence(
                choice, project.root, made, engine, model, limit=recipe.limit, checkpoint=recipe.checkpoint
            )
            for choice in apart
        ]
        sizes = {name: build(loaded, bridge) * (recipe.samples if loaded.code else 1) for name, loaded in tasks.items()}
        progress.total = sum(sizes.values()) + sum(len(one.windows) for one in compared)
        figures: dict[str, TaskFigures] = {}
        items: list[Item] = []
        for one in compared:
            progress.say(one.name)
            figures[one.name], found = one.outcome(bridge.kept(one.windows, one.key, one.ask))
            items += found
            one.close()
            progress.finish(len(one.windows))
            progress.say("measuring the speed")
            facts |= {"tokens_per_second": divergence.speed(model, one.prompt(SPEED_PROMPT), time.perf_counter)}
        for name, loaded in tasks.items():
            progress.say(name)
            assert recipe.temperature is not None
            figures[name], found = evaluate(
                loaded, bridge, f"lm-eval {harness.version()}", samples=recipe.samples, temperature=recipe.temperature,
                say=progress.say,
            )  # fmt: skip
            items += found
            progress.finish(sizes[name])
            if short := figures[name].truncated:
                warn(
                    f"{name}: the beginning of {short:,} of {len(found):,} items did not fit into the model's context."
                )
    finally:
        answered.close()
        model.close()
    results.write(
        job.output,
        Results(
            model={
                "kind": made.kind, "name": made.name, "id": made.id, "identity": made.identity, "engine": engine,
                "checkpoint": recipe.checkpoint, **facts,
            },
            panel="" if recipe.tasks else recipe.panel,
            tasks=figures,
            seconds=time.monotonic() - begun,
            computed=bridge.computed,
            known=bridge.known,
        ),
        items,
    )  # fmt: skip
    return _report(figures, len(items), bridge.computed, bridge.known) | facts


def _report(figures: Mapping[str, TaskFigures], items: int, computed: int, known: int) -> dict[str, Any]:
    scores = {
        name: {
            "metric": task.main,
            **{part: getattr(task.figures[task.main], part) for part in ("value", "low", "high")},
        }
        for name, task in figures.items()
    }
    return {"items": items, "scores": scores, "computed": computed, "known": known}


def _open(engine: str, folder: Path) -> LanguageModel:
    return registry.engine(engine).load(folder)


class _Progress:
    """Counts requests over all tasks; the phase is what is being done."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter
        self.total: int | None = None
        self._done = self._finished = 0
        self._phase, self._emitted = "", 0.0

    def say(self, phase: str) -> None:
        self._phase = phase
        self._emit()

    def advance(self, requests: int) -> None:
        """Raises `Interrupted` once a stop was asked for."""
        self._done += requests
        if self._reporter.should_stop():
            raise Interrupted
        if time.monotonic() - self._emitted >= SECONDS_BETWEEN_EVENTS:
            self._emit()

    def finish(self, requests: int) -> None:
        """A task of so many requests is done; equal ones among them were asked once."""
        self._finished += requests
        self._done = self._finished
        self._emit()

    def _emit(self) -> None:
        self._emitted = time.monotonic()
        self._reporter.emit(Progress(done=self._done, total=self.total, unit="requests", phase=self._phase))
