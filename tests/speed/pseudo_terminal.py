"""A process in a pseudo-terminal of our own: what it draws, and when."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Terminal:
    """`argv` in a terminal of 120×36; everything it has written is in `output`."""

    def __init__(
        self, argv: Sequence[str], *, environ: dict[str, str] | None = None, rows: int = 36, columns: int = 120
    ):
        self.output = b""
        self.started = time.perf_counter()
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            # The size is the terminal's own: readline puts COLUMNS and LINES where only C sees them.
            ours = ("COLUMNS", "LINES", "NO_COLOR", "SSH_CONNECTION", "SSH_TTY")
            plain = {key: value for key, value in os.environ.items() if key not in ours}
            changes = {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **(environ or {})}
            os.execve(argv[0], list(argv), plain | changes)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: bytes, *, after: int = 0, seconds: float = 20.0) -> float:
        """Read until `text` was drawn behind byte `after`; the moment (`time.perf_counter`) when it was."""
        deadline = time.perf_counter() + seconds
        while text not in self.output[after:]:
            left = deadline - time.perf_counter()
            if left <= 0 or not self.read(left):
                raise TimeoutError(f"{text!r} was not drawn in {seconds} s; the end was {self.output[-400:]!r}")
        return time.perf_counter()

    def read(self, seconds: float) -> bytes:
        """What comes within `seconds`; empty if nothing did."""
        ready, _, _ = select.select([self.descriptor], [], [], seconds)
        if not ready:
            return b""
        try:
            block = os.read(self.descriptor, 1 << 16)
        except OSError:  # the process is gone
            return b""
        self.output += block
        return block

    def collect(self, seconds: float) -> None:
        """Read for so long."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            self.read(left)

    def press(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
