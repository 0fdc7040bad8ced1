"""Text as its tokens: their boundaries by background, what each is by its look, and a cursor that goes from one to the
next."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.theme import Theme

from workbench.tui import actions, safe
from workbench.tui.widgets.scrolling import Wrapped

GUTTER = 12  # columns: a role, a mark, a space
ROLE = GUTTER - 3
EMPTY = "·"  # a token that is only part of a character
VISIBLE = {"\n": "⏎", "\t": "⇥", "\r": "␍"}
PLAIN_VISIBLE = {"\n": "$", "\t": ">", "\r": "<"}  # where only ASCII can be shown


@dataclass(frozen=True, slots=True)
class Cell:
    """One token: its text as it came, and the name of its look."""

    text: str
    look: str  # a key of the looks below, without its number where boundaries alternate


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens that begin on a line of their own. `mark` and `plain` stand before each of its lines; `title` above it."""

    cells: Sequence[Cell]
    label: str = ""
    mark: str = " "
    plain: str = " "
    style: str = "muted"  # of label and mark
    title: str = ""


@dataclass(slots=True)
class Line:
    """`pieces`: (number of the token, what of its text stands here)."""

    label: str
    stretch: int
    pieces: list[tuple[int, str]]
    width: int = 0


class TokenText(Wrapped, ScrollView, can_focus=True):
    """Wraps at its width; virtual, as tables are."""

    PLACE: ClassVar[str] = "tokens"
    BINDINGS = actions.bindings("tokens")
    DEFAULT_CSS = "TokenText { height: 1fr; background: transparent; scrollbar-size: 1 1; overflow-x: hidden; }"

    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor is on another token."""

        def __init__(self, tokens: TokenText, place: int):
            super().__init__()
            self.tokens, self.place = tokens, place

        @property
        def control(self) -> TokenText:
            return self.tokens

    def __init__(self, id: str | None = None):
        super().__init__(id=id)
        self.stretches: Sequence[Stretch] = ()
        self.lines: list[Line] = []
        self.cells: list[Cell] = []
        self._first: list[int] = []  # line that each token begins on
        self._starts: list[int] = []  # first token of each stretch
        self._width = 0

    def show(self, stretches: Sequence[Stretch], *, cursor: int = 0) -> None:
        """Other tokens instead."""
        self.stretches = stretches
        self.cells = [cell for stretch in stretches for cell in stretch.cells]
        self._wrap()
        self.scroll_to(0, 0, animate=False, force=True, immediate=True)
        self.set_reactive(TokenText.cursor, min(cursor, max(0, len(self.cells) - 1)))
        self._keep_in_sight()
        self.refresh()
        self.post_message(self.Moved(self, self.cursor))

    # ------------------------------------------------------------------ lines

    def _room(self) -> int:
        return max(8, self.scrollable_content_region.width - GUTTER)

    def _wrap(self) -> None:
        self._width = room = self._room()
        self.lines, self._first, self._starts = [], [], []
        number = 0
        for place, stretch in enumerate(self.stretches):
            self._starts.append(number)
            if stretch.title:
                self.lines.append(Line(stretch.title, place, []))
            line = Line(stretch.label, place, [])
            self.lines.append(line)
            for cell in stretch.cells:
                text = self.shown(cell.text)
                size = cell_len(text)
                if line.width and line.width + size > room:
                    line = self._next(place)
                self._first.append(len(self.lines) - 1)
                while size > room:
                    head = chop_cells(text[: room + 1], room)[0]
                    line.pieces.append((number, head))
                    line.width = room
                    text = text[len(head) :]
                    size = cell_len(text)
                    line = self._next(place)
                line.pieces.append((number, text))
                line.width += size
                if "\n" in cell.text and number + 1 < self._starts[-1] + len(stretch.cells):
                    line = self._next(place)
                number += 1
        self.virtual_size = Size(1, len(self.lines))

    def _next(self, stretch: int) -> Line:
        self.lines.append(Line("", stretch, []))
        return self.lines[-1]

    def shown(self, text: str) -> str:
        """A token's text on one line, with nothing in it that a terminal obeys."""
        for character, mark in (PLAIN_VISIBLE if self.ascii else VISIBLE).items():
            text = text.replace(character, mark)
        return safe.line(text) or ("." if self.ascii else EMPTY)

    def on_resize(self) -> None:
        if self.stretches and self._room() != self._width:
            self._wrap()
            self._keep_in_sight()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        place = y + self.scroll_offset.y
        if place >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        line = self.lines[place]
        stretch = self.stretches[line.stretch]
        if stretch.title and not line.pieces and (place == 0 or self.lines[place - 1].stretch != line.stretch):
            segments = [Segment(safe.line(stretch.title), self.paint("strong"))]
            return Strip(segments).adjust_cell_length(width, self.rich_style).apply_style(self.rich_style)
        label = safe.line(line.label)[:ROLE].ljust(ROLE)
        mark = stretch.plain if self.ascii else stretch.mark
        segments = [Segment(f"{label} {mark} ", self.paint(stretch.style))]
        found = looks(self.app.current_theme)
        for number, text in line.pieces:
            look = self.cells[number].look
            style = found[f"{look}-{number % 2}"] if f"{look}-0" in found else found[look]
            if number == self.cursor:
                style = style + found["cursor" if self.has_focus else "cursor-blurred"]
            segments.append(Segment(text, style))
        return Strip(segments).adjust_cell_length(width, self.rich_style).apply_style(self.rich_style)

    # ------------------------------------------------------------------ moving

    def validate_cursor(self, cursor: int) -> int:
        return min(max(cursor, 0), max(len(self.cells) - 1, 0))

    def watch_cursor(self, before: int, after: int) -> None:
        self._keep_in_sight()
        for place in (before, after):
            if place < len(self._first):
                last = self._first[place + 1] if place + 1 < len(self._first) else len(self.lines) - 1
                self.refresh_lines(self._first[place], last - self._first[place] + 1)
        self.post_message(self.Moved(self, after))

    def _keep_in_sight(self) -> None:
        room = self.scrollable_content_region.height
        if room <= 0 or self.cursor >= len(self._first):
            return
        line, top = self._first[self.cursor], round(self.scroll_y)
        # With a line around it: the title of its document, and how it goes on.
        if line - 1 < top:
            self.scroll_to(y=max(0, line - 1), animate=False)
        elif line + 1 >= top + room:
            self.scroll_to(y=line + 2 - room, animate=False)

    def _to_line(self, step: int) -> None:
        """The token at the same column of the nearest line in that direction that has one."""
        if not self.cells:
            return
        place = self._first[self.cursor]
        column = 0
        for number, text in self.lines[place].pieces:
            if number == self.cursor:
                break
            column += cell_len(text)
        place += step
        while 0 <= place < len(self.lines) and not self.lines[place].pieces:
            place += step
        if not 0 <= place < len(self.lines):
            return
        reached, found = 0, self.cursor
        for number, text in self.lines[place].pieces:
            found = number
            reached += cell_len(text)
            if reached > column:
                break
        self.cursor = found

    def do_left(self, _: str = "") -> None:
        self.cursor -= 1

    def do_right(self, _: str = "") -> None:
        self.cursor += 1

    def do_up(self, _: str = "") -> None:
        self._to_line(-1)

    def do_down(self, _: str = "") -> None:
        self._to_line(1)

    def do_page_up(self, _: str = "") -> None:
        for _line in range(max(1, self.scrollable_content_region.height - 2)):
            self._to_line(-1)

    def do_page_down(self, _: str = "") -> None:
        for _line in range(max(1, self.scrollable_content_region.height - 2)):
            self._to_line(1)

    def do_first(self, _: str = "") -> None:
        self.cursor = 0

    def do_last(self, _: str = "") -> None:
        self.cursor = len(self.cells) - 1

    def do_stretch(self, _: str = "") -> None:
        """The beginning of the next stretch; after the last, the first."""
        place = bisect_right(self._starts, self.cursor)
        self.cursor = self._starts[place] if place < len(self._starts) else 0

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        place = event.y + self.scroll_offset.y
        if place < len(self.lines):
            reached = GUTTER
            for number, text in self.lines[place].pieces:
                reached += cell_len(text)
                if event.x < reached:
                    self.cursor = number
                    return


# --------------------------------------------------------------------------- looks

_made: dict[str, dict[str, Style]] = {}

UNLIKELY = (0.01, 0.1, 0.5)
"""Probabilities that part the looks p0 (less than the first), p1, p2 and p3 (at least the last)."""


def look_of(probability: float) -> str:
    """The look of a token that had this probability."""
    return f"p{bisect_right(UNLIKELY, probability)}"


def looks(theme: Theme) -> dict[str, Style]:
    """The styles by name. Of `trained` and `masked` there are two, for every other token; the less likely a token,
    the more its background stands out, and the least likely are underlined: never by colour alone."""
    if theme.name not in _made:
        _made[theme.name] = _ansi() if theme.ansi else _coloured(theme)
    return _made[theme.name]


def _ansi() -> dict[str, Style]:
    return {
        "trained-0": Style(bold=True), "trained-1": Style(bold=True, underline=True),
        "masked-0": Style(dim=True), "masked-1": Style(dim=True, underline=True),
        "p0": Style(bold=True, underline=True, color="red"), "p1": Style(underline=True, color="yellow"),
        "p2": Style(), "p3": Style(dim=True),
        "cursor": Style(reverse=True), "cursor-blurred": Style(reverse=True, dim=True),
    }  # fmt: skip


def _coloured(theme: Theme) -> dict[str, Style]:
    ground, text = Color.parse(theme.background or ""), Color.parse(theme.foreground or "")
    muted = Color.parse(theme.variables["muted"])

    def on(colour: str | None, share: float) -> Color:
        return ground.blend(Color.parse(colour or ""), share)

    first, second = on(theme.foreground, 0.06), on(theme.foreground, 0.16)
    good = on(theme.success, 0.22), on(theme.success, 0.40)

    def style(colour: Color, under: Color, **more: bool) -> Style:
        return Style(color=colour.rich_color, bgcolor=under.rich_color, **more)  # type: ignore[arg-type]

    return {
        "trained-0": style(text, good[0], bold=True), "trained-1": style(text, good[1], bold=True),
        "masked-0": style(muted, first), "masked-1": style(muted, second),
        "p0": style(text, on(theme.error, 0.55), bold=True, underline=True),
        "p1": style(text, on(theme.error, 0.32)),
        "p2": style(text, on(theme.warning, 0.22)),
        "p3": style(text, ground),
        "cursor": style(ground, Color.parse(theme.primary), bold=True),
        "cursor-blurred": style(text, Color.parse(theme.variables["cursor"])),
    }  # fmt: skip
