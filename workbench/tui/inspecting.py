"""What a recipe trains on, in the form in which it is shown. No Textual here; opening belongs on a thread."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench import figures
from workbench.recipes.base import Recipe
from workbench.runs.inputs import of_run, planned
from workbench.store.catalog import open_catalog
from workbench.store.project import Project
from workbench.tui.live import RunRow
from workbench.tui.widgets.token_text import Cell, Stretch

if TYPE_CHECKING:
    from workbench.corpus.chats.inspection import BatchView, DocumentView, Facts, Inspector, SequenceView

STAGES = ("pretrain", "continue", "sft", "reward", "dpo", "orpo", "kto")
"""The stages whose batches are known before they run; what PPO and GRPO train on, they write themselves."""

ROLE_STYLES = {"user": "accent", "assistant": "good", "system": "muted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A recipe to look at: of a run, or one that was not started yet. `open` reads all its data."""

    title: str
    open: Callable[[], Inspector]


def run_subject(project: Project, run: RunRow) -> Subject:
    """What a run trains on."""

    def open_it() -> Inspector:
        from workbench.corpus.chats.inspection import inspector

        with open_catalog(project) as catalog:
            found = of_run(project, catalog, run.id)
        return inspector(*found)

    return Subject(title=run.id, open=open_it)


def recipe_subject(project: Project, recipe: Recipe) -> Subject:
    """What a recipe would train on if it were started now."""

    def open_it() -> Inspector:
        from workbench.corpus.chats.inspection import inspector

        with open_catalog(project) as catalog:
            found = planned(project, catalog, recipe)
        return inspector(*found)

    return Subject(title=f"{recipe.stage} {recipe.title()}, not started yet", open=open_it)


def stretches(sequence: SequenceView) -> list[Stretch]:
    """A stretch for each run of tokens with one role that are trained on or not, by document."""
    found = []
    for document in sequence.documents:
        tokens = sequence.tokens[document.start : document.stop]
        first = True
        for (role, trained), group in itertools.groupby(tokens, key=lambda token: (token.role, token.trained)):
            look = "trained" if trained else "masked"
            found.append(
                Stretch(
                    [Cell(token.text, look) for token in group],
                    label=role,
                    mark="┃" if trained else "┊",
                    plain="#" if trained else ":",
                    style=ROLE_STYLES.get(role, "muted") if trained else "muted",
                    title=about(document) if first else "",
                )
            )
            first = False
    return found


def about(document: DocumentView) -> str:
    """Where a document comes from, which tokens of its sequence it is, and whether it was longer."""
    name = " ".join(part for part in (document.label, document.source) if part) or "document"
    cut = ", cut off here: it goes on" if document.cut else ""
    return f"{name}  tokens {document.start:,} to {document.stop - 1:,}{cut}"


def batch_in_words(facts: Facts, batch: BatchView) -> list[tuple[str, str, str]]:
    """(what, value, style name) of one batch and of all of them."""
    share = batch.trained / max(batch.tokens, 1)
    steps = facts.steps_per_epoch
    found = [
        ("batch", f"{batch.step:,} of {steps:,} an epoch" + (f", epoch {batch.epoch}" if batch.epoch else ""), "text"),
        ("trained on", f"{batch.trained:,} of {batch.tokens:,} tokens, {share:.1%}", "good" if share else "bad"),
        ("sequences", f"{len(batch.sequences)} of at most {facts.max_length:,} tokens", "text"),
        ("rows", f"{figures.count(facts.rows)}, {figures.count(facts.held_out)} more held out", "text"),
    ]
    if facts.cut:
        fell = f", {figures.count(facts.cut_tokens)} tokens fall off" if facts.cut_tokens else ""
        found.append(("cut off", f"{figures.counted(facts.cut, 'rows')}{fell}", "warn"))
    if facts.untrained:
        found.append(("left out", f"{figures.counted(facts.untrained, 'rows')} with nothing to train on", "warn"))
    found.append(("packed", "yes" if facts.packing else "no", "text"))
    if facts.template:
        found.append(("template", facts.template, "text"))
    return found


def findings_in_words(facts: Facts) -> list[tuple[str, str]]:
    """(sentence, style name) of what is wrong, each followed by the row that shows it and by what to do."""
    lines = []
    for finding in facts.findings:
        bad = finding.severity == "error"
        lines.append((f"{'Error' if bad else 'Warning'}: {finding.what}", "bad" if bad else "warn"))
        if finding.source or finding.text:
            lines.append((f"  first {finding.source}: {finding.text}", "text"))
        lines.append((f"  {finding.remedy}", "muted"))
    return lines


def token_in_words(looked_at: Inspector, sequence: SequenceView, place: int) -> list[tuple[str, str]]:
    """(what, value) of one token."""
    token = sequence.tokens[place]
    held = looked_at.token_bytes(token.id)
    shown = " ".join(f"{byte:02x}" for byte in held[:24]) + (" ..." if len(held) > 24 else "")
    where = f"{place:,} of {len(sequence.tokens):,}"
    return [
        ("token", repr(token.text) if token.text else "part of a character"),
        ("id", f"{token.id:,}"),
        ("bytes", shown),
        ("role", token.role),
        ("loss", "trained on" if token.trained else "masked"),
        ("place", where),
    ]


def run_meant(runs: Mapping[str, RunRow], argument: str) -> RunRow | None:
    """The run of this id or number, or the newest that made what is called so, with known batches if there is one."""
    found = [run for run in runs.values() if argument in (run.id, str(run.number))]
    made = [run for run in runs.values() if argument in (run.artifact, run.name)]
    return next(iter([*found, *trains_on_known_batches(made), *made]), None)


def trains_on_known_batches(runs: Sequence[RunRow]) -> list[RunRow]:
    """The runs that can be looked into."""
    return [run for run in runs if run.stage in STAGES]
