"""Starts a stage from a line of flags: the same fields as the recipe's YAML file and the command line's verbs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe, nearest, validate
from workbench.recipes.fields import nested, recipe_fields
from workbench.recipes.load import STAGES
from workbench.store.catalog import open_catalog
from workbench.store.project import Project

# What the verb takes without a flag.
BARE = {"import": "sources", "export": "model"}


def start(project: Project, stage: str, line: str) -> str:
    """Plan and submit; answers a sentence about what was started.

    Raises `WorkbenchError` if a flag is unknown, a value is wrong, or an input is missing.
    """
    return submit(project, recipe_of(stage, line))


def submit(project: Project, recipe: Recipe) -> str:
    """Plan and submit one recipe; answers a sentence about what was started."""
    from workbench.runs.plan import plan
    from workbench.runs.submit import submit as submit_steps

    with open_catalog(project) as catalog:
        steps = plan(project, catalog, [recipe])
        started = submit_steps(project, catalog, steps)
    last = steps[-1]
    if last.action == "made" and last.artifact is not None:
        return f"{last.kind} {last.artifact.id} is made already from the same recipe and inputs."
    words = {"active": "goes on already", "resume": "goes on from its last checkpoint", "new": "is started"}
    first = [run for run, step in zip(started[:-1], steps[:-1], strict=True) if step.action == "new" and run]
    before = f" after {', '.join(first)}" if first else ""
    return f"{started[-1]} {words.get(last.action, 'is started')}{before}."


def recipe_of(stage: str, line: str) -> Recipe:
    """The recipe that `--flag value` pairs (and bare words, where the stage takes them) describe."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise WorkbenchError(f"The line cannot be read: {error}.", "Close the quotation mark.") from None
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
    if bare and stage not in BARE:
        raise WorkbenchError(f"{stage} takes no {bare[0]!r}.", "Give values with flags, as in --name base.")
    if bare and BARE[stage] == "sources":
        # A path that a person types is meant from the folder that the program was opened in.
        values["sources"] = [
            word if word == "python-docs" else str(Path(word).expanduser().absolute()) for word in bare
        ]
    elif bare:
        values[BARE[stage]] = bare[0]
    return validate(kind, nested(values))
