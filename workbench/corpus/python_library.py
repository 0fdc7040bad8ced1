"""The files of the source `python-docs`: this Python's standard library, and the topics of its `help()`."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

TOPICS = "pydoc_data/topics.py"
# Folders without documentation of their own.
NOT_DOCUMENTED = {"__pycache__", "dist-packages", "idle_test", "pydoc_data", "site-packages", "test", "tests"}


def root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def files() -> Iterator[tuple[str, Path]]:
    """(name relative to the library, path) of its modules without tests, and of its topics."""
    library = root()
    for place, folders, names in os.walk(library):
        folders[:] = sorted(name for name in folders if name not in NOT_DOCUMENTED and not name.startswith("config-"))
        for name in sorted(names):
            if name.endswith(".py"):
                path = Path(place, name)
                yield path.relative_to(library).as_posix(), path
    if (library / TOPICS).exists():
        yield TOPICS, library / TOPICS
