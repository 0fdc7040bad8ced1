"""The process that sees one run through: it waits its turn, starts the engine, watches, and seals the result.

It lives in a session of its own and outlives every terminal. What it knows it writes to `state.json`;
the catalog only follows, and a catalog that cannot be written never ends a run.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from workbench import contract, registry
from workbench.durable import fresh_directory
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.reporting import explain
from workbench.runs import slots
from workbench.runs.contents import sources_changed
from workbench.runs.plan import checkpoints_differ
from workbench.runs.submit import child_environment
from workbench.store import artifacts, events, runs
from workbench.store.catalog import Catalog, open_catalog
from workbench.store.project import Project, open_project

POLL_SECONDS = 0.25
HASH_BYTES = 4 << 30  # inputs up to this size are hashed again before use: about a second a GiB
DISK_SECONDS = 600.0  # how long a full disk is waited for, so that the run's end can be written down
FULL_DISK_BYTES = 1 << 20
KILL_SECONDS = 10.0  # between asking the engine's processes to end and ending them, when a run is killed


class StopRequested(Exception):
    """A stop came while the run was still waiting."""


class Supervisor:
    """Sees the run in `folder` (`<project>/runs/<id>`) through one attempt."""

    def __init__(self, folder: Path):
        self.project: Project = open_project(folder.parent.parent)
        self.catalog: Catalog = open_catalog(self.project)
        self.folder = folder
        self.run, self.state = runs.read(self.project, folder.name)
        self.output = self.project.folder(self.run.produces) / f"{self.run.id}.partial"

    def main(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: runs.request(self.project, self.run.id, "stop"))
        self.write("queued", pid=os.getpid(), pid_started=runs.process_started(os.getpid()),
                   attempts=self.state.attempts + 1)  # fmt: skip
        try:
            self.attempt()
        except StopRequested:
            self.end("stopped", reason="It was stopped before its turn came.")
        except BaseException as error:
            failed = explain(error)
            self.end("failed", reason=failed.reason, remedy=failed.remedy)
            if not isinstance(error, WorkbenchError):
                raise
        finally:
            slots.release(self.run.id)
            self.catalog.close()

    def attempt(self) -> None:
        self.wait_for_inputs()
        made = self.made(self.run.produces, self.run.identity, prefer=self.run.name)
        inputs = {role: self.input(role) for role in self.run.inputs}
        asked = yaml.safe_load((self.folder / "recipe.yaml").read_text(encoding="utf-8"))
        if made is not None and (made.name == self.run.name or not checkpoints_differ(asked, made.recipe)):
            self.take_over(made, inputs)
            return
        self.wait_for_devices()
        recipe = recipe_from(asked)
        job = contract.Job(
            run=self.run.id,
            stage=self.run.stage,
            recipe=recipe.model_dump(mode="json"),
            inputs={role: artifacts.folder_of(self.project, made) for role, made in inputs.items()},
            output=fresh_directory(self.output),
            directory=self.folder,
            supervisor_pid=os.getpid(),
        )
        job.write(self.folder / "job.json")
        mark = (self.folder / "events.jsonl").stat().st_size
        self.write("running", started=time.time())
        status = self.watch(job)
        self.settle(status, mark, inputs, recipe.model_dump(mode="json", exclude_none=True))

    def take_over(self, made: artifacts.Artifact, inputs: dict[str, artifacts.Artifact]) -> None:
        """The same was made before: keep it, and link its files where it is asked for by another name."""
        reason = f"Nothing was computed: {made.kind}/{made.id} is the same already."
        if made.name != self.run.name:
            first = made
            artifacts.link_files(artifacts.folder_of(self.project, made), fresh_directory(self.output))
            made = self.seal(inputs, made.recipe, made.report, made.versions)
            reason = f"Nothing was computed: {made.kind}/{made.id} is {first.kind}/{first.id} under another name."
        self.end("finished", reason=reason, artifact=made.id, more={"skipped": True})

    def wait_for_inputs(self) -> None:
        """Until the runs that make this one's inputs are finished."""
        for earlier in self.run.after:
            while True:
                self.raise_if_stopped()
                _, state = runs.read(self.project, earlier)
                if state.state == "finished":
                    break
                if state.state in runs.ENDED or runs.is_lost(self.project, earlier, state):
                    raise WorkbenchError(
                        f"It needs the run {earlier}, which is {state.state if state.state in runs.ENDED else 'lost'}.",
                        f"Resume both: workbench runs resume {self.run.id}",
                    )
                self.wait_reason(f"waiting for {earlier}")
                time.sleep(POLL_SECONDS)

    def wait_for_devices(self) -> None:
        if not self.run.accelerator:
            return
        while in_front := self.about_to_start() or slots.try_acquire(
            self.run.id, self.run.created, slots.devices(), self.project.root
        ):
            self.raise_if_stopped()
            self.wait_reason(f"waiting for the device: {in_front} is in front")
            time.sleep(POLL_SECONDS)

    def about_to_start(self) -> str | None:
        """An earlier run of the project whose inputs are there but whose supervisor has not asked for the device yet:
        two that waited for the same input would else race for it."""
        rows = self.catalog.rows(
            "SELECT id FROM runs WHERE state = 'queued' AND number < ? ORDER BY number", (self.run.number,)
        )
        for row in rows:
            run, state = runs.read(self.project, row["id"])
            lives = runs.alive(state) or runs.starting(state)
            ready = all(runs.read(self.project, earlier)[1].state == "finished" for earlier in run.after)
            if run.accelerator and state.state == "queued" and lives and ready:
                return run.id
        return None

    def wait_reason(self, reason: str) -> None:
        if self.state.reason != reason:
            self.write("queued", reason=reason)

    def raise_if_stopped(self) -> None:
        if (self.folder / "control" / "stop").exists():
            raise StopRequested

    def input(self, role: str) -> artifacts.Artifact:
        wanted = self.run.inputs[role]
        made = self.made(wanted["kind"], wanted["identity"])
        if made is None:
            raise WorkbenchError(
                f"Its {role}, {wanted['kind']} {wanted['name']!r}, is gone from the project.",
                "Make it again, then start anew.",
            )
        if made.bytes <= HASH_BYTES and (problems := artifacts.problems(artifacts.folder_of(self.project, made))):
            raise WorkbenchError(
                f"Its {role}, {made.kind}/{made.id}, is damaged: {problems[0]}.",
                "Restore it from a copy, or remove its folder and make it again; workbench verify checks all of them.",
            )
        return made

    def made(self, kind: str, identity: str, prefer: str = "") -> artifacts.Artifact | None:
        return artifacts.by_identity(
            self.project, self.catalog, kind, identity, prefer=prefer
        ) or artifacts.by_identity_on_disk(self.project, kind, identity, prefer=prefer)

    def watch(self, job: contract.Job) -> int:
        """Run the engine's command to its end; its exit status, negative for a signal."""
        command = registry.engine(self.run.engine).command(job, self.folder / "job.json")
        with open(self.folder / "log.txt", "ab") as log:
            engine = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=child_environment(),
                process_group=0,
            )  # fmt: skip
        deadline = None
        while True:
            try:
                return engine.wait(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            self.follow()
            control = self.folder / "control"
            if self.state.state == "running" and (control / "stop").exists():
                self.write("stopping")
            if (control / "kill").exists():
                deadline = deadline or time.monotonic() + KILL_SECONDS
                force = time.monotonic() > deadline
                os.killpg(engine.pid, signal.SIGKILL if force else signal.SIGTERM)

    def settle(self, status: int, mark: int, inputs: dict[str, artifacts.Artifact], recipe: dict[str, Any]) -> None:
        """Decide how the attempt ended, from the events after byte `mark` and the exit status."""
        self.follow()
        last: dict[str, contract.Event] = {}
        place = mark
        while True:
            found, end = events.read_events(self.folder / "events.jsonl", place)
            last |= {type(event).__name__: event for _, event in found}
            if end == place:
                break
            place = end
        finished, failed = last.get("Finished"), last.get("Failed")
        if isinstance(failed, contract.Failed):
            self.end("failed", reason=failed.reason, remedy=failed.remedy)
        elif status == 0 and isinstance(finished, contract.Finished) and self.read_other_sources(recipe):
            self.end(
                "failed",
                reason="The sources changed between the command and the end of reading them.",
                remedy="Give the command again: it reads them as they are now. Of a file that grows, read a copy.",
            )
        elif status == 0 and isinstance(finished, contract.Finished):
            started = last.get("Started")
            versions = dict(started.versions) if isinstance(started, contract.Started) else {}
            made = self.seal(inputs, recipe, finished.report, versions)
            self.end("finished", artifact=made.id)
        elif status == 0 and "Stopped" in last:
            self.end("stopped", reason="It was asked to stop.", remedy=f"Go on: workbench runs resume {self.run.id}")
        elif (self.folder / "control" / "kill").exists():
            self.end(
                "stopped", reason="It was killed on request.", remedy=f"Go on: workbench runs resume {self.run.id}"
            )
        elif status < 0:
            name = signal.Signals(-status).name
            hint = " Perhaps the machine ran out of memory." if name == "SIGKILL" else ""
            self.end(
                "failed",
                reason=f"The engine's process was ended by {name}.{hint}",
                remedy=f"Go on from its last checkpoint: workbench runs resume {self.run.id}",
            )
        elif shutil.disk_usage(self.folder).free < FULL_DISK_BYTES:  # the engine could not write its reason down
            self.end(
                "failed",
                reason="The disk is full.",
                remedy=f"Free some space, then go on: workbench runs resume {self.run.id}",
            )
        else:
            self.end(
                "failed",
                reason=f"The engine's process ended with status {status} and no result: {self.last_log_line()}",
                remedy=f"The whole log: workbench runs log {self.run.id}",
            )

    def read_other_sources(self, recipe: Mapping[str, Any]) -> bool:
        """Whether what was imported is not what the run was planned on: its identity would be wrong."""
        try:
            return sources_changed(recipe_from(recipe), self.run.identity)
        except WorkbenchError:
            return True

    def seal(
        self,
        inputs: dict[str, artifacts.Artifact],
        recipe: Mapping[str, Any],
        report: Mapping[str, Any],
        versions: Mapping[str, str],
    ) -> artifacts.Artifact:
        made = artifacts.publish(
            self.project,
            self.output,
            kind=self.run.produces,
            name=self.run.name,
            identity=self.run.identity,
            stage=self.run.stage,
            run=self.run.id,
            recipe=recipe,
            inputs=inputs,
            report=report,
            versions=versions,
        )
        try:
            artifacts.index(self.catalog, [made])
        except (WorkbenchError, sqlite3.Error) as error:
            print(f"catalog: {error}", file=sys.stderr)  # `end` and whoever looks for lost runs try again
        return made

    def last_log_line(self) -> str:
        lines = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "the log is empty"

    def follow(self) -> None:
        try:
            events.index_events(self.project, self.catalog, self.run.id)
        except (WorkbenchError, sqlite3.Error) as error:
            print(f"catalog: {error}", file=sys.stderr)  # the next poll, or a repair, catches up

    def end(self, state: runs.State, **changes: Any) -> None:
        shutil.rmtree(self.output, ignore_errors=True)
        self.follow()
        self.write(state, **{"reason": "", "remedy": "", **changes}, ended=time.time(), pid=0, pid_started=0.0)

    def write(self, state: runs.State, **changes: Any) -> None:
        if state == "running":
            changes = {"reason": "", "remedy": "", **changes}
        self.state = replace(self.state, state=state, **changes)
        deadline = time.monotonic() + DISK_SECONDS
        while True:
            try:
                runs.write_state(self.project, self.catalog, self.run, self.state)
            except (WorkbenchError, sqlite3.Error) as error:
                print(f"catalog: {error}", file=sys.stderr)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or time.monotonic() > deadline:
                    raise
                time.sleep(1)
                continue
            return


if __name__ == "__main__":
    Supervisor(Path(sys.argv[1])).main()
