"""The `?` help of what has the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from workbench.tui import actions
from workbench.tui.places import BY_ID, PARTS, SCREENS
from workbench.tui.screens.dialog import Dialog
from workbench.tui.widgets.painted import Painted

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp


class HelpScreen(Dialog[None]):
    """The places around the focus, innermost first, with their keys."""

    BINDINGS = [("escape,question_mark,q,enter", "dismiss", "Close")]

    def __init__(self, over: Screen[object]):
        super().__init__()
        self.places = [name for name, _ in actions.places_of(over.focused or over)]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog -help") as box:
            box.border_title = "Help"
            box.border_subtitle = "Esc closes"
            yield HelpText(self.places)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


class HelpText(Painted, Static):
    """What can be done in `places`, as a table of keys."""

    app: WorkbenchApp
    DEFAULT_CSS = "HelpText { height: auto; }"

    def __init__(self, places: list[str]):
        super().__init__(markup=False)
        # The screen comes first: what a list is, everybody knows.
        self.places = sorted(places, key=lambda name: (name in PARTS) + 2 * (name == "everywhere"))

    def render(self) -> Group:
        parts: list[RenderableType] = []
        for name in self.places:
            parts += [Text(BY_ID[name].title, self.paint("strong")), Text(BY_ID[name].help, self.paint("muted")), ""]
            keys = RichTable.grid(padding=(0, 2, 0, 0))
            for action in actions.of(name):
                key = actions.shown_key(action, ascii=self.app.ascii) or f":{action.verb}"
                keys.add_row(self.assemble((key, "key")), action.title, Text(action.help, self.paint("muted")))
            if name == "everywhere":
                letters = ", ".join(f"{place.letter} {place.title}" for place in SCREENS)
                keys.add_row(self.assemble(("g + letter", "key")), "Screens", Text(letters, self.paint("muted")))
            parts += [keys, ""]
        return Group(*parts[:-1])
