"""What can be asked of a run from the screen that shows it: stop, resume, checkpoint, kill, note."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING

from workbench.store.project import Project
from workbench.tui.live import RunRow
from workbench.tui.widgets.bars import READ_ONLY

ENDED = ("stopped", "failed", "lost", "finished")

if TYPE_CHECKING:
    from workbench.tui.screens.base import WorkbenchScreen as Mixin
else:
    Mixin = object


class RunActions(Mixin):
    """Mixed into a screen that has a `run` under its cursor. An argument names another run instead."""

    @property
    @abstractmethod
    def run(self) -> RunRow | None:  # type: ignore[override]
        """The run under the cursor."""

    def _meant(self, argument: str) -> RunRow | None:
        """The run that an argument names (id, number, or name: its newest), or the one under the cursor."""
        live = self.app.live
        if not argument or live is None:
            return self.run
        for run in live.runs.values():
            if argument in (run.id, str(run.number), run.name):
                return run
        return None

    def _why_not(self, argument: str, states: tuple[str, ...], otherwise: str) -> str | None:
        run = self._meant(argument)
        if run is None:
            return f"There is no run {argument!r}." if argument else "There is no run to choose."
        if self.app.project and not self.app.project.writable():
            return str(READ_ONLY)
        return None if run.state in states else otherwise.format(run=run.id, state=run.state)

    def why_not_stop(self, argument: str = "") -> str | None:
        return self._why_not(argument, ("queued", "running"), "{run} is {state}: there is nothing to stop.")

    def do_stop(self, argument: str = "") -> None:
        run, project = self._meant(argument), self.app.project
        assert run is not None
        assert project is not None
        self.app.in_background(
            lambda: _stop(project, run.id, kill=False), lambda _: self.app.tell(f"{run.id} stops after this step.")
        )

    def why_not_kill(self, argument: str = "") -> str | None:
        return self._why_not(argument, ("queued", "running", "stopping"), "{run} is {state}: nothing runs.")

    def do_kill(self, argument: str = "") -> None:
        run, project = self._meant(argument), self.app.project
        assert run is not None
        assert project is not None
        self.app.confirm(
            f"Kill {run.id}? What it did since its last checkpoint is lost; s stops it without a loss.",
            lambda: self.app.in_background(lambda: _stop(project, run.id, kill=True)),
            yes="Kill it",
            no="Let it run",
        )

    def why_not_again(self, argument: str = "") -> str | None:
        run = self._meant(argument)
        if run is None:
            return f"There is no run {argument!r}." if argument else "There is no run to choose."
        return self.app.why_no_stage()

    def do_again(self, argument: str = "") -> None:
        run = self._meant(argument)
        assert run is not None
        self.app.open_form_again(run.id)

    def why_not_resume(self, argument: str = "") -> str | None:
        run = self._meant(argument)
        if run is not None and run.never_began:
            return f"{run.id} failed before its first step, and would again: a opens the form with its recipe."
        return self._why_not(
            argument, ("stopped", "failed", "lost"), "{run} is {state}: only what ended early can be resumed."
        )

    def do_resume(self, argument: str = "") -> None:
        run, project = self._meant(argument), self.app.project
        assert run is not None
        assert project is not None
        self.app.in_background(
            lambda: _resume(project, run.id), lambda _: self.app.tell(f"{run.id} goes on from its last checkpoint.")
        )

    def why_not_checkpoint(self, argument: str = "") -> str | None:
        return self._why_not(argument, ("running",), "{run} is {state}, not running.")

    def do_checkpoint(self, argument: str = "") -> None:
        run, project = self._meant(argument), self.app.project
        assert run is not None
        assert project is not None
        from workbench.runs.submit import checkpoint_now

        self.app.in_background(
            lambda: checkpoint_now(project, run.id), lambda _: self.app.tell(f"{run.id} was asked for a checkpoint.")
        )

    def why_not_note(self, _: str = "") -> str | None:
        return self._why_not(
            "", ("running", "stopping", *ENDED), "{run} is {state}: a note goes to one that has begun."
        )

    def do_note(self, argument: str = "") -> None:
        run, project = self.run, self.app.project
        assert run is not None
        assert project is not None
        if not argument:
            self.app.ask_line(f"Note for {run.id}", lambda text: self.do_note(text) if text else None)
            return
        self.app.in_background(lambda: _note(project, run, argument))


def _stop(project: Project, run: str, *, kill: bool) -> None:
    from workbench.runs.submit import stop
    from workbench.store.catalog import open_catalog

    with open_catalog(project) as catalog:
        stop(project, catalog, run, kill=kill)


def _note(project: Project, run: RunRow, text: str) -> None:
    """A going run writes it down itself; into the events of one that has ended nobody else writes."""
    from workbench.contract import Acknowledged
    from workbench.store.catalog import open_catalog
    from workbench.store.events import add_event
    from workbench.store.runs import request

    if run.active:
        request(project, run.id, f"note-{time.time_ns() // 1_000_000}", text)
        return
    with open_catalog(project) as catalog:
        add_event(project, catalog, run.id, Acknowledged(request="note", detail=text))


def _resume(project: Project, run: str) -> None:
    from workbench.runs.submit import resume
    from workbench.store.catalog import open_catalog

    with open_catalog(project) as catalog:
        resume(project, catalog, run)
