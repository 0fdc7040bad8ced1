"""Numbered parts of one piece of work, done in processes side by side.

A worker gets the number of a part over a pipe, and says over it how far it is. When the process that started it is
gone, even by kill -9, its pipe is closed, and it ends at its next word.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from workbench.errors import WorkbenchError

LISTEN_SECONDS = 0.2  # between two looks at whether to stop
JOIN_SECONDS = 5.0

Advance = Callable[[int], None]
Work = Callable[[int, Advance], None]
"""Does the part of that number, and says whenever some of it is done."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@dataclass(slots=True)
class _Worker:
    process: Any  # multiprocessing's type depends on how processes are started
    connection: Connection
    part: int = -1


def in_processes(
    numbers: Iterable[int], make: Callable[..., Work], arguments: tuple[Any, ...], *, workers: int, advance: Advance
) -> Iterator[int]:
    """Do the parts `numbers` in `workers` processes; yields each number once that part is done.

    `make(*arguments)` is called in each process, for what does its parts; both are pickled. `advance` hears of
    progress, and of 0 while there is none: what it raises ends the work, and so does closing the iterator.
    Raises `WorkbenchError` if a worker does, or is killed; `RuntimeError` with its traceback for any other error.
    """
    context = multiprocessing.get_context("spawn")
    left = iter(numbers)
    started: list[_Worker] = []
    try:
        for number in left:
            own, other = context.Pipe()
            process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
            process.start()
            other.close()
            started.append(_Worker(process, own))
            _give(started[-1], number)
            if len(started) == workers:
                break
        busy = {worker.connection: worker for worker in started}
        while busy:
            for connection in wait(list(busy), LISTEN_SECONDS):
                assert isinstance(connection, Connection)
                worker = busy[connection]
                match _heard(worker):
                    case "done", _:
                        finished = worker.part
                        following = next(left, None)
                        if following is None:
                            del busy[connection]
                            connection.close()
                        else:
                            _give(worker, following)
                        yield finished
                    case "advance", amount:
                        advance(amount)
                    case "failed", error:
                        raise error
            advance(0)
    finally:
        for worker in started:
            worker.connection.close()
            worker.process.terminate()
        for worker in started:
            worker.process.join(JOIN_SECONDS)


def _give(worker: _Worker, number: int) -> None:
    worker.part = number
    try:
        worker.connection.send(number)
    except BrokenPipeError:
        raise _killed(worker) from None


def _heard(worker: _Worker) -> tuple[str, Any]:
    try:
        return worker.connection.recv()
    except (EOFError, ConnectionResetError):
        raise _killed(worker) from None


def _killed(worker: _Worker) -> WorkbenchError:
    worker.process.join(JOIN_SECONDS)
    code = worker.process.exitcode or 0
    how = f"killed ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"
    return WorkbenchError(
        f"A worker process was {how} in part {worker.part}.",
        "Mostly the memory was too small: free some, then resume the run, which goes on where it was.",
    )


def _serve(connection: Connection, make: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    """The body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the first process decides

    def advance(amount: int) -> None:
        connection.send(("advance", amount))

    try:
        work = make(*arguments)
        while True:
            work(connection.recv(), advance)
            connection.send(("done", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # nobody listens any more
    except WorkbenchError as error:
        connection.send(("failed", error))
    except BaseException:
        connection.send(("failed", RuntimeError(traceback.format_exc())))
