"""The road drawn: boxes beside each other where there is width, rows below each other where there is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from workbench import figures
from workbench.tui import actions, safe, theme
from workbench.tui.live import RunRow
from workbench.tui.road import Stop, figures_of
from workbench.tui.widgets import run_cells
from workbench.tui.widgets.painted import Painted

BOX_FROM = 110  # columns: narrower, and the figures would not fit into five boxes
BOX_LINES = 9
ROW_LINES = 2

# corners, horizontal, vertical; of an ordinary box and of the chosen one
LINES = {False: tuple("╭╮╰╯─│"), True: tuple("┏┓┗┛━┃")}
PLAIN_LINES = {False: tuple("++++-|"), True: tuple("####=#")}


class RoadMap(Painted, Static, can_focus=True):
    """The arrows choose a stop; `Chosen` says which."""

    PLACE: ClassVar[str] = "road"
    BINDINGS = actions.bindings("road")
    DEFAULT_CSS = "RoadMap { height: auto; width: 1fr; }"

    cursor: reactive[int] = reactive(0)

    class Chosen(Message):
        """Another stop is under the cursor; `opened` if Enter was pressed on it."""

        def __init__(self, stop: Stop, *, opened: bool = False):
            super().__init__()
            self.stop_chosen, self.opened = stop, opened

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.stops: Sequence[Stop] = ()
        self.spaced = False  # rows have a line between them

    def space(self, spaced: bool) -> None:
        """Whether there is room for a line between rows."""
        if spaced != self.spaced:
            self.spaced = spaced
            self.refresh(layout=True)

    def set_stops(self, stops: Sequence[Stop]) -> None:
        first = not self.stops
        self.stops = stops
        self.refresh(layout=first)
        if first and stops:
            # Where something happens, else the last that is made.
            busy = [place for place, stop in enumerate(stops) if stop.state in ("making", "failed", "stale")]
            made = [place for place, stop in enumerate(stops) if stop.state != "missing"]
            self.cursor = busy[0] if busy else made[-1] if made else 0
            self._say()

    @property
    def chosen(self) -> Stop | None:
        return self.stops[self.cursor] if self.stops else None

    @property
    def boxes(self) -> bool:
        return self.size.width >= BOX_FROM

    # ------------------------------------------------------------------ drawing

    def render(self) -> Text:
        if not self.stops:
            return Text("")
        return self._draw_boxes() if self.boxes else self._draw_rows()

    def _draw_boxes(self) -> Text:
        count = len(self.stops)
        width, rest = divmod(self.size.width - 3 * (count - 1), count)
        boxes = [self._box(stop, width + (place < rest), place == self.cursor) for place, stop in enumerate(self.stops)]
        arrow = "-->" if self.ascii else "──▶"
        lines = []
        for number in range(BOX_LINES):
            line = Text(no_wrap=True, end="")
            for place, box in enumerate(boxes):
                if place:
                    line.append_text(self.assemble((arrow if number == 2 else "   ", "line")))
                line.append_text(box[number])
            lines.append(line)
        return self.joined(lines)

    def _box(self, stop: Stop, width: int, chosen: bool) -> list[Text]:
        style = "busy" if chosen else "line"
        left, right, low_left, low_right, across, down = (PLAIN_LINES if self.ascii else LINES)[chosen]
        inner = width - 4
        content = self._content(stop, inner)[: BOX_LINES - 2]
        content += [Text()] * (BOX_LINES - 2 - len(content))
        title = stop.kind.title
        top = self.assemble((left + across, style), " ", (title, "strong"), " ")
        top.append_text(self.assemble((across * (width - 5 - len(title)) + right, style)))
        lines = [top]
        for part in content:
            part.truncate(inner, overflow="ellipsis", pad=True)
            lines.append(self.assemble((f"{down} ", style)) + part + self.assemble((f" {down}", style)))
        lines.append(self.assemble((low_left + across * (width - 2) + low_right, style)))
        return lines

    def _content(self, stop: Stop, width: int) -> list[Text]:
        item, run = stop.artifact, stop.run
        lines = [self._state(stop)]
        if stop.state == "making" and run is not None:
            lines.append(self.assemble((safe.line(run.name), "strong")))
            share = run.share()
            lines.append(run_cells.bar(self, share, max(4, width - 5), "busy") or self._waiting(run))
            left = run.remaining_seconds()
            lines.append(self.assemble((f"{figures.duration(left)} left" if left is not None else "", "muted")))
            if run.measure is not None:
                what, value = run.measure
                lines.append(self.assemble((f"{what} ", "muted"), figures.loss(value)))
            if item is not None:
                lines.append(self.assemble((f"made: {safe.line(item.id)}", "muted")))
            return lines
        if item is None:
            return [*lines, Text(), *(self.assemble((part, "muted")) for part in _wrapped(stop.kind.what, width))]
        lines.append(self.assemble((safe.line(item.id), "strong")))
        lines += [self.assemble((part, "muted")) for part in figures_of(item)]
        if len(stop.artifacts) > 1:
            lines.append(self.assemble((f"+{len(stop.artifacts) - 1} more", "muted")))
        return lines

    def _draw_rows(self) -> Text:
        lines = []
        for place, stop in enumerate(self.stops):
            if place and self.spaced:
                lines.append(self.assemble(("  |" if self.ascii else "  │", "line")))
            chosen = place == self.cursor
            first, second = self._row(stop)
            mark = (">" if self.ascii else "▍") if chosen else " "
            for number, part in enumerate((first, second)):
                line = self.assemble((mark, "accent"), " ")
                name = stop.kind.title if number == 0 else ""
                line.append_text(self.assemble((name.ljust(11), "strong" if chosen else "text")))
                line.append_text(part)
                line.truncate(self.size.width, overflow="ellipsis", pad=True)
                if chosen:
                    line = self.under_cursor(line, focused=self.has_focus)
                lines.append(line)
        return self.joined(lines)

    def _row(self, stop: Stop) -> tuple[Text, Text]:
        item, run = stop.artifact, stop.run
        first = self._state(stop)
        first.append(" " * max(1, 14 - first.cell_len))
        if stop.state == "making" and run is not None:
            first.append_text(self.assemble((safe.line(run.name), "strong"), "  "))
            second = run_cells.bar(self, run.share(), 20, "busy") or self._waiting(run)
            left = run.remaining_seconds()
            if left is not None:
                second.append_text(self.assemble((f"   {figures.duration(left)} left", "muted")))
            if run.measure is not None:
                what, value = run.measure
                second.append_text(self.assemble((f"   {what} ", "muted"), figures.loss(value)))
            return first, second
        if stop.state == "failed" and run is not None:
            first.append_text(self.assemble((safe.line(run.id), "strong")))
            return first, self.assemble((safe.line(stop.why), "muted"))
        if item is None:
            return first, self.assemble((stop.kind.what, "muted"))
        first.append_text(self.assemble((safe.line(item.id), "strong")))
        if stop.why:
            return first, self.assemble((stop.why, "muted"))
        return first, self.assemble((", ".join(figures_of(item)), "muted"))

    def _waiting(self, run: RunRow) -> Text:
        """What it is at, where that is no share of a whole."""
        return self.assemble((safe.line(run.reason) or run_cells.at(run), "muted"))

    def _state(self, stop: Stop) -> Text:
        if stop.run is not None and stop.state in ("making", "failed"):
            return run_cells.state(self, stop.run.state)
        look = theme.look(stop.state)
        return self.assemble((f"{theme.symbol(stop.state, ascii=self.ascii)} {look.word}", look.style))

    # ------------------------------------------------------------------ moving

    def validate_cursor(self, cursor: int) -> int:
        return min(max(cursor, 0), max(len(self.stops) - 1, 0))

    def watch_cursor(self, before: int, after: int) -> None:
        if before != after:
            self._say()

    def _say(self, *, opened: bool = False) -> None:
        if self.chosen is not None:
            self.post_message(self.Chosen(self.chosen, opened=opened))

    def do_previous(self, _: str = "") -> None:
        self.cursor -= 1

    def do_following(self, _: str = "") -> None:
        self.cursor += 1

    def do_open(self, _: str = "") -> None:
        self._say(opened=True)

    def why_not_open(self, _: str = "") -> str | None:
        if self.chosen and self.chosen.artifact:
            return None
        return "Nothing is made there yet: a starts it, n does what comes next."

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        if not self.stops:
            return
        if self.boxes:
            self.cursor = event.x * len(self.stops) // max(1, self.size.width)
        else:
            self.cursor = event.y // (ROW_LINES + self.spaced)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, max(8, width))
