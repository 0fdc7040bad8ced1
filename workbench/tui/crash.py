"""What is said and kept when this program itself fails."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from rich.text import Text

from workbench.store.recent import state_folder


def last_words(error: BaseException | None) -> Text:
    """A sentence for the terminal; the traceback goes into a file."""
    path = write_crash_log(error)
    where = f" The details are in {path}." if path else ""
    said = f"{type(error).__name__}: {error}".rstrip(". ")
    return Text(f"The program failed: {said}.{where} Runs are not affected; start it again.")


def write_crash_log(error: BaseException | None) -> Path | None:
    """The traceback in a file of the user's state folder; None if that cannot be written."""
    path = state_folder() / time.strftime("crash-%Y%m%d-%H%M%S.txt")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)) if error else "", encoding="utf-8")
    except OSError:
        return None
    return path
