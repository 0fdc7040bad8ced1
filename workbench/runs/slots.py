"""Who may use the training devices: one run a device set at a time, first come, first served.

The devices belong to the machine, so the list is the user's, not a project's. It is read and written
under a file lock, and entries of dead processes are dropped on sight: a `kill -9` never blocks the queue.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.store.recent import state_folder
from workbench.store.runs import process_started

EVERYTHING = "all"


def devices() -> list[str]:
    """What a training run asks for: the visible GPUs by number, or all there is."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    return [part.strip() for part in visible.split(",")] if visible else [EVERYTHING]


def try_acquire(run: str, created: float, wanted: list[str], project: Path | None = None) -> str | None:
    """Take the devices unless one of them is held or awaited longer; then, the run in front, with its project where
    that is another than the folder `project`. Call again to wait on."""
    with _entries() as entries:
        mine = next((entry for entry in entries if entry["pid"] == os.getpid() and entry["run"] == run), None)
        if mine is None:
            mine = {
                "run": run, "pid": os.getpid(), "started": process_started(os.getpid()),
                "created": created, "devices": wanted, "holds": False, "project": str(project or ""),
            }  # fmt: skip
            entries.append(mine)
        for other in entries:
            in_front = other["holds"] or other["created"] < mine["created"]
            if other is not mine and in_front and _overlap(other["devices"], wanted):
                elsewhere = other.get("project", "") not in ("", mine.get("project"))
                return f"{other['run']} of {other['project']}" if elsewhere else other["run"]
        mine["holds"] = True
        return None


def release(run: str) -> None:
    """Give the devices back, or leave the queue."""
    with _entries() as entries:
        entries[:] = [entry for entry in entries if not (entry["pid"] == os.getpid() and entry["run"] == run)]


def _overlap(one: list[str], other: list[str]) -> bool:
    return EVERYTHING in one or EVERYTHING in other or bool(set(one) & set(other))


@contextmanager
def _entries() -> Iterator[list[dict[str, Any]]]:
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "slots.json"
    with open(folder / "slots.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = []
        entries = [entry for entry in before if abs(process_started(entry["pid"]) - entry["started"]) < 2]
        was = json.dumps(before)  # the entries are changed in place
        yield entries
        if json.dumps(entries) != was:
            durable.write_json(path, entries)
