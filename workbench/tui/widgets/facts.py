"""Pairs of a name and a value: below each other where there is height, side by side where there is width."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.geometry import Size
from textual.widgets import Static

from workbench.tui import safe
from workbench.tui.widgets.painted import Painted

GAP = 3  # columns between two pairs
CELL = 22  # the least width of a pair


class Facts(Painted, Static):
    """A heading, sentences that must not be missed, and the pairs."""

    DEFAULT_CSS = "Facts { height: auto; }"

    def __init__(self, *, empty: str = "", id: str | None = None):
        super().__init__(markup=False, id=id)
        self.empty = empty
        self.heading: Text | None = None
        self.sentences: Sequence[tuple[str, str]] = ()
        self.pairs: Sequence[tuple[str, str]] = ()
        self._measured = 0  # the width that its height is asked for

    def state(
        self, heading: Text | None, sentences: Sequence[tuple[str, str]], pairs: Sequence[tuple[str, str]]
    ) -> None:
        """`sentences` are (text, style name)."""
        # A layout draws the whole screen anew: only where the height depends on the content, and has changed.
        before = self.heading is None, self.sentences, len(self.pairs), len(self._rows())
        self.heading, self.sentences, self.pairs = heading, tuple(sentences), pairs
        grown = before != (self.heading is None, self.sentences, len(self.pairs), len(self._rows()))
        self.refresh(layout=grown and self.styles.is_auto_height)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._measured = width  # before it is shown, its own width is another
        try:
            return super().get_content_height(container, viewport, width)
        finally:
            self._measured = 0

    def render(self) -> Text:
        if self.heading is None:
            return self.assemble((self.empty, "muted"))
        text = Text()
        text.append_text(self.heading)
        for sentence, style in self.sentences:
            text.append("\n")
            text.append(safe.line(sentence), self.paint(style))
        text.append("\n")
        text.append_text(self._flow() if self._room() >= 56 else self._column())
        return text

    def _column(self) -> Text:
        wide = max((len(name) for name, _ in self.pairs), default=0)
        return self.joined([self.assemble((name.ljust(wide + 2), "muted"), value) for name, value in self.pairs])

    def _flow(self) -> Text:
        """In columns of one width, so that rows line up; what is longer takes two of them."""
        wide = self._column_width()
        lines = []
        for row in self._rows():
            line = Text(no_wrap=True, end="")
            for name, value, span in row:
                cell = self.assemble((name, "muted"), " ", value)
                cell.truncate(wide * span + GAP * (span - 1), overflow="ellipsis", pad=True)
                line.append_text(cell)
                line.append(" " * GAP)
            line.rstrip()
            lines.append(line)
        return self.joined(lines)

    def _rows(self) -> list[list[tuple[str, str, int]]]:
        """The pairs by line, each with how many columns it takes."""
        columns, wide = self._columns(), self._column_width()
        rows: list[list[tuple[str, str, int]]] = []
        free = 0
        for name, value in self.pairs:
            span = min(2 if cell_len(f"{name} {value}") > wide else 1, columns)
            if span > free:
                rows.append([])
                free = columns
            rows[-1].append((name, value, span))
            free -= span
        return rows

    def _columns(self) -> int:
        return max(1, (self._room() + GAP) // (CELL + GAP))

    def _room(self) -> int:
        return self._measured or self.content_size.width

    def _column_width(self) -> int:
        return (self._room() - GAP * (self._columns() - 1)) // self._columns()
