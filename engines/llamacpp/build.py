"""llama.cpp being compiled beside a training: `make demo` starts it, the export waits for it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from engines.llamacpp import libraries
from workbench.contract import Progress, Reporter
from workbench.errors import WorkbenchError

# Written by the Makefile: the process that runs pip, removed at its end, and what pip prints.
PID_FILE = Path(sys.prefix) / "gguf-build.pid"
LOG_FILE = Path(sys.prefix) / "gguf-build.log"
POLL_SECONDS = 1.0

NO_COMPILER = ("CMAKE_CXX_COMPILER not set", "No CMAKE_CXX_COMPILER could be found")  # in the words of CMake


def wait_for_build(reporter: Reporter) -> bool:
    """Until llama.cpp is there; False if a stop was asked for meanwhile.

    Raises `WorkbenchError` if nothing builds it, or the build failed.
    """
    started = time.monotonic()
    while building():  # to the end of pip: a package is half there before
        if reporter.should_stop():
            return False
        waited = int(time.monotonic() - started)
        reporter.emit(Progress(done=waited, unit="seconds", phase="waiting for llama.cpp to be compiled"))
        time.sleep(POLL_SECONDS)
    if libraries.missing():
        raise WorkbenchError(*why_missing())
    return True


def building() -> bool:
    """Whether the process that compiles it is going on."""
    try:
        pid = int(PID_FILE.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return False
    return True


def why_missing() -> tuple[str, str]:
    """What is missing and what to do, with the last word of a build that failed."""
    missing = libraries.missing()
    what = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
    if building():
        return f"{what}: it is being compiled right now.", f"Try again in some minutes; its log is {LOG_FILE}."
    try:
        log = LOG_FILE.read_text(errors="replace")
    except OSError:
        log = ""
    if any(sign in log for sign in NO_COMPILER):
        return (
            f"{what}: they are compiled here, and this machine has no C++ compiler.",
            "Install one (apt install g++, or xcode-select --install), then: make gguf",
        )
    errors = [line for line in log.splitlines() if "error" in line.lower()]
    if errors:
        remedy = f"Mend that (see {LOG_FILE}), then: make gguf"
        return f"{what}: compiling it failed with {errors[-1].strip()[:200]!r}.", remedy
    return f"{what}.", f"Install it: {libraries.INSTALL}"
