"""The end of a growing text file, followed: it reads only what was added, wraps it, and draws only what is seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui import actions, safe
from workbench.tui.widgets.scrolling import Scrolling

TAIL_BYTES = 256 << 10  # how much of a large file is read at first
KEEP_LINES = 5000


class LogTail(Scrolling, ScrollView, can_focus=True):
    """`follow(path)` chooses the file, `read()` takes in what is new; at the end it stays at the end."""

    PLACE: ClassVar[str] = "log"
    BINDINGS = actions.bindings("log")
    DEFAULT_CSS = "LogTail { height: 1fr; background: transparent; scrollbar-size: 0 1; }"

    def __init__(self, *, empty: str = "", id: str | None = None):
        super().__init__(id=id)
        self.empty = empty
        self.lines: list[str] = []
        self._rows: list[str] = []  # the first `_wrapped` lines, wrapped to `_width`
        self._wrapped = self._width = 0
        self.cut = False  # the file began before what is kept
        self._path: Path | None = None
        self._offset = 0
        self._rest = b""
        self._stays = True  # at the end, as lines come

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._stays = new_value >= self.max_scroll_y - 1

    def on_resize(self) -> None:
        stays = self._path is not None and self._stays
        self._measure()
        if stays:
            self.call_after_refresh(self.scroll_end, animate=False, immediate=True, x_axis=False)

    def follow(self, path: Path | None) -> None:
        """Another file, from its end."""
        if path == self._path:
            self.read()
            return
        self._path, self._offset, self._rest, self.cut = path, 0, b"", False
        self._take([])
        if path is not None:
            try:
                self._offset = max(0, os.stat(path).st_size - TAIL_BYTES)
            except OSError:
                self._offset = 0
            self.cut = self._offset > 0
        self.read(jump=True)

    def show_lines(self, lines: list[str]) -> None:
        """A text that is no file."""
        self._path, self._rest, self.cut = None, b"", False
        self._take([safe.line(line) for line in lines])
        self._measure()
        self.scroll_to(0, 0, animate=False)

    def read(self, *, jump: bool = False) -> None:
        """Take in what was added to the file."""
        if self._path is None:
            self._measure()
            return
        at_end = jump or self._stays
        try:
            with open(self._path, "rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._offset, self._rest = 0, b""  # written anew
                    self._take([])
                file.seek(self._offset)
                block = file.read(TAIL_BYTES * 4)
        except OSError:
            block = b""
        if block or jump:
            first = self.cut and not self.lines and not self._rest
            self._offset += len(block)
            *whole, self._rest = (self._rest + block).split(b"\n")
            new = [safe.line(line.decode("utf-8", "replace")) for line in (whole[1:] if first else whole)]
            self.lines = [*self.lines, *new]
            if len(self.lines) > KEEP_LINES:
                self._take(self.lines[-KEEP_LINES:])
                self.cut = True
            self._measure()
            if at_end:
                self.scroll_end(animate=False, immediate=True, x_axis=False)

    def _take(self, lines: list[str]) -> None:
        """Other lines, of which none is wrapped yet."""
        self.lines, self._rows, self._wrapped = lines, [], 0

    def _measure(self) -> None:
        """Wrap what is new, or all of it to another width."""
        width = self.scrollable_content_region.width
        if width != self._width:
            self._rows, self._wrapped, self._width = [], 0, width
        for line in self.lines[self._wrapped :]:
            self._rows += self._wrap(line)
        self._wrapped = len(self.lines)
        # Not by assignment, which lays out and draws the whole screen anew.
        self.set_reactive(LogTail.virtual_size, Size(width, len(self.shown())))
        self._scroll_update(self.virtual_size)
        self.refresh()

    def _wrap(self, line: str) -> list[str]:
        if self._width <= 0 or (len(line) <= self._width and line.isascii()):
            return [line]
        text = Text(line, overflow="fold")
        return [row.plain.rstrip() for row in text.wrap(self.app.console, self._width)]

    def shown(self) -> list[str]:
        """The rows, with what was only begun as the last ones."""
        rest = safe.line(self._rest.decode("utf-8", "replace")) if self._rest else ""
        return [*self._rows, *self._wrap(rest)] if rest else self._rows

    def render_line(self, y: int) -> Strip:
        top = self.scroll_offset.y
        width = self.scrollable_content_region.width
        lines = self.shown()
        if not lines and y == 0:
            text = Text(self.empty, self.paint("muted"), no_wrap=True, end="")
        elif top + y < len(lines):
            text = Text(lines[top + y], self.paint("text"), no_wrap=True, end="")
        else:
            return Strip.blank(width, self.rich_style)
        strip = Strip(text.render(self.app.console)).crop_extend(0, width, self.rich_style)
        return strip.apply_style(self.rich_style)
