"""Benchmarks whose every outcome is known, as a run leaves them, and such benchmarks as artifacts of a project."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.benchmarks import results, statistics
from workbench.benchmarks.lookup import Benchmark, opened
from workbench.benchmarks.results import Figure, Item, Results, Setting, TaskFigures
from workbench.store import artifacts
from workbench.store.artifacts import Artifact
from workbench.store.catalog import Catalog
from workbench.store.project import Project

SETTING = Setting(version="1.0", shots=0, chat_template=False, harness="lm-eval 0.4.13")


def choice(task: str, number: int, right: bool, text: str | None = None) -> Item:
    """A question between two answers, the first of which is right."""
    scores = (-1.0, -2.0) if right else (-2.5, -2.0)
    return Item(
        task=task, item=str(number), hash=f"{task}-{number}", prompt=text or f"Question {number} of {task}?",
        target="0", metrics={"acc": float(right)}, choices=(" yes", " no"), log_likelihoods=scores, right=0,
        answer=" yes" if right else " no",
    )  # fmt: skip


def text_item(task: str, number: int, nats: float, size: int = 100) -> Item:
    """A document of `size` bytes."""
    return Item(
        task=task, item=str(number), hash=f"{task}-{number}", prompt="", target="", log_likelihoods=(-nats,),
        metrics={"bits_per_byte": nats / size / math.log(2)}, more={"bytes": size},
    )  # fmt: skip


def measured(
    folder: Path,
    tasks: Mapping[str, Sequence[Item]],
    *,
    model: Mapping[str, Any] | None = None,
    panel: str = "quick",
    settings: Mapping[str, Setting] | None = None,
    grouped: Mapping[str, str] | None = None,
) -> Benchmark:
    """The benchmark of `tasks` in the new folder `folder`."""
    folder.mkdir(parents=True)
    found = {}
    for task, items in tasks.items():
        main = next(iter(items[0].metrics))
        lower = main in ("bits_per_byte", "perplexity")
        figure = statistics.figure(main, items, higher_is_better=not lower)
        assert isinstance(figure, Figure)
        found[task] = TaskFigures(
            task=task, kind="multiple_choice", setting=(settings or {}).get(task, SETTING), figures={main: figure},
            main=main, n=len(items), group=(grouped or {}).get(task, ""),
        )  # fmt: skip
    about = {"kind": "model", "name": folder.name, "id": folder.name, "identity": folder.name, "engine": "pytorch"}
    made = Results(model={**about, **(model or {})}, panel=panel, tasks=found, seconds=12.0)
    results.write(folder, made, [item for items in tasks.values() for item in items])
    return opened(folder)


def add_model(
    project: Project,
    catalog: Catalog,
    name: str,
    inputs: Mapping[str, Artifact] | None = None,
    run: str | None = None,
) -> Artifact:
    """A model of this name, with no weights: only its name, lineage and run are asked for."""
    return _sealed(project, catalog, "model", name, inputs or {}, run=run)


def add_benchmark(
    project: Project,
    catalog: Catalog,
    model: Artifact,
    tasks: Mapping[str, Sequence[Item]],
    name: str = "",
    checkpoint: int | None = None,
    **more: Any,
) -> Artifact:
    """A benchmark of `model`, sealed as a run does it."""
    name = name or f"{model.name}-{more.get('panel', 'quick')}"
    about = {"kind": model.kind, "name": model.name, "id": model.id, "identity": model.identity}
    partial = project.folder("benchmark") / f"{name}.partial"
    measured(partial, tasks, model=about | {"checkpoint": checkpoint}, **more)
    return _sealed(project, catalog, "benchmark", name, {"model": model}, partial)


def _sealed(
    project: Project,
    catalog: Catalog,
    kind: str,
    name: str,
    inputs: Mapping[str, Artifact],
    partial: Path | None = None,
    run: str | None = None,
) -> Artifact:
    if partial is None:
        partial = project.folder(kind) / f"{name}.partial"
        partial.mkdir()
        (partial / "held_out.txt").write_text(name)
    number = len(list(project.folder(kind).iterdir()))
    return artifacts.seal(
        project, catalog, partial, kind=kind, name=name, identity=f"{name}-{number}".ljust(64, "0"), stage=kind,
        run=run, recipe={}, inputs=inputs, report={}, versions={},
    )  # fmt: skip
