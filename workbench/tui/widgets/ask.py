"""The line that one writes to a model on: it grows with what is pasted, and keeps what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.message import Message
from textual.widgets import TextArea

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp

KEPT = 200  # lines of history


class AskArea(TextArea):
    """Enter sends; the arrows at its ends lead through what was sent before."""

    app: WorkbenchApp
    PLACE: ClassVar[str] = "ask"
    BINDINGS = [("escape", "leave", "Keys")]
    DEFAULT_CSS = """
    AskArea {
        height: auto; max-height: 6; border: none; padding: 0 1; background: $panel; color: $foreground;
        scrollbar-size-vertical: 1;
        &:focus { border: none; background: $cursor; }
        & .text-area--cursor-line { background: transparent; }
        & .text-area--placeholder { color: $muted; }
    }
    """

    class Sent(Message):
        """Enter was pressed."""

        def __init__(self, text: str):
            super().__init__()
            self.text = text

    class Left(Message):
        """Esc was pressed."""

    def __init__(self, placeholder: str = "", id: str | None = None):
        super().__init__(
            placeholder=placeholder, compact=True, tab_behavior="focus", highlight_cursor_line=False,
            show_line_numbers=False, soft_wrap=True, id=id,
        )  # fmt: skip
        self.cursor_blink = False
        self.waits = False  # an answer is being written: Esc stops that
        self.sent: list[str] = []
        self._place = 0  # in the history; its length: the line that is being written
        self._written = ""

    def offer(self, text: str) -> None:
        """Put a text there, to be changed or sent."""
        self.text = text
        self.move_cursor(self.document.end)

    def remember(self, text: str) -> None:
        if text.strip() and self.sent[-1:] != [text]:
            self.sent = [*self.sent[-KEPT:], text]
        self._place = len(self.sent)

    def _on_key(self, event: events.Key) -> None:  # type: ignore[override]  # TextArea's own runs after it
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Sent(self.text))
        elif event.key == "ctrl+j":  # what pasting aside writes a line end
            event.stop()
            event.prevent_default()
            self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        if self.cursor_at_first_line and not select:
            self.do_earlier()
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if self.cursor_at_last_line and not select:
            self.do_later()
        else:
            super().action_cursor_down(select)

    def do_earlier(self, _: str = "") -> None:
        if self._place > 0:
            if self._place == len(self.sent):
                self._written = self.text
            self._place -= 1
            self.offer(self.sent[self._place])

    def do_later(self, _: str = "") -> None:
        if self._place < len(self.sent):
            self._place += 1
            self.offer(self.sent[self._place] if self._place < len(self.sent) else self._written)

    def do_send(self, _: str = "") -> None:
        self.post_message(self.Sent(self.text))

    def action_leave(self) -> None:
        self.do_keys()

    def do_keys(self, _: str = "") -> None:
        self.post_message(self.Left())

    def why_not_keys(self, _: str = "") -> str | None:
        return "Esc stops the answer first." if self.waits else None

    def why_not_send(self, _: str = "") -> str | None:
        return "An answer is being written: Esc stops it." if self.waits else None

    def why_not_earlier(self, _: str = "") -> str | None:
        return None if self.sent else "Nothing was sent yet."
