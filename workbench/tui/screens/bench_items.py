"""One task item by item: what flipped between two models, and what each made of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from workbench.errors import WorkbenchError
from workbench.tui import actions, safe
from workbench.tui.bench import Gathered
from workbench.tui.bench_items import VIEWS, Asked, mark, parts_of, read_items
from workbench.tui.live import Changes
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets.reader import Reader
from workbench.tui.widgets.table import Column, Table

MARK = 7  # columns: "✗", or "-23.54" of a metric that knows no right and wrong
NAME = 10  # columns of a model's name above its marks


class ItemsScreen(WorkbenchScreen):
    """Wide: items and reader side by side. Narrow: one above the other; `+` gives the reader the screen."""

    PLACE = "items"
    BINDINGS = actions.bindings("items")
    DEFAULT_CSS = """
    ItemsScreen #items { height: 1fr; }
    ItemsScreen #list { height: 40%; }
    ItemsScreen #reader { height: 1fr; }
    ItemsScreen.-zoomed #list { display: none; }
    ItemsScreen.-wide #items, ItemsScreen.-very-wide #items { layout: horizontal; }
    ItemsScreen.-wide #list, ItemsScreen.-very-wide #list { width: 45%; height: 100%; }
    ItemsScreen.-wide #reader, ItemsScreen.-very-wide #reader { width: 1fr; height: 100%; }
    """

    def __init__(self, baseline: Gathered | None, chosen: Gathered, asked: str):
        super().__init__()
        self.baseline, self.chosen, self.asked = baseline, chosen, asked
        self.of_group = asked not in chosen.results.tasks
        self.items: Sequence[Asked] = ()
        self.view = "all"
        self.read = False

    @property
    def names(self) -> list[str]:
        return [*([self.baseline.model] if self.baseline is not None else []), self.chosen.model]

    def heading(self) -> str:
        return safe.line(f"{self.asked}: {' against '.join(reversed(self.names))}")

    def body(self) -> ComposeResult:
        columns = [Column(title="Task", width=14, grow=1, drop=1)] if self.of_group else []
        columns.append(Column(title="Item", width=6, right=True))
        for name in self.names:
            columns.append(Column(title=safe.line(name)[:NAME], width=min(NAME, max(MARK, len(name)))))
        columns.append(Column(title="Question", width=16, grow=1))
        with Container(id="items"):
            with Vertical(id="list", classes="pane"):
                yield Table(columns, self.cells, key=lambda one: one.place)
            with Vertical(id="reader", classes="pane"):
                yield Reader()

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        entitle(self.query_one("#list"), "being read ...")
        self.run_worker(self._read(), exit_on_error=True)

    def show(self, changes: Changes) -> None:
        pass  # a benchmark does not change

    async def _read(self) -> None:
        try:
            self.items = await asyncio.to_thread(read_items, self.baseline, self.chosen, self.asked)
        except WorkbenchError as error:
            entitle(self.query_one("#list"), "no items")
            self.app.show_error(error)
            return
        self.read = True
        self._look_at("flipped" if any(one.flipped for one in self.items) else "all")

    def _look_at(self, view: str) -> None:
        self.view = view
        words, holds = VIEWS[view]
        shown = [one for one in self.items if holds(one)]
        table = self.query_one(Table)
        table.set_rows(shown)
        title = (
            f"{len(self.items):,} items" if view == "all" else f"{len(shown):,} of {len(self.items):,} items {words}"
        )
        gained = sum(one.flipped and one.value(one.item) == 1.0 for one in self.items)
        lost = sum(one.flipped for one in self.items) - gained
        flipped = f"{gained:,} now right, {lost:,} now wrong" if self.baseline is not None else ""
        entitle(self.query_one("#list"), title, flipped)
        self._show_item(table.row)
        self.refresh_keys()

    def cells(self, one: Asked) -> list[Text]:
        on = self.query_one(Table)
        values = [one.value(one.before)] if self.baseline is not None else []
        marks = [on.assemble(mark(value)) for value in [*values, one.value(one.item)]]
        task = [on.assemble((safe.line(one.item.task), "muted"))] if self.of_group else []
        number = on.assemble((safe.line(one.item.item), "muted"))
        return [*task, number, *marks, on.assemble(safe.line(one.title))]

    def on_table_moved(self, event: Table.Moved) -> None:
        self._show_item(event.row)

    def _show_item(self, one: Asked | None) -> None:
        pane, reader = self.query_one("#reader"), self.query_one(Reader)
        if one is None:
            entitle(pane, "")
            reader.show(())
            return
        entitle(pane, f"{one.item.task} item {one.item.item}", "flipped" if one.flipped else "")
        reader.show(parts_of(one, self.names))

    def on_table_opened(self, event: Table.Opened) -> None:
        self.query_one(Reader).focus()

    # ------------------------------------------------------------------ actions

    def why_not_flipped(self, _: str = "") -> str | None:
        if self.baseline is None:
            return "There is no other model to flip against: open a cell beside the baseline's in the grid."
        return None if any(one.flipped for one in self.items) else "No item flipped between the two."

    def do_flipped(self, _: str = "") -> None:
        self._look_at("flipped")

    def _why_none(self, _: str = "") -> str | None:
        return None if self.read else "The items are not read yet."

    why_not_all = why_not_right = why_not_wrong = _why_none

    def do_all(self, _: str = "") -> None:
        self._look_at("all")

    def do_right(self, _: str = "") -> None:
        self._look_at("right")

    def do_wrong(self, _: str = "") -> None:
        self._look_at("wrong")

    def why_not_zoom(self, _: str = "") -> str | None:
        return None if self.query_one(Table).row is not None else "There is no item to read."

    def do_zoom(self, _: str = "") -> None:
        self.toggle_class("-zoomed")
        self.query_one(Reader if self.has_class("-zoomed") else Table).focus()

    def do_back(self, _: str = "") -> None:
        if self.has_class("-zoomed"):
            self.do_zoom()
        elif self.query_one(Reader).has_focus:
            self.query_one(Table).focus()
        else:
            self.dismiss()
