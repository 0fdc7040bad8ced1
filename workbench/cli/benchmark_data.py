"""`workbench benchmark-data`: data of tasks on disk, and tasks of one's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from workbench.cli.errors import no_such_verb
from workbench.cli.output import answer, common, current_project, note, table, when
from workbench.wording import agreeing, amount

FILE = click.Path(path_type=Path)

KINDS = {
    "standard": "the harness's",
    "choices": "own, multiple choice",
    "answer": "own, answers compared",
    "regex": "own, answers matched",
    "text": "own, text",
}


class DataVerbs(click.Group):
    """The verbs of `workbench benchmark-data`."""

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise no_such_verb("benchmark-data", args[0], list(self.commands))
        return super().resolve_command(ctx, args)


@click.group(
    "benchmark-data",
    cls=DataVerbs,
    epilog="\b\nExamples:\n  workbench benchmark-data add hellaswag hellaswag.jsonl\n"
    "  workbench benchmark-data add mmlu_anatomy test.csv --few-shot dev.csv\n"
    "  workbench benchmark-data add my-quiz quiz.jsonl\n"
    "  workbench benchmark-data list",
)
def benchmark_data() -> None:
    """Data of benchmark tasks on disk, and tasks of your own."""


@benchmark_data.command("add")
@click.argument("task")
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--few-shot", multiple=True, type=FILE, metavar="FILE", help="Rows to draw worked examples from.")
@common
def add(as_json: bool, task: str, files: tuple[Path, ...], few_shot: tuple[Path, ...]) -> None:
    """Copy FILES (jsonl, json, csv, tsv, parquet, txt) into the project as the data of TASK.

    TASK is one of the harness's, such as hellaswag or gsm8k, whose metric, prompt and few-shot setting stay; or a new
    name, for rows of question, choices and answer, of prompt and answer, of prompt and regex, or for a text.
    """
    from workbench.benchmarks import harness, task_data

    project = current_project()
    project.require_writable()
    before = task_data.record(project.root, harness.resolve(task))
    warnings: list[str] = []
    data = task_data.add(project.root, task, files, few_shot, warn=warnings.append)
    if as_json:
        answer(_plain(data) | {"replaced": before is not None, "warnings": warnings})
        return
    shown = f", {data.few_shot:,} to show" if data.few_shot else ""
    items = amount(data.items, "items")
    click.echo(f"{'Replaced' if before else 'Added'} {data.task}: {items}{shown} ({KINDS[data.kind]}).")
    for warning in warnings:
        note(f"warning: {warning}")
    if data.left_out:
        verb = agreeing(data.left_out, "are")
        rows = amount(data.left_out, "rows", "are")
        note(f"{rows} of other splits than the one that is asked, and {verb} left out.")
    note(f"Next: workbench benchmark MODEL --tasks {data.task}")


@benchmark_data.command("list")
@common
def list_all(as_json: bool) -> None:
    """List the tasks with data on disk."""
    from workbench.benchmarks import task_data

    project = current_project()
    found = [data for name in task_data.names(project.root) if (data := task_data.record(project.root, name))]
    if as_json:
        answer([_plain(data) for data in found])
    elif not found:
        note("There are no data of tasks here. Add some: workbench benchmark-data add TASK FILE")
    else:
        table(
            ("task", "kind", "items", "to show", "added", "from", "SHA-256"),
            [
                [
                    data.task, KINDS[data.kind], f"{data.items:,}", f"{data.few_shot:,}", when(data.added),
                    ", ".join(source.name for source in data.sources), data.sha256[:12],
                ]
                for data in found
            ],
            right=("items", "to show"),
        )  # fmt: skip


@benchmark_data.command("remove")
@click.argument("task")
@common
def remove(as_json: bool, task: str) -> None:
    """Take the data of TASK out of the project."""
    from workbench.benchmarks import task_data

    project = current_project()
    project.require_writable()
    data = task_data.remove(project.root, task)
    if as_json:
        answer(_plain(data))
    else:
        click.echo(f"Removed {data.task}: {amount(data.items, 'items')}.")


def _plain(data: Any) -> dict[str, Any]:
    return {key: value for key, value in asdict(data).items() if key not in ("settings", "format")}


COMMANDS = {"benchmark-data": benchmark_data}
