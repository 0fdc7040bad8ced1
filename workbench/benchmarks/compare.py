"""Two models on the same items: what differs, how sure that is, and which items flipped.

`workbench.benchmarks.statistics`, which brings numpy, is imported when something is compared.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

from workbench.benchmarks.results import Figure, Item, Setting, TaskFigures
from workbench.errors import WorkbenchError
from workbench.recipes.nearest import nearest

if TYPE_CHECKING:
    from workbench.benchmarks.lookup import Benchmark

BETTER, WORSE, NOISE = "better", "worse", "inside the noise"
SIGNIFICANT = 0.05  # of the p that is adjusted for the number of tasks
POOLED = ("mmlu", "blimp")  # groups that lm-eval sums up: shares of right answers, each item with the same weight


@dataclass(frozen=True, slots=True)
class Unlike:
    """Something in which two measurements differ, with the value of each."""

    what: str  # a field of `Setting`
    baseline: str
    other: str
    tasks: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what}: {self.baseline} against {self.other}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskComparison:
    """One task, or a group of tasks with their items pooled, by the items that both models were asked."""

    task: str
    group: str  # the group that it is part of; empty for a group itself
    members: tuple[str, ...]  # the tasks of a group; empty for a task
    metric: str
    baseline: Figure
    other: Figure
    difference: float  # other minus baseline
    low: float | None  # ends of the 95% interval of the difference; None of very few items
    high: float | None
    p: float  # two-sided, of this task alone
    p_holm: float  # adjusted for all tasks (without those in groups), or for all tasks of its group
    test: str
    n: int  # paired items
    gained: int  # wrong by the baseline, right by the other
    lost: int
    answer_tokens: tuple[float, float] | None  # mean length of what each wrote; None where nothing was written
    only_baseline: int  # items that the other was not asked
    only_other: int
    unlike: tuple[Unlike, ...]
    verdict: str  # BETTER, WORSE or NOISE, of the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two benchmarks, task by task: groups and tasks that stand alone first come in the baseline's order."""

    baseline: str  # names of the models, or of the benchmarks where both are of one model
    other: str
    panel: str
    tasks: tuple[TaskComparison, ...]
    missing: Mapping[str, str]  # task -> why it is not compared
    unlike: tuple[Unlike, ...]  # over all tasks

    def top(self) -> list[TaskComparison]:
        """Groups and the tasks that stand alone."""
        groups = {row.task for row in self.tasks if row.members}
        return [row for row in self.tasks if row.group not in groups]

    def chosen(self, name: str) -> list[TaskComparison]:
        """A task; or a group and its tasks."""
        return [row for row in self.tasks if name in (row.task, row.group)]


@dataclass(frozen=True, slots=True)
class Flip:
    """An item that one model has right and the other wrong, with what each answered in the sense of the metric."""

    baseline: Item
    other: Item
    gained: bool  # the other has it right
    baseline_answer: str
    other_answer: str


def compare(baseline: Benchmark, other: Benchmark) -> Comparison:
    """Compare two benchmarks over the items that both have.

    Scores, differences and counts are over paired items: questions of the same hash in the same task. The verdicts
    hold for the family of tasks: their p is adjusted by Holm (1979).
    """
    # Two benchmarks of one model go by their own names.
    names = (baseline.model, other.model) if baseline.model != other.model else (baseline.id, other.id)
    missing: dict[str, str] = {}
    rows: list[TaskComparison] = []
    pairs_of: dict[str, list[tuple[Item, Item]]] = {}
    for task, figures in baseline.results.tasks.items():
        theirs = other.results.tasks.get(task)
        if theirs is None:
            missing[task] = f"{names[1]} was not asked"
            continue
        pairs = paired(baseline.items.get(task, ()), other.items.get(task, ()))
        alone = (figures.n - len(pairs), theirs.n - len(pairs))
        row = _row(task, figures.group, (), figures, pairs, _unlike(figures, theirs), alone)
        if row is None:
            missing[task] = (
                f"{figures.main} cannot be told from its items" if pairs else "they were asked no item in common"
            )
            continue
        rows.append(row)
        pairs_of[task] = pairs
    missing |= {task: f"{names[0]} was not asked" for task in other.results.tasks if task not in missing | pairs_of}
    rows = _with_groups(rows, pairs_of, baseline.results.tasks)
    rows = _adjusted(rows)
    return Comparison(
        baseline=names[0],
        other=names[1],
        panel=baseline.panel,
        tasks=tuple(rows),
        missing=missing,
        unlike=_joined(unlike for row in rows if not row.members for unlike in row.unlike),
    )


def flips(baseline: Benchmark, other: Benchmark, task: str) -> list[Flip]:
    """The items of a task, or of a group's tasks, that one has right and the other wrong.

    Empty for metrics that know no right and wrong, as perplexity. Raises `WorkbenchError` if they share no such task.
    """
    shared = [name for name in baseline.results.tasks if name in other.results.tasks]
    chosen = [name for name in shared if task in (name, baseline.results.tasks[name].group)]
    if not chosen:
        raise no_such_task(task, [baseline, other])
    found = []
    for name in chosen:
        metric = baseline.results.tasks[name].main
        for first, second in paired(baseline.items.get(name, ()), other.items.get(name, ())):
            before, after = first.metrics.get(metric), second.metrics.get(metric)
            if before != after and {before, after} == {0.0, 1.0}:
                answers = answered(first, metric), answered(second, metric)
                found.append(Flip(first, second, after == 1.0, *answers))
    return found


def answered(item: Item, metric: str) -> str:
    """What a model answered in the sense of `metric`: "acc_norm" takes the choice that is likeliest by character."""
    if not item.choices or len(item.log_likelihoods) != len(item.choices) or not metric.startswith("acc_norm"):
        return item.answer
    return max(zip(item.choices, item.log_likelihoods, strict=True), key=lambda pair: pair[1] / max(1, len(pair[0])))[0]


def paired(first: Iterable[Item], second: Iterable[Item]) -> list[tuple[Item, Item]]:
    """Items of one task that both have, by the question's hash, in the order of `first`.

    A question that stands twice in the data is paired by its first and second occurrence.
    """
    waiting: dict[str, list[Item]] = defaultdict(list)
    for item in second:
        waiting[item.hash].append(item)
    for items in waiting.values():
        items.reverse()
    return [(item, waiting[item.hash].pop()) for item in first if waiting.get(item.hash)]


def groups(benchmark: Benchmark) -> dict[str, TaskFigures]:
    """The groups of a benchmark's tasks that are summed up: the share over all items of their tasks.

    The setting is that of the group's first task, with a hash of the local data of all.
    """
    from workbench.benchmarks import statistics

    tasks = benchmark.results.tasks
    found = {}
    for group, members in _members(tasks.values()).items():
        first = tasks[members[0]]
        figures = [tasks[task].figures[first.main] for task in members]
        n = sum(figure.n for figure in figures)
        share = statistics.share(round(sum(figure.value * figure.n for figure in figures)), n)
        pooled = Figure(value=share.value, stderr=share.stderr, low=share.low, high=share.high, n=n)
        data = [tasks[task].setting.data for task in members]
        if any(other != data[0] for other in data):
            data[0] = hashlib.sha256(" ".join(data).encode()).hexdigest()
        found[group] = TaskFigures(
            task=group, kind=first.kind, setting=replace(first.setting, data=data[0]), figures={first.main: pooled},
            main=first.main, n=n, truncated=sum(tasks[task].truncated for task in members),
        )  # fmt: skip
    return found


def no_such_task(task: str, benchmarks: Sequence[Benchmark]) -> WorkbenchError:
    """The error for a task that not all of `benchmarks` have."""
    known = [name for name in benchmarks[0].results.tasks if all(name in one.results.tasks for one in benchmarks)]
    grouped = dict.fromkeys(group for name in known if (group := benchmarks[0].results.tasks[name].group))
    return WorkbenchError(
        f"There is no task {task!r} that {' and '.join(one.model for one in benchmarks)} were both asked.",
        nearest(task, [*known, *grouped]) or "Run them on the same panel.",
    )


def _row(
    task: str,
    group: str,
    members: tuple[str, ...],
    figures: TaskFigures,
    pairs: Sequence[tuple[Item, Item]],
    unlike: tuple[Unlike, ...],
    alone: tuple[int, int],
) -> TaskComparison | None:
    from workbench.benchmarks import statistics

    metric, higher = figures.main, figures.figures[figures.main].higher_is_better
    first, second = [before for before, _ in pairs], [after for _, after in pairs]
    found = statistics.difference(metric, first, second)
    before = statistics.figure(metric, first, higher_is_better=higher)
    after = statistics.figure(metric, second, higher_is_better=higher)
    if found is None or before is None or after is None:
        return None
    right = [(one.metrics.get(metric), two.metrics.get(metric)) for one, two in pairs]
    return TaskComparison(
        task=task,
        group=group,
        members=members,
        metric=metric,
        baseline=before,
        other=after,
        difference=found.value,
        low=found.low,
        high=found.high,
        p=found.p,
        p_holm=found.p,
        test=found.test,
        n=found.n,
        gained=right.count((0.0, 1.0)),
        lost=right.count((1.0, 0.0)),
        answer_tokens=_lengths(pairs),
        only_baseline=alone[0],
        only_other=alone[1],
        unlike=unlike,
        verdict=NOISE,
    )


def _lengths(pairs: Sequence[tuple[Item, Item]]) -> tuple[float, float] | None:
    known = [(one.tokens, two.tokens) for one, two in pairs if one.tokens is not None and two.tokens is not None]
    if not known:
        return None
    return sum(one for one, _ in known) / len(known), sum(two for _, two in known) / len(known)


def _with_groups(
    rows: list[TaskComparison], pairs_of: Mapping[str, list[tuple[Item, Item]]], tasks: Mapping[str, TaskFigures]
) -> list[TaskComparison]:
    """The rows, and before the first task of each group a row of the group."""
    by_task = {row.task: row for row in rows}
    members_of = _members(tasks[row.task] for row in rows)
    result: list[TaskComparison] = []
    for row in rows:
        members = members_of.get(row.group, [])
        if members and row.task == members[0]:
            pairs = [pair for task in members for pair in pairs_of[task]]
            unlike = _joined(found for task in members for found in by_task[task].unlike)
            alone = (
                sum(by_task[task].only_baseline for task in members),
                sum(by_task[task].only_other for task in members),
            )
            pooled = _row(row.group, "", tuple(members), tasks[row.task], pairs, unlike, alone)
            result += [pooled] if pooled is not None else []
        result.append(row)
    return result


def _members(tasks: Iterable[TaskFigures]) -> dict[str, list[str]]:
    """Group -> its tasks, for groups that are summed up and have several tasks with the same metric here."""
    found: dict[str, list[TaskFigures]] = defaultdict(list)
    for task in tasks:
        if task.group in POOLED:
            found[task.group].append(task)
    return {
        group: [task.task for task in members]
        for group, members in found.items()
        if len(members) > 1 and len({task.main for task in members}) == 1
    }


def _adjusted(rows: list[TaskComparison]) -> list[TaskComparison]:
    """The rows with p adjusted within each family, and verdicts."""
    from dataclasses import replace

    from workbench.benchmarks import statistics

    grouped = {row.task for row in rows if row.members}
    families: dict[str, list[TaskComparison]] = defaultdict(list)
    for row in rows:
        families[row.group if row.group in grouped else ""].append(row)
    adjusted: dict[str, float] = {}
    for family in families.values():
        ps = statistics.holm([row.p for row in family])
        adjusted |= {row.task: p for row, p in zip(family, ps, strict=True)}
    return [replace(row, p_holm=adjusted[row.task], verdict=_verdict(row, adjusted[row.task])) for row in rows]


def _verdict(row: TaskComparison, p: float) -> str:
    if p >= SIGNIFICANT or row.difference == 0:
        return NOISE
    return BETTER if (row.difference > 0) == row.baseline.higher_is_better else WORSE


def _unlike(baseline: TaskFigures, other: TaskFigures) -> tuple[Unlike, ...]:
    """In what the settings of one task differ."""
    first, second = asdict(baseline.setting), asdict(other.setting)
    if baseline.n == other.n and None in (first["limit"], second["limit"]):
        first["limit"] = second["limit"]  # a limit that left nothing out
    return tuple(
        Unlike(name.replace("_", " "), _said(first[name]), _said(second[name]), (baseline.task,))
        for name in (field.name for field in fields(Setting))
        if first[name] != second[name]
    )


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "none"
    text = str(value)
    return "from the hub" if not text else f"{text[:12]}…" if len(text) == 64 else text


def _joined(found: Iterable[Unlike]) -> tuple[Unlike, ...]:
    """The same difference in several tasks, once."""
    tasks: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for one in found:
        tasks[(one.what, one.baseline, one.other)] += one.tasks
    return tuple(Unlike(*key, tuple(dict.fromkeys(names))) for key, names in tasks.items())
