"""From recipes to steps: what is made already, what is being made, and what has to run.

Identities follow from recipes and inputs alone, so a whole pipeline is planned before anything runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.errors import WorkbenchError
from workbench.recipes.base import PATH_OR_NAME, Recipe, validate
from workbench.recipes.benchmark import BenchmarkRecipe
from workbench.recipes.chats import CollectRecipe, ImportChatRecipe
from workbench.recipes.corpus import ImportRecipe, ShardsRecipe
from workbench.recipes.export import ExportRecipe
from workbench.recipes.models import MergeAdapterRecipe
from workbench.recipes.pretrain import PretrainRecipe
from workbench.recipes.reinforcement import PpoRecipe
from workbench.recipes.tuning import TuningRecipe
from workbench.runs.contents import content_identities
from workbench.store import judgements, runs
from workbench.store.artifacts import Artifact, by_identity, folder_of, identity_of, is_adapter, resolve, resolve_any
from workbench.store.catalog import Catalog
from workbench.store.project import Project

WRITTEN = ("candidates.jsonl", "answers.jsonl", "work")  # grow in the folder of the run that writes them


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
    """The steps of `recipes` in order, each with the steps that it needs and nobody asked for in front of it.

    Raises `WorkbenchError` for an input that neither exists nor is made by an earlier step or run.
    """
    runs.find_lost(project, catalog)  # and what ended a moment ago, which the catalog may not know yet
    steps: list[Step] = []
    for place, recipe in enumerate(recipes):
        resolved = _with_steps(project, recipe).resolved()
        made: dict[str, int] = {}
        try:
            for role, needed in _prerequisites(project, catalog, resolved, steps):
                steps.append(_step(project, catalog, needed, steps, {}, any_name=True))
                made[role] = len(steps) - 1
            steps.append(_step(project, catalog, resolved, steps, made))
        except WorkbenchError:
            _require_order(catalog, resolved, steps, recipes[place + 1 :])
            raise
    return steps


def _with_steps(project: Project, recipe: Recipe) -> Recipe:
    """An import with the steps of its preset, which may be the project's own; other recipes as they are."""
    if not isinstance(recipe, ImportRecipe):
        return recipe
    from workbench.corpus.cleaning.presets import resolved

    return resolved(recipe, project.root)


def _may_be_file(recipe: Recipe, role: str) -> bool:
    """Whether the field of this role may also be the path of a file."""
    info = type(recipe).model_fields.get(role)
    return info is not None and info.json_schema_extra == PATH_OR_NAME


def _require_order(catalog: Catalog, recipe: Recipe, earlier: Sequence[Step], later: Sequence[Recipe]) -> None:
    """Raises `WorkbenchError` if `recipe` needs what there is not yet and a later recipe makes."""
    for _, name, kinds in recipe.references():
        maker = next((item for item in later if item.produces in kinds and item.title() == name), None)
        if maker and not any(_known(catalog, earlier, kind, name) for kind in kinds):
            raise WorkbenchError(
                f"The stage {recipe.stage} needs the {maker.produces} {name!r}, which a later stage makes.",
                f"Move the stage {maker.stage} that makes {name!r} in front of it.",
            ) from None


def _prerequisites(
    project: Project, catalog: Catalog, recipe: Recipe, earlier: Sequence[Step]
) -> Iterator[tuple[str, Recipe]]:
    """(role, recipe) of inputs that are made on the way, without being asked for."""
    if isinstance(recipe, PretrainRecipe):
        for role, corpus in recipe.shards_roles().items():
            name = f"{corpus}-{recipe.tokenizer}"[:64]
            yield role, validate(ShardsRecipe, {"corpus": corpus, "tokenizer": recipe.tokenizer, "name": name})
    for role, name, kinds in recipe.references():
        if role == "prompts" and os.path.isfile(name):
            values = {"sources": [name], "format": "prompts", "name": _name_of(name)}
            yield role, validate(ImportChatRecipe, values)
        elif kinds == ("preferences",) and not _known(catalog, earlier, "preferences", name):
            if _known(catalog, earlier, "candidates", name):
                yield role, _collect(project, catalog, name)
        elif isinstance(recipe, ExportRecipe) and _is_adapter(project, catalog, earlier, name):
            yield role, validate(MergeAdapterRecipe, {"model": name})


def _collect(project: Project, catalog: Catalog, name: str) -> Recipe:
    """The recipe that takes all judgements on the candidates `name` that there are now.

    Raises `WorkbenchError` if there are none.
    """
    candidates = resolve(project, catalog, "candidates", name)
    lines = judgements.count(judgements.file_of(project, candidates.identity))
    if not lines:
        raise WorkbenchError(f"The candidates {name!r} have not been ranked yet.", f"Rank them: workbench rank {name}")
    return validate(CollectRecipe, {"candidates": name, "judgements": lines})


def _name_of(path: str) -> str:
    """A name for what is read from the file `path`."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem).strip("-._")
    return stem[:64] or "prompts"


def _known(catalog: Catalog, earlier: Sequence[Step], kind: str, name: str) -> bool:
    """Whether there is such an artifact, or one is being made."""
    return bool(
        any(step.kind == kind and step.name == name for step in earlier)
        or _active(catalog, kind, name=name)
        or catalog.rows("SELECT 1 FROM artifacts WHERE kind = ? AND ? IN (name, id) LIMIT 1", (kind, name))
    )


def _is_adapter(project: Project, catalog: Catalog, earlier: Sequence[Step], name: str) -> bool:
    """Whether the model `name`, made or about to be, is an adapter."""
    for step in reversed(earlier):
        if step.kind == "model" and step.name == name:
            return is_adapter(step.recipe.model_dump())
    if run := _active(catalog, "model", name=name):
        return is_adapter(runs.recipe_of(project, run["id"]))
    return _known(catalog, (), "model", name) and is_adapter(resolve(project, catalog, "model", name).recipe)


def _step(
    project: Project,
    catalog: Catalog,
    recipe: Recipe,
    earlier: list[Step],
    made_on_the_way: Mapping[str, int],
    any_name: bool = False,
) -> Step:
    """`made_on_the_way`: role -> the place in `earlier` of the step that makes it."""
    inputs: dict[str, dict[str, str]] = {}
    after: list[int] = []
    after_runs: list[str] = []
    for role, place in made_on_the_way.items():
        step = earlier[place]
        inputs[role] = {"kind": step.kind, "identity": step.identity, "name": step.name}
        after.append(place)
    for role, name, kinds in recipe.references():
        if role in inputs or (isinstance(recipe, PretrainRecipe) and kinds == ("corpus",)):  # it reads their shards
            continue
        places = [i for i, step in enumerate(earlier) if step.kind in kinds and step.name == name]
        if places:
            step = earlier[places[-1]]
            inputs[role] = {"kind": step.kind, "identity": step.identity, "name": name}
            after.append(places[-1])
            continue
        going = next((run for kind in kinds if (run := _active(catalog, kind, name=name))), None)
        if going:
            inputs[role] = {"kind": going["produces"], "identity": going["identity"], "name": name}
            after_runs.append(going["id"])
        else:
            try:
                found = resolve_any(project, catalog, name, kinds) if len(kinds) > 1 else None
                found = found or resolve(project, catalog, kinds[0], name)
            except WorkbenchError:
                if _may_be_file(recipe, role) and (os.sep in name or Path(name).suffix[1:].isalpha()):
                    raise WorkbenchError(f"There is no file {name}.", "Check the path.") from None
                raise
            inputs[role] = {"kind": found.kind, "identity": found.identity, "name": name}
    identities = {role: item["identity"] for role, item in inputs.items()}
    identities |= content_identities(recipe)
    if isinstance(recipe, CollectRecipe):
        candidates = resolve(project, catalog, "candidates", recipe.candidates)
        identities["judgements"] = judgements.digest(
            judgements.file_of(project, candidates.identity), recipe.judgements
        )
    if isinstance(recipe, BenchmarkRecipe):
        from workbench.benchmarks import asked

        asked.require_allowed(project.root, recipe)
        asked.require_shown(project.root, recipe)
        asked.require_fit(project, recipe, inputs["model"]["identity"])
        identities["panel"] = asked.fingerprint(project.root, recipe, inputs["model"]["identity"])
    identity = identity_of(recipe.identity(), identities)
    made = by_identity(project, catalog, recipe.produces, identity, prefer=recipe.title())
    if made is not None and made.name != recipe.title() and not any_name:
        made = None  # its run gives it the other name, without doing the work again
    action: Literal["made", "active", "resume", "new"] = "made" if made else "new"
    run_id = None
    if made is None:
        having = {} if any_name else {"name": recipe.title()}
        if active := _active(catalog, recipe.produces, identity=identity, **having):
            action, run_id = "active", active["id"]
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
        f"SELECT id, identity, produces FROM runs WHERE produces = ? AND {where} "
        "AND state IN ('queued', 'running') ORDER BY number DESC LIMIT 1",
        (kind, *having.values()),
    )
    return rows[0] if rows else None


def _resumable(project: Project, catalog: Catalog, identity: str, name: str) -> str | None:
    """The newest run that set out to make this and did not get there, if it left a checkpoint, or answers."""
    for row in catalog.rows(
        "SELECT id FROM runs WHERE identity = ? AND name = ? AND state IN ('stopped', 'failed', 'lost') "
        "ORDER BY number DESC",
        (identity, name),
    ):
        folder = runs.folder_of(project, row["id"])
        if runs.checkpoints(project, row["id"]) or any((folder / name).exists() for name in WRITTEN):
            return row["id"]
    return None


def checkpoints_differ(asked: Mapping[str, Any], done: Mapping[str, Any]) -> bool:
    """Whether two recipes of the same training, as plain values, keep other checkpoints: what is trained is the same,
    but what is left of the way there is not."""
    return "checkpoints" in asked and asked["checkpoints"] != done.get("checkpoints")


def require_fit(project: Project, catalog: Catalog, step: Step) -> None:
    """Raises `WorkbenchError` if a model that is made already cannot read sequences as long as the recipe asks for, or
    the engine that is to open it does not."""
    if (asked := step.recipe.model_engine()) is not None and (item := step.inputs.get("model")):
        from workbench import registry

        if made := by_identity(project, catalog, item["kind"], item["identity"]):
            registry.opener(folder_of(project, made), asked)
    if not isinstance(step.recipe, TuningRecipe):
        return
    from workbench.corpus.context import context_length

    found = []
    # PPO's value model is the reward model, trained further: it reads whole sequences, as the policy does.
    for role in ("base", "reward") if isinstance(step.recipe, PpoRecipe) else ("base",):
        if item := step.inputs.get(role):
            made = by_identity(project, catalog, item["kind"], item["identity"])
            found.append(context_length(folder_of(project, made)) if made else None)
    if contexts := [context for context in found if context]:
        step.recipe.require_fit(min(contexts))


def require_engine(recipe: Recipe) -> None:
    """Raises `WorkbenchError` if the recipe's engine does not exist or cannot run the stage here."""
    from workbench import registry

    name = recipe.engine_name()
    if name not in registry.names():
        raise WorkbenchError(f"There is no engine called {name!r}.", _engines_for(recipe.stage))
    able = registry.engine(name).capabilities()
    if not able.available:
        # llama.cpp may still be building when a pipeline is submitted; the export's own run says so if it is not.
        if name == "llamacpp":
            return
        raise WorkbenchError(able.reason, able.install and f"Install it: {able.install}")
    if recipe.stage in able.lacking:
        raise WorkbenchError(able.lacking[recipe.stage], f"Install it: {able.install}")
    if recipe.stage not in able.stages:
        raise WorkbenchError(f"The engine {name} does not run {recipe.stage}.", _engines_for(recipe.stage))
    if recipe.launcher() not in able.launchers:
        raise WorkbenchError(
            f"The engine {name} does not start by {recipe.launcher()}: it trains in one process.",
            "Leave out --launch and --processes, or take the engine pytorch.",
        )
    if (opener := recipe.model_engine()) is not None:
        registry.require_opener(opener)
    wanted = recipe.weight_format()
    if wanted is not None and wanted in able.lacking_formats:
        raise WorkbenchError(*able.lacking_formats[wanted])
    if wanted is not None and wanted not in able.weight_formats:
        formats = f"It does in: {', '.join(able.weight_formats)}." if able.weight_formats else "Leave that out."
        raise WorkbenchError(f"The engine {name} {_does(recipe)} no weights in {wanted}.", formats)


def _does(recipe: Recipe) -> str:
    return "writes" if recipe.produces == "export" else "holds"


def _engines_for(stage: str) -> str:
    from workbench import registry

    fit = [name for name, able in registry.capabilities().items() if able.available and stage in able.stages]
    return f"{stage} is run by: {', '.join(fit)}." if fit else "workbench doctor lists the engines and what they lack."
