"""Menus over a screen: the `.` menu of actions and the `g` menu of screens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import Screen

from workbench.tui import actions
from workbench.tui.places import PARTS, SCREENS
from workbench.tui.screens.dialog import Dialog
from workbench.tui.screens.dialogs import Words
from workbench.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp


SHARE = 0.88  # of the screen's height, as `.dialog` has it
AROUND = 6  # lines: two borders, a blank one above, and the three of the help below


@dataclass(frozen=True, slots=True)
class Choice:
    """`why_not` is the reason why it cannot be chosen now, or None."""

    id: str
    keys: tuple[str, ...]  # as Textual names them
    shown_key: str
    title: str
    help: str
    why_not: str | None = None


class Menu(Dialog[str | None]):
    """Answers the id of what was chosen, with Enter or with its own key; None if it was left."""

    app: WorkbenchApp
    BINDINGS = [("escape", "leave", "Leave")]

    def __init__(self, title: str, choices: Sequence[Choice], *, leave_key: str = "", chosen: str = ""):
        """The cursor begins at the choice with the id `chosen`."""
        super().__init__()
        self.chosen = chosen
        self.menu_title, self.choices, self.leave_key = title, choices, leave_key

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -menu") as box:
            box.border_title = self.menu_title
            table = Table(
                (
                    Column(title="", width=max(len(choice.shown_key) for choice in self.choices)),
                    Column(title="", width=max(len(choice.title) for choice in self.choices)),
                    Column(title="", width=10, grow=1),
                ),
                self.cells,
                key=lambda choice: choice.id,
                header=False,
            )
            yield table
            yield Words("")

    def cells(self, choice: Choice) -> list[Text]:
        table = self.query_one(Table)
        return [
            table.assemble((choice.shown_key, "muted" if choice.why_not else "key")),
            table.assemble((choice.title, "muted" if choice.why_not else "text")),
            table.assemble((choice.why_not or choice.help, "warn" if choice.why_not else "muted")),
        ]

    def on_mount(self) -> None:
        self._fit()
        table = self.query_one(Table)
        table.set_rows(self.choices)
        table.choose(self.chosen)
        table.focus()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """As many rows as leave room for the line below them."""
        self.query_one(Table).styles.height = min(len(self.choices), int(self.app.size.height * SHARE) - AROUND)

    def on_table_moved(self, event: Table.Moved) -> None:
        self.query_one(Words).say(((event.row.why_not or event.row.help), "muted"))

    def on_table_opened(self, event: Table.Opened) -> None:
        self._choose(event.row)

    def on_key(self, event: events.Key) -> None:
        for choice in self.choices:
            if event.key in choice.keys:
                event.stop()
                event.prevent_default()
                self._choose(choice)
                return
        if event.key == self.leave_key:
            self.dismiss(None)

    def _choose(self, choice: Choice) -> None:
        if choice.why_not:
            self.app.tell(choice.why_not, severity="warning")
        else:
            self.dismiss(choice.id)

    def action_leave(self) -> None:
        self.dismiss(None)


def action_menu(over: Screen[object], *, ascii: bool) -> Menu:
    """All that can be done on `over`, the innermost place first, and why what cannot be done cannot."""
    choices = []
    taken: set[str] = set()  # keys of inner places
    for place, owner in actions.places_of(over.focused or over):
        if place in PARTS:
            continue
        for action in actions.of(place):
            if action.key != "escape" and action.id not in ("everywhere.actions", "everywhere.command"):
                keys = tuple(key for key in action.key.split(",") if key not in ("", "escape"))
                if keys and taken.issuperset(keys):
                    continue
                taken.update(keys)
                shown = actions.shown_key(action, ascii=ascii) or ":"
                why_not = actions.reason(owner, action)
                choices.append(Choice(action.id, keys, shown, action.title, action.help, why_not))
    return Menu("Actions", choices, leave_key="full_stop")


def go_menu(app: WorkbenchApp) -> Menu:
    """The screens and their letters."""
    return Menu(
        "Go to",
        [
            Choice(place.id, (place.letter,), place.letter, place.title, place.help, app.why_not_go(place.letter))
            for place in SCREENS
        ],
    )
