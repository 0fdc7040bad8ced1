"""The project as plain text, for a pipe or a terminal that cannot do more."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from workbench.store.project import Project


def print_snapshot(
    project: Project | None, *, file: TextIO | None = None, now: Callable[[], float] = time.time
) -> None:
    """The map and the runs; without a project, what to do."""
    out = file or sys.stdout
    if project is None:
        print("No project here. Make one: workbench new my-llm. A terminal opens the full program.", file=out)
        return
