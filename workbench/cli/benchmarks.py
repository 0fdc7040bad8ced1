"""`workbench benchmarks`: what was measured; list it, show one, hand them on as a table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from workbench.benchmarks import lookup, report
from workbench.benchmarks.lookup import Benchmark
from workbench.cli.errors import no_such_verb
from workbench.cli.output import answer, common, complete_artifact, note, open_current, table, when
from workbench.errors import WorkbenchError
from workbench.figures import counted, duration

HOW = "Run one: workbench benchmark MODEL --panel quick"


class BenchmarksVerbs(click.Group):
    """The verbs of `workbench benchmarks`."""

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise no_such_verb("benchmarks", args[0], list(self.commands))
        return super().resolve_command(ctx, args)


@click.group(
    "benchmarks",
    cls=BenchmarksVerbs,
    epilog="\b\nExamples:\n  workbench benchmarks list\n  workbench benchmarks show base\n"
    "  workbench benchmarks export --panel quick --format markdown > scores.md",
)
def benchmarks() -> None:
    """What was measured: list it, show it, hand it on."""


@benchmarks.command("list")
@click.option("--panel", metavar="NAME", help="Only benchmarks of this panel.")
@common
def list_all(as_json: bool, panel: str | None) -> None:
    """List the benchmarks, newest first."""
    project, catalog = open_current()
    found = lookup.of_project(project, catalog, panel)
    if as_json:
        answer([_plain(one) for one in found])
    elif not found:
        note(f"There is no benchmark yet. {HOW}" if panel is None else f"There is no benchmark of the panel {panel}.")
    else:
        table(
            ("benchmark", "model", "panel", "made", "took", "scores"),
            [
                [
                    one.id,
                    one.model,
                    one.panel,
                    when(one.created),
                    duration(one.results.seconds),
                    _scores(one),
                ]
                for one in found
            ],
            right=("took",),
        )


@benchmarks.command("show")
@click.argument("name", shell_complete=complete_artifact("benchmark", "model", "export"))
@click.option("--panel", metavar="NAME", help="Which benchmark of a model. [default: its newest]")
@common
def show(as_json: bool, name: str, panel: str | None) -> None:
    """Show a benchmark in full: every metric of every task, with its interval and its setting.

    NAME is a benchmark, or a model or an export, whose newest is shown.
    """
    project, catalog = open_current()
    made = lookup.resolve(project, catalog, name, panel)
    if as_json:
        answer(_plain(made))
        return
    what = f"the panel {made.panel}" if made.results.panel else counted(len(made.results.tasks), "tasks")
    click.echo(f"{made.model} on {what}, {when(made.created)} ({made.id})\n")
    rows = []
    for name_of_task, task in report.tasks_of(made).items():
        for metric in dict.fromkeys((task.main, *task.figures)):
            figure, first = task.figures[metric], metric == task.main
            rows.append(
                [
                    name_of_task if first else "",
                    metric,
                    f"{report.score(metric, figure.value)}{report.unit(metric)}",
                    report.interval(metric, figure) or report.no_interval(figure.n or task.n),
                    f"{figure.n or task.n:,}",
                    f"{task.truncated:,}" if task.truncated and first else "",
                    f"{task.answer_tokens:.0f}" if task.answer_tokens is not None and first else "",
                    report.setting(task.setting) if first else "",
                ]
            )
    table(
        ("task", "metric", "score", "95% interval", "items", "truncated", "answer tokens", "setting"), rows,
        right=("score", "95% interval", "items", "truncated", "answer tokens"),
    )  # fmt: skip
    if known := [text for name, text in report.facts(made.results).items() if name in ("size", "speed")]:
        note(f"{made.model}: {', '.join(known)}")


@benchmarks.command("export")
@click.argument(
    "names", nargs=-1, metavar="[MODEL]...", shell_complete=complete_artifact("benchmark", "model", "export")
)
@click.option("--panel", metavar="NAME", help="Which benchmarks. [default: the newest panel that all have]")
@click.option(
    "--format", "form", type=click.Choice(report.FORMATS), default="markdown", show_default=True, help="How it looks."
)
@click.option("--every-task", is_flag=True, help="Markdown: the tasks of a group, too, not only the group.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there.")
@common
def export(
    as_json: bool, names: tuple[str, ...], panel: str | None, form: str, every_task: bool, output: Path | None
) -> None:
    """Print benchmarks side by side, with intervals and settings. Without a MODEL: the newest of each.

    markdown: a row a task, a column a model. csv: a row for each model, task and metric. json: everything.
    """
    project, catalog = open_current()
    if names:
        found = lookup.resolve_all(project, catalog, list(names), panel)
    else:
        everything = lookup.of_project(project, catalog, panel)
        newest = everything[0].panel if everything else panel
        found = lookup.newest_per_model([one for one in everything if one.panel == newest])
        if not found:
            of_panel = f" of the panel {panel}" if panel else ""
            raise WorkbenchError(f"There is no benchmark{of_panel} in this project.", HOW)
    text = report.export(found, "json" if as_json else form, every_task=every_task)
    if output is None:
        click.echo(text, nl=False)
        return
    from workbench import durable

    try:
        durable.write_text(output.expanduser(), text)
    except OSError as error:
        raise WorkbenchError(f"{output} cannot be written: {error.strerror}.", "Choose another place.") from None
    note(f"Wrote {output}.")


def _scores(one: Benchmark) -> str:
    found = report.tasks_of(one)
    tasks = [task for task in found.values() if task.group not in found]
    shown = [
        f"{task.task} {report.score(task.main, task.figures[task.main].value)}{report.unit(task.main)}"
        for task in tasks[:4]
    ]
    return ", ".join(shown) + (f" and {len(tasks) - 4} more" if len(tasks) > 4 else "")


def _plain(one: Benchmark) -> dict[str, Any]:
    tasks = {name: asdict(task) for name, task in report.tasks_of(one).items()}
    return (
        {"benchmark": one.id, "created": one.created, "path": str(one.folder)} | asdict(one.results) | {"tasks": tasks}
    )


COMMANDS = {"benchmarks": benchmarks}
