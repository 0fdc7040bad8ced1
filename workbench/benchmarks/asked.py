"""What decides which questions a benchmark asks, told before it runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from workbench.benchmarks import code, divergence, harness, task_data
from workbench.benchmarks.panels import Panel, TaskChoice, choices
from workbench.benchmarks.tasks import TEXT, expand
from workbench.errors import WorkbenchError
from workbench.recipes.benchmark import BenchmarkRecipe


def chosen(project_root: Path, recipe: BenchmarkRecipe) -> list[TaskChoice]:
    """The named tasks, else the panel's. Raises `WorkbenchError` for a panel or a task that there is not."""
    found = choices(recipe.tasks) if recipe.tasks else Panel.read(project_root, recipe.panel).tasks
    return [single for choice in found for single in expand(choice, project_root, lambda _: None)]


def require_allowed(project_root: Path, recipe: BenchmarkRecipe) -> None:
    """Raises `WorkbenchError` if programs that the model writes would run, and that is not allowed or possible here."""
    names = [choice.task for choice in chosen(project_root, recipe) if choice.task in harness.tasks()]
    code.require_allowed(recipe.allow_code, [name for name in names if harness.settings(name).get("unsafe_code")])


def fingerprint(project_root: Path, recipe: BenchmarkRecipe, model: str) -> str:
    """A hash of the tasks, how the panel puts them, and the local data that they are asked on.

    `model` is the identity of what is measured.

    Raises `WorkbenchError` for a panel, a task or a text that there is not.
    """
    plain: list[Any] = []
    for choice in chosen(project_root, recipe):
        settings = choice.model_dump()
        if divergence.is_one(choice.task):
            plain.append([divergence.NAME, settings["limit"], divergence.fingerprint(choice, project_root, model)])
            continue
        if choice.task.startswith(TEXT):
            file = project_root / choice.task.removeprefix(TEXT)
            try:
                settings["task"] = [file.name, hashlib.sha256(file.read_bytes()).hexdigest()]
            except OSError as error:
                raise WorkbenchError(f"{file} cannot be read: {error.strerror}.", "Give the path of a text.") from None
            plain.append(settings)
            continue
        data = task_data.local(project_root, choice.task)
        plain.append([settings, *([data.sha256, data.few_shot_sha256] if data else [])])
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
