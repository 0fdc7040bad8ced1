"""What a field of a form can be chosen from, and what is chosen first. No Textual here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from workbench import figures, registry
from workbench.contract import Capabilities
from workbench.errors import WorkbenchError
from workbench.recipes.fields import RecipeField
from workbench.recipes.load import STAGES
from workbench.recipes.pretrain import SIZES
from workbench.tui import model_tree, outlook
from workbench.tui.draft import Checked, Draft
from workbench.tui.live import Live

Option = tuple[str, str]  # value, what is known of it
FORMATS = {"nf4": "pytorch", "mlx-8bit": "mlx", "mlx-4bit": "mlx"}
"""Number format -> the engine that has it."""


def options(item: RecipeField, live: Live | None, stage: str) -> list[Option]:
    """The values of a field that is a choice; artifacts newest first, then those that are being made."""
    if item.path == "engine":
        unset = [("", "derived")] if item.default is None else []
        return [*unset, *((name, ", ".join(able.devices)) for name, able in engines(stage, item.default).items())]
    if item.path == "model.size":
        return [
            (name, f"{shape.num_hidden_layers} layers of width {shape.hidden_size}") for name, shape in SIZES.items()
        ]
    if item.path == "panel":
        return _panels(live)
    if not item.artifact:
        unset = [("", "not set")] if item.type is bool and item.default is None else []
        values = item.choices or (("true", "false") if item.type is bool else ())
        return [*unset, *((value, f"engine {FORMATS[value]}" if value in FORMATS else "") for value in values)]
    nothing = [] if item.required else [("", "none")]
    if live is None:
        return nothing
    found = {
        made.name: model_tree.gist(made)
        for made in live.artifacts
        if made.kind in item.artifact and not (item.name == "data" and made.report.get("prompts") is True)
    }  # questions without answers teach nothing
    newest_first = dict(reversed(found.items()))
    for run in live.active():
        if run.produces in item.artifact:
            newest_first.setdefault(run.name, f"being made by {run.id}")
    return [*nothing, *newest_first.items()]


def _panels(live: Live | None) -> list[Option]:
    """The panels, the project's own first, with the number of tasks and groups that they name."""
    from workbench.benchmarks.panels import Panel, names

    if live is None:
        return []
    root, found = live.project.root, []
    for name, file in sorted(names(root).items(), key=lambda item: root not in item[1].parents):
        try:
            size = figures.counted(len(Panel.read(root, name).tasks), "tasks")
        except WorkbenchError as error:
            found.append((name, error.what.replace(str(file), file.name, 1)))
            continue
        found.append((name, f"{size}, the project's own" if root in file.parents else size))
    return found


def why_not(item: RecipeField, stage: str) -> dict[str, str]:
    """Value -> why this machine cannot do it, and the line that mends that."""
    if item.path != "engine":
        lacks = {value: _lacks(value) for value in item.choices or () if value in FORMATS}
        return {value: why for value, why in lacks.items() if why}
    return {
        name: f"{able.reason} {able.install}".strip()
        for name, able in engines(stage, item.default).items()
        if not able.available
    }


def check(draft: Draft) -> Checked:
    """As the draft's own; what this machine cannot do is wrong, too."""
    checked = draft.check()
    lacking = {
        path: WorkbenchError(why)
        for path, text in draft.texts.items()
        if (why := why_not(draft.fields[path], draft.stage).get(text.strip()))
    }
    return replace(checked, recipe=None, errors={**checked.errors, **lacking}) if lacking else checked


@cache
def _lacks(number_format: str) -> str:
    """Why this machine cannot hold weights in it, and what to do; "" if it can."""
    return " ".join(registry.why_no_format(FORMATS[number_format], number_format) or ())


@cache
def engines(stage: str, usual: str | None) -> Mapping[str, Capabilities]:
    """The engines that run `stage`, or open the models that it reads, also those that cannot here; `usual` is first."""
    answers = "model_engine" in vars(STAGES[stage])
    found = {name: Capabilities(available=True) for name in (registry.WHOLE[:1] if answers else (usual,)) if name}
    for name in registry.names():
        # PyTorch is always installed, and to ask it would load it into this process.
        if name in found or name == "pytorch":
            continue
        able = registry.engine(name).capabilities()
        if name in registry.WHOLE or name not in registry.BUILT_IN if answers else stage in able.stages:
            found[name] = able
    return found


def choose_artifacts(draft: Draft, live: Live | None) -> None:
    """An artifact for every field that must name one: the newest, and a tokenizer of the chosen corpus."""
    for item in draft.fields.values():
        if not item.artifact or not item.required or draft.texts.get(item.path):
            continue
        known = [value for value, _ in options(item, live, draft.stage)]
        if item.artifact == ("tokenizer",) and live is not None:
            first = draft.texts.get("corpus", "").partition("\n")[0].partition("=")[0]
            corpus = outlook.named(live.artifacts, "corpus", first)
            fitting = [
                made.name
                for made in reversed(live.artifacts)
                if corpus and made.kind == "tokenizer" and ("corpus", corpus.id) in made.inputs.values()
            ]
            known = [*fitting, *known]
        if known:
            draft.texts[item.path] = known[0]
