"""The engine process: it reads a job, runs the engine, writes events, and hears requests.

Events go to `events.jsonl` in the run's folder, one line a write, so that a reader never sees a
line mixed of two. Requests come as files in `control/`: `stop`, `checkpoint`, `note-<n>`.
Under a launcher of several processes (torchrun sets RANK) the first alone reports and listens.
Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from workbench.contract import Acknowledged, Engine, Event, Failed, Job
from workbench.errors import WorkbenchError

POLL_SECONDS = 0.2  # looking for control files costs about 10 µs; steps can be faster than that matters


class RunReporter:
    """Appends to a run's `events.jsonl` and watches its `control/`; satisfies `contract.Reporter`."""

    def __init__(self, directory: Path, *, supervisor_pid: int = 0):
        self.control = directory / "control"
        self.control.mkdir(exist_ok=True)
        self._descriptor = os.open(directory / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._supervisor_pid = supervisor_pid
        self._polled = 0.0
        self._stop = False
        self._checkpoint = False

    def emit(self, event: Event) -> None:
        os.write(self._descriptor, event.line().encode())

    def should_stop(self) -> bool:
        self._poll()
        return self._stop

    def checkpoint_requested(self) -> bool:
        self._poll()
        requested, self._checkpoint = self._checkpoint, False
        return requested

    def request_stop(self) -> None:
        """As if a stop had been asked for through `control/`."""
        self._stop = True

    def close(self) -> None:
        os.close(self._descriptor)

    def _poll(self) -> None:
        now = time.monotonic()
        if now - self._polled < POLL_SECONDS:
            return
        self._polled = now
        for path in sorted(self.control.iterdir()):
            if path.name == "stop" and not self._stop:
                self._stop = True
                self.emit(Acknowledged(request="stop"))
            elif path.name == "checkpoint":
                path.unlink(missing_ok=True)
                self._checkpoint = True
                self.emit(Acknowledged(request="checkpoint"))
            elif path.name.startswith("note-") and not path.name.endswith(".tmp"):
                text = path.read_text(encoding="utf-8", errors="replace")
                path.unlink(missing_ok=True)
                self.emit(Acknowledged(request="note", detail=text))
        if self._supervisor_pid and not self._stop and not _exists(self._supervisor_pid):
            self._stop = True  # an engine that nobody watches saves its work and ends


class SilentReporter:
    """For all processes of a run but the first: says nothing and hears nothing."""

    def emit(self, event: Event) -> None:
        pass

    def should_stop(self) -> bool:
        return False

    def checkpoint_requested(self) -> bool:
        return False

    def request_stop(self) -> None:
        pass


def run_engine(make_engine: Callable[[], Engine], job_file: Path) -> int:
    """The body of every engine's `python -m engines.<name> job.json`; answers the exit status."""
    job = Job.read(job_file)
    first = int(os.environ.get("RANK", "0")) == 0
    reporter = RunReporter(job.directory, supervisor_pid=job.supervisor_pid) if first else SilentReporter()
    events = job.directory / "events.jsonl"
    mark = events.stat().st_size if events.exists() else 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: reporter.request_stop())
    with contextlib.suppress(ValueError, AttributeError):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        make_engine().run(job, reporter)
        return 0
    except BaseException as error:  # the engine process reports whatever ends it, then ends
        if isinstance(error, WorkbenchError):
            print(f"error: {error}", file=sys.stderr)
        else:
            traceback.print_exc(file=sys.stderr)
        with contextlib.suppress(OSError):  # on a full disk the log's traceback has to do
            # When one process of several fails, the connections of the others break: its reason is the run's.
            if not (_lost_peer(error) and _has_failed(events, mark)):
                with open(events, "ab", buffering=0) as file:
                    file.write(explain(error).line().encode())
        return 1


def explain(error: BaseException) -> Failed:
    """One sentence about what ended a run, and one about what to do."""
    if isinstance(error, WorkbenchError):
        return Failed(reason=error.what, remedy=error.remedy)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return Failed(
            reason=f"The disk is full{where}.",
            remedy="Free some space, then resume the run: what it had finished is whole.",
        )
    if _lost_peer(error):
        return Failed(
            reason="Another process of this run has ended, or was killed.",
            remedy="The run's log has the details; resume the run to go on from its last checkpoint.",
        )
    if _out_of_memory(error):
        return Failed(
            reason=f"Out of memory: {_first_line(error)}",
            remedy="Lower --per-device-batch-size or --max-length, or choose a smaller --size, and resume.",
        )
    if isinstance(error, (ImportError,)):
        return Failed(reason=f"A library is missing: {error}.", remedy="workbench doctor says how to install it.")
    return Failed(reason=f"{type(error).__name__}: {_first_line(error)}", remedy="The run's log has the details.")


def _out_of_memory(error: BaseException) -> bool:
    # On the CPU torch raises a plain RuntimeError.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _lost_peer(error: BaseException) -> bool:
    """Whether torch.distributed says that another process is gone."""
    if type(error).__name__ in ("DistBackendError", "DistNetworkError"):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("closed by peer" in text or "reset by peer" in text)


def _has_failed(events: Path, mark: int) -> bool:
    """Whether a `Failed` was written after byte `mark`."""
    if not events.exists():
        return False
    with open(events, "rb") as file:
        file.seek(mark)
        return any(line.startswith(b'{"event": "Failed"') for line in file)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else "no further message"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
