"""A list, and beside it what there is to read of the chosen row."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Container, Vertical

from workbench.tui.live import Changes
from workbench.tui.records import Part
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets.reader import Reader
from workbench.tui.widgets.table import Table


class ReadingScreen(WorkbenchScreen):
    """Wide: list and reader side by side. Narrow: one above the other; `+` gives the reader the screen."""

    DEFAULT_CSS = """
    ReadingScreen #both { height: 1fr; }
    ReadingScreen #list { height: 40%; }
    ReadingScreen #reader { height: 1fr; }
    ReadingScreen.-zoomed #list { display: none; }
    ReadingScreen.-wide #both, ReadingScreen.-very-wide #both { layout: horizontal; }
    ReadingScreen.-wide #list, ReadingScreen.-very-wide #list { width: 45%; height: 100%; }
    ReadingScreen.-wide #reader, ReadingScreen.-very-wide #reader { width: 1fr; height: 100%; }
    """

    def body(self) -> ComposeResult:
        with Container(id="both"):
            yield from self.listing()
            with Vertical(id="reader", classes="pane"):
                yield Reader()

    def listing(self) -> ComposeResult:
        """The widget `#list`, with the table in it."""
        yield from ()

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def show(self, changes: Changes) -> None:
        pass  # what was made does not change

    def give_to_read(self, parts: Sequence[Part], title: str = "", subtitle: str = "") -> None:
        entitle(self.query_one("#reader"), title, subtitle)
        self.query_one(Reader).show(parts)
        self.refresh_keys()

    def on_table_opened(self, event: Table.Opened) -> None:
        self.query_one(Reader).focus()

    def why_not_zoom(self, _: str = "") -> str | None:
        if self.has_class("-zoomed") or self.query_one(Reader).parts:
            return None
        return "There is nothing to read."

    def do_zoom(self, _: str = "") -> None:
        self.toggle_class("-zoomed")
        self.query_one(Reader if self.has_class("-zoomed") else Table).focus()

    def do_back(self, _: str = "") -> None:
        if self.has_class("-zoomed"):
            self.do_zoom()
        elif isinstance(self.focused, Reader):
            self.query_one(Table).focus()
        else:
            self.dismiss()
