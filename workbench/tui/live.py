"""What is going on in a project, as the terminal shows it: the one place that polls.

A dedicated read connection asks `PRAGMA data_version` (about 2 µs) and reads only when somebody has
committed, and then only what can have changed. No Textual here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from workbench.errors import WorkbenchError
from workbench.store.catalog import TUI_BUSY_SECONDS, Catalog, open_catalog
from workbench.store.project import Project
from workbench.tui import run_metrics

T = TypeVar("T")

ACTIVE = ("queued", "running", "stopping")
_RUN_COLUMNS = (
    "id, number, stage, name, engine, produces, created, state, reason, remedy, started, ended, artifact, "
    "step, total_steps, tokens, loss, eval_loss, tokens_per_second, phase, unit, updated, seconds_before, "
    f"CASE WHEN stage IN {run_metrics.ONLINE} THEN (SELECT value FROM metrics WHERE run = runs.id AND "
    "name = 'reward_mean' ORDER BY step DESC LIMIT 1) END AS reward"
)
SURE_SECONDS = 2.0  # of counting, before it says how long the rest will take
_OFTEN = 3  # seconds between looks at whether the catalog's file was replaced by a repair


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A row of the catalog's `runs`."""

    id: str
    number: int
    stage: str
    name: str
    engine: str
    produces: str
    created: float
    state: str
    reason: str
    remedy: str
    started: float | None
    ended: float | None
    artifact: str | None
    step: int | None
    total_steps: int | None
    tokens: int | None
    loss: float | None
    eval_loss: float | None
    tokens_per_second: float | None
    phase: str | None
    unit: str | None
    updated: float | None
    seconds_before: float = 0.0  # that earlier attempts worked
    reward: float | None = None  # the mean of its last step, of a method that learns from its own answers
    counted_from: tuple[int, float] | None = None  # (step, time) of the first look at the count that goes on

    def after(self, before: RunRow | None) -> RunRow:
        """The row as one that follows `before`: a stage counts anew in each of its phases."""
        if self.step is None or self.updated is None:
            return self
        same = before is not None and all(
            getattr(before, name) == getattr(self, name) for name in ("started", "phase", "unit", "total_steps")
        )
        if same and before is not None and before.counted_from and before.counted_from[0] <= self.step:
            return replace(self, counted_from=before.counted_from)
        return replace(self, counted_from=(self.step, self.updated))

    @property
    def measure(self) -> tuple[str, float] | None:
        """(what, value) that says most of how it goes: its reward, where the loss says nothing, or else the loss."""
        if self.stage in run_metrics.ONLINE:
            return ("reward", self.reward) if self.reward is not None else None
        return ("loss", self.loss) if self.loss is not None else None

    def seconds(self, now: float) -> float | None:
        """How long it has worked, over all attempts; None before it began."""
        if self.started is None:
            return self.seconds_before or None
        return self.seconds_before + max(0.0, (self.ended or now) - self.started)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def never_began(self) -> bool:
        """It failed before its first step: to go on from there would fail again."""
        return self.state == "failed" and not self.step

    def share(self) -> float | None:
        """How far it is, from 0 to 1; None if that is not known."""
        if self.state == "finished":
            return 1.0
        if self.step is None or not self.total_steps:
            return None
        return min(1.0, max(0.0, self.step / self.total_steps))

    def remaining_seconds(self) -> float | None:
        """Until the end of the count that goes on, at the present rate; None before there is something to go by."""
        if self.state not in ("running", "stopping") or not self.total_steps or not self.step:
            return None
        left = self.total_steps - self.step
        if self.tokens and self.tokens_per_second:
            return left * (self.tokens / self.step) / self.tokens_per_second
        if self.counted_from is None or self.updated is None:
            return None
        done, took = self.step - self.counted_from[0], self.updated - self.counted_from[1]
        return left * took / done if done and took >= SURE_SECONDS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRow:
    """A row of the catalog's `artifacts`, with what it was made from: role -> (kind, id)."""

    kind: str
    id: str
    name: str
    version: int
    identity: str
    stage: str
    run: str | None
    created: float
    bytes: int
    recipe: Mapping[str, Any]
    report: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is new since the last look: ids of runs, and whether there are other artifacts. `ended` are those of the
    runs that went on before, or were not there yet."""

    runs: frozenset[str] = frozenset()
    ended: tuple[str, ...] = ()
    artifacts: bool = False

    def __bool__(self) -> bool:
        return bool(self.runs) or self.artifacts


EVERYTHING = Changes(runs=frozenset({"*"}), artifacts=True)


class Live:
    """The project's runs (newest first) and artifacts (oldest first). `poll` may be called from a thread:
    what it read is swapped in whole."""

    def __init__(self, project: Project):
        self.project = project
        self.runs: dict[str, RunRow] = {}
        self.artifacts: list[ArtifactRow] = []
        self.error: WorkbenchError | None = None
        self.loaded = False
        self._catalog: Catalog | None = None
        self._version = -1
        self._file: tuple[int, int] | None = None
        self._looked = 0.0
        self._marks: tuple[Any, ...] = ()
        # Long questions (a curve of a million points) are asked beside the screen, one at a time.
        self._asking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalog")
        self._asked: Catalog | None = None

    def poll(self) -> Changes:
        """Look, and read what is new. A catalog that cannot be read leaves its sentence in `error`."""
        before = self.error
        try:
            changes = self._read()
            self.error = None
        except WorkbenchError as error:
            if self.loaded and "in use" in error.what:
                return Changes()  # somebody writes for long; the next look will do
            self.error = error
            self._close()
            changes = Changes()
        return EVERYTHING if str(before) != str(self.error) else changes

    def active(self) -> list[RunRow]:
        """Runs that go on: running ones first, then the queue, oldest first."""
        going = [run for run in self.runs.values() if run.active]
        return sorted(going, key=lambda run: (run.state == "queued", run.number))

    def ask(self, question: Callable[[Catalog], T]) -> Future[T]:
        """Answer a question on a connection and a thread of its own."""
        return self._asking.submit(self._answer, question)

    def find_lost(self) -> None:
        """Mark runs whose supervisor is gone. Off the screen's thread: it looks at processes."""
        from workbench.store.runs import find_lost

        with open_catalog(self.project) as catalog:
            find_lost(self.project, catalog)

    def close(self) -> None:
        self._asking.shutdown(wait=False, cancel_futures=True)
        if self._asked is not None:
            self._asked.connection.interrupt()  # a long answer must not hold the terminal
        self._close()

    def _read(self) -> Changes:
        catalog = self._open()
        version = catalog.data_version()
        if version == self._version:
            return Changes()
        fresh, before = self._version == -1, self.runs
        changed = self._read_runs(catalog, everything=fresh)
        marks = tuple(catalog.rows("SELECT count(*) AS n, max(created) AS newest FROM artifacts")[0].values())
        artifacts = fresh or marks != self._marks
        if artifacts:
            self.artifacts = _read_artifacts(catalog)
            self._marks = marks
        self._version = version
        ended = [
            run.id
            for run in map(self.runs.__getitem__, changed)
            if self.loaded and run.ended and (run.id not in before or before[run.id].active)
        ]
        self.loaded = True
        return Changes(runs=frozenset(changed), ended=tuple(ended), artifacts=artifacts)

    def _read_runs(self, catalog: Catalog, *, everything: bool) -> list[str]:
        if everything:
            rows = catalog.rows(f"SELECT {_RUN_COLUMNS} FROM runs ORDER BY number DESC")
            self.runs = {row["id"]: RunRow(**row).after(self.runs.get(row["id"])) for row in rows}
            return list(self.runs)
        watched = [run.id for run in self.runs.values() if run.active]
        newest = max((run.number for run in self.runs.values()), default=0)
        marks = ", ".join("?" * len(watched))
        rows = catalog.rows(
            f"SELECT {_RUN_COLUMNS} FROM runs WHERE number > ? OR state IN ('queued', 'running', 'stopping') "
            f"OR id IN ({marks}) ORDER BY number",
            (newest, *watched),
        )
        found = [RunRow(**row).after(self.runs.get(row["id"])) for row in rows]
        changed = [run for run in found if self.runs.get(run.id) != run]
        if changed:
            # A new dictionary: screens may be going through the old one meanwhile.
            added = {run.id: run for run in reversed(changed) if run.id not in self.runs}
            self.runs = {**added, **self.runs, **{run.id: run for run in changed}}
        return [run.id for run in changed]

    def _open(self) -> Catalog:
        now = time.monotonic()
        if self._catalog is not None and now - self._looked > _OFTEN:
            self._looked = now
            if _file_of(self.project) != self._file:
                self._close()
        if self._catalog is None:
            self._catalog = open_catalog(self.project, busy_seconds=TUI_BUSY_SECONDS)
            self._file = _file_of(self.project)
            self._looked = now
            self._version = -1
        return self._catalog

    def _answer(self, question: Callable[[Catalog], T]) -> T:
        if self._asked is not None and _file_of(self.project) != self._file:
            self._asked.close()
            self._asked = None
        if self._asked is None:
            self._asked = open_catalog(self.project)
        return question(self._asked)

    def _close(self) -> None:
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None


def _file_of(project: Project) -> tuple[int, int] | None:
    try:
        found = os.stat(project.catalog_path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _read_artifacts(catalog: Catalog) -> list[ArtifactRow]:
    made_from: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    for row in catalog.rows("SELECT kind, id, role, input_kind, input_id FROM inputs"):
        made_from.setdefault((row["kind"], row["id"]), {})[row["role"]] = (row["input_kind"], row["input_id"])
    rows = catalog.rows(
        "SELECT kind, id, name, version, identity, stage, run, created, bytes, recipe, report FROM artifacts "
        "ORDER BY created"
    )
    return [
        ArtifactRow(
            **{key: value for key, value in row.items() if key not in ("recipe", "report")},
            recipe=json.loads(row["recipe"]),
            report=json.loads(row["report"]),
            inputs=made_from.get((row["kind"], row["id"]), {}),
        )
        for row in rows
    ]
