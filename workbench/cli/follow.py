"""Waits for runs with progress on standard error: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from workbench.cli.output import note
from workbench.cli.summary import summary
from workbench.contract import (
    CheckpointSaved,
    Estimated,
    Event,
    Metrics,
    Progress,
    Sample,
    Started,
    Warned,
)
from workbench.figures import count, duration, size
from workbench.runs import submit
from workbench.safe_text import strip_controls
from workbench.store import runs
from workbench.store.artifacts import read_manifest
from workbench.store.catalog import Catalog
from workbench.store.events import read_events
from workbench.store.project import Project

LINE_SECONDS = 10.0  # between progress lines where there is no terminal


def follow(
    project: Project, catalog: Catalog, run_ids: Sequence[str], *, stop_on_interrupt: bool
) -> list[runs.RunState]:
    """Show the runs, in order, to their ends; stops at the first that does not finish.

    Ctrl-C asks the run that goes on to stop (and those behind it), and waits for its checkpoint;
    with `stop_on_interrupt` false, or at the second Ctrl-C, it only stops watching.
    """
    states = []
    interrupted = False
    for place, run_id in enumerate(run_ids):
        view = _View(project, run_id)
        while True:
            try:
                states.append(view.watch())
                break
            except KeyboardInterrupt:
                view.close()
                if interrupted or not stop_on_interrupt:
                    note(f"\nThe run {run_id} goes on. Watch it: workbench runs watch {run_id}")
                    raise
                interrupted = True
                note(f"\nStopping {run_id} after this step, with a checkpoint. Ctrl-C again leaves it at that.")
                for waiting in reversed(run_ids[place:]):
                    _, state = runs.read(project, waiting)
                    if state.state not in runs.ENDED:
                        submit.stop(project, catalog, waiting)
        if states[-1].state != "finished":
            break
    if interrupted:
        note(f"Go on with: workbench runs resume {run_ids[len(states) - 1]}")
        raise KeyboardInterrupt
    return states


class _View:
    """One run's progress."""

    def __init__(self, project: Project, run_id: str):
        self.project = project
        self.run, self.state = runs.read(project, run_id)
        self.path = runs.folder_of(project, run_id) / "events.jsonl"
        # A resumed run's earlier attempts are history; one that is going on is shown from its beginning.
        self.offset = 0 if self.state.attempts <= 1 else self.path.stat().st_size
        self.total: int | None = None
        self.tokens_per_step = 0.0
        self.printed = 0.0
        self.reason = ""
        self.bar: Any = None
        self.task: Any = None

    def watch(self) -> runs.RunState:
        while True:
            _, self.state = runs.read(self.project, self.run.id)
            ended = self.state.state in runs.ENDED
            lost = not ended and self.state.pid and not runs.alive(self.state)
            found, self.offset = read_events(self.path, self.offset)
            for _, event in found:
                self.show(event)
            if self.state.state == "queued" and self.state.reason != self.reason:
                self.reason = self.state.reason
                self.line(self.reason)
            if (ended or lost) and not found:
                self.close()
                self.end()
                return self.state
            time.sleep(0.1)

    def show(self, event: Event) -> None:
        match event:
            case Started():
                self.total = event.total_steps
                if event.step:
                    self.line(f"resumed at step {event.step}")
            case Estimated():
                seconds = f", about {duration(event.seconds)}" if event.seconds else ""
                self.line(
                    f"{count(event.parameters)} parameters, {count(event.tokens)} tokens "
                    f"({event.tokens_per_parameter:.1f} a parameter), {event.memory_bytes / 2**30:.2f} GiB{seconds}"
                )
            case Progress():
                self.advance(event.done, event.total, f"{event.phase or self.run.stage}  {amount(event)}", "")
            case Metrics():
                self.metrics(event)
            case Sample():
                self.line(f"sample at {event.step}: {event.prompt}{event.text}".replace("\n", " ")[:300])
            case Warned():
                self.line(f"warning: {event.message}")
            case CheckpointSaved() if event.best:
                self.line(f"checkpoint at step {event.step}, the best so far")

    def metrics(self, event: Metrics) -> None:
        if event.step and event.tokens:
            self.tokens_per_step = event.tokens / event.step
        parts = [f"step {event.step}/{self.total}"]
        if event.loss is not None:
            parts.append(f"loss {event.loss:.3f}")
        if event.tokens_per_second:
            parts.append(f"{count(event.tokens_per_second)} tokens/s")
        left = ""
        if self.total and event.tokens_per_second and self.tokens_per_step:
            left = duration((self.total - event.step) * self.tokens_per_step / event.tokens_per_second)
        if "eval_loss" in event.more:
            bits = event.more.get("eval_bits_per_byte")
            per_byte = f", {bits:.3f} bits per byte" if bits is not None else ""
            self.line(f"step {event.step}: validation loss {event.more['eval_loss']:.3f}{per_byte}")
        if event.loss is not None:
            self.advance(event.step, self.total, "  ".join(parts), left)

    def advance(self, done: int, total: int | None, text: str, left: str) -> None:
        if sys.stderr.isatty():
            if self.bar is None:
                self.open_bar()
            self.bar.update(
                self.task, completed=done, total=total, text=strip_controls(text), left=left and f"{left} left"
            )
        elif time.monotonic() - self.printed >= LINE_SECONDS or self.printed == 0:
            self.printed = time.monotonic()
            share = f" {done / total:4.0%}" if total else ""
            note("  ".join(part for part in (f"{self.run.id}{share}", text, left and f"{left} left") if part))

    def open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            console=Console(stderr=True, highlight=False),
            refresh_per_second=4,
        )
        self.bar.start()
        self.task = self.bar.add_task(self.run.id, total=None, text="", left="")

    def line(self, text: str) -> None:
        if not text:
            return
        if self.bar is not None:
            from rich.text import Text

            self.bar.console.print(Text(strip_controls(f"{self.run.id}  {text}")))
        else:
            note(f"{self.run.id}  {text}")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def end(self) -> None:
        state = self.state
        took = f" in {duration(state.ended - state.started)}" if state.ended and state.started else ""
        if state.state == "finished":
            note(f"{self.run.id}  {state.reason or self.made(took)}")
        elif state.state == "failed":
            click.secho(f"{self.run.id}  failed: {strip_controls(state.reason)}", err=True, fg="red")
            note(f"       {state.remedy}")
        else:
            word = state.state if state.state in runs.ENDED else "lost"
            note(f"{self.run.id}  {word}{took}. {state.reason} {state.remedy}".rstrip())

    def made(self, took: str) -> str:
        artifact = read_manifest(self.project.folder(self.run.produces) / (self.state.artifact or ""))
        version = f" (version {artifact.version} of {artifact.name})" if artifact.version > 1 else ""
        return f"made {artifact.kind}/{artifact.id}{version}{took}: {summary(artifact)}"


def amount(event: Progress) -> str:
    """How far it is, in its unit: `1.2 of 8.0 MiB`, `12 of 68 tensors`."""
    if event.unit == "bytes":
        return f"{size(event.done)} of {size(event.total)}" if event.total else size(event.done)
    done = f"{count(event.done)} of {count(event.total)}" if event.total else count(event.done)
    return f"{done} {event.unit}".strip()
