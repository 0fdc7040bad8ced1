"""What the Bench starts and writes: benchmarks of a model's kept checkpoints, and tables in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import durable
from workbench.benchmarks import report
from workbench.errors import WorkbenchError
from workbench.store import runs
from workbench.store.project import Project
from workbench.tui import safe
from workbench.tui.bench import EVERY_PANEL, Gathered
from workbench.tui.live import ArtifactRow, Live

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp

FOLDER = "tables"  # in the project
SUFFIXES = {"markdown": "md", "csv": "csv", "json": "json"}


def export(project: Project, models: Sequence[Gathered], panel: str, form: str) -> Path:
    """Write the models side by side, in their order; the file.

    Raises `WorkbenchError` for an unknown form, or if the file cannot be written.
    """
    if form not in SUFFIXES:
        raise WorkbenchError(f"There is no format {form!r}.", f"There are: {', '.join(SUFFIXES)}.")
    name = {"": "single-tasks", EVERY_PANEL: "everything"}.get(panel, panel)
    path = project.root / FOLDER / f"{name}.{SUFFIXES[form]}"
    try:
        path.parent.mkdir(exist_ok=True)
        durable.write_text(path, report.export(models, form, every_task=True))
    except OSError as error:
        raise WorkbenchError(
            f"{path} cannot be written: {error.strerror}.", "Make room, or the folder writable."
        ) from None
    return path


def benchmark_checkpoints(app: WorkbenchApp, model: Gathered) -> None:
    """Ask, then start a benchmark of each kept checkpoint, in the way in which the model was measured last."""
    live, project = app.live, app.project
    assert live is not None
    assert project is not None
    made, asked = _model_of(live, model), _recipe_of(live, model)

    def start(steps: Sequence[int]) -> None:
        recipes = [{**asked, "model": f"{made.name}-{made.version}", "checkpoint": step} for step in steps]
        app.in_background(lambda: _submit(project, recipes), app.tell)

    def ask(steps: list[int]) -> None:
        what = f"the panel {asked['panel']}" if not asked.get("tasks") else ", ".join(map(str, asked["tasks"]))
        limit = f", the first {asked['limit']:,} items of each task" if asked.get("limit") else ""
        question = (
            f"Benchmark {len(steps)} kept checkpoints of {safe.line(made.id)}, from step {steps[0]:,} to "
            f"{steps[-1]:,}, on {safe.line(what)}{limit}? What was measured before is not measured again."
        )
        app.confirm(question, lambda: start(steps), yes="Start them", no="Leave it")

    app.in_background(lambda: _steps(project, made), ask)


def _model_of(live: Live, model: Gathered) -> ArtifactRow:
    """Raises `WorkbenchError` for what has no checkpoints."""
    made = trained(live, model.key[0])
    if made is None:
        raise WorkbenchError(f"{model.model} is no model of this project.", "Choose a model that was trained here.")
    if made.run is None:
        raise WorkbenchError(f"{made.id} was not trained here.", "Choose a model that was.")
    return made


def trained(live: Live, identity: str) -> ArtifactRow | None:
    """The model of this identity; or the one whose training an export or a merged adapter of this identity is of."""
    of_kind = {(item.kind, item.id): item for item in live.artifacts}
    made = next((item for item in live.artifacts if item.identity == identity), None)
    while (
        made is not None and "steps" not in made.report and (source := of_kind.get(made.inputs.get("model", ("", ""))))
    ):
        made = source
    return made if made is not None and made.kind == "model" else None


def _recipe_of(live: Live, model: Gathered) -> dict[str, Any]:
    """What its newest benchmark was asked to do."""
    made = next((item for item in live.artifacts if item.kind == "benchmark" and item.id == model.id), None)
    if made is None:
        raise WorkbenchError(f"The benchmark {model.id} is not in the project any more.", "Start one with n.")
    return {key: value for key, value in made.recipe.items() if key not in ("name", "checkpoint")}


def _steps(project: Project, made: ArtifactRow) -> list[int]:
    kept = runs.checkpoints(project, made.run) if made.run else []
    if not kept and "checkpoints" not in made.recipe:
        raise WorkbenchError(f"{made.id} was not trained here: it has no checkpoints.", "Choose a model that was.")
    if not kept:
        raise WorkbenchError(
            f"The run that made {made.id} has kept no checkpoint.",
            "Train it again by another name, with more that are kept: `checkpoints` in its recipe.",
        )
    return [int(path.name.removeprefix("step-")) for path in kept]


def _submit(project: Project, recipes: Sequence[dict[str, Any]]) -> str:
    from workbench.recipes.load import recipe_from
    from workbench.tui.stages import submit

    started = [submit(project, recipe_from(recipe)).run for recipe in recipes]
    new = [run for run in started if run is not None]
    if not new:
        return "All of them were measured already."
    return f"{len(new)} benchmarks are started; {len(started) - len(new)} were measured already. g r shows them."
