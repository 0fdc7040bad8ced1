"""How a corpus stage says how far it is, and hears that it should end."""

from __future__ import annotations

import time

from workbench.contract import Progress, Reporter

SECONDS_BETWEEN_EVENTS = 0.2


class Interrupted(Exception):
    """The stage was asked to end early."""


class ProgressReport:
    """Counts the work of one phase after another; emits at most about five events a second."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter
        self._phase, self._unit = "", ""
        self._done, self._total = 0, None  # type: int, int | None
        self._emitted = 0.0
        self._shown = 0

    def begin(self, phase: str, *, total: int | None = None, unit: str = "", done: int = 0) -> None:
        """Start counting anew, towards `total` `unit`s, from what an earlier attempt has done. Raises `Interrupted`."""
        self.end()
        self._phase, self._unit, self._total, self._done = phase, unit, total, done
        self._emit()
        self.check()

    def advance(self, amount: int) -> None:
        """So much more is done. Cheap. Raises `Interrupted` once a stop was asked for."""
        self._done += amount
        self.check()
        if time.monotonic() - self._emitted >= SECONDS_BETWEEN_EVENTS:
            self._emit()

    def end(self) -> None:
        """Show where the phase ended, if that was not shown yet."""
        if self._done != self._shown:
            self._emit()

    def check(self) -> None:
        """Raises `Interrupted` once a stop was asked for."""
        if self._reporter.should_stop():
            raise Interrupted

    def _emit(self) -> None:
        self._emitted, self._shown = time.monotonic(), self._done
        self._reporter.emit(Progress(done=self._done, total=self._total, unit=self._unit, phase=self._phase))
