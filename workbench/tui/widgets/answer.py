"""A text to be judged: it knows how far it has been shown."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui import actions, safe
from workbench.tui.widgets.scrolling import READABLE, Scrolling

EMPTY = "(an empty answer)"


class AnswerText(Scrolling, ScrollView, can_focus=True, inherit_bindings=False):
    """Wrapped to its width; `read` once every line of it has been on the screen, one after the other."""

    PLACE: ClassVar[str] = "answer"
    BINDINGS = actions.bindings("answer")
    DEFAULT_CSS = """
    AnswerText {
        height: 1fr; background: transparent; overflow-x: hidden; scrollbar-size: 1 1; scrollbar-gutter: stable;
    }
    """

    class Shown(Message):
        """More of it has been on the screen than before."""

    def __init__(self, id: str | None = None):
        super().__init__(id=id, classes="pane")
        self.text = ""
        self.lines: list[str] = []
        self._ink = [0]  # visible characters above each line; a last one: of all
        self._seen = 0  # of them, from the beginning on
        self._width = 0
        self._ends = False
        self._ground = Style()

    def show(self, text: str, *, read: bool = False, at_end: bool = False) -> None:
        """Another text, which may come from anywhere; `read`: it was shown before."""
        self.text = safe.safe(text).rstrip() or EMPTY
        self._seen = len("".join(self.text.split())) if read else 0
        self._ends = at_end
        self._wrap()
        self._go_to_beginning()
        self.call_after_refresh(self._look)

    @property
    def read(self) -> bool:
        """Whether all of it has been shown."""
        return bool(self.text) and self._seen >= self._ink[-1]

    @property
    def lines_left(self) -> int:
        """Lines that have not been shown."""
        return max(0, len(self.lines) - self._first_unseen())

    @property
    def overflows(self) -> bool:
        return len(self.lines) > self.scrollable_content_region.height

    def page_on(self) -> None:
        """A page down, with a line in common."""
        self.scroll_relative(y=max(1, self.scrollable_content_region.height - 1), animate=False)

    # ------------------------------------------------------------------ drawing

    def _wrap(self) -> None:
        self._width = self._room()
        before = len(self.lines)
        self.lines = wrap(self.text, self._width)
        self._ink = [0, *accumulate(len("".join(line.split())) for line in self.lines)]
        # Not by assignment, which lays out and draws the whole screen anew.
        self.set_reactive(AnswerText.virtual_size, Size(1, len(self.lines)))
        self._scroll_update(self.virtual_size)
        if self.scroll_offset.y:
            self.refresh()
        else:  # what is blank stays so
            self.refresh_lines(0, max(before, len(self.lines)))

    def _room(self) -> int:
        """Columns of text in the present layout."""
        return min(READABLE, max(8, self.scrollable_content_region.width))

    def _go_to_beginning(self) -> None:
        if self._ends:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)
        else:
            self.scroll_to(0, 0, animate=False, force=True, immediate=True)

    def on_resize(self) -> None:
        if self.text and self._room() != self._width:
            self._wrap()
            if self._ends or not self._seen:
                self._go_to_beginning()
        self.call_after_refresh(self._look)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.call_after_refresh(self._look)

    def render_lines(self, crop: Region) -> list[Strip]:
        self._ground = self.rich_style  # takes half a millisecond, as long as all else of a line
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        place = y + self.scroll_offset.y
        if place >= len(self.lines):
            return Strip.blank(width, self._ground)
        style = self.paint("muted" if self.text == EMPTY else "text")
        line = Strip([Segment(self.lines[place], style)]).adjust_cell_length(width, self._ground)
        return line.apply_style(self._ground)

    # ------------------------------------------------------------------ what was seen

    def _first_unseen(self) -> int:
        """Place of the first line of which something was not shown."""
        return bisect_right(self._ink, self._seen) - 1

    def _look(self) -> None:
        """Take note of what is on the screen; what was jumped over does not count."""
        if not self.is_attached or not self.display or not self.region:
            return
        if self._width != self._room():  # wrapped for a layout that is gone; the new one is about to be heard of
            return
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        if top > self._first_unseen():
            return
        seen = self._ink[min(top + height, len(self.lines))]
        if seen > self._seen or not self._ink[-1]:
            self._seen = max(self._seen, seen)
            self.post_message(self.Shown())


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces where there are some. Linear in the text's length."""
    lines = []
    for paragraph in text.expandtabs(4).split("\n"):
        start = 0
        while True:
            window = paragraph[start : start + width + 1]
            if len(paragraph) - start <= width and cell_len(window) <= width:
                lines.append(window)
                break
            head = chop_cells(window, width)[0]
            space = len(head) if window[len(head) : len(head) + 1] == " " else head.rfind(" ")
            cut = space if space > 0 and head[:space].strip() else max(1, len(head))
            lines.append(window[:cut])
            start += cut
            while paragraph[start : start + 1] == " ":
                start += 1
            if start >= len(paragraph):
                break
    return lines
