"""Rewriting an answer: what a person writes becomes a row to imitate."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import TextArea

from workbench.tui import safe
from workbench.tui.screens.dialog import Dialog
from workbench.tui.screens.dialogs import Words


class EditAnswer(Dialog[str | None]):
    """Enter begins a line, Esc ends the writing; then it is kept or left. None: nothing was changed, or it was left."""

    BINDINGS = [("escape", "leave", "Leave")]
    DEFAULT_CSS = """
    EditAnswer .dialog { width: 104; height: 88%; }
    EditAnswer TextArea {
        height: 1fr; border: none; padding: 0 1; background: $background; color: $foreground;
        scrollbar-size-vertical: 1; margin-bottom: 1;
        &:focus { border: none; }
        & .text-area--cursor-line { background: transparent; }
    }
    """

    def __init__(self, title: str, text: str):
        """`text` holds no control sequences."""
        super().__init__()
        self.title_text, self.text = title, text
        self.asks = False  # whether to keep it

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self.title_text
            area = TextArea(
                self.text, soft_wrap=True, tab_behavior="focus", show_line_numbers=False, highlight_cursor_line=False
            )
            area.cursor_blink = False
            yield area
            yield Words(last=True)

    def on_mount(self) -> None:
        super().on_mount()
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)
        area.focus()
        self._say()

    def _say(self) -> None:
        words = self.query_one(Words)
        if self.asks:
            words.say(
                "Keep what you wrote?   ", ("y", "key"), " Keep   ", ("n", "key"), " Leave it   ", ("Esc", "key"),
                " Write on",
            )  # fmt: skip
        else:
            words.say(("Esc", "key"), (" ends the writing, and asks whether to keep it", "muted"))

    def on_key(self, event: events.Key) -> None:
        if self.asks and event.key in ("y", "enter", "n"):
            event.stop()
            event.prevent_default()
            # What a terminal pastes may hold anything.
            self.dismiss(None if event.key == "n" else safe.safe(self.query_one(TextArea).text))

    def action_leave(self) -> None:
        area = self.query_one(TextArea)
        if area.text == self.text:
            self.dismiss(None)
            return
        self.asks = not self.asks
        area.read_only = self.asks  # and so hands its keys on
        self._say()
