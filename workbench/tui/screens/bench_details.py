"""What is known of a model's score on a task, and of what is between it and the baseline."""

from __future__ import annotations

from collections.abc import Mapping

from workbench import figures
from workbench.benchmarks import report
from workbench.benchmarks.compare import TaskComparison
from workbench.errors import WorkbenchError
from workbench.tui import bench
from workbench.tui.bench import Gathered, Row

Fact = tuple[str, str] | tuple[str, str, str]  # (what, value) or (what, value, style name)
Compared = Mapping[str, TaskComparison] | WorkbenchError | None  # by task; why not; None: not yet


def facts_of(row: Row, model: Gathered, baseline: Gathered | None, compared: Compared, now: float) -> list[Fact]:
    """Of a task that the model was asked; `now` in seconds since the epoch."""
    task = model.figures[row.task]
    facts: list[Fact] = []
    for metric in dict.fromkeys((row.metric, *task.figures)):
        facts.append((metric, report.with_interval(metric, task.figures[metric])))
        if metric == row.metric and model is not baseline and baseline is not None:
            facts += _against(row, baseline, compared)
    facts.append(("setting", f"{report.setting(task.setting)}, {task.setting.harness}, version "
                  f"{task.setting.version}, {task.n:,} items"))  # fmt: skip
    if task.truncated:
        cut = f"{task.truncated:,} of {task.n:,} items: their beginning did not fit into the context"
        facts.append(("cut off", cut, "warn"))
    if task.answer_tokens is not None:
        facts.append(("answers", f"{task.answer_tokens:,.1f} tokens on average"))
    facts += [(what, value) for what, value in report.facts(model.results).items() if what in ("size", "speed")]
    source = model.sources.get(row.task, model)
    engine = model.results.model.get("engine") or ""
    facts.append(("measured", f"{figures.age(now - source.created)}, {source.id} with {engine}"))
    return facts


def _against(row: Row, baseline: Gathered, found: Compared) -> list[Fact]:
    if row.task not in baseline.figures:
        return []
    facts: list[Fact] = []
    figure = bench.figure_of(baseline, row)
    if figure is not None:
        facts.append(("◆ baseline", f"{report.with_interval(row.metric, figure)}  {baseline.model}"))
    if found is None:
        return [*facts, ("difference", "is being worked out ...", "muted")]
    if isinstance(found, WorkbenchError):
        return [*facts, ("difference", bench.unreadable(found), "bad")]
    if row.task not in found:
        return [*facts, ("difference", "They have no items in common that could be compared.", "muted")]
    compared = found[row.task]
    facts.append(("difference", bench.difference_in_words(compared), bench.SIGNS[compared.verdict][1]))
    flipped = f"{compared.gained:,} now right, {compared.lost:,} now wrong, of {compared.n:,} that both were asked"
    facts.append(("flipped", flipped))
    for unlike in compared.unlike:
        follows = "only shared items are compared" if unlike.what == "limit" else "not the same test"
        facts.append(("* unlike", f"{unlike}: {follows}", "warn"))
    return facts
