"""The folders of what a recipe reads: to look at its data before it runs, or beside a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe
from workbench.recipes.load import recipe_from
from workbench.runs.plan import plan
from workbench.store import artifacts, runs
from workbench.store.catalog import Catalog
from workbench.store.project import Project


def planned(project: Project, catalog: Catalog, recipe: Recipe) -> tuple[Recipe, dict[str, Path]]:
    """The resolved recipe, and role -> folder of what it would read if it were started now.

    Raises `WorkbenchError` if something of it is not made yet.
    """
    step = plan(project, catalog, [recipe])[-1]
    return step.recipe, _folders(project, catalog, step.inputs)


def of_run(project: Project, catalog: Catalog, run_id: str) -> tuple[Recipe, dict[str, Path]]:
    """The recipe of a run, and role -> folder of what it reads: the versions of then, not of today.

    Raises `WorkbenchError` if something of it is not made yet, or was removed.
    """
    run, _ = runs.read(project, run_id)
    recipe = recipe_from(runs.recipe_of(project, run_id)).resolved()
    return recipe, _folders(project, catalog, run.inputs)


def _folders(project: Project, catalog: Catalog, inputs: Mapping[str, Mapping[str, str]]) -> dict[str, Path]:
    found = {}
    for role, needed in inputs.items():
        made = artifacts.by_identity(project, catalog, needed["kind"], needed["identity"])
        if made is None:
            raise WorkbenchError(
                f"{needed['kind']}/{needed['name']} is not made yet, so there are no batches to show.",
                "Run the stages before this one first.",
            )
        found[role] = artifacts.folder_of(project, made)
    return found
