"""What was said in a conversation: wrapped as it comes, and only what is seen is drawn."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui import safe
from workbench.tui.widgets.scrolling import READABLE, Wrapped

GUTTER = 2  # columns for the mark of who speaks

# Who speaks -> mark, the mark where only ASCII can be shown, style name.
MARKS = {
    "user": ("›", ">", "strong"),
    "assistant": (" ", " ", "text"),
    "note": ("·", "-", "muted"),
    "error": ("✗", "x", "bad"),
}


@dataclass(slots=True)
class Block:
    """One speaker's text, wrapped to `width` columns: whole `lines`, and the last one, which may grow."""

    speaker: str
    width: int
    text: str = ""
    lines: list[str] = field(default_factory=list)
    last: str = ""
    soft: bool = False  # the last line goes on from the one above it: spaces at its beginning are not shown

    def append(self, piece: str) -> None:
        """Wrap what came; lines that are full never change again."""
        self.text += piece
        *whole, rest = piece.expandtabs(4).split("\n")
        for line in whole:
            self.last += line
            self._wrap()
            self.lines.append(self.last)
            self.last, self.soft = "", False
        self.last += rest
        self._wrap()

    def _wrap(self) -> None:
        if self.soft:
            self.last = self.last.lstrip(" ")
        while cell_len(self.last) > self.width:
            head = chop_cells(self.last[: self.width + 1], self.width)[0]
            space = head.rfind(" ") if self.last[len(head)] != " " else len(head)
            cut = space if space > 0 and head[:space].strip() else len(head)
            self.lines.append(self.last[:cut])
            self.last, self.soft = self.last[cut:].lstrip(" "), True

    def wrap_again(self, width: int) -> None:
        text, self.text = self.text, ""
        self.width, self.lines, self.last, self.soft = width, [], "", False
        self.append(text)

    def height(self) -> int:
        return len(self.lines) + 1

    def line(self, place: int) -> str:
        return self.lines[place] if place < len(self.lines) else self.last


class Transcript(Wrapped, ScrollView, can_focus=True):
    """Blocks with an empty line between them. It stays at its end while text comes, unless one scrolled up."""

    DEFAULT_CSS = "Transcript { height: 1fr; background: transparent; scrollbar-size: 1 1; overflow-x: hidden; }"

    def __init__(self, id: str | None = None):
        super().__init__(id=id)
        self.blocks: list[Block] = []
        self._tops: list[int] = []  # line that each block begins at
        self._stays = True

    def clear(self) -> None:
        self.blocks, self._tops, self._stays = [], [], True
        self._measure()

    def say(self, speaker: str, text: str = "") -> None:
        """A new block; `text` may come from anywhere."""
        self._tops.append(self._height() + bool(self.blocks))
        self.blocks.append(Block(speaker, self._room()))
        self.blocks[-1].append(safe.safe(text))
        self._measure()

    def add(self, piece: str) -> None:
        """More of the last block, stripped of control sequences already (they may come in pieces)."""
        block = self.blocks[-1]
        before = block.height()
        block.append(piece)
        if block.height() == before:
            self.refresh_lines(self._height() - 1, 1)  # one line over the wire, not a screen
        else:
            self._measure()

    def show(self, turns: Sequence[tuple[str, str]]) -> None:
        """These blocks instead."""
        self.clear()
        for speaker, text in turns:
            self.say(speaker, text)

    def _room(self) -> int:
        return min(READABLE, max(10, self.scrollable_content_region.width - GUTTER))

    def _height(self) -> int:
        return self._tops[-1] + self.blocks[-1].height() if self.blocks else 0

    def _measure(self) -> None:
        self.virtual_size = Size(1, self._height())
        self.refresh()
        if self._stays:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._stays = new_value >= self.max_scroll_y - 1

    def on_resize(self) -> None:
        stays, room = self._stays, self._room()
        if any(block.width != room for block in self.blocks):
            top = 0
            for place, block in enumerate(self.blocks):
                block.wrap_again(room)
                self._tops[place] = top
                top += block.height() + 1
        self._measure()
        if stays:
            self.call_after_refresh(self.scroll_end, animate=False, immediate=True, force=True, x_axis=False)

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        wanted = y + self.scroll_offset.y
        place = self._block_at(wanted)
        if place is None or wanted >= self._tops[place] + self.blocks[place].height():
            return Strip.blank(width, self.rich_style)
        block, row = self.blocks[place], wanted - self._tops[place]
        mark, plain, style = MARKS[block.speaker]
        mark = (plain if self.ascii else mark) if row == 0 else " "
        segments = [Segment(f"{mark} ", self.paint("accent")), Segment(block.line(row), self.paint(style))]
        return Strip(segments).adjust_cell_length(width, self.rich_style).apply_style(self.rich_style)

    def _block_at(self, line: int) -> int | None:
        """The last block that begins at or above `line`."""
        place = bisect_right(self._tops, line) - 1
        return place if place >= 0 else None
