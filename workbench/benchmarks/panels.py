"""Panels: named sets of tasks. Built-in ones lie beside this module, a project's own in its folder `panels`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from workbench import durable
from workbench.errors import WorkbenchError
from workbench.recipes.base import NAME_PATTERN, Section, shown, validate
from workbench.recipes.nearest import nearest

FOLDER = "panels"  # in the project
HOW_TO_WRITE = "Write each as its name, or as {task: NAME, shots: 5}."


class TaskChoice(Section):
    """One task, or one group of tasks, and how it is put. What is None is left to the harness's own setting."""

    called: ClassVar[str] = "entry"

    task: str = Field(
        description="A task or a group of lm-eval's, a task of the project's own, text:FILE, or divergence."
    )
    shots: int | None = Field(None, ge=0, description="Worked examples before each question.")
    limit: int | None = Field(None, ge=1, description="Only the first so many items.")
    chat_template: bool | None = Field(None, description="Whether questions are put as turns of a chat.")
    metric: str | None = Field(None, description="The metric that stands for the task.")


class Panel(Section):
    """A named set of tasks."""

    called: ClassVar[str] = "panel"

    description: str = ""
    tasks: list[TaskChoice] = Field(min_length=1)

    @field_validator("tasks", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{"task": item} if isinstance(item, str) else item for item in value]

    @classmethod
    def read(cls, project_root: Path, name: str) -> Panel:
        """The project's own panel `name`, else the built-in one.

        Raises `WorkbenchError` if there is none, or if its file is no panel.
        """
        file = find(project_root, name)
        return parse(file.read_text(encoding="utf-8", errors="replace"), str(file))


def choices(names: Sequence[str]) -> list[TaskChoice]:
    """Tasks named one by one, as `--tasks` does."""
    return [TaskChoice(task=name) for name in names]  # type: ignore[call-arg]


def names(project_root: Path) -> dict[str, Path]:
    """Every panel with its file; the project's own win over built-in ones of the same name."""
    found = {file.stem: file for file in sorted(_built_in().glob("*.yaml"))}
    return found | {file.stem: file for file in sorted((project_root / FOLDER).glob("*.yaml"))}


def find(project_root: Path, name: str) -> Path:
    """The file of a panel. Raises `WorkbenchError` with the nearest name if there is none."""
    known = names(project_root)
    if name not in known:
        raise WorkbenchError(f"There is no panel called {name!r}.", nearest(name, sorted(known)))
    return known[name]


def parse(text: str, where: str) -> Panel:
    """A panel from YAML. Raises `WorkbenchError` that names `where` and what is wrong."""
    import yaml

    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise WorkbenchError(f"{where} is not valid YAML{line}.", "Mend that line, or copy a built-in panel.") from None
    if not isinstance(plain, dict) or "tasks" not in plain:
        raise WorkbenchError(f"{where} holds no panel.", "Give it a list `tasks`, and a `description`.")
    entries = plain["tasks"]
    if not isinstance(entries, list) or not entries:
        raise WorkbenchError(f"{where}: `tasks` is {shown(entries)}, but should be a list of tasks.", HOW_TO_WRITE)
    place = where
    try:
        for number, entry in enumerate(entries, 1):
            place = f"{where}, task {number}"
            if isinstance(entry, dict):  # by itself, for the nearest key is told of what is no part of a list
                place += f" ({entry['task']})" if isinstance(entry.get("task"), str) else ""
                validate(TaskChoice, entry)
            elif not isinstance(entry, str):
                raise WorkbenchError(f"It is {shown(entry)}, which names no task.", HOW_TO_WRITE)
        place = where
        return validate(Panel, plain)
    except WorkbenchError as error:
        raise WorkbenchError(f"{place}: {error.what}", error.remedy) from None


def copy(project_root: Path, name: str, new_name: str | None = None) -> Path:
    """Copy a panel into the project, to edit it there.

    Raises `WorkbenchError` if the project has one of that name already.
    """
    source, target_name = find(project_root, name), new_name or name
    if not NAME_PATTERN.fullmatch(target_name):
        remedy = "Use up to 64 letters, digits, dots, dashes and underscores."
        raise WorkbenchError(f"{target_name!r} cannot be a panel's name.", remedy)
    target = project_root / FOLDER / f"{target_name}.yaml"
    if target.exists():
        raise WorkbenchError(f"{target} is there already.", "Edit it, or give the copy a name of its own.")
    target.parent.mkdir(exist_ok=True)
    durable.write_text(target, source.read_text(encoding="utf-8"))
    return target


def _built_in() -> Path:
    return Path(str(resources.files("workbench.benchmarks"))) / "panels"
