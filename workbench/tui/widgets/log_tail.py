"""The end of a growing text file, followed: it reads only what was added and draws only what is seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui import actions, safe
from workbench.tui.widgets.painted import Painted

TAIL_BYTES = 256 << 10  # how much of a large file is read at first
KEEP_LINES = 5000


class LogTail(Painted, ScrollView, can_focus=True):
    """`follow(path)` chooses the file, `read()` takes in what is new; at the end it stays at the end."""

    PLACE: ClassVar[str] = "log"
    BINDINGS = actions.bindings("log")
    DEFAULT_CSS = "LogTail { height: 1fr; background: transparent; scrollbar-size: 0 1; }"

    def __init__(self, *, empty: str = "", id: str | None = None):
        super().__init__(id=id)
        self.empty = empty
        self.lines: list[str] = []
        self.cut = False  # the file began before what is kept
        self._path: Path | None = None
        self._offset = 0
        self._rest = b""
        self._stays = True  # at the end, as lines come

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._stays = new_value >= self.max_scroll_y - 1

    def on_resize(self) -> None:
        if self._path is not None and self._stays:
            self.call_after_refresh(self.scroll_end, animate=False, immediate=True, x_axis=False)

    def follow(self, path: Path | None) -> None:
        """Another file, from its end."""
        if path == self._path:
            self.read()
            return
        self._path, self._offset, self._rest, self.lines, self.cut = path, 0, b"", [], False
        if path is not None:
            try:
                self._offset = max(0, os.stat(path).st_size - TAIL_BYTES)
            except OSError:
                self._offset = 0
            self.cut = self._offset > 0
        self.read(jump=True)

    def show_lines(self, lines: list[str]) -> None:
        """A text that is no file."""
        self._path, self.lines, self.cut = None, [safe.line(line) for line in lines], False
        self._resize_to_lines()
        self.scroll_to(0, 0, animate=False)

    def read(self, *, jump: bool = False) -> None:
        """Take in what was added to the file."""
        if self._path is None:
            self._resize_to_lines()
            return
        at_end = jump or self._stays
        try:
            with open(self._path, "rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._offset, self._rest, self.lines = 0, b"", []  # written anew
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
                self.lines, self.cut = self.lines[-KEEP_LINES:], True
            self._resize_to_lines()
            if at_end:
                self.scroll_end(animate=False, immediate=True, x_axis=False)

    def _resize_to_lines(self) -> None:
        widest = max((len(line) for line in self.lines), default=0)
        # Not by assignment, which lays out and draws the whole screen anew.
        self.set_reactive(LogTail.virtual_size, Size(widest, len(self.shown())))
        self._scroll_update(self.virtual_size)
        self.refresh()

    def shown(self) -> list[str]:
        """The lines, with what was only begun as the last one."""
        rest = safe.line(self._rest.decode("utf-8", "replace")) if self._rest else ""
        return [*self.lines, rest] if rest else self.lines

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        width = self.scrollable_content_region.width
        lines = self.shown()
        if not lines and y == 0:
            text = Text(self.empty, self.paint("muted"), no_wrap=True, end="")
        elif top + y < len(lines):
            text = Text(lines[top + y], self.paint("text"), no_wrap=True, end="")
        else:
            return Strip.blank(width, self.rich_style)
        strip = Strip(text.render(self.app.console)).crop_extend(left, left + width, self.rich_style)
        return strip.apply_style(self.rich_style)

    def do_up(self, _: str = "") -> None:
        self.scroll_relative(y=-1, animate=False)

    def do_down(self, _: str = "") -> None:
        self.scroll_relative(y=1, animate=False)

    def do_left(self, _: str = "") -> None:
        self.scroll_relative(x=-8, animate=False)

    def do_right(self, _: str = "") -> None:
        self.scroll_relative(x=8, animate=False)

    def do_page_up(self, _: str = "") -> None:
        self.scroll_page_up(animate=False)

    def do_page_down(self, _: str = "") -> None:
        self.scroll_page_down(animate=False)

    def do_first(self, _: str = "") -> None:
        self.scroll_home(animate=False)

    def do_last(self, _: str = "") -> None:
        self.scroll_end(animate=False, immediate=True)
