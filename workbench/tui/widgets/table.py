"""A table that draws only the rows on the screen: as quick with 100,000 as with ten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui import actions
from workbench.tui.widgets.painted import Painted

GAP = 2  # columns between two columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`width` is the least; what is left over goes to columns with `grow`. Where the table is too narrow,
    the columns with the highest `drop` go first; those with 0 stay."""

    title: str
    width: int
    grow: int = 0
    right: bool = False
    drop: int = 0


class Table(Painted, ScrollView, can_focus=True):
    """`cells(row)` gives a row's `Text`s, one a column; `key(row)` says which row is the same after a change; `opens`
    is what Enter does with one."""

    PLACE: ClassVar[str] = "list"
    BINDINGS = actions.bindings("list")
    DEFAULT_CSS = """
    Table { height: 1fr; background: transparent; overflow-x: hidden; scrollbar-size-vertical: 1; }
    """

    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor is on another row (None: the table is empty)."""

        def __init__(self, table: Table, row: Any):
            super().__init__()
            self.table, self.row = table, row

        @property
        def control(self) -> Table:
            return self.table

    class Opened(Moved):
        """Enter was pressed on a row, or it was clicked twice."""

    def __init__(
        self,
        columns: Sequence[Column],
        cells: Callable[[Any], Sequence[Text]],
        *,
        key: Callable[[Any], Any],
        header: bool = True,
        opens: str = "Open",
        id: str | None = None,
    ):
        super().__init__(id=id)
        self.columns, self.cells, self.key = tuple(columns), cells, key
        self.header, self.opens = header, opens
        self.rows: Sequence[Any] = ()
        self._announced: Any = None

    @property
    def row(self) -> Any:
        """What is under the cursor; None in an empty table."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def set_rows(self, rows: Sequence[Any]) -> None:
        """Show `rows`; the cursor stays on the row that it was on, or near it."""
        before = self.key(self.row) if self.row is not None else None
        if len(rows) == len(self.rows) and all(
            self.key(new) == self.key(old) for new, old in zip(rows, self.rows, strict=True)
        ):
            # The common case while runs go on. A line takes about a millisecond to draw, so: only what is new.
            changed = [number for number, (new, old) in enumerate(zip(rows, self.rows, strict=True)) if new != old]
            self.rows = rows
            for number in changed:
                self.refresh_lines(number + self.header, 1)
            return
        self.rows = rows
        place = next((i for i, row in enumerate(rows) if self.key(row) == before), None) if before is not None else None
        # Not by assignment, which lays out and draws the whole screen anew.
        self.set_reactive(Table.virtual_size, Size(1, len(rows) + self.header))
        self._scroll_update(self.virtual_size)
        self.set_reactive(Table.cursor, min(self.cursor, max(len(rows) - 1, 0)) if place is None else place)
        self.refresh()
        self._announce()

    def choose(self, key: Any) -> bool:
        """Put the cursor on the row with this key; False if there is none."""
        for place, row in enumerate(self.rows):
            if self.key(row) == key:
                self.cursor = place
                return True
        return False

    # ------------------------------------------------------------------ drawing

    def layout_widths(self, width: int) -> list[tuple[int, int]]:
        """(place of the column, width) of those that fit into `width`, in their order."""
        kept = list(range(len(self.columns)))
        while sum(self.columns[i].width + GAP for i in kept) - GAP > width:
            droppable = [i for i in kept if self.columns[i].drop]
            if not droppable:
                break
            kept.remove(max(droppable, key=lambda i: self.columns[i].drop))
        spare = max(0, width - sum(self.columns[i].width + GAP for i in kept) + GAP)
        weight = sum(self.columns[i].grow for i in kept)
        widths = []
        for i in kept:
            more = spare * self.columns[i].grow // weight if weight else 0
            widths.append((i, self.columns[i].width + more))
        return widths

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if self.header and y == 0:
            titles = [Text(column.title, self.paint("muted")) for column in self.columns]
            return self._strip(self._line(titles, width), width)
        place = y + self.scroll_offset.y - self.header
        if not 0 <= place < len(self.rows):
            return Strip.blank(width, self.rich_style)
        line = self._line(self.cells(self.rows[place]), width)
        if place == self.cursor:
            line.append(" " * (width - line.cell_len))
            line = self.under_cursor(line, focused=self.has_focus)
        return self._strip(line, width)

    def _line(self, cells: Sequence[Text], width: int) -> Text:
        line = Text(no_wrap=True, end="")
        for number, (i, room) in enumerate(self.layout_widths(width)):
            if number:
                line.append(" " * GAP)
            cell = cells[i].copy()
            cell.truncate(room, overflow="ellipsis")
            space = " " * (room - cell.cell_len)
            if self.columns[i].right:
                line.append(space)
                line.append_text(cell)
            else:
                line.append_text(cell)
                line.append(space)
        return line

    def _strip(self, line: Text, width: int) -> Strip:
        # The ground below: a strip's segments without one show the terminal's own.
        return Strip(line.render(self.app.console)).adjust_cell_length(width).apply_style(self.rich_style)

    # ------------------------------------------------------------------ moving

    def validate_cursor(self, cursor: int) -> int:
        return min(max(cursor, 0), max(len(self.rows) - 1, 0))

    def watch_cursor(self, before: int, after: int) -> None:
        for place in (before, after):
            self.refresh_lines(place + self.header, 1)
        self._keep_in_sight()
        self._announce()

    def _keep_in_sight(self) -> None:
        room = self.scrollable_content_region.height - self.header
        top = round(self.scroll_y)
        if room <= 0:
            return
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + room:
            self.scroll_to(y=self.cursor - room + 1, animate=False)

    def _announce(self) -> None:
        now = self.key(self.row) if self.row is not None else None
        if now != self._announced:
            self._announced = now
            self.post_message(self.Moved(self, self.row))

    def page(self) -> int:
        return max(1, self.scrollable_content_region.height - self.header - 1)

    def do_up(self, _: str = "") -> None:
        self.cursor -= 1

    def do_down(self, _: str = "") -> None:
        self.cursor += 1

    def do_page_up(self, _: str = "") -> None:
        self.cursor -= self.page()

    def do_page_down(self, _: str = "") -> None:
        self.cursor += self.page()

    def do_first(self, _: str = "") -> None:
        self.cursor = 0

    def do_last(self, _: str = "") -> None:
        self.cursor = len(self.rows) - 1

    def do_open(self, _: str = "") -> None:
        self.post_message(self.Opened(self, self.row))

    def title_open(self) -> str:
        return self.opens

    def why_not_open(self, _: str = "") -> str | None:
        return None if self.row is not None else "The list is empty."

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_resize(self) -> None:
        self._keep_in_sight()

    def on_click(self, event: events.Click) -> None:
        place = event.y + self.scroll_offset.y - self.header
        if event.y >= self.header and 0 <= place < len(self.rows):
            again = place == self.cursor and event.chain > 1
            self.cursor = place
            if again:
                self.do_open()
