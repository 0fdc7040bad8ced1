"""Runs on disk: what was asked (`run.json`, `recipe.yaml`), and how it stands (`state.json`)."""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from workbench import durable
from workbench.errors import WorkbenchError
from workbench.recipes.base import Recipe
from workbench.store import artifacts
from workbench.store.catalog import Catalog
from workbench.store.project import Project

State = Literal["queued", "running", "stopping", "stopped", "failed", "lost", "finished"]
ENDED: frozenset[str] = frozenset({"stopped", "failed", "lost", "finished"})
START_SECONDS = 30.0  # within which the supervisor of a queued run shows itself
NEWEST = 5  # runs that are named to somebody who names one that there is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was asked; never changes."""

    id: str  # "pretrain-3": the stage and the run's number in the project
    number: int
    stage: str
    name: str  # of the artifact that it makes
    engine: str
    produces: str  # kind of artifact
    identity: str  # of the artifact
    inputs: Mapping[str, Mapping[str, str]]  # role -> {kind, identity, name}
    after: tuple[str, ...]  # runs that make its inputs and must finish first
    accelerator: bool  # waits for the training device
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """How it stands; the supervisor replaces it whole."""

    state: State
    reason: str = ""  # why it failed, stopped or was skipped, in one sentence
    remedy: str = ""
    queued: float = 0.0  # since when this attempt's supervisor is expected; seconds since the epoch
    pid: int = 0  # of the supervisor
    pid_started: float = 0.0  # that process's start, so that another with its number is not taken for it
    started: float | None = None  # of the newest attempt's engine
    ended: float | None = None
    artifact: str | None = None  # id of what it made
    attempts: int = 0
    seconds_before: float = 0.0  # of the engines of earlier attempts
    more: Mapping[str, Any] = field(default_factory=dict)  # "skipped": nothing was computed


def folder_of(project: Project, run_id: str) -> Path:
    return project.runs / run_id


def create(project: Project, catalog: Catalog, recipe: Recipe, **spec: Any) -> Run:
    """A new, queued run with its folder; it becomes visible once `run.json` stands."""
    with project.locked():
        # Also past folders that a killed process left without a `run.json`.
        taken = [_number(path) for path in project.runs.iterdir() if path.name.rpartition("-")[2].isdigit()]
        number = 1 + max(taken, default=0)
        run = Run(id=f"{recipe.stage}-{number}", number=number, stage=recipe.stage, created=time.time(), **spec)
        folder = folder_of(project, run.id)
        (folder / "control").mkdir(parents=True)
        durable.write_text(folder / "recipe.yaml", recipe.to_yaml())
        (folder / "events.jsonl").touch()
        (folder / "log.txt").touch()
        state = RunState(state="queued", queued=run.created)
        durable.write_json(folder / "state.json", asdict(state))
        durable.write_json(folder / "run.json", asdict(run))
    index(catalog, run, state)
    return run


def read(project: Project, run_id: str) -> tuple[Run, RunState]:
    """Raises `WorkbenchError` if there is no such run or its files are damaged."""
    folder = folder_of(project, run_id)
    try:
        plain = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        plain["after"] = tuple(plain["after"])
        state = RunState(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
        return Run(**plain), state
    except FileNotFoundError:
        raise WorkbenchError(f"There is no run called {run_id!r}.", _near_runs(project, run_id)) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WorkbenchError(f"The run {run_id} has a damaged file: {error}.", f"Look into {folder}.") from None


def _near_runs(project: Project, reference: str) -> str:
    known = {run.id: run.name for run, _ in all_runs(project)}
    if not known:
        return "No run was started yet: workbench --help lists the verbs."
    near = difflib.get_close_matches(reference, [*known, *known.values()], 1, cutoff=0.7)
    newest = list(known)[: -NEWEST - 1 : -1]
    return f"Did you mean {near[0]}?" if near else f"The newest are: {', '.join(newest)}."


def recipe_of(project: Project, run_id: str) -> dict[str, Any]:
    """The resolved recipe of a run, as plain values. Raises `WorkbenchError` if its file is missing or damaged."""
    import yaml

    path = folder_of(project, run_id) / "recipe.yaml"
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WorkbenchError(f"The recipe of {run_id} cannot be read: {error}.", f"Look into {path}.") from None


def resolve(project: Project, reference: str) -> str:
    """The id of the run that a person means: an id, a number, or the name of what it makes (its newest run).

    Raises `WorkbenchError` if there is none.
    """
    known = {path.name for path in _folders(project)}
    if reference in known:
        return reference
    for path in sorted(_folders(project), key=_number, reverse=True):
        if str(_number(path)) == reference or read(project, path.name)[0].name == reference:
            return path.name
    return read(project, reference)[0].id


def write_state(project: Project, catalog: Catalog, run: Run, state: RunState) -> RunState:
    """Replace the state on disk, then in the catalog."""
    durable.write_json(folder_of(project, run.id) / "state.json", asdict(state))
    _index_with_artifact(project, catalog, run, state)
    return state


def _index_with_artifact(project: Project, catalog: Catalog, run: Run, state: RunState) -> None:
    """What the run made goes first: a catalog that knows the end of a run knows that."""
    here = (run.produces, state.artifact)
    if state.artifact and not catalog.rows("SELECT 1 FROM artifacts WHERE kind = ? AND id = ?", here):
        folder = project.folder(run.produces) / state.artifact
        if (folder / artifacts.MANIFEST).exists():
            artifacts.index(catalog, [artifacts.read_manifest(folder)])
    index(catalog, run, state)


def index(catalog: Catalog, run: Run, state: RunState) -> None:
    """Put a run and its state into the catalog, leaving what its events said."""
    with catalog.writing() as db:
        db.table("runs").upsert(
            {
                "id": run.id, "number": run.number, "stage": run.stage, "name": run.name, "engine": run.engine,
                "identity": run.identity, "produces": run.produces, "created": run.created,
                "state": state.state, "reason": state.reason, "remedy": state.remedy,
                "started": state.started, "ended": state.ended, "artifact": state.artifact,
                "seconds_before": state.seconds_before,
            },
            pk="id",
        )  # fmt: skip


def all_runs(project: Project) -> Iterator[tuple[Run, RunState]]:
    """From the files alone, oldest first; damaged ones are left out."""
    for path in sorted(_folders(project), key=_number):
        try:
            yield read(project, path.name)
        except WorkbenchError:
            continue


def seconds(state: RunState, now: float | None = None) -> float:
    """How long its engines have worked, over all attempts; a going one until `now` (seconds since the epoch)."""
    end = state.ended if state.ended is not None else now
    going = max(0.0, end - state.started) if state.started is not None and end is not None else 0.0
    return state.seconds_before + going


def alive(state: RunState) -> bool:
    """Whether the supervisor that wrote `state` still runs: same pid and same start."""
    # Two seconds: where starts are counted from the boot time, that moves when the clock is set.
    return state.pid > 0 and abs(process_started(state.pid) - state.pid_started) < 2


def starting(state: RunState) -> bool:
    """Whether its supervisor has still time to show itself."""
    return state.state == "queued" and not state.pid and time.time() - state.queued < START_SECONDS


def is_lost(project: Project, run_id: str, state: RunState) -> bool:
    """Whether nobody is left to end the run, whose state was just read as `state`."""
    if state.state in ENDED or starting(state) or alive(state):
        return False
    return read(project, run_id)[1] == state  # else it ended, or was resumed, between the two looks


def process_started(pid: int) -> float:
    """When process `pid` started; 0.0 if there is none, or it is a zombie. Only to be compared with itself.

    On Linux in seconds since boot, which a clock that is set does not move; elsewhere since the epoch.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return 0.0
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():  # field 22, in clock ticks; the name before it may hold spaces
            return int(stat.read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return round(process.create_time(), 2)
    except (psutil.Error, OSError):
        return 0.0


def find_lost(project: Project, catalog: Catalog) -> list[str]:
    """Mark runs whose supervisor is gone as lost; answers their ids."""
    if catalog.read_only:
        return []
    lost = []
    active = catalog.rows("SELECT id FROM runs WHERE state IN ('queued', 'running', 'stopping')")
    for row in active:
        try:
            run, state = read(project, row["id"])
        except WorkbenchError:
            continue
        if state.state in ENDED:
            _index_with_artifact(project, catalog, run, state)  # the catalog missed the end
        elif is_lost(project, run.id, state):
            reason = "Its supervisor is gone: the machine was restarted, or the process was killed."
            remedy = f"Go on from its last checkpoint: workbench runs resume {run.id}"
            write_state(
                project,
                catalog,
                run,
                replace(state, state="lost", reason=reason, remedy=remedy, ended=_last_sign(project, run.id)),
            )
            lost.append(run.id)
    return lost


def _last_sign(project: Project, run_id: str) -> float:
    """When a run that is gone was last heard of: it may be found days later."""
    try:
        return (folder_of(project, run_id) / "events.jsonl").stat().st_mtime
    except OSError:
        return time.time()


def checkpoints(project: Project, run_id: str) -> list[Path]:
    """The run's whole checkpoints, oldest first: folders `step-<number>`."""
    found = (folder_of(project, run_id) / "checkpoints").glob("step-*/complete.json")
    return sorted(path.parent for path in found if path.parent.name.removeprefix("step-").isdigit())


def request(project: Project, run_id: str, name: str, text: str = "") -> None:
    """Put a request ("stop", "checkpoint", "note-…") into the run's `control/`."""
    control = folder_of(project, run_id) / "control"
    control.mkdir(exist_ok=True)
    durable.write_text(control / name, text)


def _folders(project: Project) -> list[Path]:
    if not project.runs.is_dir():
        return []
    return [
        path
        for path in project.runs.iterdir()
        if path.name.rpartition("-")[2].isdigit() and os.path.exists(path / "run.json")
    ]


def _number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])
