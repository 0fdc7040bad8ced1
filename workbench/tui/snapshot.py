"""The project as plain text, for a pipe or a terminal that cannot do more."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from workbench import figures
from workbench.store.project import Project
from workbench.tui import safe, theme
from workbench.tui.live import Live, RunRow
from workbench.tui.road import figures_of, next_step, road

MOST_RUNS = 20


def print_snapshot(
    project: Project | None, *, file: TextIO | None = None, now: Callable[[], float] = time.time
) -> None:
    """The map and the newest runs; without a project, what to do. ASCII alone, and nothing to obey in it.

    Raises `WorkbenchError` if the catalog cannot be read.
    """
    out = file or sys.stdout
    if project is None:
        print("There is no project here. Make one: workbench new my-llm", file=out)
        return
    live = Live(project)
    try:
        live.poll()
        if live.error is not None:
            raise live.error
        for line in snapshot_lines(project, live, now()):
            print(line.rstrip(), file=out)
    finally:
        live.close()


def snapshot_lines(project: Project, live: Live, now: float) -> list[str]:
    """The lines that `print_snapshot` prints."""
    lines = [f"{safe.line(project.name)}  {safe.line(project.root)}", ""]
    stops = road(live.artifacts, live.runs)
    for stop in stops:
        state = stop.run.state if stop.run is not None else stop.state
        look = theme.look(state)
        name = stop.run.name if stop.run is not None else stop.artifact.id if stop.artifact is not None else ""
        about = stop.why or (", ".join(figures_of(stop.artifact)) if stop.artifact is not None else stop.kind.what)
        if stop.run is not None and stop.run.active:
            about = _going(stop.run)
        lines.append(
            f"{stop.kind.title:<10} {look.plain} {look.word:<13} {safe.line(name):<20} {safe.line(about)}".rstrip()
        )
    step = next_step(stops)
    lines += ["", f"Next: {safe.line(step.sentence)}"]
    if step.stage:
        lines.append(f"      workbench {safe.line(step.command)}".rstrip())
    if live.runs:
        lines += ["", "Runs"]
    for run in list(live.runs.values())[:MOST_RUNS]:
        look = theme.look(run.state)
        about = _going(run) if run.active else safe.line(run.reason)
        moment = figures.age(now - (run.started or run.created))
        lines.append(
            f"{look.plain} {look.word:<10} {run.id:<14} {safe.line(run.name):<20} {moment:<12} {about}".rstrip()
        )
    if len(live.runs) > MOST_RUNS:
        lines.append(f"... and {len(live.runs) - MOST_RUNS} earlier: workbench runs")
    return lines


def _going(run: RunRow) -> str:
    share, left = run.share(), run.remaining_seconds()
    parts = [f"{share:.0%}"] if share is not None and run.state != "queued" else []
    if run.measure is not None:
        what, value = run.measure
        parts.append(f"{what} {figures.loss(value)}")
    if left is not None:
        parts.append(f"{figures.duration(left)} left")
    return ", ".join(parts) or safe.line(run.reason or run.phase or run.state)
