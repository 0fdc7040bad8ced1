"""What this program keeps from one session to the next, for the user and not for a project."""

from __future__ import annotations

import json

from workbench import durable
from workbench.store.recent import state_folder

FILE = "terminal.json"


def theme() -> str:
    """The theme that was chosen last; "" if none was."""
    try:
        kept = json.loads((state_folder() / FILE).read_text(encoding="utf-8"))
        return str(kept.get("theme", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def keep_theme(name: str) -> None:
    """Begin with it next time. A file that cannot be written is no reason to stop."""
    try:
        state_folder().mkdir(parents=True, exist_ok=True)
        durable.write_json(state_folder() / FILE, {"theme": name})
    except OSError:
        return
