"""From recipes to steps: what is made already, what is being made, and what has to run.

Identities follow from recipes and inputs alone, so a whole pipeline is planned before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe, validate
from workbench.recipes.corpus import ImportRecipe, ShardsRecipe
from workbench.recipes.pretrain import PretrainRecipe
from workbench.store import runs
from workbench.store.artifacts import Artifact, by_identity, identity_of, resolve
from workbench.store.catalog import Catalog
from workbench.store.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of a plan.

    `action` says what submitting does: nothing ("made"), wait for `run` ("active"), go on with `run`
    ("resume"), or start a new one ("new").
    """

    recipe: Recipe
    kind: str
    name: str
    identity: str
    inputs: Mapping[str, Mapping[str, str]]  # role -> {kind, identity, name}
    after: tuple[int, ...]  # places of the steps in the plan that make its inputs
    after_runs: tuple[str, ...]  # runs, going on already, that make its inputs
    action: Literal["made", "active", "resume", "new"]
    artifact: Artifact | None = None
    run: str | None = None


def plan(project: Project, catalog: Catalog, recipes: Sequence[Recipe]) -> list[Step]:
    """The steps of `recipes` in order, with the shards that a pretraining needs in front of it.

    Raises `WorkbenchError` for an input that neither exists nor is made by an earlier step or run.
    """
    steps: list[Step] = []
    for recipe in recipes:
        resolved = recipe.resolved()
        if isinstance(resolved, PretrainRecipe):
            shards = validate(
                ShardsRecipe,
                {"corpus": resolved.corpus, "tokenizer": resolved.tokenizer, "name": _shards_name(resolved)},
            )
            steps.append(_step(project, catalog, shards, steps, dict(shards.reads), any_name=True))
            steps.append(
                _step(project, catalog, resolved, steps, {"tokenizer": "tokenizer"}, extra={"shards": len(steps) - 1})
            )
        else:
            steps.append(_step(project, catalog, resolved, steps, dict(resolved.reads)))
    return steps


def _shards_name(recipe: PretrainRecipe) -> str:
    return f"{recipe.corpus}-{recipe.tokenizer}"[:64]


def _step(
    project: Project,
    catalog: Catalog,
    recipe: Recipe,
    earlier: list[Step],
    reads: dict[str, str],
    extra: Mapping[str, int] | None = None,
    any_name: bool = False,
) -> Step:
    inputs: dict[str, dict[str, str]] = {}
    after: list[int] = []
    after_runs: list[str] = []
    for role, place in (extra or {}).items():
        inputs[role] = {"kind": earlier[place].kind, "identity": earlier[place].identity, "name": earlier[place].name}
        after.append(place)
    for field, kind in reads.items():
        reference = getattr(recipe, field)
        places = [i for i, step in enumerate(earlier) if step.kind == kind and step.name == reference]
        if places:
            identity = earlier[places[-1]].identity
            after.append(places[-1])
        elif run := _active(catalog, kind, name=reference):
            identity = run["identity"]
            after_runs.append(run["id"])
        else:
            identity = resolve(project, catalog, kind, reference).identity
        inputs[field] = {"kind": kind, "identity": identity, "name": reference}
    identities = {role: item["identity"] for role, item in inputs.items()}
    if isinstance(recipe, ImportRecipe):
        from workbench.corpus.sources import fingerprint

        identities["sources"] = fingerprint(recipe.sources)
    identity = identity_of(recipe.identity(), identities)
    made = by_identity(project, catalog, recipe.produces, identity, prefer=recipe.title())
    if made is not None and made.name != recipe.title() and not any_name:
        made = None  # its run gives it the other name, without doing the work again
    action: Literal["made", "active", "resume", "new"] = "made" if made else "new"
    run_id = None
    if made is None:
        name = {} if any_name else {"name": recipe.title()}
        if going := _active(catalog, recipe.produces, identity=identity, **name):
            action, run_id = "active", going["id"]
        elif ended := _resumable(project, catalog, identity, recipe.title()):
            action, run_id = "resume", ended
    return Step(
        recipe=recipe,
        kind=recipe.produces,
        name=recipe.title(),
        identity=identity,
        inputs=inputs,
        after=tuple(after),
        after_runs=tuple(after_runs),
        action=action,
        artifact=made,
        run=run_id,
    )


def _active(catalog: Catalog, kind: str, **having: str) -> dict[str, str] | None:
    where = " AND ".join(f"{column} = ?" for column in having)
    rows = catalog.rows(
        f"SELECT id, identity FROM runs WHERE produces = ? AND {where} "
        "AND state IN ('queued', 'running') ORDER BY number DESC LIMIT 1",
        (kind, *having.values()),
    )
    return rows[0] if rows else None


def _resumable(project: Project, catalog: Catalog, identity: str, name: str) -> str | None:
    """The newest run that set out to make this and did not get there, if it left a checkpoint."""
    for row in catalog.rows(
        "SELECT id FROM runs WHERE identity = ? AND name = ? AND state IN ('stopped', 'failed', 'lost') "
        "ORDER BY number DESC",
        (identity, name),
    ):
        if runs.checkpoints(project, row["id"]):
            return row["id"]
    return None


def require_engine(recipe: Recipe) -> None:
    """Raises `WorkbenchError` if the recipe's engine does not exist or cannot run the stage here."""
    from workbench import registry

    able = registry.engine(recipe.engine_name()).capabilities()
    if not able.available:
        raise WorkbenchError(able.reason, able.install and f"Install it: {able.install}")
    if recipe.stage not in able.stages:
        raise WorkbenchError(
            f"The engine {recipe.engine_name()} does not run {recipe.stage}.",
            f"It runs: {', '.join(able.stages)}. Choose another --engine.",
        )
