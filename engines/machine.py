"""The machine's memory, as a process may use it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import psutil


def free_memory_bytes() -> int:
    """What this process may still take of the machine, within the container's limit."""
    free = psutil.virtual_memory().available
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, int(limit) - used) if limit.isdigit() else free


def peak_resident_bytes() -> int:
    """The most that the process held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
