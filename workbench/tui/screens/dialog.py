"""What all dialogs share: a box in the middle of the screen below them."""

from __future__ import annotations

from typing import TypeVar

from textual.screen import ModalScreen

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer]):
    """Its content stands in a container of class `dialog`. The styles are here, and not with those of all
    screens, because they need not be read before the first paint."""

    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog:ansi { background: ansi_default; }
    Dialog .dialog {
        width: 72; max-width: 94%; height: auto; max-height: 88%;
        padding: 1 2; background: $panel; border: round $primary;
        border-title-color: $foreground; border-title-style: bold; border-subtitle-color: $muted;
    }
    Dialog .dialog.-error { border: round $error; }
    Dialog .dialog.-menu { width: 96; padding: 1 1 0 1; }
    Dialog .dialog.-menu Words { margin: 1 0 0 0; height: 2; }
    Dialog .dialog.-help { width: 96; padding: 1 1 1 2; }
    Dialog Table { background: $panel; }
    Dialog.-ascii .dialog { border: ascii $primary; }
    Dialog.-ascii .dialog.-error { border: ascii $error; }
    """

    def on_mount(self) -> None:
        self.set_class(getattr(self.app, "ascii", False), "-ascii")
