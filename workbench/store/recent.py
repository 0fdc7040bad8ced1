"""The projects that this user opened lately, for the start screen."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.store.project import SETTINGS, Project

KEEP = 20


def state_folder() -> Path:
    """Where what belongs to the user and the machine, not to a project, is kept."""
    chosen = os.environ.get("WORKBENCH_STATE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "workbench"


def remember(project: Project) -> None:
    """Put the project first in the list. A list that cannot be written is no reason to stop."""
    others = [entry for entry in _read() if entry["path"] != str(project.root)]
    entries = [{"path": str(project.root), "name": project.name, "opened": time.time()}, *others][:KEEP]
    try:
        state_folder().mkdir(parents=True, exist_ok=True)
        durable.write_json(state_folder() / "recent.json", entries)
    except OSError:
        return


def recent() -> list[dict[str, Any]]:
    """Newest first: path, name, opened (seconds since the epoch); only those that still exist."""
    return [entry for entry in _read() if (Path(entry["path"]) / SETTINGS).exists()]


def _read() -> list[dict[str, Any]]:
    try:
        return json.loads((state_folder() / "recent.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
