"""What the files that a recipe names hold: part of the identity of what is made of them."""

from __future__ import annotations

from workbench.recipes.base import Recipe
from workbench.recipes.corpus import ImportRecipe
from workbench.store.artifacts import identity_of


def content_identities(recipe: Recipe) -> dict[str, str]:
    """role -> a hash, as the files are now. Raises `WorkbenchError` for one that is not there."""
    from workbench.corpus.contents import fingerprint_of_paths

    if isinstance(recipe, ImportRecipe):
        from workbench.corpus.cleaning import presets
        from workbench.corpus.sources import fingerprint

        found = {"sources": fingerprint(recipe.sources)}
        if files := presets.files_of(presets.steps_of(recipe)):
            found["cleaning"] = fingerprint_of_paths(files)
        return found
    paths = recipe.contents()
    return {"sources": fingerprint_of_paths(paths)} if paths else {}


def sources_changed(recipe: Recipe, identity: str) -> bool:
    """Whether an import with this identity would be another one if it were planned now.

    Raises `WorkbenchError` for a source that is not there any more.
    """
    return isinstance(recipe, ImportRecipe) and identity_of(recipe.identity(), content_identities(recipe)) != identity
