"""Models and tasks side by side: reading them, drawing each score with its interval, comparing what is in sight."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import Input

from workbench import figures
from workbench.benchmarks import report
from workbench.benchmarks.compare import TaskComparison
from workbench.benchmarks.lookup import Benchmark
from workbench.errors import WorkbenchError
from workbench.tui import bench, safe
from workbench.tui.bench import Gathered, Row
from workbench.tui.live import Changes
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.screens.bench_details import facts_of
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.grid import Grid
from workbench.tui.widgets.interval import interval
from workbench.tui.widgets.sections import Sections
from workbench.tui.widgets.table import Table

SCORE = 5  # columns: "100.0"
DIFFERENCE = 6  # columns: "▲+12.3"
REST_SECONDS = 0.06  # of the cursor, before its cell is explained and its column compared


class ScoresScreen(WorkbenchScreen):
    """The grid above, what is known of the chosen cell below it."""

    DEFAULT_CSS = """
    ScoresScreen #none { display: none; }
    ScoresScreen.-empty #none { display: block; }
    ScoresScreen.-empty #bench { display: none; }
    ScoresScreen #bench { height: 1fr; }
    ScoresScreen #scores { height: 1fr; }
    ScoresScreen #details { height: 8; scrollbar-size-vertical: 1; }
    ScoresScreen.-tall #details, ScoresScreen.-very-tall #details { height: 10; }
    ScoresScreen.-zoomed #scores { display: none; }
    ScoresScreen.-zoomed #details { height: 1fr; }
    ScoresScreen #filter { display: none; }
    ScoresScreen.-filtering #filter { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Sequence[Benchmark] = ()
        self.panel: str | None = None  # until it is known which there are
        self.models: Sequence[Gathered] = ()
        self.baseline: Gathered | None = None
        self.wanted: tuple[str, int | None] | None = None  # as baseline, by the person
        self.sort, self.ordering, self.folded = "panel", "newest", True
        self._sorted_by: Gathered | None = None  # whose scores or differences sort the tasks
        self._ordered_by: Row | None = None  # the task whose scores order the models
        # Of the present baseline: what was compared with it, or why it could not be.
        self.compared: dict[tuple[tuple[str, str], ...], Mapping[str, TaskComparison] | WorkbenchError] = {}
        self._ids: frozenset[str] | None = None  # of the benchmarks that were read
        self._unreadable = False  # none of them could be read
        self._scales: dict[str, tuple[float, float]] = {}
        self._resting: Timer | None = None

    def body(self) -> ComposeResult:
        yield Empty("No benchmark yet.", id="none")
        with Container(id="bench"):
            with Vertical(id="scores", classes="pane"):
                yield Input(placeholder="words that a task's name holds", id="filter")
                yield Grid(self.draw_name, self.draw_title, self.draw_cell, key=lambda row: row.task, corner="Task")
            with VerticalScroll(id="details", classes="pane"):
                yield Sections()

    def on_mount(self) -> None:
        self.query_one("#filter", Input).cursor_blink = False

    @property
    def grid(self) -> Grid:
        return self.query_one(Grid)

    @property
    def chosen(self) -> Gathered | None:
        """The model under the cursor."""
        return self.grid.head

    # ------------------------------------------------------------------ reading

    def show(self, changes: Changes) -> None:
        live = self.app.live
        if live is None or not live.loaded:
            return
        ids = frozenset(item.id for item in live.artifacts if item.kind == "benchmark")
        self.set_class(not ids or (ids == self._ids and self._unreadable), "-empty")
        if not ids:
            self._say_what_to_do()
        elif ids != self._ids:
            self._ids = ids
            self.run_worker(self._read(), group="read", exclusive=True, exit_on_error=True)
        elif changes.runs:
            self._title()

    def _say_what_to_do(self) -> None:
        live, none = self.app.live, self.query_one("#none", Empty)
        assert live is not None
        going = next((run for run in live.active() if run.stage == "benchmark"), None)
        if going is not None:
            none.say(f"No benchmark yet: {safe.line(going.id)} is at it.", ("g r", "watch it"))
        elif not any(item.kind in ("model", "export") for item in live.artifacts):
            none.say(
                "No benchmark yet, and no model that could be measured.",
                (":import-model", "bring one in"),
                ("g m", "the whole road, on the map"),
            )
        else:
            none.say(
                "No benchmark yet: what is a model worth?",
                ("n", "measure one on a panel of tasks"),
                ("workbench panels list", "which panels there are"),
            )

    async def _read(self) -> None:
        live = self.app.live
        assert live is not None
        try:
            self.found = await asyncio.wrap_future(live.ask(lambda catalog: bench.read(live.project, catalog)))
        except WorkbenchError as error:
            self.app.show_error(error)
            return
        self._unreadable = not self.found
        if self._unreadable:
            self.query_one("#none", Empty).say(
                "None of the benchmarks can be read.", ("workbench verify", "which files have changed")
            )
            self.add_class("-empty")
            return
        known = [*bench.panels_of(self.found), bench.EVERY_PANEL]
        await self._gather(self.panel if self.panel in known else known[0])

    async def _gather(self, panel: str) -> None:
        """Show this panel."""
        self.models = await asyncio.to_thread(bench.gather, self.found, panel)
        self.panel = panel
        self._choose_baseline()

    def _choose_baseline(self) -> None:
        """The one that the person wants, where it is in this panel."""
        of_key = {model.key: model for model in self.models}
        key = self.wanted if self.wanted in of_key else bench.first_baseline(self.models)
        baseline = of_key.get(key) if key is not None else None
        if baseline is None or self.baseline is None or baseline.token != self.baseline.token:
            self.compared = {}
        self.baseline = baseline
        self._arrange()
        if self.focused is None:
            self.grid.focus()
        self.refresh_keys()

    # ------------------------------------------------------------------ what is shown

    def _arrange(self) -> None:
        """Rows and columns in their order; the cursor stays on its model and its task."""
        grid, chosen = self.grid, self.chosen
        wanted = chosen.key if chosen is not None else None
        others = [model for model in self.models if model is not self.baseline]
        first = [self.baseline] if self.baseline is not None else []
        words = self.query_one("#filter", Input).value.lower().split()
        rows = [
            row
            for row in bench.rows_of([*first, *others], folded=self.folded and not words)
            if all(word in row.task.lower() for word in words)
        ]
        under = grid.row.task if grid.row is not None else ""
        self._ordered_by = next((row for row in rows if row.task == under), rows[0] if rows else None)
        heads = [*first, *bench.ordered_models(others, self.ordering, self._ordered_by)]
        # Nothing is between the baseline and itself: of the differences those of the model beside it.
        able = heads[1:] if self.sort == "difference" else heads
        self._sorted_by = next((model for model in able if model.key == wanted), able[0] if able else None)
        rows = bench.sorted_rows(rows, self.sort, self._sorted_by, self._differences(self._sorted_by))
        self._scales = {}
        place = next((number for number, model in enumerate(heads) if model.key == wanted), 0)
        grid.show(heads, rows, place)
        self._title()

    def _title(self) -> None:
        live = self.app.live
        if self.panel is None or live is None:
            return
        going = [run for run in live.active() if run.stage == "benchmark"]
        shares = [f"{run.id} {share:.0%}" for run in going if (share := run.share()) is not None]
        of_panel = self.panel not in ("", bench.EVERY_PANEL)
        name = bench.panel_in_words(self.panel)
        parts = [
            f"Panel {name}" if of_panel else name.capitalize(),
            figures.counted(len(self.models), "models"),
            figures.counted(bench.tasks_in(self.grid.rows), "tasks"),
        ]
        sort = bench.SORTS[self.sort] if of_panel or self.sort != "panel" else "as they were asked"
        of_model = f" of {self._sorted_by.model}" if self.sort in bench.OF_MODEL and self._sorted_by else ""
        on_task = f" on {self._ordered_by.task}" if self.ordering == "score" and self._ordered_by else ""
        more = [f"tasks {sort}{of_model}", f"models {bench.ORDERS[self.ordering]}{on_task}"] if self.models else []
        more += shares[:1] or [f"{run.id} {run.state}" for run in going[:1]]
        entitle(self.query_one("#scores"), ", ".join(parts), ", ".join(more))

    def _differences(self, model: Gathered | None) -> Mapping[str, TaskComparison]:
        found = self.compared.get(model.token) if model is not None else None
        return found if isinstance(found, Mapping) else {}

    def draw_name(self, row: Row) -> Text:
        on = self.grid
        text = on.assemble("  " if row.group else "", (safe.line(row.task), "strong" if row.members else "text"))
        if row.members:
            text.append_text(on.assemble((f" ({row.members})", "muted")))
        return text

    def draw_title(self, model: Gathered) -> Text:
        if model is self.baseline:
            return self.grid.assemble(("◆ ", "accent"), (safe.line(model.model), "strong"))
        return self.grid.assemble((safe.line(model.model), "strong"))

    def draw_cell(self, row: Row, model: Gathered, width: int) -> Text:
        """The score, its interval as a bar on the scale of the row, and what is between it and the baseline."""
        on, figure = self.grid, bench.figure_of(model, row)
        if figure is None:
            return on.assemble(("–".rjust(SCORE), "muted"))
        text = on.assemble((bench.short(row.metric, figure.value).rjust(SCORE), "text"), " ")
        beside = 0 if model is self.baseline else DIFFERENCE + 2
        room = width - text.cell_len - beside
        if room >= 3:
            low, high = self._scale(row)
            before = bench.figure_of(self.baseline, row) if self.baseline is not None else None
            mark = before.value if before is not None and model is not self.baseline else None
            text.append_text(interval(on, figure, low, high, room, mark))
        if model is not self.baseline:
            text.append_text(self._difference(row, model))
        return text

    def _scale(self, row: Row) -> tuple[float, float]:
        """The least and the highest end of a row's intervals; all that there can be, where one model stands alone."""
        if row.task not in self._scales:
            found = [figure for model in self.models if (figure := bench.figure_of(model, row)) is not None]
            if len(found) == 1 and report.unit(row.metric):
                return 0.0, 1.0
            ends = [end for one in found for end in (one.low, one.value, one.high) if end is not None]
            self._scales[row.task] = min(ends), max(ends)
        return self._scales[row.task]

    def _difference(self, row: Row, model: Gathered) -> Text:
        on, found = self.grid, self.compared.get(model.token)
        if self.baseline is None or row.task not in self.baseline.figures:
            return on.assemble(" ")
        if found is None:
            return on.assemble((" ...", "muted"))
        if isinstance(found, WorkbenchError) or row.task not in found:
            return on.assemble((" ?", "muted"))
        compared = found[row.task]
        sign, style = bench.SIGNS[compared.verdict]
        number = bench.short_signed(compared.metric, compared.difference).rjust(DIFFERENCE - 1)
        unlike = ("*", "warn") if compared.unlike else " "
        return on.assemble(" ", (f"{sign}{number}", style), unlike)

    # ------------------------------------------------------------------ comparing

    def on_grid_shifted(self, _: Grid.Shifted) -> None:
        self._rest()

    def on_table_moved(self, event: Table.Moved) -> None:
        self._rest()

    def _rest(self) -> None:
        """Once the cursor rests: what is known of its cell, and what its neighbours differ by."""
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(REST_SECONDS, self._settle)

    def _settle(self) -> None:
        self._show_details()
        self.refresh_keys()
        if self._to_compare() is not None and not any(worker.group == "compare" for worker in self.workers):
            self.run_worker(self._comparing(), group="compare", exit_on_error=True)

    def _to_compare(self) -> Gathered | None:
        """The first on the screen that was not compared with the baseline; the one under the cursor before others."""
        heads = self.grid.heads
        if self.baseline is None or not heads:
            return None
        seen = sorted(self.grid.seen, key=lambda place: place != self.grid.column)
        return next(
            (
                heads[place]
                for place in seen
                if heads[place] is not self.baseline and heads[place].token not in self.compared
            ),
            None,
        )

    async def _comparing(self) -> None:
        """One by one, what is on the screen, beside it."""
        while (other := self._to_compare()) is not None:
            baseline = self.baseline
            assert baseline is not None
            found: Mapping[str, TaskComparison] | WorkbenchError
            try:
                found = await asyncio.to_thread(bench.by_task, baseline, other)
            except WorkbenchError as error:
                found = error
            if baseline is not self.baseline:
                continue
            self.compared[other.token] = found
            if self.sort == "difference" and other is self._sorted_by:
                self._arrange()
            self.grid.refresh()
            self._show_details()

    def _show_details(self) -> None:
        row, model, pane = self.grid.row, self.chosen, self.query_one("#details")
        on = self.query_one("#details Sections", Sections)
        on.begin()
        if row is None or model is None:
            entitle(pane, "")
            on.sentence("No task has all of these words in its name." if self.models else "")
        else:
            entitle(pane, f"{model.model} on {row.task}")
            if bench.figure_of(model, row) is None:
                on.sentence(f"{model.model} was not asked. n starts a benchmark.")
            else:
                compared = self.compared.get(model.token)
                on.pairs(facts_of(row, model, self.baseline, compared, self.app.now()))
        on.end()
