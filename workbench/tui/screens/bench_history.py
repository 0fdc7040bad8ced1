"""A model's score over the steps of its training: every checkpoint that was measured, and the finished model."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from workbench.benchmarks import report
from workbench.benchmarks.results import Figure
from workbench.tui import actions, safe
from workbench.tui.bench import Gathered, Row, history
from workbench.tui.bench_start import benchmark_checkpoints, trained
from workbench.tui.live import Changes
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.screens.bench_items import ItemsScreen
from workbench.tui.widgets.chart import Chart, Series
from workbench.tui.widgets.interval import interval
from workbench.tui.widgets.table import Column, Table

BAR = 24  # columns
MOST = 12  # rows of the table
COLUMNS = (
    Column(title="Step", width=9, right=True),
    Column(title="Score", width=8, right=True),
    Column(title="95% interval", width=17),
    Column(title="", width=BAR, drop=1),
    Column(title="Measured as", width=20, grow=1),
)

Point = tuple[int | None, Gathered, Figure]


class HistoryScreen(WorkbenchScreen):
    """The points above, the curve below: sentences that go by themselves stand at the foot of the screen. An export
    is shown with the checkpoints of the model that it was made from."""

    PLACE = "history"
    BINDINGS = actions.bindings("history")
    DEFAULT_CSS = """
    HistoryScreen #curve { height: 1fr; }
    HistoryScreen #points { height: auto; max-height: 50%; }
    """

    def __init__(self, models: Sequence[Gathered], rows: Sequence[Row], chosen: Gathered, row: Row):
        super().__init__()
        self.models, self.rows, self.chosen, self.row = models, rows, chosen, row
        self.metric = row.metric
        self.points: Sequence[Point] = ()

    @property
    def model_name(self) -> str:
        return str(self.chosen.results.model.get("id") or self.chosen.model)

    def heading(self) -> str:
        return f"{safe.line(self.model_name)} over its training"

    def body(self) -> ComposeResult:
        with Vertical(id="points", classes="pane"):
            yield Table(COLUMNS, self.cells, key=lambda point: point[1].model)
        with Vertical(id="curve", classes="pane"):
            yield Chart(empty="Nothing was measured.")

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def show(self, changes: Changes) -> None:
        self._draw()

    def _draw(self) -> None:
        row = Row(
            task=self.row.task, metric=self.metric, group=self.row.group, members=self.row.members,
            higher_is_better=self.row.higher_is_better,
        )  # fmt: skip
        made = self.app.live and trained(self.app.live, self.chosen.key[0])
        last_step = made.report.get("steps") if made else None
        self.points = history(self.models, self.chosen.key[0], row, last_step, made.identity if made else None)
        scale = 100.0 if report.unit(self.metric) else 1.0
        placed = [(step, figure) for step, _, figure in self.points if step is not None]
        spans = [
            (float(step), scale * figure.low, scale * figure.high)
            for step, figure in placed
            if figure.low is not None and figure.high is not None
        ]
        curve = [(float(step), scale * figure.value) for step, figure in placed]
        chart, pane = self.query_one(Chart), self.query_one("#curve")
        chart.empty = f"It is not known how many steps {safe.line(self.model_name)} was trained for."
        unit = f" ({report.unit(self.metric)})" if report.unit(self.metric) else ""
        series = Series(safe.line(f"{self.row.task} {self.metric}{unit}"), curve, "accent", spans=spans)
        chart.plot([series])
        entitle(pane, f"{self.row.task} over the steps", "" if len(curve) > 1 else "k measures every kept checkpoint")
        table = self.query_one(Table)
        table.set_rows(self.points)
        table.styles.height = min(len(self.points), MOST) + 1
        self.refresh_keys()

    def cells(self, point: Point) -> list[Text]:
        on = self.query_one(Table)
        step, model, figure = point
        ends = [end for *_, one in self.points for end in (one.low, one.value, one.high) if end is not None]
        finished = model.step is None
        shown = "finished" if step is None else f"{step:,}"
        task = model.figures[self.row.task]
        first = self.points[0][1].figures[self.row.task]
        unlike = task.setting != first.setting
        said = ("the finished model, " if finished and step is not None else "") + report.setting(task.setting)
        return [
            on.assemble((shown, "strong" if finished else "text")),
            on.assemble(f"{report.score(self.metric, figure.value)}{report.unit(self.metric)}"),
            on.assemble((report.interval(self.metric, figure), "muted")),
            interval(on, figure, min(ends), max(ends), BAR),
            on.assemble((f"* {said}: unlike the first" if unlike else said, "warn" if unlike else "muted")),
        ]

    def on_table_opened(self, event: Table.Opened) -> None:
        """The items of a point, against the point before it."""
        place = [model.model for _, model, _ in self.points].index(event.row[1].model)
        before = self.points[place - 1][1] if place else None
        self.app.push_screen(ItemsScreen(before, event.row[1], self.row.task))

    # ------------------------------------------------------------------ actions

    def do_next(self, _: str = "") -> None:
        self._to(1)

    def do_previous(self, _: str = "") -> None:
        self._to(-1)

    def _to(self, by: int) -> None:
        """The task that far on among those that the model was asked."""
        asked = [row for row in self.rows if row.task in self.chosen.figures]
        place = next((number for number, row in enumerate(asked) if row.task == self.row.task), 0)
        self.row = asked[(place + by) % len(asked)]
        self.metric = self.row.metric
        self._draw()
        self.query_one(Table).refresh()

    def do_metric(self, _: str = "") -> None:
        names = list(self.chosen.figures[self.row.task].figures)
        self.metric = names[(names.index(self.metric) + 1) % len(names)]
        self._draw()
        self.query_one(Table).refresh()

    def why_not_checkpoints(self, _: str = "") -> str | None:
        return self.app.why_no_stage()

    def do_checkpoints(self, _: str = "") -> None:
        benchmark_checkpoints(self.app, self.chosen)

    def do_back(self, _: str = "") -> None:
        self.dismiss()
