"""Bench: models and tasks side by side, each score with its interval, each difference with what it is worth."""

from __future__ import annotations

from collections.abc import Mapping

from textual.widgets import Input

from workbench import figures
from workbench.benchmarks import report
from workbench.errors import WorkbenchError
from workbench.tui import actions, bench, safe
from workbench.tui.bench import Gathered
from workbench.tui.screens.bench_scores import ScoresScreen
from workbench.tui.widgets.table import Table

HINTS = {"markdown": "to be read", "csv": "a row for each model, task and metric", "json": "everything"}


class BenchScreen(ScoresScreen):
    """What can be done with the grid; `+` gives what is known of the chosen cell the screen."""

    PLACE = "bench"
    BINDINGS = actions.bindings("bench")

    def _why_empty(self, _: str = "") -> str | None:
        return None if self.models else "There is no benchmark yet: n starts one."

    why_not_panel = why_not_sort = why_not_order = why_not_filter = why_not_fold = why_not_model = _why_empty
    why_not_zoom = why_not_export_bench = _why_empty

    def why_not_baseline(self, argument: str = "") -> str | None:
        if argument and self._named(argument) is None:
            return f"No model {argument!r} was measured on this panel."
        return self._why_empty()

    def do_baseline(self, argument: str = "") -> None:
        model = self._named(argument) if argument else self.chosen
        assert model is not None
        self.wanted = model.key
        self._choose_baseline()
        self.app.tell(f"{safe.line(model.model)} is the baseline: all others are compared with it.")

    def _named(self, label: str) -> Gathered | None:
        return next((model for model in self.models if model.model == label), None)

    def do_panel(self, argument: str = "") -> None:
        known = [*bench.panels_of(self.found), bench.EVERY_PANEL]
        words = {bench.panel_in_words(panel): panel for panel in reversed(known)}
        if argument:
            if argument not in words:
                raise WorkbenchError(
                    f"Nothing was measured on a panel {argument!r}.", f"There are: {', '.join(words)}."
                )
            self._to_panel(words[argument])
            return
        from workbench.tui.screens.menu import Choice, Menu

        choices = []
        for panel in known:
            of_panel = [one for one in self.found if panel in (bench.EVERY_PANEL, one.results.panel)]
            models = len({one.key for one in of_panel})
            tasks = len({task for one in of_panel for task in one.results.tasks})
            about = f"{figures.counted(models, 'models')}, {figures.counted(tasks, 'tasks')}"
            choices.append(Choice(f"={panel}", (), "", safe.line(bench.panel_in_words(panel)), about))
        self.app.push_screen(
            Menu("Panel", choices, chosen=f"={self.panel}"),
            lambda answer: self._to_panel(answer[1:]) if answer else None,
        )

    def _to_panel(self, panel: str) -> None:
        self.run_worker(self._gather(panel), group="read", exclusive=True, exit_on_error=True)

    def do_sort(self, argument: str = "") -> None:
        self.sort = _next(bench.SORTS, self.sort, argument)
        self._arrange()

    def do_order(self, argument: str = "") -> None:
        self.ordering = _next(bench.ORDERS, self.ordering, argument)
        self._arrange()

    def do_fold(self, _: str = "") -> None:
        self.folded = not self.folded
        self._arrange()

    def do_model(self, argument: str = "") -> None:
        if argument:
            model = self._named(argument)
            if model is None:
                raise WorkbenchError(f"No model {argument!r} was measured on this panel.", "m shows those that were.")
            self.grid.column = list(self.grid.heads).index(model)
            return
        from workbench.tui.screens.menu import Choice, Menu

        choices = [
            Choice(
                model.model, (), "", safe.line(model.model), f"measured {figures.age(self.app.now() - model.created)}"
            )
            for model in self.grid.heads
        ]
        chosen = self.chosen.model if self.chosen is not None else ""
        self.app.push_screen(
            Menu("Model", choices, chosen=chosen), lambda label: self.do_model(label) if label else None
        )

    def do_filter(self, argument: str = "") -> None:
        field = self.query_one("#filter", Input)
        self.add_class("-filtering")
        if argument:
            field.value = argument
            self._arrange()
        else:
            field.focus()

    def on_input_changed(self, _: Input.Changed) -> None:
        if self.models:
            self._arrange()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.set_class(bool(event.value.strip()), "-filtering")
        self.grid.focus()

    def why_not_history(self, _: str = "") -> str | None:
        row, model = self.grid.row, self.chosen
        if row is None or model is None:
            return self._why_empty() or "There is no task."
        return None if bench.figure_of(model, row) is not None else f"{model.model} was not asked {row.task}."

    def do_history(self, _: str = "") -> None:
        from workbench.tui.screens.bench_history import HistoryScreen

        assert self.chosen is not None
        self.app.push_screen(HistoryScreen(self.models, self.grid.rows, self.chosen, self.grid.row))

    def on_table_opened(self, event: Table.Opened) -> None:
        from workbench.tui.screens.bench_items import ItemsScreen

        row, chosen, baseline = self.grid.row, self.chosen, self.baseline
        assert row is not None
        assert chosen is not None
        if row.task not in chosen.figures:
            self.app.tell(f"{safe.line(chosen.model)} was not asked {safe.line(row.task)}.", severity="warning")
            return
        other = baseline if baseline is not chosen and baseline is not None and row.task in baseline.figures else None
        self.app.push_screen(ItemsScreen(other, chosen, row.task))

    def do_new(self, _: str = "") -> None:
        given = {}
        if self.chosen is not None:
            given["model"] = str(self.chosen.results.model.get("id") or "")
            if self.panel not in (None, "", bench.EVERY_PANEL):
                given["panel"] = self.panel or ""
            elif self.panel == "":
                given["tasks"] = self.grid.row.task if self.grid.row is not None else ""
        self.app.open_form("benchmark", given)

    def why_not_new(self, _: str = "") -> str | None:
        return self.app.why_no_stage()

    def why_not_checkpoints(self, _: str = "") -> str | None:
        return self._why_empty() or self.app.why_no_stage()

    def do_checkpoints(self, _: str = "") -> None:
        from workbench.tui.bench_start import benchmark_checkpoints

        assert self.chosen is not None
        benchmark_checkpoints(self.app, self.chosen)

    def do_export_bench(self, argument: str = "") -> None:
        if not argument:
            from workbench.tui.screens.menu import Choice, Menu

            choices = [Choice(form, (form[0],), form[0], form, HINTS[form]) for form in report.FORMATS]
            self.app.push_screen(Menu("Export", choices), lambda form: self.do_export_bench(form) if form else None)
            return
        from workbench.tui.bench_start import export

        project, models = self.app.project, list(self.grid.heads)
        assert project is not None
        assert self.panel is not None
        panel = self.panel
        self.app.in_background(
            lambda: export(project, models, panel, argument),
            lambda path: self.app.tell(f"Written: {safe.line(path)}"),
        )

    def do_zoom(self, _: str = "") -> None:
        self._zoom(not self.has_class("-zoomed"))

    def why_not_back(self, _: str = "") -> str | None:
        if self.has_class("-zoomed") or self.has_class("-filtering"):
            return None
        return "There is nothing to go back from."

    def do_back(self, _: str = "") -> None:
        if self.has_class("-zoomed"):
            self._zoom(False)
            return
        self.query_one("#filter", Input).value = ""
        self.remove_class("-filtering")
        self._arrange()
        self.grid.focus()

    def _zoom(self, zoomed: bool) -> None:
        self.set_class(zoomed, "-zoomed")
        (self.query_one("#details") if zoomed else self.grid).focus()
        self.refresh_keys()


def _next(options: Mapping[str, str], present: str, wanted: str) -> str:
    """The option that is wanted, or the one after the present."""
    names = list(options)
    if not wanted:
        return names[(names.index(present) + 1) % len(names)]
    if wanted not in names:
        raise WorkbenchError(f"There is no order {wanted!r}.", f"There are: {', '.join(names)}.")
    return wanted
