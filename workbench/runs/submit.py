"""Starts, resumes and stops runs. Everything here returns at once; supervisors do the work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.runs.plan import Step, require_engine, require_fit
from workbench.runs.refusals import require_usable
from workbench.store import runs
from workbench.store.catalog import Catalog
from workbench.store.project import Project


def submit(project: Project, catalog: Catalog, steps: Sequence[Step]) -> list[str | None]:
    """Start what has to run; the run of each step, or None where it is made already.

    Raises `WorkbenchError` before anything starts if the project is read-only, an engine is missing, a model reads
    less than it is asked to, or what is read cannot be used.
    """
    if any(step.action != "made" for step in steps):
        project.require_writable()
    for step in steps:
        if step.action in ("new", "resume"):
            require_engine(step.recipe)
            require_fit(project, catalog, step)
            require_usable(project, catalog, step)
    started: list[str | None] = []
    for step in steps:
        if step.action == "made":
            started.append(None)
        elif step.action == "active":
            started.append(step.run)
        elif step.action == "resume":
            assert step.run is not None
            resume(project, catalog, step.run)
            started.append(step.run)
        else:
            after = [started[place] for place in step.after]
            run = runs.create(
                project,
                catalog,
                step.recipe,
                name=step.name,
                engine=step.recipe.engine_name(),
                produces=step.kind,
                identity=step.identity,
                inputs=step.inputs,
                after=tuple({*(item for item in after if item), *step.after_runs}),
                accelerator=step.recipe.uses_accelerator(),
            )
            _start_supervisor(project, run.id)
            started.append(run.id)
    return started


def resume(project: Project, catalog: Catalog, run_id: str) -> None:
    """Go on with a run from its last checkpoint, or from its beginning if it has none; so do runs that wait for it,
    and those that it waits for.

    Raises `WorkbenchError` if it is still going on or is finished.
    """
    project.require_writable()
    run, state = runs.read(project, run_id)
    if state.state == "finished":
        raise WorkbenchError(f"The run {run_id} is finished.", f"Its result is {run.produces}/{state.artifact}.")
    if state.state not in runs.ENDED and (runs.alive(state) or not state.pid):
        raise WorkbenchError(f"The run {run_id} is {state.state}.", f"Watch it: workbench runs watch {run_id}")
    for earlier in run.after:
        if runs.read(project, earlier)[1].state in ("stopped", "failed", "lost"):
            resume(project, catalog, earlier)
    for name in ("stop", "kill"):
        (runs.folder_of(project, run_id) / "control" / name).unlink(missing_ok=True)
    runs.write_state(
        project,
        catalog,
        run,
        replace(
            state, state="queued", reason="", remedy="", queued=time.time(), started=None, ended=None,
            pid=0, pid_started=0.0, seconds_before=runs.seconds(state),
        ),
    )  # fmt: skip
    _start_supervisor(project, run_id)
    for waiting, its_state in list(runs.all_runs(project)):
        if run_id in waiting.after and its_state.state in ("stopped", "failed") and its_state.started is None:
            resume(project, catalog, waiting.id)


def stop(project: Project, catalog: Catalog, run_id: str, *, kill: bool = False) -> None:
    """Ask a run to write a checkpoint and end; with `kill`, end it now, back to its last checkpoint.

    Raises `WorkbenchError` if it has ended already.
    """
    project.require_writable()
    _, state = runs.read(project, run_id)
    if state.state in runs.ENDED:
        raise WorkbenchError(f"The run {run_id} has ended already: it is {state.state}.", "")
    runs.request(project, run_id, "stop")
    if kill:
        runs.request(project, run_id, "kill")


def checkpoint_now(project: Project, run_id: str) -> None:
    """Ask a run to write a checkpoint and go on.

    Raises `WorkbenchError` if it is not running.
    """
    project.require_writable()
    _, state = runs.read(project, run_id)
    if state.state != "running":
        raise WorkbenchError(f"The run {run_id} is {state.state}, not running.", "")
    runs.request(project, run_id, "checkpoint")


def wait(project: Project, run_id: str, *, poll_seconds: float = 0.1) -> runs.RunState:
    """Block until the run has ended."""
    while True:
        _, state = runs.read(project, run_id)
        if state.state in runs.ENDED or runs.is_lost(project, run_id, state):
            return state
        time.sleep(poll_seconds)


def _start_supervisor(project: Project, run_id: str) -> None:
    folder = runs.folder_of(project, run_id)
    with open(folder / "log.txt", "ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "workbench.runs.supervisor", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            # A session of its own: neither the end of the terminal nor its Ctrl-C reaches it.
            start_new_session=True,
            env=child_environment(),
        )
    # Reap it if it ends before this process: a zombie would pass for a living supervisor.
    threading.Thread(target=supervisor.wait, daemon=True).start()


def child_environment() -> dict[str, str]:
    """The environment of supervisors and engines: this program's code, never a folder of the project's."""
    code = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": f"{code}{os.pathsep}{inherited}".rstrip(os.pathsep)}
