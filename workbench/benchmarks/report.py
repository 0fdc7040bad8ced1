"""Benchmarks side by side, as Markdown, CSV and JSON; and how a score is written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from workbench.benchmarks.results import Figure, Results, Setting, TaskFigures

if TYPE_CHECKING:
    from workbench.benchmarks.lookup import Benchmark

FORMATS = ("markdown", "csv", "json")
SHARES = (
    "acc",
    "exact_match",
    "em",
    "match",
    "pass@",
    "mc1",
    "mc2",
    "win_rate",
    "top1",
)  # how metrics begin that are written in percent
COLUMNS = (
    "model", "kind", "checkpoint", "engine", "panel", "task", "group", "metric", "main", "value", "low", "high",
    "stderr", "n", "higher_is_better", "truncated", "answer_tokens", "version", "shots", "chat_template", "harness",
    "data", "limit", "against",
)  # fmt: skip


def score(metric: str, value: float) -> str:
    """A score as people read it: 45.2 (percent) of a share, else a number of four digits."""
    if metric.startswith(SHARES):
        return f"{100 * value:.1f}"
    if 0 < abs(value) < 0.1:
        return f"{value:.2g}"
    if abs(value) >= 1e6:  # a perplexity of a model that has learnt nothing
        return f"{value:.3g}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"


def signed(metric: str, difference: float) -> str:
    """A difference of scores with its sign: +3.2, −0.031."""
    text = score(metric, abs(difference))
    return f"{'+' if difference >= 0 else '−'}{text}" if text.strip("0.") else f"±{text}"


def unit(metric: str) -> str:
    """What stands behind a score: "%" or nothing."""
    return "%" if metric.startswith(SHARES) else ""


def interval(metric: str, figure: Figure) -> str:
    """42.1 to 48.3; empty where it is not known."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{score(metric, figure.low)} to {score(metric, figure.high)}"


def with_interval(metric: str, figure: Figure) -> str:
    """45.2% (42.1 to 48.3)."""
    ends = interval(metric, figure)
    return f"{score(metric, figure.value)}{unit(metric)}" + (f" ({ends})" if ends else "")


def no_interval(n: int) -> str:
    """Why a score of `n` items has no interval, in the column where it would stand."""
    from workbench.benchmarks.statistics import FEWEST

    return "too few items" if n < FEWEST else "not known"


def setting(found: Setting) -> str:
    """A setting in a few words: "0-shot, no chat template, first 200"."""
    parts = [f"{found.shots}-shot", "chat template" if found.chat_template else "no chat template"]
    if found.limit is not None:
        parts.append(f"first {found.limit:,}")
    if found.data:
        parts.append(f"own data {found.data[:8]}")
    if found.against:
        parts.append(f"against {found.against}")
    return ", ".join(parts)


BESIDE = {"token_perplexity": "perplexity", "top1_agreement": "top-1 agreement", "kl_99": "KL, 99% quantile"}
"""Metrics of a comparison with the unquantised model that are shown beside the one that stands for it."""


def facts(found: Results) -> dict[str, str]:
    """What is known of a model beside its scores: size of its weights, speed of writing, what quantisation changed."""
    shown = {}
    if size := found.model.get("bytes"):
        shown["size"] = f"{size / 1e6:,.1f} MB"
    if rate := found.model.get("tokens_per_second"):
        shown["speed"] = f"{rate:,.1f} tokens/s"
    for name, task in found.tasks.items():
        for metric, label in BESIDE.items():
            if metric in task.figures:
                shown[f"{label} ({name})"] = with_interval(metric, task.figures[metric])
    return shown


def tasks_of(benchmark: Benchmark) -> dict[str, TaskFigures]:
    """The benchmark's tasks, and each group that is summed up in front of its first task."""
    from workbench.benchmarks.compare import groups

    pooled = groups(benchmark) if any(task.group for task in benchmark.results.tasks.values()) else {}
    found: dict[str, TaskFigures] = {}
    for task, figures in benchmark.results.tasks.items():
        if figures.group in pooled:
            found.setdefault(figures.group, pooled[figures.group])
        found[task] = figures
    return found


def export(benchmarks: Sequence[Benchmark], form: str, *, every_task: bool = False) -> str:
    """Benchmarks as a grid in `form`, one of `FORMATS`.

    Markdown has a row a task and a column a model, with 95% intervals, and the tasks of a group only with
    `every_task`; what was measured in another setting than in the first model is marked. CSV has a row for each model,
    task and metric; JSON holds everything.
    """
    tables = [tasks_of(one) for one in benchmarks]
    match form:
        case "markdown":
            return _markdown(benchmarks, tables, every_task)
        case "csv":
            return _csv(benchmarks, tables)
        case "json":
            plain = [
                asdict(one.results)
                | {"benchmark": one.id, "tasks": {name: asdict(task) for name, task in table.items()}}
                for one, table in zip(benchmarks, tables, strict=True)
            ]
            return json.dumps(plain, ensure_ascii=False, indent=2) + "\n"
    raise ValueError(form)


def _markdown(benchmarks: Sequence[Benchmark], tables: Sequence[Mapping[str, TaskFigures]], every_task: bool) -> str:
    names: dict[str, TaskFigures] = {}
    for table in tables:
        for name, task in table.items():
            if every_task or task.group not in table:
                names.setdefault(name, task)
    unlike: list[str] = []
    rows = []
    for name, first in names.items():
        cells = []
        for one, table in zip(benchmarks, tables, strict=True):
            figures = table.get(name)
            cell = _cell(figures, first.main)
            if figures is not None and figures.setting != first.setting:
                cell += " \\*"
                unlike.append(f"\\* {one.model} on {name}: {_apart(first.setting, figures.setting)}.")
            cells.append(cell)
        arrow = "↑" if first.figures[first.main].higher_is_better else "↓"
        rows.append(
            [name, f"{first.main} {unit(first.main)}{arrow}".strip(), str(first.n), setting(first.setting), *cells]
        )
    beside = [facts(one.results) for one in benchmarks]
    for name in dict.fromkeys(name for known in beside for name in known):
        rows.append([name, "", "", "", *(known.get(name, "–") for known in beside)])
    head = ["task", "metric", "items", "setting", *(_escaped(one.model) for one in benchmarks)]
    lines = [head, ["---", "---", "---:", "---", *("---:" for _ in benchmarks)], *rows]
    panels = ", ".join(dict.fromkeys(one.panel for one in benchmarks))
    harness = ", ".join(dict.fromkeys(task.setting.harness for table in tables for task in table.values()))
    notes = [f"Panel {panels}; {harness}. In brackets: 95% intervals.", *unlike]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n" + "\n".join(notes) + "\n"


def _cell(figures: TaskFigures | None, metric: str) -> str:
    if figures is None or metric not in figures.figures:
        return "–"
    figure = figures.figures[metric]
    bounds = interval(metric, figure)
    return score(metric, figure.value) + (f" ({bounds})" if bounds else "")


def _apart(first: Setting, other: Setting) -> str:
    before, after = asdict(first), asdict(other)
    return ", ".join(
        f"{name.replace('_', ' ')} {after[name]!r} instead of {before[name]!r}"
        for name in before
        if before[name] != after[name]
    )


def _csv(benchmarks: Sequence[Benchmark], tables: Sequence[Mapping[str, TaskFigures]]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one, table in zip(benchmarks, tables, strict=True):
        model = {key: one.results.model.get(key) for key in ("kind", "checkpoint", "engine")}
        for name, task in table.items():
            for metric, figure in task.figures.items():
                row: dict[str, Any] = {
                    **model, "model": one.model, "panel": one.panel, "task": name, "group": task.group,
                    "metric": metric, "main": metric == task.main, "truncated": task.truncated,
                    "answer_tokens": task.answer_tokens, **asdict(figure), **asdict(task.setting),
                }  # fmt: skip
                writer.writerow(row)
    return target.getvalue()


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
