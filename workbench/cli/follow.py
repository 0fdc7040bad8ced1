"""Waits for runs with progress on standard error: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

import click

from workbench.cli.errors import Interrupted
from workbench.cli.output import note
from workbench.cli.summary import outcome, summary
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

HISTORY_BYTES = 256 << 10  # of a run's events, to find its last lines in
CONTINUES_TEXT = ("pretrain", "continue")  # the other stages answer a prompt
SURE_SECONDS = 2.0  # of counting, before it says how long the rest will take
OF_SOURCE = "eval_loss_"  # how the name of the loss on one corpus of a mixture begins
LINE_SECONDS = 10.0  # between progress lines where there is no terminal


def follow(
    project: Project,
    catalog: Catalog,
    run_ids: Sequence[str],
    *,
    stop_on_interrupt: bool,
    new: Collection[str] = (),
    history: int = 0,
) -> list[runs.RunState]:
    """Show the runs, in order, to their ends; stops at the first that does not finish.

    What they have said before is not repeated, but for the last `history` lines; the `new` ones, just started, are
    shown from their beginning. Ctrl-C asks the run that goes
    on to stop (and those behind it), and waits for its checkpoint; with `stop_on_interrupt` false, or at the
    second Ctrl-C, it only stops watching. Raises `Interrupted` in the end where a Ctrl-C stopped a run.
    """
    states = []
    interrupted = False
    views = [_View(project, catalog, run_id, new=run_id in new) for run_id in run_ids]
    for place, view in enumerate(views):
        run_id = view.run.id
        while True:
            try:
                view.catch_up(history)
                states.append(view.watch())
                break
            except KeyboardInterrupt:
                view.close()
                if interrupted or not stop_on_interrupt:
                    note(f"\nThe run {run_id} goes on. Watch it: workbench runs watch {run_id}")
                    raise Interrupted(f"The run {run_id} goes on.", f"workbench runs watch {run_id}") from None
                interrupted = True
                note(f"\nStopping {run_id} with a checkpoint. Ctrl-C again does not wait for it.")
                for waiting in reversed(run_ids[place:]):
                    _, state = runs.read(project, waiting)
                    if state.state not in runs.ENDED:
                        submit.stop(project, catalog, waiting)
        if states[-1].state != "finished":
            break
    if interrupted and states[-1].state != "finished":
        run_id = run_ids[len(states) - 1]
        raise Interrupted(f"The run {run_id} is {states[-1].state}.", f"workbench runs resume {run_id}")
    return states


def remaining(step: int, total: int | None, tokens: int | None, tokens_per_second: float | None) -> float | None:
    """Seconds until step `total`, at this speed; None where that is not known."""
    if not (step and total and tokens and tokens_per_second):
        return None
    return (total - step) * (tokens / step) / tokens_per_second


class _View:
    """One run's progress: all of it where it is new, else from the end of what it has said so far."""

    def __init__(self, project: Project, catalog: Catalog, run_id: str, *, new: bool):
        self.project = project
        self.run, self.state = runs.read(project, run_id)
        self.path = runs.folder_of(project, run_id) / "events.jsonl"
        self.offset = 0
        row = catalog.rows("SELECT total_steps, unit FROM runs WHERE id = ?", (run_id,))
        self.total: int | None = row[0]["total_steps"] if row and row[0]["unit"] == "steps" else None
        self.past = 0 if new else self.path.stat().st_size
        self.history: deque[str] | None = None
        self.printed = 0.0
        self.reason = ""
        self.bar: Any = None
        self.task: Any = None
        self.counting: Progress | None = None  # the first of the count that goes on

    def catch_up(self, lines: int) -> None:
        """Print the last `lines` lines of the past."""
        past, self.past = self.past, 0
        if not past:
            return
        self.offset = max(0, past - HISTORY_BYTES) if lines else past
        self.history = deque(maxlen=lines)
        while self.offset < past:
            found, self.offset = read_events(self.path, self.offset)
            for _, event in found:
                self.show(event)
            if not found:
                break
        earlier, self.history = self.history, None
        for line in earlier:
            self.line(line)

    def watch(self) -> runs.RunState:
        while True:
            _, self.state = runs.read(self.project, self.run.id)
            ended = self.state.state in runs.ENDED
            lost = runs.is_lost(self.project, self.run.id, self.state)
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
                    f"({ratio(event.tokens_per_parameter)} a parameter), {event.memory_bytes / 2**30:.2f} GiB{seconds}"
                )
                if event.epochs:
                    each = ", ".join(f"{passes:.3g} of {name}" for name, passes in event.epochs.items())
                    self.line(f"epochs: {each}")
            case Progress():
                text = f"{event.phase or self.run.stage}  {amount(event)}".rstrip()
                self.advance(event.done, event.total, text, self.left(event))
            case Metrics():
                self.metrics(event)
            case Sample():
                between = "" if self.run.stage in CONTINUES_TEXT else " → "
                self.line(f"sample at {event.step}: {event.prompt}{between}{event.text}".replace("\n", " ")[:300])
            case Warned():
                self.line(f"warning: {event.message}")
            case CheckpointSaved() if event.best:
                self.line(f"checkpoint at step {event.step}, the best so far")

    def left(self, event: Progress) -> str:
        """How long the count will take to its end, from how long it has taken so far."""
        first = self.counting
        if first is None or (first.total, first.unit) != (event.total, event.unit) or event.done < first.done:
            first = self.counting = event
        done, took = event.done - first.done, event.time - first.time
        if not event.total or not done or took < SURE_SECONDS:
            return ""
        return duration(max(0.0, (event.total - event.done) * took / done))

    def metrics(self, event: Metrics) -> None:
        parts = [f"step {event.step}/{self.total}"]
        if event.loss is not None:
            parts.append(f"loss {event.loss:z.3f}")
        if "reward_mean" in event.more and "kl" in event.more:  # of answers that the model writes itself
            parts.append(f"reward {event.more['reward_mean']:.3f}  KL {event.more['kl']:z.2f}")
        if event.tokens_per_second:
            parts.append(f"{count(event.tokens_per_second)} tokens/s")
        seconds = remaining(event.step, self.total, event.tokens, event.tokens_per_second)
        left = "" if seconds is None else duration(seconds)
        if "eval_loss" in event.more:
            own = {"eval_kl", "eval_reward_mean"} <= event.more.keys()  # its "loss" is minus the reward
            loss = "" if own else f"validation loss {event.more['eval_loss']:.3f}"
            learnt = outcome(event.more)
            if loss and learnt.startswith("held-out loss"):  # that is the same figure
                learnt = ""
            sources = [
                f"{name.removeprefix(OF_SOURCE)} {value:.3f}"
                for name, value in event.more.items()
                if name.startswith(OF_SOURCE)
            ]
            self.line(f"step {event.step}: {', '.join(filter(None, (loss, learnt, *sources)))}")
        if event.loss is not None:
            self.advance(event.step, self.total, "  ".join(parts), left)

    def advance(self, done: int, total: int | None, text: str, left: str) -> None:
        if self.history is not None:
            return
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
        if self.history is not None:
            self.history.append(text)
        elif self.bar is not None:
            from rich.text import Text

            self.bar.console.print(Text(strip_controls(f"{self.run.id}  {text}")))
        else:
            note(f"{self.run.id}  {text}")

    def close(self) -> None:
        if self.bar is not None:
            if self.state.state == "finished":  # its last event may be of 95%
                self.bar.update(self.task, completed=1, total=1, left="")
            self.bar.stop()
            self.bar = None

    def end(self) -> None:
        state = self.state
        took = f" in {duration(runs.seconds(state))}" if state.ended and state.started else ""
        if state.state == "finished":
            note(f"{self.run.id}  {state.reason or self.made(took)}")
        elif state.state == "failed":
            click.secho(f"{self.run.id}  failed: {strip_controls(state.reason)}", err=True, fg="red")
            note(f"       {state.remedy}")
        else:
            word = state.state if state.state in runs.ENDED else "lost"
            remedy = state.remedy or f"Go on: workbench runs resume {self.run.id}"
            note(f"{self.run.id}  {word}{took}. {remedy}")

    def made(self, took: str) -> str:
        artifact = read_manifest(self.project.folder(self.run.produces) / (self.state.artifact or ""))
        version = f" (version {artifact.version} of {artifact.name})" if artifact.version > 1 else ""
        return f"made {artifact.kind}/{artifact.id}{version}{took}: {summary(artifact)}"


def ratio(number: float) -> str:
    """Two digits at least: 20.3, 1.5, 0.46, 0.0031."""
    return f"{number:,.1f}" if number >= 1 else f"{number:.2g}"


def amount(event: Progress) -> str:
    """How far it is, in its unit: `1.2 of 8.0 MiB`, `12 of 68 tensors`."""
    if not event.done and not event.total:  # a phase that does not count
        return ""
    if event.unit == "bytes":
        return f"{size(event.done)} of {size(event.total)}" if event.total else size(event.done)
    done = f"{count(event.done)} of {count(event.total)}" if event.total else count(event.done)
    return f"{done} {event.unit}".strip()
