"""Runs side by side: their curves in one chart, where their recipes differ, and how far they came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from workbench import figures
from workbench.store.catalog import Catalog
from workbench.store.project import Project
from workbench.tui import actions, run_detail, run_metrics, safe
from workbench.tui.live import Changes, RunRow
from workbench.tui.run_detail import Detail
from workbench.tui.screens.base import WorkbenchScreen, entitle
from workbench.tui.widgets.chart import Chart, Series
from workbench.tui.widgets.table import Column, Table

STYLES = ("busy", "accent", "good", "bad")


class CompareScreen(WorkbenchScreen):
    """Over the runs; the curve is the validation loss where a metric has one, else the metric itself."""

    PLACE = "compare"
    BINDINGS = actions.bindings("compare")
    DEFAULT_CSS = """
    CompareScreen #curves { height: 1fr; }
    CompareScreen #differences { height: auto; max-height: 50%; }
    """

    def __init__(self, runs: Sequence[str]):
        super().__init__()
        self.runs = tuple(runs)
        self.metric = "loss"
        self.details: list[Detail] = []

    def body(self) -> ComposeResult:
        with Vertical(id="curves", classes="pane"):
            yield Chart(empty="None of them has a curve.")
        with Vertical(id="differences", classes="pane") as pane:
            pane.border_title = "What differs"
            columns = [Column(title="", width=14, grow=1)]
            yield Table(
                [*columns, *(Column(title=safe.line(run), width=14, grow=1) for run in self.runs)],
                self.cells,
                key=lambda row: row[0],
            )

    def show(self, changes: Changes) -> None:
        if self.focused is None:
            self.query_one(Table).focus()
        if "*" in changes.runs or changes.runs & set(self.runs):
            self.beside(self._read, group="read")

    async def _read(self) -> None:
        live = self.app.live
        if live is None:
            return
        buckets = self.query_one(Chart).buckets
        question = live.ask(partial(_details, live.project, self.runs, self.metric, buckets))
        self.details = await asyncio.wrap_future(question)
        rows = [live.runs[run] for run in self.runs if run in live.runs]
        series = [
            Series(f"{detail.run} {row.name}", detail.curve, style)
            for detail, row, style in zip(self.details, rows, STYLES, strict=False)
        ]
        self.query_one(Chart).plot(
            [Series(safe.line(item.name), item.points, item.style) for item in series],
            x_end=max((row.total_steps or 0 for row in rows), default=0),
        )
        name = run_metrics.of(self.metric).label
        stage = rows[0].stage if rows else ""
        entitle(self.query_one("#curves"), f"{name[0].upper()}{name[1:]}", run_metrics.unit(stage, self.metric))
        table = self.query_one(Table)
        found = differences(self.details, rows)
        table.set_rows(found)
        table.styles.height = len(found) + 1

    def cells(self, row: tuple[str, Sequence[str]]) -> list[Text]:
        on = self.query_one(Table)
        return [on.assemble((row[0], "muted")), *(on.assemble(safe.line(value)) for value in row[1])]

    def do_metric(self, _: str = "") -> None:
        names = list(dict.fromkeys(name for detail in self.details for name in detail.metrics))
        if names:
            self.metric = names[(names.index(self.metric) + 1) % len(names) if self.metric in names else 0]
            self.beside(self._read, group="read")

    def do_back(self, _: str = "") -> None:
        self.dismiss()


def _details(project: Project, runs: Sequence[str], metric: str, buckets: int, catalog: Catalog) -> list[Detail]:
    return [run_detail.read_detail(project, run, metric, buckets, catalog) for run in runs]


def differences(details: Sequence[Detail], runs: Sequence[RunRow]) -> list[tuple[str, list[str]]]:
    """(key, its value in each run): how far they came, then the keys of the recipes that are not the same in all."""
    import yaml

    recipes = []
    for detail in details:
        try:
            recipes.append(flat(yaml.safe_load(detail.recipe) or {}))
        except yaml.YAMLError:
            recipes.append({})
    rows = [
        ("state", [run.state for run in runs]),
        ("step", [figures.count(run.step) for run in runs]),
        *_measures(runs),
        ("tokens/s", [figures.count(run.tokens_per_second) for run in runs]),
    ]
    for key in dict.fromkeys(key for recipe in recipes for key in recipe):
        values = [figures.value(recipe.get(key)) for recipe in recipes]
        if len(set(values)) > 1:
            rows.append((key, values))
    return rows


def _measures(runs: Sequence[RunRow]) -> list[tuple[str, list[str]]]:
    """The losses of those that a loss says something of, the rewards of the others."""
    by_reward = [run.stage in run_metrics.ONLINE for run in runs]
    rows = []
    if not all(by_reward):
        for name, values in (("loss", [run.loss for run in runs]), ("validation", [run.eval_loss for run in runs])):
            rows.append((name, [figures.loss(None if not_it else value) for not_it, value in
                                zip(by_reward, values, strict=True)]))  # fmt: skip
    if any(by_reward):
        rows.append(("reward", [figures.loss(run.reward) for run in runs]))
    return rows


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
