"""`workbench benchmark`: one run a model, or a checkpoint, on a panel of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from workbench.cli.errors import WrongUsage
from workbench.cli.output import common, complete_artifact, open_current
from workbench.cli.stages import make, option_of
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.benchmark import BenchmarkRecipe
from workbench.recipes.fields import recipe_fields
from workbench.store import runs
from workbench.store.artifacts import resolve_any

KINDS = ("model", "export")
FIELDS = [field for field in recipe_fields(BenchmarkRecipe) if field.path not in ("model", "checkpoint", "tasks")]
ALL = "all"
WITH_TEXT = ("text", "divergence")  # tasks that are named with a text


def command() -> click.Command:
    @common
    def benchmark(
        as_json: bool, detach: bool, models: tuple[str, ...], tasks: tuple[str, ...], checkpoints: str, **values: Any
    ) -> None:
        given = {name: value for name, value in values.items() if value is not None}
        named = [_absolute(part) for text in tasks for part in text.split(",") if part]
        if tasks and not named:
            raise WrongUsage("--tasks names no task.", "Name some, or leave it out to take the panel's.")
        if given.get("name") and (len(models) > 1 or checkpoints):
            raise WrongUsage("--name names one benchmark, and several are to be made.", "Leave --name out.")
        recipes = []
        for model in models:
            for step in _steps(model, checkpoints):
                plain = {"model": model, "tasks": named, "checkpoint": step, **given}
                try:
                    recipes.append(validate(BenchmarkRecipe, {"stage": "benchmark", **plain}))
                except WorkbenchError as error:
                    raise WrongUsage(error.what, error.remedy) from None
        make(recipes, Path.cwd(), detach=detach, as_json=as_json)

    made: Any = benchmark
    for field in reversed(FIELDS):
        made = option_of(field)(made)
    made = click.option(
        "--checkpoints", default="", metavar="all|STEP,STEP",
        help="Not the finished model, but checkpoints that its run has kept.",
    )(made)  # fmt: skip
    made = click.option(
        "--tasks", multiple=True, metavar="TASK,TASK", help="These tasks in place of the panel's."
    )(made)  # fmt: skip
    made = click.option(
        "--detach", is_flag=True, help="Answer with the last run's id at once; all go on by themselves."
    )(made)
    made = click.argument(
        "models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_artifact(*KINDS)
    )(made)
    examples = (
        "workbench benchmark base base-q8 --panel quick",
        "workbench benchmark smol --tasks hellaswag,arc_easy --limit 200 --shots 5",
        "workbench benchmark base --checkpoints all --tasks blimp_wh_island",
        "workbench benchmark smol --panel code --allow-code --samples 10",
    )
    lines = "\n".join(f"  {line}" for line in examples)
    return click.command(
        "benchmark",
        help="Measure models on a panel of tasks, item by item. What was answered before is not computed again.",
        epilog=f"\b\nExamples:\n{lines}\n\nThen: workbench compare MODEL MODEL",
    )(made)


def _absolute(task: str) -> str:
    """A text's path does not depend on where the run is."""
    kind, colon, file = task.partition(":")
    return f"{kind}:{Path(file).expanduser().resolve()}" if colon and kind in WITH_TEXT else task


def _steps(model: str, wanted: str) -> Sequence[int | None]:
    """The checkpoints to measure; None stands for the finished model."""
    if not wanted:
        return [None]
    if wanted != ALL:
        return list(_numbers(wanted))
    project, catalog = open_current()
    made = resolve_any(project, catalog, model, KINDS)
    kept = runs.checkpoints(project, made.run) if made.run else []
    if not kept:
        if "checkpoints" not in made.recipe:
            raise WorkbenchError(f"{made.id} was not trained here: it has no checkpoints.", "Leave --checkpoints out.")
        raise WorkbenchError(
            f"The run that made {made.id} has kept no checkpoint.",
            "Leave --checkpoints out, or train it again: the same recipe with --name NEW --save-steps N --keep-last K.",
        )
    return [int(path.name.removeprefix("step-")) for path in kept]


def _numbers(text: str) -> Iterator[int]:
    for part in text.split(","):
        if not part.strip().isdigit():
            raise WrongUsage(f"--checkpoints cannot be {text!r}.", "Give steps, such as 200,400, or: all")
        yield int(part)


COMMANDS = {"benchmark": command()}
