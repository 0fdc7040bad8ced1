"""What a run would fail with, told before it waits for its turn: where that can be seen from what is made already."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.recipes.models import MergeAdapterRecipe
from workbench.recipes.preference import KtoRecipe, PreferenceRecipe
from workbench.recipes.reinforcement import GrpoRecipe
from workbench.recipes.sft import SftRecipe
from workbench.runs.plan import Step
from workbench.store.artifacts import Artifact, by_identity, folder_of, is_adapter
from workbench.store.catalog import Catalog
from workbench.store.project import Project
from workbench.wording import amount

UNFORESEEN = ("exec", "globals", "setattr", "vars")  # with one of these a module may have names that it does not show


def require_usable(project: Project, catalog: Catalog, step: Step) -> None:
    """Raises `WorkbenchError` if the engine could not use what the step reads."""

    def made(role: str) -> Artifact | None:
        item = step.inputs.get(role)
        return by_identity(project, catalog, item["kind"], item["identity"]) if item else None

    recipe = step.recipe
    if isinstance(recipe, PreferenceRecipe) and (preferences := made("preferences")):
        _require_rows(recipe, preferences)
    elif isinstance(recipe, MergeAdapterRecipe) and (model := made("model")) and not is_adapter(model.recipe):
        raise WorkbenchError(f"{recipe.model} is no adapter: there is nothing to merge.", "Use it as it is.")
    elif isinstance(recipe, SftRecipe) and (base := made("base")):
        chats = [item for number in range(len(recipe.data)) if (item := made(f"data.{number}"))]
        _require_system_turn(folder_of(project, base), chats)
    elif isinstance(recipe, GrpoRecipe) and recipe.reward_function is not None:
        _require_function(recipe.reward_function)


def _require_rows(recipe: PreferenceRecipe, preferences: Artifact) -> None:
    pairs, marks = preferences.report.get("pairs"), preferences.report.get("marks")
    if pairs != 0:
        return
    if not isinstance(recipe, KtoRecipe):
        other = ", or train on its marks: workbench kto." if marks else "."
        raise WorkbenchError(f"The preferences {preferences.id} hold no pairs.", f"Import some{other}")
    if marks == 0:
        raise WorkbenchError(f"The preferences {preferences.id} hold neither marked answers nor pairs.", "Import some.")


def _require_system_turn(base: Path, chats: Sequence[Artifact]) -> None:
    from workbench.corpus.chats.template import require_system_turn

    for item in chats:
        if with_system := item.report.get("with_system"):
            require_system_turn(base, f"{amount(with_system, 'conversations')} of {item.id}")


def _require_function(where: str) -> None:
    """`where` is FILE.py:NAME. The file is read, not run: that is left to the engine."""
    path, _, name = where.rpartition(":")
    if not path or not Path(path).is_file():
        raise WorkbenchError(f"reward_function is {where!r}, and there is no such file.", "Write it as FILE.py:NAME.")
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError) as error:
        raise WorkbenchError(
            f"{path} cannot be imported: {type(error).__name__}: {error}.", "Mend it; python FILE.py shows where."
        ) from None
    nodes = list(ast.walk(tree))
    bound = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    bound |= {node.id for node in nodes if isinstance(node, ast.Name)}
    bound |= {(item.asname or item.name) for node in nodes if isinstance(node, ast.ImportFrom) for item in node.names}
    if name in bound or not bound.isdisjoint(("*", *UNFORESEEN)):
        return
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
    raise WorkbenchError(
        f"{path} has no function {name!r}.", f"It has: {', '.join(functions) or 'none'}. Write it as FILE.py:NAME."
    )
