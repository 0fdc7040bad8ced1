"""A document or a conversation to read: who says what, wrapped; only what is seen is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui import actions, safe
from workbench.tui.records import Part
from workbench.tui.widgets.answer import wrap
from workbench.tui.widgets.painted import Painted

READABLE = 100  # columns of text; longer lines are hard to follow
INDENT = 2
SHOWN = 200_000  # characters of a part: wrapping more takes longer than a key press may


class Reader(Painted, ScrollView, can_focus=True):
    """Each part is its label and, below it, its text; text from outside is made safe here."""

    PLACE: ClassVar[str] = "answer"
    BINDINGS = actions.bindings("answer")
    DEFAULT_CSS = "Reader { height: 1fr; background: transparent; scrollbar-size: 1 1; overflow-x: hidden; }"

    def __init__(self, id: str | None = None):
        super().__init__(id=id)
        self.parts: Sequence[Part] = ()
        self._lines: list[tuple[int, str, str]] = []  # indent, text, style name
        self._width = 0

    def show(self, parts: Sequence[Part]) -> None:
        """Other parts instead, from their beginning."""
        self.parts = parts
        self._wrap()
        self.scroll_to(0, 0, animate=False, force=True, immediate=True)

    def _wrap(self) -> None:
        self._width = min(READABLE, max(10, self.scrollable_content_region.width - INDENT))
        lines: list[tuple[int, str, str]] = []
        for part in self.parts:
            if lines:
                lines.append((0, "", "text"))
            lines.append((0, safe.line(part.label), "key"))
            text = safe.safe(part.text[:SHOWN])
            lines += [(INDENT, line, part.style) for line in wrap(text, self._width)]
            if (rest := len(part.text) - SHOWN) > 0:
                lines.append((INDENT, f"... and {rest:,} further characters", "muted"))
        self._lines = lines
        self.virtual_size = Size(1, len(lines))
        self.refresh()

    def on_resize(self) -> None:
        if min(READABLE, max(10, self.scrollable_content_region.width - INDENT)) != self._width:
            self._wrap()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        place = y + self.scroll_offset.y
        if place >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        indent, text, style = self._lines[place]
        segments = [Segment(" " * indent), Segment(text, self.paint(style))]
        return Strip(segments).adjust_cell_length(width, self.rich_style).apply_style(self.rich_style)

    def do_up(self, _: str = "") -> None:
        self.scroll_relative(y=-1, animate=False)

    def do_down(self, _: str = "") -> None:
        self.scroll_relative(y=1, animate=False)

    def do_first(self, _: str = "") -> None:
        self.scroll_home(animate=False)

    def do_last(self, _: str = "") -> None:
        self.scroll_end(animate=False, immediate=True, x_axis=False)
