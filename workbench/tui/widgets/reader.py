"""A document or a conversation to read: who says what, wrapped; only what is seen is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui import actions, safe
from workbench.tui.records import Part
from workbench.tui.widgets.answer import wrap
from workbench.tui.widgets.scrolling import READABLE, Scrolling

INDENT = 2
SHOWN = 200_000  # characters of a part: wrapping more takes longer than a key press may
OPEN, CLOSE = "\u27e6", "\u27e7"  # around what a text is about; the theme's colour is between them, too
PLAIN_OPEN, PLAIN_CLOSE = "[[", "]]"


class Reader(Scrolling, ScrollView, can_focus=True):
    """Each part is its label and, below it, its text; text from outside is made safe here."""

    PLACE: ClassVar[str] = "answer"
    BINDINGS = actions.bindings("answer")
    DEFAULT_CSS = "Reader { height: 1fr; background: transparent; scrollbar-size: 1 1; overflow-x: hidden; }"

    def __init__(self, id: str | None = None):
        super().__init__(id=id)
        self.parts: Sequence[Part] = ()
        self._lines: list[tuple[int, list[tuple[str, str]]]] = []  # indent, (text, style name) of its pieces
        self._width = 0

    def show(self, parts: Sequence[Part]) -> None:
        """Other parts instead, from their beginning."""
        self.parts = parts
        self._wrap()
        self.scroll_to(0, 0, animate=False, force=True, immediate=True)

    def _wrap(self) -> None:
        self._width = min(READABLE, max(10, self.scrollable_content_region.width - INDENT))
        lines: list[tuple[int, list[tuple[str, str]]]] = []
        for part in self.parts:
            if lines:
                lines.append((0, []))
            lines.append((0, [(safe.line(part.label), "key")]))
            lines += [(INDENT, pieces) for pieces in self._pieces(part)]
            if (rest := len(part.text) - SHOWN) > 0:
                lines.append((INDENT, [(f"... and {rest:,} further characters", "muted")]))
        self._lines = lines
        self.virtual_size = Size(1, len(lines))
        self.refresh()

    def _pieces(self, part: Part) -> Iterator[list[tuple[str, str]]]:
        """The part's lines; what stands between marks has another style, over as many lines as it takes."""
        if not part.spans:
            for line in wrap(safe.safe(part.text[:SHOWN]), self._width):
                yield [(line, part.style)]
            return
        opening, closing = (PLAIN_OPEN, PLAIN_CLOSE) if self.ascii else (OPEN, CLOSE)
        within = False
        for line in wrap(marked(part.text[:SHOWN], part.spans, opening, closing), self._width):
            pieces = []
            for piece in re.split(f"({re.escape(opening)}|{re.escape(closing)})", line):
                within = within or piece == opening
                pieces.append((piece, "bad" if within else part.style))
                within = within and piece != closing
            yield pieces

    def on_resize(self) -> None:
        if min(READABLE, max(10, self.scrollable_content_region.width - INDENT)) != self._width:
            self._wrap()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        place = y + self.scroll_offset.y
        if place >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        indent, pieces = self._lines[place]
        segments = [Segment(" " * indent), *(Segment(text, self.paint(style)) for text, style in pieces)]
        return Strip(segments).adjust_cell_length(width, self.rich_style).apply_style(self.rich_style)


def marked(text: str, spans: Sequence[tuple[int, int]], opening: str, closing: str) -> str:
    """The text, safe to show, with marks around its spans; those that touch become one."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        elif start < min(stop, len(text)):
            joined.append((start, stop))
    parts, place = [], 0
    for start, stop in joined:
        parts += [safe.safe(text[place:start]), opening, safe.safe(text[start:stop]), closing]
        place = stop
    return "".join([*parts, safe.safe(text[place:])])
