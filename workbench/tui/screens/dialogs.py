"""Small questions and answers over a screen."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from workbench.errors import WorkbenchError
from workbench.tui import actions, safe
from workbench.tui.screens.dialog import Dialog
from workbench.tui.widgets.painted import Painted


class Words(Painted, Static):
    """Text that wraps, in the theme's colours; never parsed as markup."""

    DEFAULT_CSS = "Words { height: auto; margin-bottom: 1; } Words.-last { margin-bottom: 0; }"

    def __init__(self, *parts: str | tuple[str, str], last: bool = False):
        super().__init__(markup=False, classes="-last" if last else "")
        self.parts = parts

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Other text instead."""
        self.parts = parts
        self.refresh(layout=True)

    def render(self) -> Text:
        text = self.assemble(
            *((safe.safe(part[0]), part[1]) if isinstance(part, tuple) else safe.safe(part) for part in self.parts)
        )
        text.no_wrap = False
        return text


class Confirm(Dialog[bool]):
    """A question that is answered with y or n."""

    PLACE: ClassVar[str] = "dialog"
    BINDINGS = actions.bindings("dialog")

    def __init__(self, question: str, *, yes: str = "Yes", no: str = "No"):
        super().__init__()
        self.question, self.yes, self.no = question, yes, no

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Words(self.question)
            yield Words(("y", "key"), f" {self.yes}    ", ("n", "key"), f" {self.no}", last=True)

    def do_yes(self, _: str = "") -> None:
        self.dismiss(True)

    def do_no(self, _: str = "") -> None:
        self.dismiss(False)


class ErrorDialog(Dialog[None]):
    """What happened and what to do about it."""

    BINDINGS = [("escape,enter,space", "dismiss", "Close")]

    def __init__(self, error: WorkbenchError):
        super().__init__()
        self.error = error

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -error") as box:
            box.border_title = "That did not work"
            yield Words(self.error.what)
            if self.error.remedy:
                yield Words(self.error.remedy)
            yield Words(("Enter", "key"), (" Close", "muted"), last=True)


class AskLine(Dialog[str | None]):
    """A question that is answered with a line of text; None if it was left with Esc."""

    BINDINGS = [("escape", "leave", "Leave")]

    def __init__(self, prompt: str, *, value: str = "", hint: str = ""):
        super().__init__()
        self.prompt, self.value, self.hint = prompt, value, hint

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Words(self.prompt)
            yield Input(self.value, placeholder=self.hint)
            yield Words("")
            yield Words(("Enter", "key"), (" Accept   ", "muted"), ("Esc", "key"), (" Leave", "muted"), last=True)

    def on_mount(self) -> None:
        field = self.query_one(Input)
        field.cursor_blink = False
        field.select_on_focus = False
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        self.dismiss(None)
