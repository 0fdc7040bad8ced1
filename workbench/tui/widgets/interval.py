"""A score with its interval as a small bar: `╺━●━╸`."""

from __future__ import annotations

from rich.text import Text

from workbench.benchmarks.results import Figure
from workbench.tui.widgets.painted import Painted


def interval(on: Painted, figure: Figure, left: float, right: float, width: int, mark: float | None = None) -> Text:
    """The bar in `width` columns, on a scale from `left` to `right`; `mark` is another value on the scale. It is drawn
    by half columns."""
    halves = 2 * width - 1

    def half(value: float) -> int:
        share = (value - left) / (right - left) if right > left else 0.5
        return min(halves, max(0, round(share * halves)))

    low = half(figure.value if figure.low is None else figure.low)
    high = half(figure.value if figure.high is None else figure.high)
    point, other = half(figure.value) // 2, half(mark) // 2 if mark is not None else -1
    cells: list[tuple[str, str]] = []
    for place in range(width):
        first, second = low <= 2 * place <= high, low <= 2 * place + 1 <= high
        if place == point:
            cells.append(("●", "accent"))
        elif first or second:
            cells.append(("━" if first and second else "╸" if first else "╺", "busy"))
        elif place == other:
            cells.append(("┊", "muted"))
        else:
            cells.append((" ", "text"))
    return on.assemble(*cells)
