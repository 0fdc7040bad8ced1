"""What decides which questions a benchmark asks, told before it runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from workbench.benchmarks import code, divergence, harness, task_data
from workbench.benchmarks.panels import TaskChoice, choices
from workbench.benchmarks.tasks import TEXT, expand, of_panel, require_examples
from workbench.errors import WorkbenchError
from workbench.recipes.benchmark import BenchmarkRecipe
from workbench.store import runs
from workbench.store.artifacts import Artifact, folder_of
from workbench.store.project import Project


def chosen(project_root: Path, recipe: BenchmarkRecipe) -> list[TaskChoice]:
    """The named tasks, else the panel's. Raises `WorkbenchError` for a panel or a task that there is not."""
    found = choices(recipe.tasks) if recipe.tasks else of_panel(project_root, recipe.panel)
    return [single for choice in found for single in expand(choice, project_root, lambda _: None)]


def require_allowed(project_root: Path, recipe: BenchmarkRecipe) -> None:
    """Raises `WorkbenchError` if programs that the model writes would run, and that is not allowed or possible here."""
    names = [choice.task for choice in chosen(project_root, recipe) if choice.task in harness.tasks()]
    code.require_allowed(recipe.allow_code, [name for name in names if harness.settings(name).get("unsafe_code")])


def require_shown(project_root: Path, recipe: BenchmarkRecipe) -> None:
    """Raises `WorkbenchError` if worked examples are to be shown and the project's data of a task have too few."""
    for choice in chosen(project_root, recipe):
        put = choice if recipe.shots is None else choice.model_copy(update={"shots": recipe.shots})
        require_examples(put, project_root)


def require_fit(project: Project, recipe: BenchmarkRecipe, model: str) -> None:
    """Raises `WorkbenchError` if a model that is made already cannot be asked as the recipe wants.

    `model` is its identity.
    """
    made = divergence.find(project.root, model)
    if made is None:
        return
    weights = weights_folder(project, made, recipe.checkpoint)
    if recipe.chat_template is False or (made.kind == "model" and _has_chat_template(weights)):
        return
    if made.kind == "export":
        source = divergence.family(project.root, made).model
        if not source.is_dir() or _has_chat_template(source):
            return
    for choice in chosen(project.root, recipe):
        if recipe.chat_template or choice.chat_template:
            raise no_chat_template(choice.task)


def no_chat_template(task: str) -> WorkbenchError:
    """The error for a task that is to be put as a chat to a model that cannot."""
    return WorkbenchError(
        f"{task} is to be put as a chat, but this model has no chat template.",
        "Put it as plain text with --no-chat-template, or take a model that was taught to chat.",
    )


def weights_folder(project: Project, made: Artifact, checkpoint: int | None) -> Path:
    """The folder to open: the artifact's, or that of a kept checkpoint of its run.

    Raises `WorkbenchError` if no checkpoint of that step is kept.
    """
    if checkpoint is None:
        return folder_of(project, made)
    found = runs.checkpoints(project, made.run) if made.run else []
    kept = {int(path.name.removeprefix("step-")): path for path in found}
    if checkpoint not in kept:
        what = f"No checkpoint of {made.id} at step {checkpoint:,} is kept."
        steps = ", ".join(f"{step:,}" for step in sorted(kept))
        raise WorkbenchError(what, f"Its run has kept: {steps}." if steps else "Leave --checkpoints out.")
    return kept[checkpoint]


def _has_chat_template(folder: Path) -> bool:
    """Whether a Hugging Face folder brings one, in either of the places where it may stand."""
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


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
                content = file.read_bytes()
            except OSError as error:
                raise WorkbenchError(f"{file} cannot be read: {error.strerror}.", "Give the path of a text.") from None
            if not content.strip():
                raise WorkbenchError(f"{file} is empty.", "Give the path of a text.")
            settings["task"] = [file.name, hashlib.sha256(content).hexdigest()]
            plain.append(settings)
            continue
        data = task_data.local(project_root, choice.task)
        plain.append([settings, *([data.sha256, data.few_shot_sha256] if data else [])])
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
