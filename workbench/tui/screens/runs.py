"""Runs: the list, and the curve, the figures and the texts of the one under the cursor."""

from __future__ import annotations

import asyncio
from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.timer import Timer
from textual.widgets import Input

from workbench.errors import WorkbenchError
from workbench.tui import actions, run_detail, run_metrics, safe
from workbench.tui.live import Changes, RunRow
from workbench.tui.run_detail import Detail
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.screens.run_actions import RunActions
from workbench.tui.widgets import run_cells
from workbench.tui.widgets.chart import Chart, Series
from workbench.tui.widgets.empty import Empty
from workbench.tui.widgets.facts import Facts
from workbench.tui.widgets.log_tail import LogTail
from workbench.tui.widgets.run_texts import RunTexts
from workbench.tui.widgets.table import Table

MOST_COMPARED = 4
REST_SECONDS = 0.15  # of the cursor, before the panes follow it
AGES_SECONDS = 30  # how old "5 min ago" may get


class RunsScreen(RunActions, WorkbenchScreen):
    """Wide: list, curve, figures and texts at once. Narrow: the list, and the rest behind `+` or Enter."""

    PLACE = "runs"
    BINDINGS = actions.bindings("runs")
    DEFAULT_CSS = """
    RunsScreen #none { display: none; }
    RunsScreen.-empty #none { display: block; }
    RunsScreen.-empty #runs { display: none; }

    RunsScreen #runs { height: 1fr; }
    RunsScreen #filter { display: none; }
    RunsScreen.-filtering #filter { display: block; }
    RunsScreen #list-pane { height: 1fr; }
    RunsScreen #detail { height: auto; }
    RunsScreen #facts-pane { height: auto; max-height: 8; }
    RunsScreen.-zoomed #facts-pane { max-height: 6; }
    RunsScreen.-zoomed.-failed #facts-pane { max-height: 8; }
    RunsScreen #chart-pane, RunsScreen #text-pane { display: none; }

    RunsScreen.-zoomed #list-pane { display: none; }
    RunsScreen.-zoomed #detail { height: 1fr; }
    RunsScreen.-zoomed #chart-pane, RunsScreen.-zoomed #text-pane { display: block; height: 3fr; }
    RunsScreen.-zoomed #text-pane { height: 2fr; }

    RunsScreen.-wide #list-pane, RunsScreen.-very-wide #list-pane { height: 34%; min-height: 8; }
    RunsScreen.-wide #detail, RunsScreen.-very-wide #detail {
        height: 1fr; layout: grid; grid-size: 2 2; grid-columns: 1fr 40; grid-rows: 3fr 2fr;
    }
    RunsScreen.-wide #detail #facts-pane, RunsScreen.-very-wide #detail #facts-pane { height: 100%; max-height: 100%; }
    RunsScreen.-wide Facts, RunsScreen.-very-wide Facts { height: 100%; }
    RunsScreen.-wide #detail .pane, RunsScreen.-very-wide #detail .pane { height: 100%; }
    RunsScreen.-wide #chart-pane, RunsScreen.-very-wide #chart-pane { display: block; }
    RunsScreen.-wide #text-pane, RunsScreen.-very-wide #text-pane { display: block; column-span: 2; }
    RunsScreen.-very-wide.-very-tall #runs { layout: horizontal; }
    RunsScreen.-very-wide.-very-tall #list-pane { width: 46%; height: 100%; }
    RunsScreen.-very-wide.-very-tall #detail { width: 1fr; height: 100%; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.marked: list[str] = []
        self.metric = ""  # that was chosen; a run without it shows the one that says most of its method
        self.detail: Detail | None = None
        self._asking = False
        self._wanted = False
        self._aged = 0.0
        self._resting: Timer | None = None

    def body(self) -> ComposeResult:
        yield Empty("Nothing was started in this project yet.", id="none")
        with Container(id="runs"):
            with Vertical(id="list-pane", classes="pane") as pane:
                pane.border_title = "Runs"
                yield Input(placeholder="words that the run's name, stage or state hold", id="filter")
                yield Table(run_cells.COLUMNS, self.cells, key=lambda run: run.id)
            with Container(id="detail"):
                with Vertical(id="chart-pane", classes="pane"):
                    yield Chart(empty="No curve yet.")
                with Vertical(id="facts-pane", classes="pane"):
                    yield Facts()
                yield RunTexts()

    def on_mount(self) -> None:
        field = self.query_one("#filter", Input)
        field.cursor_blink = False

    # ------------------------------------------------------------------ what is shown

    @property
    def run(self) -> RunRow | None:  # type: ignore[override]
        """The run under the cursor."""
        return self.query_one(Table).row

    def show(self, changes: Changes) -> None:
        live = self.app.live
        if live is None:
            return
        self.set_class(live.loaded and not live.runs, "-empty")
        if live.loaded and not live.runs:
            first = ("g m", "what to do first, on the map")
            self.query_one("#none", Empty).say("Nothing was started in this project yet.", first)
        table = self.query_one(Table)
        empty = not table.rows
        table.set_rows(self._filtered(list(live.runs.values())))
        if empty and (going := [run for run in live.active() if run.state != "queued"]):
            table.choose(going[0].id)
        if "*" in changes.runs or self.app.now() - self._aged > AGES_SECONDS:
            self._aged = self.app.now()
            table.refresh()
        if self.focused is None and live.runs:
            table.focus()
        self._title_list()
        run = self.run
        if run is not None and (run.id in changes.runs or "*" in changes.runs or self.detail is None):
            self._ask()  # and draw all panes at once
        else:
            self._show_facts()

    def _filtered(self, runs: list[RunRow]) -> list[RunRow]:
        words = self.query_one("#filter", Input).value.lower().split()
        if not words:
            return runs
        return [run for run in runs if all(word in f"{run.id} {run.name} {run.stage} {run.state}" for word in words)]

    def cells(self, run: RunRow) -> list[Text]:
        return run_cells.row(self.query_one(Table), run, self.app.now(), marked=run.id in self.marked)

    def on_table_moved(self, event: Table.Moved) -> None:
        self.refresh_keys()
        # The panes cost 20 ms to draw: they follow once the cursor rests, and the next key need not wait for them.
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(REST_SECONDS, self._ask)

    def on_table_opened(self, event: Table.Opened) -> None:
        self.do_zoom()

    def _show_facts(self) -> None:
        run, facts = self.run, self.query_one(Facts)
        pane = self.query_one("#facts-pane")
        if run is None:
            facts.state(None, (), ())
            pane.border_title = ""
            return
        entitle(pane, run.id)
        heading = run_cells.state(facts, run.state)
        heading.append_text(facts.assemble("  ", (f"{run.produces} ", "muted"), (safe.line(run.name), "strong")))
        failed = run.state in ("failed", "lost")
        self.set_class(failed, "-failed")
        style = "bad" if failed else "muted"
        sentences = [(run.reason, style)] if run.reason else []
        sentences += [(run.remedy, "text")] if run.remedy and failed else []
        detail = self.detail if self.detail and self.detail.run == run.id else None
        facts.state(heading, sentences, run_detail.facts(run, detail, self.app.now()))

    def _ask(self) -> None:
        """Read the chosen run's curve and events beside the screen; one question at a time, the newest last."""
        self._wanted = True
        if not self._asking:
            self._asking = True
            self.run_worker(self._read_details(), exit_on_error=True)

    async def _read_details(self) -> None:
        try:
            while self._wanted and (run := self.run) is not None and (live := self.app.live) is not None:
                self._wanted = False
                buckets = self.query_one(Chart).buckets
                question = live.ask(partial(run_detail.read_detail, live.project, run.id, self.metric, buckets))
                try:
                    detail = await asyncio.wrap_future(question)
                except WorkbenchError:
                    self._show_facts()
                    return  # `live` finds the same at its next look, and says so
                if self.run is not None and self.run.id == detail.run:
                    self.detail = detail
                    self._show_detail(self.run, detail)
        finally:
            self._asking = False

    def _show_detail(self, run: RunRow, detail: Detail) -> None:
        self._show_facts()
        chart = self.query_one(Chart)
        name = run_metrics.of(detail.metric).label
        series = [Series("training" if detail.validation else name, detail.curve, "busy")] if detail.curve else []
        if detail.validation:
            held_out = "validation" if detail.metric == "loss" else "held out"
            series.append(Series(held_out, detail.validation, "accent", marks=True))
        chart.empty = "No step was made yet." if run.stage in run_metrics.TRAININGS else "This stage has no curve."
        chart.plot(series, x_end=run.total_steps if run.unit == "steps" else None)
        pane = self.query_one("#chart-pane")
        title = f"{name[0].upper()}{name[1:]}" if series else "Curve"
        entitle(pane, title, run_metrics.unit(run.stage, detail.metric) if series else "")
        self.query_one(RunTexts).follow(self.app.project, self.run, self.detail)
        self.refresh_keys()

    def _title_list(self) -> None:
        live = self.app.live
        pane = self.query_one("#list-pane")
        shown, of = len(self.query_one(Table).rows), len(live.runs) if live else 0
        title = f"Runs {shown} of {of}" if shown != of else "Runs"
        entitle(pane, title, f"{len(self.marked)} marked" if self.marked else "")

    # ------------------------------------------------------------------ actions on the list

    def why_not_show(self, argument: str = "") -> str | None:
        return None if self._meant(argument) else f"There is no run {argument!r}."

    def do_show(self, argument: str = "") -> None:
        run = self._meant(argument)
        assert run is not None
        table = self.query_one(Table)
        if not table.choose(run.id):
            self.query_one("#filter", Input).value = ""
            self.remove_class("-filtering")
            table.set_rows(list(self.app.live.runs.values()) if self.app.live else [])
            table.choose(run.id)
        table.focus()

    def why_not_mark(self, _: str = "") -> str | None:
        if self.run is None:
            return "There is no run to mark."
        if len(self.marked) >= MOST_COMPARED and self.run.id not in self.marked:
            return f"{MOST_COMPARED} runs are marked already: no more fit into one chart."
        return None

    def do_mark(self, _: str = "") -> None:
        assert self.run is not None
        if self.run.id in self.marked:
            self.marked.remove(self.run.id)
        else:
            self.marked.append(self.run.id)
        table = self.query_one(Table)
        table.refresh()
        table.do_down()
        self._title_list()
        self.refresh_keys()

    def why_not_compare(self, _: str = "") -> str | None:
        chosen = self._compared()
        return None if len(chosen) > 1 else "Mark two runs with Space first, or one and put the cursor on another."

    def _compared(self) -> list[str]:
        run = self.run
        return self.marked if len(self.marked) > 1 or run is None else list(dict.fromkeys([*self.marked, run.id]))

    def do_compare(self, _: str = "") -> None:
        from workbench.tui.screens.compare import CompareScreen

        self.app.push_screen(CompareScreen(self._compared()))

    def do_filter(self, argument: str = "") -> None:
        field = self.query_one("#filter", Input)
        if argument:
            field.value = argument
        self.add_class("-filtering")
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.app.live is not None:
            self.query_one(Table).set_rows(self._filtered(list(self.app.live.runs.values())))
            self._title_list()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.set_class(bool(event.value), "-filtering")
        self.query_one(Table).focus()

    def do_back(self, _: str = "") -> None:
        field = self.query_one("#filter", Input)
        if self.has_class("-zoomed"):
            self._zoom(False)
        elif self.has_class("-filtering"):
            field.value = ""
            self.remove_class("-filtering")
        elif self.marked:
            self.app.can_be_undone(f"{len(self.marked)} marks cleared", partial(self._mark_again, self.marked))
            self._mark_again([])
        self.query_one(Table).refresh()
        self.query_one(Table).focus()

    def _mark_again(self, marked: list[str]) -> None:
        self.marked = marked
        self._title_list()
        self.query_one(Table).refresh()

    def why_not_back(self, _: str = "") -> str | None:
        if self.has_class("-zoomed") or self.has_class("-filtering") or self.marked:
            return None
        return "There is nothing to go back from."

    # ------------------------------------------------------------------ actions on the panes

    def why_not_zoom(self, _: str = "") -> str | None:
        return None if self.run is not None else "There is no run to look at."

    why_not_log = why_not_samples = why_not_checkpoints = why_not_events = why_not_recipe = why_not_zoom

    def do_zoom(self, _: str = "") -> None:
        self._zoom(not self.has_class("-zoomed"))

    def _zoom(self, zoomed: bool) -> None:
        self.set_class(zoomed, "-zoomed")
        self.query_one(LogTail if zoomed else Table).focus()
        self.call_after_refresh(self._ask)  # the chart has another width now

    def why_not_metric(self, _: str = "") -> str | None:
        known = self.detail if self.detail and self.run and self.detail.run == self.run.id else None
        return None if known and len(known.metrics) > 1 else "This run has no other curve."

    def do_metric(self, _: str = "") -> None:
        assert self.detail is not None
        names = self.detail.metrics
        self.metric = names[(names.index(self.detail.metric) + 1) % len(names)]
        self._ask()

    def why_not_inspect(self, argument: str = "") -> str | None:
        from workbench.tui.inspecting import STAGES

        run = self._inspected(argument)
        if run is None:
            return f"There is no run {argument!r}." if argument else "There is no run to choose."
        return None if run.stage in STAGES else f"{run.id} trains on no batches that are known beforehand."

    def do_inspect(self, argument: str = "") -> None:
        from workbench.tui.inspecting import run_subject
        from workbench.tui.screens.data_inspector import InspectorScreen

        run, project = self._inspected(argument), self.app.project
        assert run is not None
        assert project is not None
        self.app.push_screen(InspectorScreen(run_subject(project, run)))

    def _inspected(self, argument: str) -> RunRow | None:
        from workbench.tui.inspecting import run_meant

        return run_meant(self.app.live.runs, argument) if argument and self.app.live is not None else self.run

    def _choose_text(self, name: str) -> None:
        texts = self.query_one(RunTexts)
        texts.chosen = name
        if not texts.display:
            self._zoom(True)
        texts.follow(self.app.project, self.run, self.detail)

    def do_log(self, _: str = "") -> None:
        self._choose_text("log")

    def do_samples(self, _: str = "") -> None:
        self._choose_text("samples")

    def do_checkpoints(self, _: str = "") -> None:
        self._choose_text("checkpoints")

    def do_events(self, _: str = "") -> None:
        self._choose_text("events")

    def do_recipe(self, _: str = "") -> None:
        self._choose_text("recipe")

    def on_resize(self) -> None:
        self.call_after_refresh(self._ask)
