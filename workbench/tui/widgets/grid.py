"""A table of two directions: rows and columns are drawn only where they are on the screen. The first column names the
row, and the one behind it may stay in sight, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from workbench.tui import actions
from workbench.tui.widgets.table import GAP, Column, Table


class Grid(Table, inherit_bindings=False):
    """`name(row)` is what stands in front; `cell(row, column, width)` what stands where a row meets one of `heads`,
    whose titles are `title(head)`."""

    PLACE: ClassVar[str] = "grid"
    BINDINGS = actions.bindings("grid")
    LEAST, WIDE, MOST = 18, 22, 34  # columns of a cell: at least, at least where there is room, at most
    ROOM = 100  # columns that are room
    NAMES = 14, 32  # columns of the names, at least and at most

    column: reactive[int] = reactive(0, repaint=False)

    class Shifted(Message):
        """Other columns are in sight, or the cursor is in another one."""

    def __init__(
        self,
        name: Callable[[Any], Text],
        title: Callable[[Any], Text],
        cell: Callable[[Any, Any, int], Text],
        *,
        key: Callable[[Any], Any],
        corner: str = "",
        id: str | None = None,
    ):
        super().__init__((), self._cells, key=key, id=id)
        self.name_of, self.title_of, self.cell_of = name, title, cell
        self.corner = corner
        self.heads: Sequence[Any] = ()
        self.left = 1  # the first of the columns that move; the one at 0 stays
        self.seen: Sequence[
            int
        ] = ()  # places of the columns that are laid out; a resize is drawn once before `on_resize`
        self._wide = self.LEAST
        self._names = self.NAMES[0]

    # ------------------------------------------------------------------ what is shown

    def show(self, heads: Sequence[Any], rows: Sequence[Any], column: int) -> None:
        """Other columns and rows; the cursor goes to this column and stays on its row."""
        self.heads = heads
        self.set_reactive(Grid.column, min(max(column, 0), max(len(heads) - 1, 0)))
        self.set_rows(rows)
        longest = max((self.name_of(row).cell_len for row in rows), default=0)
        self._names = min(max(longest, self.NAMES[0]), self.NAMES[1])
        self._lay_out()
        self.refresh()

    @property
    def head(self) -> Any:
        """The column under the cursor; None in an empty grid."""
        return self.heads[self.column] if self.column < len(self.heads) else None

    def _lay_out(self) -> None:
        """As many columns as fit; what is left over makes them wider."""
        width = self.scrollable_content_region.width
        least = self.WIDE if width >= self.ROOM else self.LEAST
        names = min(self._names, max(self.NAMES[0], width - 2 * (least + GAP)))
        fitting = min(max(2, (width - names) // (least + GAP)), max(len(self.heads), 1))
        self._names = names
        self._wide = min(self.MOST, max(least, (width - names) // fitting - GAP))
        moving = max(fitting - 1, 1)
        left = min(max(self.left, 1), max(1, len(self.heads) - moving))
        if self.column and not left <= self.column < left + moving:
            left = self.column if self.column < left else self.column - moving + 1
        self.left = max(1, left)
        shown = max(1, (width - names) // (self._wide + GAP))
        self.seen = [0, *range(self.left, min(len(self.heads), self.left + max(shown - 1, 1)))] if self.heads else []
        self.columns = (
            Column(title=self.corner, width=names),
            *(Column(title="", width=self._wide) for _ in self.seen),
        )
        self.post_message(self.Shifted())

    def _cells(self, row: Any) -> list[Text]:
        return [self.name_of(row), *(self.cell_of(row, self.heads[place], self._wide) for place in self.seen)]

    # ------------------------------------------------------------------ drawing

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        seen = self.seen
        if y == 0:
            titles = [
                Text(self.corner, self.paint("muted")),
                *(self.title_of(self.heads[place]) for place in seen),
            ]
            return self._strip(self._line(titles, width), width)
        place = y + self.scroll_offset.y - self.header
        if not 0 <= place < len(self.rows):
            return Strip.blank(width, self.rich_style)
        line = self._line(self._cells(self.rows[place]), width)
        if place == self.cursor:
            line.append(" " * (width - line.cell_len))
            line = self._with_cursor(line, seen)
        return self._strip(line, width)

    def _with_cursor(self, line: Text, seen: Sequence[int]) -> Text:
        """The row's ground, and the cell's own."""
        if self.column not in seen or not self.has_focus:
            return self.under_cursor(line, focused=False)
        start = self._names + GAP + seen.index(self.column) * (self._wide + GAP)
        before, cell, after = line.divide([_place(line.plain, start), _place(line.plain, start + self._wide)])
        found = Text(no_wrap=True, end="")
        for part, focused in ((before, False), (cell, True), (after, False)):
            found.append_text(self.under_cursor(part, focused=focused))
        return found

    # ------------------------------------------------------------------ moving

    def validate_column(self, column: int) -> int:
        return min(max(column, 0), max(len(self.heads) - 1, 0))

    def watch_column(self, _: int) -> None:
        before = self.left
        self._lay_out()
        if before != self.left:
            self.refresh()
        else:
            self.refresh_lines(self.cursor + self.header, 1)

    def do_left(self, _: str = "") -> None:
        self.column -= 1

    def do_right(self, _: str = "") -> None:
        self.column += 1

    def do_page_left(self, _: str = "") -> None:
        self.column -= max(1, len(self.seen) - 1)

    def do_page_right(self, _: str = "") -> None:
        self.column += max(1, len(self.seen) - 1)

    def on_resize(self) -> None:
        longest = max((self.name_of(row).cell_len for row in self.rows), default=0)
        self._names = min(max(longest, self.NAMES[0]), self.NAMES[1])
        self._lay_out()
        super().on_resize()
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        seen = self.seen
        place = (event.x - self._names - GAP) // (self._wide + GAP)
        if 0 <= place < len(seen):
            self.column = seen[place]
        super().on_click(event)


def _place(text: str, column: int) -> int:
    """The place in `text` of what stands in this column of the screen: wide characters take two."""
    if text.isascii():
        return column
    cells = 0
    for place, character in enumerate(text):
        if cells >= column:
            return place
        cells += cell_len(character)
    return len(text)
