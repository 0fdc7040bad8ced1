"""`workbench compare`: models side by side on the same items, with what is noise told from what is not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.text import Text

from workbench.benchmarks import lookup, report
from workbench.benchmarks.compare import (
    BETTER,
    NOISE,
    WORSE,
    Comparison,
    Flip,
    TaskComparison,
    compare,
    flips,
    no_such_task,
)
from workbench.benchmarks.lookup import Benchmark
from workbench.benchmarks.results import Item
from workbench.cli.output import answer, common, complete_artifact, note, open_current, table
from workbench.errors import WorkbenchError
from workbench.figures import counted
from workbench.safe_text import strip_controls

SHOWN_CHARACTERS = 90  # of a question or an answer: one line
WIDE = 110  # columns of a terminal that hold the whole table
NARROW_LACKS = ("metric", "items", "tokens", "flipped")
ADJUSTED = "adjusted"
COLOURS = {BETTER: "green", WORSE: "red", NOISE: "dim"}
SIGNS = {BETTER: "▲", WORSE: "▼", NOISE: "≈"}


@click.command(
    "compare",
    epilog="\b\nExamples:\n  workbench compare base tuned\n  workbench compare f16 q8 q4 --panel quantisation\n"
    "  workbench compare base tuned --task hellaswag --flips\n  workbench compare base@200 base@400 --json",
)
@click.argument(
    "models", nargs=-1, required=True, metavar="BASELINE MODEL...",
    shell_complete=complete_artifact("model", "export", "benchmark"),
)  # fmt: skip
@click.option("--panel", metavar="NAME", help="Which benchmark of each. [default: the newest panel that all have]")
@click.option("--task", metavar="NAME", help="Only this task; or a group, with its tasks.")
@click.option("--flips", "with_flips", is_flag=True, help="List the items that one has right and the other wrong.")
@common
def compare_models(
    as_json: bool, models: tuple[str, ...], panel: str | None, task: str | None, with_flips: bool
) -> None:
    """Compare models with a baseline, the first one named, over the items that both were asked.

    A name is a model or an export (its newest benchmark), a checkpoint (base@200), or a benchmark (benchmark/NAME).
    Differences are MODEL minus BASELINE, with the interval and p of each task alone. ▲ is better and ▼ worse with p
    below 0.05, adjusted for the number of tasks (Holm); ≈ is inside the noise.
    """
    if len(models) < 2:
        raise WorkbenchError(
            "One model alone cannot be compared.", f"Name another: workbench compare {models[0]} OTHER"
        )
    project, catalog = open_current()
    baseline, *others = lookup.resolve_all(project, catalog, list(models), panel)
    found = [compare(baseline, other) for other in others]
    if task is not None and not any(one.chosen(task) for one in found):
        why = next((one.missing[task] for one in found if task in one.missing), None)
        raise (
            no_such_task(task, [baseline, *others])
            if why is None
            else WorkbenchError(f"The task {task} cannot be compared: {why}.", "Run both on the same panel.")
        )
    if as_json:
        answer(_plain(baseline, others, found, task, with_flips))
        return
    for one in found:
        _warn(one)
    if len(found) == 1 and not _rows(found[0], task):
        raise WorkbenchError("There is nothing to compare.", "Run both on the same panel.")
    heads = _heads([baseline, *others])
    if len(found) == 1:
        _two(found[0], task, heads)
    else:
        _several(found, task, heads)
    if task is None:
        _facts([baseline, *others], heads)
    if with_flips:
        for other, head in zip(others, heads[1:], strict=True):
            _print_flips(baseline, other, task, (heads[0], head))


def _rows(found: Comparison, task: str | None) -> list[TaskComparison]:
    return found.top() if task is None else found.chosen(task)


def _heads(benchmarks: Sequence[Benchmark]) -> list[str]:
    """What each is called in a table: its model, or itself where another of the same model stands beside it."""
    models = [one.model for one in benchmarks]
    return [one.model if models.count(one.model) == 1 else one.id for one in benchmarks]


def _two(found: Comparison, task: str | None, heads: Sequence[str]) -> None:
    rows = _rows(found, task)
    baseline, other = heads if len(set(heads)) == len(heads) else (heads[0], f"{heads[1]} ")  # one against itself
    columns: dict[str, list[str | Text]] = {
        "task": [row.task for row in rows],
        "metric": [row.metric for row in rows],
        baseline: [_score(row.metric, row.baseline.value) for row in rows],
        other: [_score(row.metric, row.other.value) for row in rows],
        "difference": [_difference(row) for row in rows],
        "95% interval": [_interval(row) for row in rows],
        "p": [_p(row.p) for row in rows],
        ADJUSTED: [_p(row.p_holm) for row in rows],
        "flipped": [f"+{row.gained} −{row.lost}" if row.gained or row.lost else "" for row in rows],
        "items": [f"{row.n:,}" for row in rows],
        "tokens": [_tokens(row) for row in rows],
    }
    if not any(columns["tokens"]):
        del columns["tokens"]
    adjusted = columns[ADJUSTED] != columns["p"]
    if not adjusted:
        del columns[ADJUSTED]
    if sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE:
        columns = {name: cells for name, cells in columns.items() if name not in NARROW_LACKS}
    table(list(columns), list(zip(*columns.values(), strict=True)), right=[*columns][1 + ("metric" in columns) :])
    test = "McNemar's exact test where items are right or wrong, else " if any(_by_mcnemar(row) for row in rows) else ""
    holm = f" {ADJUSTED.capitalize()}: p by Holm, for all tasks together; the signs go by it." if adjusted else ""
    note(f"▲ better, ▼ worse, ≈ inside the noise. p: {test}a paired bootstrap over items.{holm}")


def _by_mcnemar(row: TaskComparison) -> bool:
    return row.test.startswith("McNemar")


def _tokens(row: TaskComparison) -> str:
    """The mean lengths of the answers: "12 and 40"."""
    return "" if row.answer_tokens is None else f"{row.answer_tokens[0]:.0f} and {row.answer_tokens[1]:.0f}"


def _several(found: Sequence[Comparison], task: str | None, heads: Sequence[str]) -> None:
    by_model = [{row.task: row for row in _rows(one, task)} for one in found]
    names = list(dict.fromkeys(name for rows in by_model for name in rows))
    firsts = {name: next(rows[name] for rows in by_model if name in rows) for name in names}
    table(
        ("task", "metric", *heads, "items"),
        [
            [
                name,
                firsts[name].metric,
                _score(firsts[name].metric, firsts[name].baseline.value),
                *(_scored(rows.get(name)) for rows in by_model),
                _span([rows[name].n for rows in by_model if name in rows]),
            ]
            for name in names
        ],
        right=(*heads, "items"),
    )
    note("Differences to the baseline; each model's are adjusted by Holm for its number of tasks.")


def _facts(benchmarks: Sequence[Benchmark], heads: Sequence[str]) -> None:
    """What is known of the models beside scores, where something was measured that scores do not say."""
    known = [report.facts(one.results) for one in benchmarks]
    names = list(dict.fromkeys(name for facts in known for name in facts))
    if not set(names) - {"size"}:
        return
    click.echo()
    table(
        ("", *heads),
        [[name, *(facts.get(name, "–") for facts in known)] for name in names],
        right=tuple(heads),
    )


def _score(metric: str, value: float) -> str:
    return f"{report.score(metric, value)}{report.unit(metric)}"


def _difference(row: TaskComparison) -> Text:
    return Text(f"{SIGNS[row.verdict]} {report.signed(row.metric, row.difference)}", style=COLOURS[row.verdict])


def _interval(row: TaskComparison) -> str:
    if row.low is None or row.high is None:
        return report.no_interval(row.n)
    return f"{report.signed(row.metric, row.low)} to {report.signed(row.metric, row.high)}"


def _scored(row: TaskComparison | None) -> Text:
    if row is None:
        return Text("–")
    return Text.assemble(_score(row.metric, row.other.value), "  ", _difference(row))


def _span(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _warn(found: Comparison) -> None:
    """On standard error: what makes the comparison less than it seems."""
    for unlike in found.unlike:
        many = f"{len(unlike.tasks)} tasks" if len(unlike.tasks) > 3 else ", ".join(unlike.tasks)
        note(f"warning: {found.baseline} and {found.other} were measured in unlike settings. {unlike} ({many})")
    for task, why in found.missing.items():
        note(f"{task} is not compared: {why}.")
    tasks = [row for row in found.tasks if not row.members]
    for count, alone, other in (
        (sum(row.only_baseline for row in tasks), found.baseline, found.other),
        (sum(row.only_other for row in tasks), found.other, found.baseline),
    ):
        if count:
            note(f"{counted(count, 'items')} that {alone} was asked and {other} was not: left out of both scores.")


def _print_flips(baseline: Benchmark, other: Benchmark, task: str | None, heads: tuple[str, str]) -> None:
    found = _flips(baseline, other, task)
    click.echo()
    gained = sum(flip.gained for flip in found)
    note(f"{counted(len(found), 'items')} flipped: {gained} gained by {heads[1]}, {len(found) - gained} lost.")
    width = max(len("right"), *map(len, heads))
    for flip in found:
        sign = click.style("+", fg="green") if flip.gained else click.style("−", fg="red")
        click.echo(f"\n{sign} {flip.baseline.task} {flip.baseline.item}  {_end(flip.baseline.prompt)}")
        for name, text in (
            ("right", target(flip.baseline)),
            (heads[0], flip.baseline_answer),
            (heads[1], flip.other_answer),
        ):
            click.echo(f"    {name:<{width}}  {_beginning(text)}")


def _flips(baseline: Benchmark, other: Benchmark, task: str | None) -> list[Flip]:
    if task is not None:
        return flips(baseline, other, task)
    return [
        flip for name in baseline.results.tasks if name in other.results.tasks for flip in flips(baseline, other, name)
    ]


def target(item: Item) -> str:
    """The right answer as a text."""
    if item.right is not None and item.right < len(item.choices):
        return item.choices[item.right]
    return item.target


def _beginning(text: str) -> str:
    line = " ".join(strip_controls(text).split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def _end(text: str) -> str:
    """Of a prompt the end: its beginning is an instruction, or examples."""
    line = " ".join(strip_controls(text).split())
    return line if len(line) <= SHOWN_CHARACTERS else "…" + line[1 - SHOWN_CHARACTERS :]


def _plain(
    baseline: Benchmark, others: Sequence[Benchmark], found: Sequence[Comparison], task: str | None, with_flips: bool
) -> dict[str, Any]:
    comparisons = []
    for other, one in zip(others, found, strict=True):
        plain = asdict(one) | {"model": dict(other.results.model), "benchmark": other.id}
        if task is not None:
            plain["tasks"] = [asdict(row) for row in one.chosen(task)]
        if with_flips:
            plain["flips"] = [asdict(flip) for flip in _flips(baseline, other, task)]
        comparisons.append(plain)
    return {
        "baseline": dict(baseline.results.model) | {"benchmark": baseline.id},
        "panel": baseline.panel,
        "adjusted": "Holm, over tasks and groups; over the tasks of each group",
        "comparisons": comparisons,
    }


COMMANDS = {"compare": compare_models}
