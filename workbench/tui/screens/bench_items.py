"""One task item by item: what flipped between two models, and what each made of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from workbench.errors import WorkbenchError
from workbench.tui import actions, safe
from workbench.tui.bench import Gathered
from workbench.tui.bench_items import VIEWS, Asked, mark, parts_of, read_items
from workbench.tui.screens.base import entitle
from workbench.tui.screens.reading import ReadingScreen
from workbench.tui.widgets.table import Column, Table

MARK = 7  # columns: "✗", or "-23.54" of a metric that knows no right and wrong
NAME = 10  # columns of a model's name above its marks


class ItemsScreen(ReadingScreen):
    PLACE = "items"
    BINDINGS = actions.bindings("items")

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

    def listing(self) -> ComposeResult:
        columns = [Column(title="Task", width=14, grow=1, drop=1)] if self.of_group else []
        columns.append(Column(title="Item", width=6, right=True))
        for name in self.names:
            columns.append(Column(title=safe.line(name)[:NAME], width=min(NAME, max(MARK, len(name)))))
        columns.append(Column(title="Question", width=16, grow=1))
        with Vertical(id="list", classes="pane"):
            yield Table(columns, self.cells, key=lambda one: one.place, opens="Read")

    def on_mount(self) -> None:
        entitle(self.query_one("#list"), "being read ...")
        self.run_worker(self._read(), exit_on_error=True)

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
        self.query_one(Table).set_rows(shown)
        title = (
            f"{len(self.items):,} items" if view == "all" else f"{len(shown):,} of {len(self.items):,} items {words}"
        )
        gained = sum(one.flipped and one.value(one.item) == 1.0 for one in self.items)
        lost = sum(one.flipped for one in self.items) - gained
        flipped = f"{gained:,} now right, {lost:,} now wrong" if self.baseline is not None else ""
        entitle(self.query_one("#list"), title, flipped)
        self.refresh_keys()

    def cells(self, one: Asked) -> list[Text]:
        on = self.query_one(Table)
        values = [one.value(one.before)] if self.baseline is not None else []
        marks = [on.assemble(mark(value)) for value in [*values, one.value(one.item)]]
        task = [on.assemble((safe.line(one.item.task), "muted"))] if self.of_group else []
        number = on.assemble((safe.line(one.item.item), "muted"))
        return [*task, number, *marks, on.assemble(safe.line(one.title))]

    def on_table_moved(self, event: Table.Moved) -> None:
        one: Asked | None = event.row
        if one is None:
            self.give_to_read(())
            return
        flipped = "flipped" if one.flipped else ""
        self.give_to_read(parts_of(one, self.names), f"{one.item.task} item {one.item.item}", flipped)

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
