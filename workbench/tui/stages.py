"""A stage from a line of flags, which are the fields of the recipe's YAML file and of the command line's verbs; and
starting it."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe, nearest, validate
from workbench.recipes.fields import nested, recipe_fields
from workbench.recipes.load import POSITIONAL, STAGES
from workbench.store.catalog import open_catalog
from workbench.store.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What submitting did, in a sentence; `run` is None where everything was made already."""

    sentence: str
    run: str | None


def submit(project: Project, recipe: Recipe) -> Started:
    """Plan and submit one recipe."""
    from workbench.runs.plan import plan
    from workbench.runs.submit import submit as submit_steps

    with open_catalog(project) as catalog:
        steps = plan(project, catalog, [recipe])
        started = submit_steps(project, catalog, steps)
    last = steps[-1]
    if last.action == "made" and last.artifact is not None:
        sentence = f"{last.kind} {last.artifact.id} is made already from the same recipe and inputs."
        return Started(sentence=sentence, run=None)
    words = {"active": "goes on already", "resume": "goes on from its last checkpoint", "new": "is started"}
    first = [run for run, step in zip(started[:-1], steps[:-1], strict=True) if step.action == "new" and run]
    before = f" after {', '.join(first)}" if first else ""
    return Started(sentence=f"{started[-1]} {words.get(last.action, 'is started')}{before}.", run=started[-1])


def start_demo(folder: Path) -> Project:
    """The demo's project in `folder`, with its whole pipeline started; one that is there goes on."""
    from importlib.resources import as_file, files

    from workbench.recipes.load import read_recipes
    from workbench.runs.plan import plan
    from workbench.runs.submit import submit as submit_steps
    from workbench.store.project import SETTINGS, create, open_project

    project = open_project(folder) if (folder.expanduser() / SETTINGS).exists() else create(folder)
    with open_catalog(project) as catalog, as_file(files("workbench") / "demo.yaml") as pipeline:
        submit_steps(project, catalog, plan(project, catalog, read_recipes(pipeline)))
    return project


def recipe_of(stage: str, line: str) -> Recipe:
    """The recipe that a line describes. Raises `WorkbenchError` as `values_of`, and if a value is wrong or lacking."""
    return validate(STAGES[stage], nested(values_of(stage, line)))


def values_of(stage: str, line: str) -> dict[str, Any]:
    """What `--flag value` pairs (and bare words, where the stage takes them) say, by dotted key, unchecked.

    Raises `WorkbenchError` for a flag that the stage does not have, one without a value, and a word too many.
    """
    words = split_words(line)
    kind = STAGES[stage]
    flags = {field.flag: field for field in recipe_fields(kind)}
    values: dict[str, Any] = {}
    bare: list[str] = []
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            bare.append(word)
            continue
        flag, equals, value = word.partition("=")
        field = flags.get(flag)
        if field is None:
            raise WorkbenchError(f"{stage} has no {flag}.", nearest(flag, list(flags)))
        if field.type is bool and not equals and (not words or words[0] not in ("true", "false")):
            value = "true"
        elif not equals:
            if not words:
                raise WorkbenchError(f"{flag} has no value.", f"{field.description}")
            value = words.pop(0)
        if field.many:
            values.setdefault(field.path, []).append(value)
        else:
            values[field.path] = value
    positional = POSITIONAL.get(stage)
    if bare and positional is None:
        raise WorkbenchError(f"{stage} takes no {bare[0]!r}.", "Give values with flags, as in --name base.")
    if bare and positional == "sources":
        values["sources"] = [_absolute(word) for word in bare]
    elif bare and positional is not None:
        if len(bare) > 1:
            raise WorkbenchError(f"{stage} takes one {positional}, not {bare[1]!r} beside it.", "Leave it out.")
        values[positional] = _absolute(bare[0]) if positional == "source" else bare[0]
    return values


def absolute_sources(text: str) -> list[str]:
    """Sources as they are typed: one a line, or several with spaces between, quoted where they hold some.

    Raises `WorkbenchError` for a quotation mark that is not closed.
    """
    found: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if os.path.exists(Path(line).expanduser()):
            found.append(_absolute(line))
        else:
            found += [_absolute(word) for word in split_words(line)]
    return found


def split_words(line: str) -> list[str]:
    """The words of a line, quoted as in a shell."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise WorkbenchError(f"The line cannot be read: {error}.", "Close the quotation mark.") from None


def _absolute(source: str) -> str:
    """A path that a person types is meant from the folder that the program was opened in."""
    return source if source == "python-docs" or source.startswith("hf:") else str(Path(source).expanduser().absolute())
