"""What has to be fetched, read once more: it counts by its name, so that a plan takes it for read already."""

from __future__ import annotations

from workbench.corpus.addresses import is_fetched
from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe
from workbench.recipes.corpus import ImportRecipe
from workbench.runs.plan import plan
from workbench.store.artifacts import by_identity
from workbench.store.catalog import Catalog
from workbench.store.project import Project


def read_again(project: Project, catalog: Catalog, recipe: Recipe) -> Recipe:
    """The import with the first number of `again` that nothing was made with.

    Raises `WorkbenchError` if none of its sources is fetched.
    """
    assert isinstance(recipe, ImportRecipe)
    if not any(map(is_fetched, recipe.sources)):
        raise WorkbenchError(
            "None of these sources is fetched, so there is nothing to read again.",
            "Leave --again out: files whose contents changed are read anyway.",
        )
    while True:
        (step,) = plan(project, catalog, [recipe])
        if by_identity(project, catalog, step.kind, step.identity) is None:
            return recipe
        recipe = recipe.model_copy(update={"again": recipe.again + 1})
