"""`workbench contamination`: how much of a benchmark stood in the training text, and the score without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from workbench.benchmarks import lookup, report
from workbench.benchmarks.contamination import Contamination, contamination, corpora_of
from workbench.benchmarks.results import Figure
from workbench.cli.output import answer, common, complete_artifact, note, open_current, table
from workbench.figures import counted, duration, size

LISTED = 20  # touched items that are shown; --json has all
SHOWN_CHARACTERS = 80


@click.command(
    "contamination",
    epilog="\b\nExamples:\n  workbench contamination base\n  workbench contamination base --corpus books\n"
    "  workbench contamination benchmark/base-quick --json",
)
@click.argument("model", shell_complete=complete_artifact("benchmark", "model", "export"))
@click.option("--panel", metavar="NAME", help="Which benchmark of a model. [default: its newest]")
@click.option(
    "--corpus", "names", multiple=True, metavar="NAME", shell_complete=complete_artifact("corpus", "chats"),
    help="A corpus, or conversations, to look in. Repeat it. [default: those that the model was made from]",
)  # fmt: skip
@common
def contaminated(as_json: bool, model: str, panel: str | None, names: tuple[str, ...]) -> None:
    """Look for a benchmark's items in the text that the model was trained on.

    MODEL is a model or an export, whose newest benchmark is meant, or a benchmark. An item is touched if N of its words
    in a row (8 to 13, by the length of the task's items) stand in a document, as in the GPT-3 paper, Appendix C.
    """
    project, catalog = open_current()
    benchmark = lookup.resolve(project, catalog, model, panel)
    corpora = corpora_of(project, catalog, benchmark, names)
    with _progress() as tell:
        found = contamination(benchmark, corpora, tell)
    if as_json:
        answer(asdict(found))
        return
    _print(found)


def _print(found: Contamination) -> None:
    table(
        ("task", "metric", "N", "items", "touched", "", "score", "without touched", "touched alone", "too short"),
        [
            [
                task.task,
                task.metric,
                str(task.gram),
                f"{task.n:,}",
                f"{task.touched:,}",
                f"{task.touched / task.n:.1%}" if task.n > task.too_short else "not told",
                _score(task.metric, task.all),
                _score(task.metric, task.clean),
                _score(task.metric, task.dirty),
                f"{task.too_short:,}" if task.too_short else "",
            ]
            for task in found.tasks
        ],
        right=("N", "items", "touched", "", "score", "without touched", "touched alone", "too short"),
    )
    note(
        f"\nLooked in {', '.join(found.corpora)}: {counted(found.documents, 'documents')}, {size(found.bytes)}, in "
        f"{duration(found.seconds)}."
    )
    if not found.touched:
        return
    click.echo()
    table(
        ("task", "item", "found", "documents", "first in", "what"),
        [
            [
                hit.task,
                hit.item,
                f"{hit.found} of {hit.of}",
                f"{hit.documents:,}",
                f"{hit.places[0].corpus}, document {hit.places[0].document}",
                hit.words if len(hit.words) <= SHOWN_CHARACTERS else hit.words[: SHOWN_CHARACTERS - 1] + "…",
            ]
            for hit in found.touched[:LISTED]
        ],
        right=("found", "documents"),
    )
    if len(found.touched) > LISTED:
        note(f"And {len(found.touched) - LISTED:,} more; --json lists all.")


def _score(metric: str, figure: Figure | None) -> str:
    return "–" if figure is None else report.with_interval(metric, figure)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with what is left, on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("looking"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("looking", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


COMMANDS = {"contamination": contaminated}
