"""The `:` line: a verb and its arguments, with the commands that match as one types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from workbench.tui import actions
from workbench.tui.screens.dialog import Dialog
from workbench.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp

SHOWN = 8  # matches above the line


class CommandLine(Dialog[str | None]):
    """Answers the line that was typed or chosen."""

    app: WorkbenchApp
    BINDINGS = [("escape", "leave", "Leave")]
    DEFAULT_CSS = """
    CommandLine { align: center bottom; }
    CommandLine #box { height: auto; width: 100%; background: $panel; border-top: solid $line; }
    CommandLine Table { background: $panel; margin: 0 1; }
    CommandLine.-ascii #box { border-top: ascii $line; }
    """

    def __init__(self, text: str, active: list[str], earlier: Sequence[str] = ()):
        """`active` are the places below, innermost first; `earlier` lines come back above the first match."""
        super().__init__()
        self.text, self.active, self.earlier = text, active, list(earlier)

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Table(
                (Column(title="", width=24, grow=1), Column(title="", width=30, grow=2)),
                self.cells,
                key=lambda action: action.id,
                header=False,
            )
            yield Input(self.text, placeholder="a command: stop pretrain-3, go runs, theme light")

    def on_mount(self) -> None:
        field = self.query_one(Input)
        field.cursor_blink = False
        field.select_on_focus = False
        field.focus()
        field.cursor_position = len(self.text)
        self.query_one(Table).can_focus = False
        self._match(self.text)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._match(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        action = self.query_one(Table).row
        typed = event.value.strip()
        # A verb alone means the row under the cursor; with arguments the line is taken as it stands.
        self.dismiss(action.id if action is not None and " " not in typed else typed or None)

    def on_key(self, event: events.Key) -> None:
        table = self.query_one(Table)
        if event.key == "down":
            table.do_down()
        elif event.key == "up" and table.cursor == 0 and self.earlier:
            self._write(self.earlier.pop())
        elif event.key == "up":
            table.do_up()
        elif event.key == "tab" and table.row is not None:
            self._write(f"{table.row.verb} ")
        else:
            return
        event.stop()
        event.prevent_default()

    def _write(self, text: str) -> None:
        field = self.query_one(Input)
        field.value = text
        field.cursor_position = len(text)

    def on_table_opened(self, event: Table.Opened) -> None:
        self.dismiss(event.row.id)

    def cells(self, action: actions.Action) -> list[Text]:
        table = self.query_one(Table)
        where = "" if action.place == "everywhere" else f"{actions.title_of(action.place)}: "
        return [
            table.assemble(action.verb, (f" {action.argument}", "accent")),
            table.assemble((f"{where}{action.help}", "muted")),
        ]

    def _match(self, text: str) -> None:
        word = text.strip().removeprefix(":").partition(" ")[0].lower()
        exact = " " in text.strip() or text.endswith(" ")
        found = [
            action
            for action in actions.commands(self.active)
            if (action.verb == word if exact else word in action.verb or word in action.title.lower())
        ]
        found.sort(key=lambda action: not action.verb.startswith(word))
        table = self.query_one(Table)
        table.set_rows(found)
        table.cursor = 0
        table.styles.height = min(len(found), SHOWN)

    def action_leave(self) -> None:
        self.dismiss(None)
