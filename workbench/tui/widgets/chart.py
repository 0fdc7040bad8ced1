"""A line chart, drawn by plotext in the theme's colours; only as many points as it has columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.widgets import Static

from workbench import figures
from workbench.tui.widgets.painted import Painted

ASCII_FRAME = str.maketrans("┤├│└┘┬┴─┼●", "++|++++-+o")
FIRST_CODE = 17  # the 256-colour codes that mark whose dot it is, until they are painted


@dataclass(frozen=True, slots=True)
class Series:
    """`points` are (x, y); `marks` draws them as dots of their own instead of a line. `spans` are (x, low, high):
    how sure the points are."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str
    marks: bool = False
    spans: Sequence[tuple[float, float, float]] = ()


class Chart(Painted, Static):
    """A legend and the plot. `empty` stands there while no series has points."""

    DEFAULT_CSS = "Chart { height: 1fr; width: 1fr; }"

    def __init__(self, *, empty: str = "", id: str | None = None):
        super().__init__(markup=False, id=id)
        self.empty = empty
        self.series: tuple[Series, ...] = ()
        self.x_end: float | None = None
        self._drawn: tuple[object, Text] | None = None

    def plot(self, series: Sequence[Series], *, x_end: float | None = None) -> None:
        """Draw these; `x_end` is how far the x axis goes at least: a run's last step."""
        self.series, self.x_end = tuple(series), x_end
        self._drawn = None
        self.refresh()

    @property
    def buckets(self) -> int:
        """How many points a series needs to fill the width: a braille cell is two dots wide."""
        return max(20, 2 * self.content_size.width)

    def render(self) -> Text:
        key = (self.content_size, self.app.theme, self.series, self.x_end)
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = key, self._draw()
        return self._drawn[1]

    def _draw(self) -> Text:
        width, height = self.content_size
        shown = [series for series in self.series if series.points]
        if not shown or width < 16 or height < 4:
            return self.assemble((self.empty, "muted"))
        return self.joined([self._legend(shown), self._plot(shown, width, height - 1)])

    def _legend(self, shown: Sequence[Series]) -> Text:
        parts: list[str | tuple[str, str]] = []
        for series in shown:
            mark = ("o" if series.marks else "-") if self.ascii else ("●" if series.marks else "─")
            parts += [
                (mark, series.style),
                f" {series.name}  ",
                (figures.reading(series.points[-1][1]), "muted"),
                "    ",
            ]
        return self.assemble(*parts)

    def _plot(self, shown: Sequence[Series], width: int, height: int) -> Text:
        import plotext

        xs = [x for series in shown for x, _ in series.points]
        ys = [y for series in shown for _, y in series.points if math.isfinite(y)]
        ys += [end for series in shown for _, *ends in series.spans for end in ends if math.isfinite(end)]
        left, right = min(xs), max(max(xs), self.x_end or 0)
        plotext.clear_figure()
        plotext.theme("clear")
        plotext.limit_size(False, False)  # our place, not the terminal, says how large it may be
        plotext.plotsize(width, height)
        plotext.frame(False)
        plotext.xaxes(True, False)
        plotext.yaxes(True, False)
        for number, series in enumerate(shown):
            x, y = [point[0] for point in series.points], [point[1] for point in series.points]
            line, dot = (".", "o") if self.ascii else ("braille", "●")
            for place, low, high in series.spans:
                plotext.plot([place, place], [low, high], marker="|" if self.ascii else line, color=FIRST_CODE + number)
            draw = plotext.scatter if series.marks or len(x) == 1 else plotext.plot
            draw(x, y, marker=dot if series.marks or len(x) == 1 else line, color=FIRST_CODE + number)
        x_ticks, y_ticks = ticks(left, right, max(3, width // 16)), ticks(min(ys), max(ys), max(3, height // 3))
        x_ticks = whole(x_ticks)
        plotext.xlim(left, right if right > left else left + 1)
        plotext.xticks(x_ticks, [figures.count(tick) for tick in x_ticks])
        plotext.yticks(y_ticks, [figures.count(tick) if abs(tick) >= 10_000 else f"{tick:g}" for tick in y_ticks])
        text = plotext.build().rstrip("\n")
        return self._painted(text.translate(ASCII_FRAME) if self.ascii else text, shown)

    def _painted(self, drawn: str, shown: Sequence[Series]) -> Text:
        """The codes of plotext's colours replaced by the theme's."""
        text = Text.from_ansi(drawn, no_wrap=True, end="")
        plain = Text(text.plain, self.paint("muted"), no_wrap=True, end="")
        for span in text.spans:
            colour = getattr(span.style, "color", None)
            number = colour.number - FIRST_CODE if colour is not None and colour.number is not None else -1
            if 0 <= number < len(shown):
                plain.stylize(self.paint(shown[number].style), span.start, span.end)
        return plain


def whole(found: list[float]) -> list[float]:
    """Those that are whole numbers, as steps are; all of them where none is."""
    return [tick for tick in found if tick == round(tick)] or found


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between `low` and `high`, about `most` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * base for factor in (1, 2, 2.5, 5, 10) if factor * base >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]
