"""Tasks done side by side: in this process while that is quick, then in worker processes too.

A worker that is killed costs nothing but time: its task is given out again. Workers end with the process that
started them, even after its kill -9: their pipe is closed, and a thread of theirs waits for its end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

ALONE_SECONDS = 1.5  # of work before processes are started: they take about as long to be of use
LISTEN_SECONDS = 0.2  # between two looks at whether to stop
JOIN_SECONDS = 5.0
WORKER_BYTES = 384 << 20  # that one takes: 170 to 260 MiB were measured, more with long documents
ATTEMPTS = 3  # at a task whose worker is killed

Function = Callable[[Any, Any], Any]
"""(what is the same for all tasks, the task) -> result; importable by name."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def usual_workers() -> int:
    """As many as there are cores, or fewer where the memory that is free would not do for them."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):  # not Linux
        return cores()
    return min(cores(), max(1, free // WORKER_BYTES))


class Pool:
    """Up to `workers` processes; a context manager. With one worker everything is done in this process."""

    def __init__(self, workers: int, check: Callable[[], None], warn: Callable[[str], None]):
        """`check` is called often; what it raises ends the work."""
        self.workers = workers
        self.alone_seconds = ALONE_SECONDS
        self._check, self._warn = check, warn
        self._started: list[_Worker] = []
        self._alone = 0.0

    def map(self, function: Function, shared: Any, tasks: Iterable[tuple[str, Any]]) -> Iterator[Any]:
        """The results of all tasks, as they are done; tasks are (what to call it, value), drawn as they are needed.

        Raises what a task raises, and `WorkbenchError` if a task's worker is killed each time.
        """
        waiting = iter(tasks)
        while self.workers == 1 or not (self._started or self._alone > self.alone_seconds):
            task = next(waiting, None)
            if task is None:
                return
            begun = time.monotonic()
            result = function(shared, task[1])
            self._alone += time.monotonic() - begun
            yield result
            self._check()
        yield from self._side_by_side(function, shared, waiting)

    def _side_by_side(self, function: Function, shared: Any, tasks: Iterator[tuple[str, Any]]) -> Iterator[Any]:
        busy: dict[Connection, _Worker] = {}
        idle = list(self._started)
        again: list[_Task] = []
        context = pickle.dumps((function, shared), pickle.HIGHEST_PROTOCOL)
        ahead = _draw(tasks)
        try:
            while True:
                while ahead or again:
                    if not idle:
                        if len(self._started) >= self.workers:
                            break
                        idle.append(_Worker())
                        self._started.append(idle[-1])
                    worker = idle.pop()
                    if again:
                        task: _Task | None = again.pop()
                    else:
                        task, ahead = ahead, None
                    assert task is not None
                    worker.give(context, task)
                    busy[worker.connection] = worker
                    ahead = ahead or _draw(tasks)  # read on while the workers work
                if not busy:
                    return
                for connection in wait(list(busy), LISTEN_SECONDS):
                    assert isinstance(connection, Connection)
                    worker = busy.pop(connection)
                    try:
                        done, value = worker.connection.recv()
                    except (EOFError, OSError):
                        again.append(self._lost(worker))
                        continue
                    if not done:
                        raise value
                    idle.append(worker)
                    yield value
                self._check()
        except BaseException:
            self.close()
            raise

    def _lost(self, worker: _Worker) -> _Task:
        """The task of a worker that is gone, to be done again, with one worker less. Raises after `ATTEMPTS`."""
        self._started.remove(worker)
        how = worker.end()
        task = worker.task
        assert task is not None
        task.attempts += 1
        if task.attempts == ATTEMPTS:
            raise WorkbenchError(
                f"A worker process was {how} {ATTEMPTS} times at the same place: {task.name}.",
                "Mostly the memory was too small: give --workers a lower number, or leave out what stands there; "
                "then resume the run, which goes on where it was.",
            )
        self.workers = max(1, self.workers - 1)
        self._warn(f"A worker process was {how} at {task.name}; that is done again, with {_processes(self.workers)}.")
        return task

    def close(self) -> None:
        """End the workers; `map` starts others as it needs them."""
        for worker in self._started:
            worker.end()
        self._started.clear()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Task:
    def __init__(self, name: str, value: Any):
        self.name, self.value, self.attempts = name, value, 0


class _Worker:
    """One process, and the task that it has."""

    def __init__(self) -> None:
        processes = multiprocessing.get_context("spawn")
        self.connection, other = processes.Pipe()
        self.process = processes.Process(target=_serve, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.task: _Task | None = None
        self._context: bytes | None = None

    def give(self, context: bytes, task: _Task) -> None:
        self.task = task
        # If it is gone already, its result will say so.
        with contextlib.suppress(OSError):
            if context is not self._context:
                self._context = context
                self.connection.send_bytes(context)
            self.connection.send((task.value,))

    def end(self) -> str:
        """End it; how it had ended if it had."""
        self.connection.close()
        self.process.join(0.1)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
        self.process.join(JOIN_SECONDS)
        return f"killed ({signal.Signals(-code).name})" if code is not None and code < 0 else f"ended (status {code})"


def _draw(tasks: Iterator[tuple[str, Any]]) -> _Task | None:
    found = next(tasks, None)
    return None if found is None else _Task(*found)


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _serve(connection: Connection) -> None:
    """The body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the first process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function: Function | None = None
    shared: Any = None
    while True:
        try:
            message = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return  # nobody listens any more
        if len(message) == 2:
            function, shared = message
            continue
        assert function is not None
        try:
            answer: tuple[bool, Any] = (True, function(shared, message[0]))
        except (WorkbenchError, OSError) as error:
            answer = (False, error)
        except BaseException:
            answer = (False, RuntimeError(traceback.format_exc()))
        try:
            connection.send(answer)
        except OSError:
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
