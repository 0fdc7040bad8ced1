"""What the terminal at hand can do."""

from __future__ import annotations

import locale
import os
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass

# The Linux console has line drawing but no braille; the others are older still.
ASCII_TERMS = ("linux", "vt100", "vt102", "vt220", "ansi", "cons25")
SIXTEEN_COLOUR_TERMS = (*ASCII_TERMS, "xterm", "xterm-color", "xterm-16color", "screen", "tmux", "rxvt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """`full_screen` is False where only plain text can be printed."""

    full_screen: bool = True
    ascii: bool = False
    few_colours: bool = False  # 16 or none: the terminal's own palette is used
    remote: bool = False  # over SSH: one repaint a second, nothing moves by itself
    light: bool = False  # a light background, as far as the environment tells

    @property
    def poll_seconds(self) -> float:
        return 1.0 if self.remote else 0.5


def full_screen(environ: Mapping[str, str] | None = None) -> bool:
    """Whether there is a terminal here that can do more than print lines."""
    term = (os.environ if environ is None else environ).get("TERM", "")
    # Standard error is what Textual draws on.
    streams = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    return streams and term not in ("", "dumb", "unknown")


def gone() -> bool:
    """Whether the terminal was closed: it no longer has settings to read."""
    try:
        termios.tcgetattr(sys.__stdin__ or 0)
    except (termios.error, ValueError, OSError):
        return True
    return False


def detect(environ: Mapping[str, str] | None = None) -> Terminal:
    """Read the environment, the locale and what the standard streams are."""
    env = os.environ if environ is None else environ
    term = env.get("TERM", "")
    encoding = (locale.getpreferredencoding(False) or "ascii").lower().replace("-", "")
    rich_colour = env.get("COLORTERM", "") in ("truecolor", "24bit") or "256" in term
    return Terminal(
        full_screen=full_screen(env),
        ascii=env.get("WORKBENCH_ASCII", "") not in ("", "0") or term in ASCII_TERMS or encoding != "utf8",
        few_colours="NO_COLOR" in env or (term in SIXTEEN_COLOUR_TERMS and not rich_colour),
        remote="SSH_CONNECTION" in env or "SSH_TTY" in env,
        # COLORFGBG is "foreground;background"; 7 and 15 are the light backgrounds.
        light=env.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15"),
    )
