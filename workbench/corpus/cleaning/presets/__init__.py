"""Presets: lists of steps in YAML, by name or path, as step objects.

Those of the program lie beside this module, a project's own in its folder `cleaning/`. An entry is
`{step: NAME, PARAMETER: value, …}`; what is not given has the step's default.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.corpus.cleaning.step import CorpusStep, Step
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.corpus import ImportRecipe
from workbench.recipes.nearest import nearest, nearest_key

AnyStep = Step | CorpusStep
FOLDER = Path(__file__).parent
OWN = "cleaning"  # a project's folder of its own presets

# In the order in which they are commonly run.
STEPS = (
    "html-text", "normalise", "length", "language", "gopher-repetition", "gopher-quality", "c4-quality",
    "fineweb-quality", "quality-classifier", "words", "pii", "decontaminate", "exact-duplicates",
    "paragraph-duplicates", "near-duplicates",
)  # fmt: skip


def step_class(name: str) -> type[AnyStep]:
    """The class of a step. Raises `WorkbenchError` if there is none of that name."""
    if name not in STEPS:
        raise WorkbenchError(f"There is no cleaning step {name!r}.", nearest(name, STEPS))
    module = importlib.import_module(f"workbench.corpus.cleaning.{name.replace('-', '_')}")
    for _, kind in inspect.getmembers(module, inspect.isclass):
        if issubclass(kind, (Step, CorpusStep)) and getattr(kind, "name", None) == name:
            return kind
    raise AssertionError(f"{module.__name__} has no step")


def step_from(values: Mapping[str, Any], where: str) -> AnyStep:
    """The step of one entry of the preset `where`. Raises `WorkbenchError` with the nearest valid name."""
    if not isinstance(values, Mapping) or not isinstance(values.get("step"), str):
        what = f"{where} has an entry that does not say its step: {values!r}."
        raise WorkbenchError(what, "Write each as: {step: NAME, PARAMETER: value}.")
    kind = step_class(values["step"])
    parameters = {key: value for key, value in values.items() if key not in ("step", "version")}
    for key in parameters:
        if key not in kind.model_fields:
            what = f"The step {kind.name} in {where} has no parameter {key!r}."
            raise WorkbenchError(what, nearest_key(key, list(kind.model_fields)) or "It has none at all.")
    try:
        return validate(kind, parameters)
    except WorkbenchError as error:
        raise WorkbenchError(f"In the step {kind.name} of {where}: {error.what}", error.remedy) from None


def steps_from(entries: Sequence[Mapping[str, Any]], where: str = "the recipe") -> list[AnyStep]:
    """The steps of a preset's entries, in their order. Raises `WorkbenchError`."""
    return [step_from(entry, where) for entry in entries]


def plain(steps: Sequence[AnyStep]) -> list[dict[str, Any]]:
    """Steps as a recipe holds them: name, version and every parameter."""
    return [{"step": step.name, "version": step.version, **step.model_dump(mode="json")} for step in steps]


def names(project: Path | None = None) -> dict[str, Path]:
    """Name -> file of every preset; a project's own hide those of the program."""
    folders = [FOLDER, *([project / OWN] if project else [])]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def load(name: str, project: Path | None = None) -> list[AnyStep]:
    """The steps of a preset, by name or as a YAML file. Raises `WorkbenchError`."""
    import yaml

    known = names(project)
    path = known.get(name) or Path(name).expanduser()
    if name not in known and path.suffix.lower() not in (".yaml", ".yml"):
        own = f" Your own go to {project / OWN}/NAME.yaml." if project else ""
        raise WorkbenchError(f"There is no cleaning preset {name!r}.", nearest(name, list(known)) + own)
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkbenchError(f"There is no file {str(path)!r}.", "Give a preset's name or a YAML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WorkbenchError(f"{path} cannot be read: {error}.", "Give a YAML file in UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise WorkbenchError(f"{path} is not valid YAML{line}.", "Mend that line.") from None
    if not isinstance(entries, list):
        raise WorkbenchError(f"{path} is not a list of steps.", "Write each as: - step: NAME")
    return [_placed(step, path.parent) for step in steps_from(entries, path.name)]


def steps_of(recipe: ImportRecipe, project: Path | None = None) -> list[AnyStep]:
    """The steps that a recipe asks for, with its own limit of length. Raises `WorkbenchError`."""
    steps = load(recipe.clean, project) if isinstance(recipe.clean, str) else steps_from(recipe.clean)
    if recipe.min_characters > 1 and isinstance(recipe.clean, str):
        place = next((n for n, step in enumerate(steps) if isinstance(step, CorpusStep)), len(steps))
        steps.insert(place, step_from({"step": "length", "min_characters": recipe.min_characters}, "the recipe"))
    return steps


def resolved(recipe: ImportRecipe, project: Path | None = None) -> ImportRecipe:
    """The recipe with the steps themselves in place of a preset's name. Raises `WorkbenchError`."""
    return recipe.model_copy(update={"clean": plain(steps_of(recipe, project))})


def files_of(steps: Sequence[AnyStep]) -> list[str]:
    """The files that steps read, whose contents decide what they do."""
    found: list[str] = []
    for step in steps:
        for name in _path_fields(step):
            value = getattr(step, name)
            found += value if isinstance(value, (list, tuple)) else [value] if value else []
    return [str(path) for path in found]


def _placed(step: AnyStep, folder: Path) -> AnyStep:
    """The step with its files' paths made absolute; relative ones start at the preset's folder."""
    update: dict[str, Any] = {}
    for name in _path_fields(step):
        value = getattr(step, name)
        if isinstance(value, (list, tuple)):
            update[name] = type(value)(_below(folder, item) for item in value)
        elif value:
            update[name] = _below(folder, value)
    return step.model_copy(update=update)


def _below(folder: Path, path: str) -> str:
    return os.path.normpath(folder / Path(path).expanduser())


def _path_fields(step: AnyStep) -> list[str]:
    return [
        name
        for name, info in type(step).model_fields.items()
        if isinstance(info.json_schema_extra, dict) and "path" in info.json_schema_extra
    ]
