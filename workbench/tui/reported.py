"""What the run of an artifact reported, on a screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from workbench import figures
from workbench.tui import cleaning_view, model_tree, tokenizer_facts
from workbench.tui.live import ArtifactRow
from workbench.tui.widgets.sections import Sections


def show(on: Sections, item: ArtifactRow, *, ascii: bool) -> None:
    """Models and exports in the words of the Models screen, tokenizers in those of their report, all else by name."""
    if item.kind in ("model", "export"):
        on.pairs([*model_tree.measured(item), *model_tree.check(item)])
        return
    on_disk = ("on disk", figures.size(item.bytes))
    if item.kind == "tokenizer":
        on.pairs([on_disk, *tokenizer_facts.facts(item.report)])
        return
    on.pairs([*_plain(item.report), on_disk])
    if steps := cleaning_view.steps_in_short(item.report, ascii=ascii):
        on.heading(("In, and what each step left", "strong"))
        on.pairs(steps, names=20)
    for title, numbers in (
        ("Documents by language", cleaning_view.languages(item.report)),
        ("Documents by characters", cleaning_view.lengths(item.report)),
    ):
        if numbers:
            on.heading((title, "strong"))
            on.pairs(cleaning_view.histogram(numbers, ascii=ascii), names=12)
    for name in ("dropped", "by_source", "raters", "by_model"):
        found = item.report.get(name)
        if found and isinstance(found, dict) and not (steps and name == "dropped"):
            on.heading((name.replace("_", " ").capitalize(), "strong"))
            on.pairs([(str(why), figures.value(number)) for why, number in found.items()], names=28)


def _plain(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in report.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name.replace("_", " "), figures.size(value) if name.endswith("bytes") else figures.value(value)
        elif isinstance(value, str):
            yield name.replace("_", " "), value
