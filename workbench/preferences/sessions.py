"""Who ranks what at this moment, so that two sessions are never given the same pair.

Each session holds a lock on a file of its own for as long as it lives, in which it says which pair it shows;
a session that was killed lost its lock, and its pair is free again.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Sessions:
    """The sessions on one set of candidates; `folder` is that of its judgements."""

    def __init__(self, folder: Path):
        self.id = uuid.uuid4().hex[:12]
        self._folder = folder / "sessions"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = folder / ".lock"
        self._path = self._folder / f"{self.id}.json"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    @contextmanager
    def choosing(self) -> Iterator[set[frozenset[str]]]:
        """The pairs that other sessions show; nobody else chooses inside the block. End it with `show`."""
        with open(self._lock, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._shown_elsewhere()

    def show(self, answers: frozenset[str]) -> None:
        """Say that this session shows a pair, or a set, of answers; none: it shows nothing."""
        content = json.dumps(sorted(answers)).encode()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, content, 0)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)

    def _shown_elsewhere(self) -> set[frozenset[str]]:
        shown = set()
        for path in self._folder.glob("*.json"):
            if path == self._path:
                continue
            try:
                file = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)  # its session is dead
            except BlockingIOError:
                content = os.pread(file, 1 << 16, 0)
                shown.add(frozenset(json.loads(content or b"[]")))
            finally:
                os.close(file)
        return shown
