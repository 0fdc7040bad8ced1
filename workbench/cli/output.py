"""What the verbs share: the project that is meant, `--json`, and how tables are printed."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from workbench.store.catalog import Catalog, open_catalog
from workbench.store.project import Project, find
from workbench.store.recent import remember

if TYPE_CHECKING:
    from rich.text import Text


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that every verb takes: `--project`, `--json`, `--debug`. The verb gets `as_json`."""

    @click.option("--project", "project_path", metavar="PATH", help="The project's folder.")
    @click.option("--json", "as_json", is_flag=True, help="Answer as JSON on standard output.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @click.pass_context
    @functools.wraps(command)
    def wrapped(ctx: click.Context, *args: Any, project_path: str | None, debug: bool, **kwargs: Any) -> Any:
        shared = ctx.find_root().ensure_object(dict)
        if debug:  # for errors `main` looks for it before anything is parsed
            shared["debug"] = True
        if project_path:
            shared["project"] = project_path
        return ctx.invoke(command, *args, **kwargs)

    return wrapped


def current_project() -> Project:
    """The project that the options, the environment or the folder name."""
    shared = click.get_current_context().find_root().ensure_object(dict)
    project = find(shared.get("project"))
    remember(project)
    return project


def open_current() -> tuple[Project, Catalog]:
    """The current project with its catalog; runs whose supervisor is gone are marked on the way."""
    from workbench.store.runs import find_lost

    project = current_project()
    catalog = open_catalog(project)
    click.get_current_context().call_on_close(catalog.close)
    for run in find_lost(project, catalog):
        note(f"The run {run} was lost: its supervisor is gone. Go on with: workbench runs resume {run}")
    return project, catalog


def answer(value: Any) -> None:
    """The verb's answer as JSON, on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def note(text: str) -> None:
    """A line for the person, on standard error, so that standard output holds the answer alone."""
    from workbench.safe_text import strip_controls

    click.echo(strip_controls(text), err=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], right: Sequence[str] = ()) -> None:
    """A plain table on standard output; text is never taken for markup, a `Text` keeps its colours."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from workbench.safe_text import strip_controls

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(
            column, justify="right" if column in right else "left",
            no_wrap=column not in ("reason", "what", "panel", "scores"),
        )  # fmt: skip
    for row in rows:
        drawn.add_row(*(Text(strip_controls(cell)) if isinstance(cell, str) else cell for cell in row))
    wide = None if sys.stdout.isatty() else 200  # a pipe has no width to fit into
    Console(width=wide, highlight=False).print(drawn)


def when(moment: float) -> str:
    """A time as a date and a clock time, local."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def complete_artifact(*kinds: str) -> Callable[..., list[str]]:
    """Completes names of artifacts of `kinds`."""

    def names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        marks = ", ".join("?" * len(kinds))
        return _column(
            ctx, f"SELECT DISTINCT name FROM artifacts WHERE kind IN ({marks}) ORDER BY 1", kinds, incomplete
        )

    return names


def complete_run(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes ids of runs, newest first."""
    return _column(ctx, "SELECT id FROM runs ORDER BY number DESC LIMIT 50", (), incomplete)


def _column(ctx: click.Context, sql: str, parameters: Sequence[str], incomplete: str) -> list[str]:
    from workbench.errors import WorkbenchError

    try:
        with open_catalog(find((ctx.find_root().obj or {}).get("project"))) as catalog:
            found = [next(iter(row.values())) for row in catalog.rows(sql, parameters)]
    except WorkbenchError:
        return []  # completion has no place for an error
    return [name for name in found if name.startswith(incomplete)]
