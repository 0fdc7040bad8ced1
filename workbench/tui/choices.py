"""What a field of a form can be chosen from, and what is chosen first. No Textual here."""

from __future__ import annotations

from workbench import figures
from workbench.errors import WorkbenchError
from workbench.recipes.fields import RecipeField
from workbench.recipes.pretrain import SIZES
from workbench.tui import model_tree, outlook
from workbench.tui.draft import Draft
from workbench.tui.live import Live

Option = tuple[str, str]  # value, what is known of it


def options(item: RecipeField, live: Live | None) -> list[Option]:
    """The values of a field that is a choice; artifacts newest first, then those that are being made."""
    if item.path == "model.size":
        return [
            (name, f"{shape.num_hidden_layers} layers of width {shape.hidden_size}") for name, shape in SIZES.items()
        ]
    if item.path == "panel":
        return _panels(live)
    if not item.artifact:
        unset = [("", "not set")] if item.type is bool and item.default is None else []
        return [*unset, *((value, "") for value in item.choices or (("true", "false") if item.type is bool else ()))]
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
            size = error.what
        found.append((name, f"{size}, the project's own" if root in file.parents else size))
    return found


def choose_artifacts(draft: Draft, live: Live | None) -> None:
    """An artifact for every field that must name one: the newest, and a tokenizer of the chosen corpus."""
    for item in draft.fields.values():
        if not item.artifact or not item.required or draft.texts.get(item.path):
            continue
        known = [value for value, _ in options(item, live)]
        if item.artifact == ("tokenizer",) and live is not None:
            corpus = outlook.named(live.artifacts, "corpus", draft.texts.get("corpus", ""))
            fitting = [
                made.name
                for made in reversed(live.artifacts)
                if corpus and made.kind == "tokenizer" and made.inputs.get("corpus") == ("corpus", corpus.id)
            ]
            known = [*fitting, *known]
        if known:
            draft.texts[item.path] = known[0]
