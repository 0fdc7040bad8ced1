"""Benchmarks to look at: of a finished model, its checkpoints, its export and a better one, on tasks of every kind.
The answers are drawn, by skills that are known; the figures are worked out of them as in any benchmark."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.tui.data_project import HOSTILE, sealed
from tests.tui.example import HOUR, NOW
from workbench.benchmarks import results, statistics
from workbench.benchmarks.results import Figure, Item, Results, Setting, TaskFigures
from workbench.store.artifacts import Artifact, read_manifest
from workbench.store.catalog import open_catalog
from workbench.store.project import Project

SETTING = Setting(version="1.0", shots=0, chat_template=False, harness="lm-eval 0.4.13", limit=120)
GROUPED = ("mmlu_anatomy", "mmlu_virology", "mmlu_world_religions")


def _choice(task: str, metric: str, number: int, right: bool, draw: random.Random) -> Item:
    choices = (f"a thing of {number}", f"another of {number}, which is longer", "neither", HOSTILE[:24])
    place = number % 4
    nats = [-8.0 - 3 * draw.random() for _ in choices]
    taken = place if right else (place + 1) % 4
    nats[taken] = -2.0 - draw.random()
    weights = [len(choice) if metric == "acc_norm" else 1 for choice in choices]
    nats = [value * weight for value, weight in zip(nats, weights, strict=True)]
    return Item(
        task=task, item=str(number), hash=f"{task}-{number}", prompt=f"Question: what is {number} of {task}?\nAnswer:",
        target=str(place), metrics={metric: float(right)}, choices=choices, log_likelihoods=tuple(nats),
        answer=choices[taken], right=place,
    )  # fmt: skip


def _written(task: str, metric: str, number: int, right: bool, draw: random.Random) -> Item:
    answer = f"It is {number}." if right else f"{HOSTILE} It is {number + 1}."
    return Item(
        task=task, item=str(number), hash=f"{task}-{number}", prompt=f"How much is {number} + 0?", target=str(number),
        metrics={metric: float(right)}, answer=answer, tokens=len(answer) // 4,
    )  # fmt: skip


def _program(task: str, metric: str, number: int, right: bool, draw: random.Random) -> Item:
    return Item(
        task=task, item=str(number), hash=f"{task}-{number}", prompt=f"def add_{number}(x):\n", target="assert True",
        metrics={metric: float(right)}, answer=f"    return x + {number}", tokens=9,
        more={"outcomes": ["passed" if right else "timeout"], "message": "" if right else "10 s are over"},
    )  # fmt: skip


def _likelihood(task: str, metric: str, number: int, right: bool, draw: random.Random) -> Item:
    nats = -(0.5 if right else 4.0) - draw.random()
    return Item(
        task=task, item=str(number), hash=f"{task}-{number}", prompt=f"The end of story {number} is its",
        target=" end", metrics={metric: nats}, log_likelihoods=(nats,), more={"greedy": right},
    )  # fmt: skip


Make = Callable[[str, str, int, bool, random.Random], Item]
TASKS: dict[str, tuple[Make, str, str]] = {
    "arc_easy": (_choice, "acc", "multiple_choice"),
    "hellaswag": (_choice, "acc_norm", "multiple_choice"),
    **dict.fromkeys(GROUPED, (_choice, "acc", "multiple_choice")),
    "lambada_openai": (_likelihood, "perplexity", "loglikelihood"),
    "gsm8k": (_written, "exact_match", "generate_until"),
    "humaneval": (_program, "pass@1", "generate_until"),
}


def measure(
    project: Project, model: dict[str, Any], skill: float, *, seed: int, panel: str = "quick", items: int = 120,
    tasks: Sequence[str] = tuple(TASKS), setting: Setting = SETTING, name: str | None = None, ago: float = 1,
) -> Artifact:  # fmt: skip
    """A benchmark of a model that has each item right with about the chance `skill`; all find the same hard."""
    found: list[Item] = []
    figures: dict[str, TaskFigures] = {}
    for task in tasks:
        make, metric, kind = TASKS.get(task, TASKS["arc_easy"])
        hard, own = random.Random(f"{task}"), random.Random(f"{task} {seed}")
        made = [
            make(task, metric, number, 0.7 * hard.random() + 0.3 * own.random() < skill, own) for number in range(items)
        ]
        figure = statistics.figure(metric, made, higher_is_better=metric != "perplexity")
        assert figure is not None
        lengths = [item.tokens for item in made if item.tokens is not None]
        figures[task] = TaskFigures(
            task=task, kind=kind, setting=setting, figures={metric: figure, **_more(metric, made)}, main=metric,
            n=items, group="mmlu" if task in GROUPED else "",
            answer_tokens=sum(lengths) / len(lengths) if lengths else None,
        )  # fmt: skip
        found += made

    def fill(folder: Path) -> dict[str, Any]:
        known = {"kind": "model", "engine": "pytorch", "checkpoint": None, **model}
        results.write(folder, Results(model=known, panel=panel, tasks=figures, seconds=9.0, computed=items), found)
        return {"items": len(found)}

    step = model.get("checkpoint")
    called = name or f"{model['id']}-{panel}" + (f"-step-{step}" if step else "")
    made_it = sealed(project, "benchmark", called, fill, stage="benchmark", model=model["id"], panel=panel, limit=items)
    with open_catalog(project) as catalog:
        catalog.connection.execute("UPDATE artifacts SET created = ? WHERE id = ?", (NOW - ago * HOUR, made_it.id))
        catalog.connection.commit()
    return made_it


def _more(metric: str, made: Sequence[Item]) -> dict[str, Figure]:
    """A second metric, of choices: which the likeliest was."""
    if metric != "acc_norm":
        return {}
    likeliest = [
        replace(item, metrics={"acc": float(max(item.log_likelihoods) == item.log_likelihoods[item.right or 0])})
        for item in made
    ]
    found = statistics.figure("acc", likeliest, higher_is_better=True)
    assert found is not None
    return {"acc": found}


def fill_bench(project: Project) -> None:
    """Of the example project's model `base`: finished, four checkpoints, its export; and of a stranger."""
    base = {"id": "base", "name": "base", "identity": _identity(project, "model", "base")}
    export = {"id": "base-q8", "name": "base-q8", "identity": _identity(project, "export", "base-q8")}
    stranger = {"id": "stranger", "name": "stranger", "identity": "f" * 64}
    measure(project, base, 0.5, seed=1, ago=20)
    for step, skill in ((200, 0.3), (400, 0.38), (600, 0.44), (800, 0.47)):
        measure(project, {**base, "checkpoint": step}, skill, seed=1 + step, ago=19 - step / 100)
    measure(project, {**export, "kind": "export", "engine": "llamacpp"}, 0.49, seed=1, ago=4)
    measure(
        project, stranger, 0.66, seed=3, ago=2, tasks=[task for task in TASKS if task != "humaneval"],
        setting=replace(SETTING, shots=5),
    )  # fmt: skip


def _identity(project: Project, kind: str, name: str) -> str:
    return read_manifest(project.folder(kind) / name).identity
