"""`workbench inspect`: a recipe's real batches, token by token."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workbench.cli.output import answer, common, note, open_current, table
from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe
from workbench.recipes.load import read_recipes
from workbench.recipes.tuning import TuningRecipe
from workbench.runs.inputs import planned
from workbench.wording import amount

if TYPE_CHECKING:
    from rich.text import Text

    from workbench.corpus.chats.inspection import BatchView, DocumentView, Facts, Inspector, SequenceView, TokenView

BACKGROUNDS = ("on #303030", "on #4a4a4a")  # of tokens, in turns
TRAINED, MASKED = "bold", "dim"


@click.command(
    "inspect",
    epilog="\b\nExamples:\n  workbench inspect sft.yaml --batch 0\n"
    "  workbench inspect runs/sft-1/recipe.yaml --batch 40 --row 3 --ids\n"
    "  workbench inspect pipeline.yaml --stage tuned --json",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--batch", default=0, show_default=True, type=click.IntRange(min=0), help="Optimizer step, from 0.")
@click.option("--row", default=0, show_default=True, type=click.IntRange(min=0), help="Sequence of the batch to show.")
@click.option("--ids", is_flag=True, help="Show the tokens' ids.")
@click.option("--stage", metavar="NAME", help="Which stage of a pipeline, by its name or kind.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key, as in workbench run.")
@common
def inspect(
    as_json: bool, recipe: Path, batch: int, row: int, ids: bool, stage: str | None, settings: tuple[str, ...]
) -> None:
    """Show what a training recipe really trains on: its tokenised, packed batch.

    Token boundaries, roles, what is trained on and what is masked, where documents meet, what was cut off.
    The exit status is 1 if the data has an error that would end the run.
    """
    from workbench.corpus.chats.inspection import inspector

    project, catalog = open_current()
    chosen = _chosen(read_recipes(recipe, settings), stage).absolute(recipe.resolve().parent)
    ready = planned(project, catalog, chosen)
    if sys.stderr.isatty():
        note("Encoding all rows, as the training does.")  # 100,000 conversations take about a minute
    looked_at = inspector(*ready)
    view = looked_at.batch(batch)
    if row >= len(view.sequences):
        raise WorkbenchError(
            f"There is no row {row}: the batch has {amount(len(view.sequences), 'sequences')}.",
            "Rows are counted from 0.",
        )
    if as_json:
        answer(plain(looked_at, view))
    else:
        _show(looked_at.facts, view, row, ids=ids)
    if (last := _steps(ready[0], looked_at.facts)) is not None and batch >= last:
        note(f"This batch is never trained on: as the recipe stands, the training ends after {amount(last, 'steps')}.")
    if errors := [finding for finding in looked_at.facts.findings if finding.severity == "error"]:
        raise errors[0].error()


def _steps(recipe: Recipe, facts: Facts) -> int | None:
    """Optimizer steps of the whole training; None where the rows alone do not say it."""
    if not isinstance(recipe, TuningRecipe):
        return None
    return recipe.schedule.max_steps or max(1, round(facts.steps_per_epoch * recipe.schedule.num_train_epochs))


def plain(looked_at: Inspector, view: BatchView) -> dict[str, object]:
    """Facts and batch as plain values, for JSON."""
    from dataclasses import asdict

    share = view.trained / max(view.tokens, 1)
    return {
        **asdict(looked_at.facts), **asdict(view), "tokens": view.tokens, "trained": view.trained,
        "trained_share": round(share, 4), "repeated_rows": view.repeated[0],
    }  # fmt: skip


def _chosen(recipes: Sequence[Recipe], stage: str | None) -> Recipe:
    """The recipe that is meant: the only one that trains, unless `stage` says which."""
    found = [item for item in recipes if stage in (item.title(), item.stage)] if stage else list(recipes)
    if stage is None and len(recipes) > 1:
        found = [item for item in recipes if item.uses_accelerator()]
    if len(found) != 1:
        there = ", ".join(item.title() for item in found or recipes)
        what = f"There is no stage {stage!r} in the file." if stage and not found else "Several stages could be meant."
        raise WorkbenchError(what, f"Say which with --stage: {there}.")
    return found[0]


def _show(facts: Facts, view: BatchView, row: int, *, ids: bool) -> None:
    share = view.trained / max(view.tokens, 1)
    packed = "packed" if facts.packing else "not packed"
    batches = amount(facts.steps_per_epoch, "batches") if facts.steps_per_epoch > 1 else "1 batch"
    click.echo(
        f"{facts.stage}: batch {view.step:,}, in epoch {view.epoch:,} of {batches}, "
        f"{amount(len(view.sequences), 'sequences')} of at most {facts.max_length:,} tokens, {packed}"
    )
    click.echo(f"{amount(view.tokens, 'tokens')}, {view.trained:,} trained on ({share:.1%})")
    repeated, most = view.repeated
    if repeated:
        click.echo(
            f"{amount(repeated, 'rows', 'stand')} in this batch more than once, the most frequent {most} times: "
            "it takes more rows than there are"
        )
    left_out = f", {facts.untrained:,} left out with nothing to train on" if facts.untrained else ""
    cut = f", {facts.cut:,} cut ({facts.cut_tokens:,} tokens fall off)" if facts.cut else ""
    click.echo(f"{amount(facts.rows, 'rows')} to train on, {facts.held_out:,} held out{cut}{left_out}")
    if facts.template:
        click.echo(f"chat template: {facts.template}")
    for finding in facts.findings:
        if finding.severity == "warning":
            note(f"warning: {finding.error()}")
    click.echo()
    rows = [
        [
            f"{'> ' if number == row else '  '}{number}",
            f"{len(item.tokens):,}",
            f"{item.trained / max(len(item.tokens), 1):.0%}",
            str(len(item.documents)),
            str(sum(document.cut for document in item.documents) or ""),
            ", ".join(dict.fromkeys(_about(document) for document in item.documents))[:60],
        ]
        for number, item in enumerate(view.sequences)
    ]
    table(
        ["row", "tokens", "trained", "documents", "cut", "from"], rows, right=["tokens", "trained", "documents", "cut"]
    )
    click.echo()
    _show_sequence(view.sequences[row], ids=ids)


def _show_sequence(sequence: SequenceView, *, ids: bool) -> None:
    """A line for every stretch of one role that is trained on or not: the tokens in turns on two backgrounds."""
    from rich.console import Console
    from rich.text import Text

    from workbench.safe_text import strip_controls

    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    for document in sequence.documents:
        cut = ", cut here" if document.cut else ""
        title = f"-- {_about(document) or 'document'}: tokens {document.start} to {document.stop}{cut} "
        console.print(Text(strip_controls(title)), style=MASKED)
        tokens = sequence.tokens[document.start : document.stop]
        numbered = enumerate(tokens)
        for (role, trained), group in itertools.groupby(numbered, key=lambda item: (item[1].role, item[1].trained)):
            line = Text(f"{strip_controls(role):<10}{'trained' if trained else 'masked':<9}")
            for number, token in group:
                line.append_text(_shown(token, number, ids=ids, coloured=coloured))
            console.print(line, soft_wrap=not coloured)


def _about(document: DocumentView) -> str:
    return " ".join(part for part in (document.label, document.source) if part)


def _shown(token: TokenView, number: int, *, ids: bool, coloured: bool) -> Text:
    from rich.text import Text

    from workbench.safe_text import strip_controls

    text = strip_controls(token.text.replace("\r", "␍")).replace("\n", "⏎").replace("\t", "⇥")
    if ids:
        text = f"{text}·{token.id} "
    if not coloured:
        return Text(f"{text}|")
    return Text(text, style=f"{TRAINED if token.trained else MASKED} {BACKGROUNDS[number % 2]}")


COMMANDS = {"inspect": inspect}
