"""Headings, sentences, pairs and branches below each other: what a pane of details is made of."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text
from textual.widgets import Static

from workbench.tui import safe
from workbench.tui.widgets.painted import Painted

NAMES = 16  # columns for the names of pairs, so that those of all sections line up: "llama-cpp-python"


class Sections(Painted, Static):
    """Filled anew between `begin` and `end`; everything wraps."""

    DEFAULT_CSS = "Sections { height: auto; }"

    def __init__(self, id: str | None = None):
        super().__init__(markup=False, id=id)
        self.parts: list[RenderableType] = []

    def begin(self) -> None:
        self.parts = []

    def end(self) -> None:
        self.refresh(layout=True)

    def heading(self, *parts: str | tuple[str, str]) -> None:
        """A line with an empty one above it."""
        if self.parts:
            self.parts.append(Text())
        self._line(*parts)

    def pairs(self, facts: Iterable[tuple[str, str] | tuple[str, str, str]], *, names: int = NAMES) -> None:
        """(what, value) or (what, value, style name) in two columns."""
        grid = Grid.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=names, no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value, *style in facts:
            painted = self.paint(style[0] if style else "text")
            grid.add_row(Text(safe.line(name), self.paint("muted")), Text(safe.line(value), painted))
        self.parts.append(grid)

    def sentence(self, text: str, style: str = "muted") -> None:
        self.parts.append(Text(safe.line(text), self.paint(style)))

    def branches(self, rows: Iterable[tuple[int, str, str]]) -> None:
        """(depth, name, what is worth knowing of it), each below what it hangs on."""
        for depth, name, gist in rows:
            self._line("  " * depth, (safe.line(name), "text"), "  ", (safe.line(gist), "muted"))

    def lines(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """(what, what about it, style name of that), a line each."""
        for what, about, style in rows:
            self._line((safe.line(what), "text"), "  ", (safe.line(about), style))

    def _line(self, *parts: str | tuple[str, str]) -> None:
        line = self.assemble(*parts)
        line.end = "\n"
        line.no_wrap = False
        self.parts.append(line)

    def render(self) -> Group:
        return Group(*self.parts)
