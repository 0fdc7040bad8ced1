"""What the benchmarks of a project say, as a grid: a row a task, a column a model. No Textual here; reading and
comparing belong on a thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from workbench.benchmarks import lookup, report
from workbench.benchmarks import results as folders
from workbench.benchmarks.compare import BETTER, NOISE, WORSE, Comparison, TaskComparison, compare
from workbench.benchmarks.lookup import Benchmark
from workbench.benchmarks.results import Figure, Item, TaskFigures
from workbench.errors import WorkbenchError
from workbench.store.catalog import Catalog
from workbench.store.project import Project

EVERY_PANEL = "*"  # no panel is called so
SIGNS = {BETTER: ("▲", "good"), WORSE: ("▼", "bad"), NOISE: ("≈", "muted")}
SORTS = {"panel": "as in the panel", "name": "by name", "score": "by score", "difference": "by difference"}
OF_MODEL = ("score", "difference")  # the sorts that go by the chosen model
ORDERS = {"newest": "newest first", "name": "by name", "score": "by score"}


@dataclass(frozen=True)
class Gathered(Benchmark):
    """One model's newest answer to each task of a panel. Tasks that were named one by one may come from several
    benchmarks; `folder` and `created` are those of the newest."""

    sources: Mapping[str, Benchmark]  # task -> the benchmark that asked it

    @property
    def token(self) -> tuple[tuple[str, str], ...]:
        """The same for the same answers: folders of benchmarks never change."""
        return tuple((task, source.id) for task, source in self.sources.items())

    @cached_property
    def figures(self) -> dict[str, TaskFigures]:
        """The tasks, and each group in front of its first task."""
        return report.tasks_of(self)

    @cached_property
    def items(self) -> dict[str, list[Item]]:
        found: dict[str, list[Item]] = {task: [] for task in self.results.tasks}
        of_folder: dict[Path, list[str]] = {}
        for task, source in self.sources.items():
            of_folder.setdefault(source.folder, []).append(task)
        for folder, tasks in of_folder.items():
            for item in folders.read_items(folder, tasks[0] if len(tasks) == 1 else None):
                if item.task in tasks:
                    found[item.task].append(item)
        return found

    def only(self, task: str) -> Gathered:
        """With this task alone, or those of this group: to be read anew."""
        kept = {name: task_ for name, task_ in self.results.tasks.items() if task in (name, task_.group)}
        return replace(
            self,
            results=replace(self.results, tasks=kept),
            sources={name: source for name, source in self.sources.items() if name in kept},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A task, or a group of tasks that is summed up."""

    task: str
    metric: str  # that stands for it
    group: str  # the group above it in the grid, or ""
    members: int  # of a group
    higher_is_better: bool


def read(project: Project, catalog: Catalog) -> list[Benchmark]:
    """All benchmarks, newest first."""
    return lookup.of_project(project, catalog)


def panels_of(found: Iterable[Benchmark]) -> list[str]:
    """The panels that were asked, the newest first; "" stands for tasks that were named one by one."""
    return list(dict.fromkeys(one.results.panel for one in found))


def panel_in_words(panel: str) -> str:
    return {EVERY_PANEL: "everything", "": "single tasks"}.get(panel, panel)


def gather(found: Sequence[Benchmark], panel: str) -> list[Gathered]:
    """The models of a panel, or of all, by their newest benchmark, newest first. Its figures are there at once."""
    of_model: dict[tuple[str, int | None], list[Benchmark]] = {}
    for one in found:
        if panel in (EVERY_PANEL, one.results.panel):
            of_model.setdefault(one.key, []).append(one)
    gathered = []
    for benchmarks in of_model.values():
        newest = benchmarks[0]
        sources: dict[str, Benchmark] = {}
        for one in benchmarks:
            for task in one.results.tasks:
                sources.setdefault(task, one)
        tasks = {task: one.results.tasks[task] for task, one in sources.items()}
        gathered.append(
            Gathered(
                folder=newest.folder,
                results=replace(newest.results, tasks=tasks),
                created=newest.created,
                sources=sources,
            )
        )
    for made in gathered:
        _ = made.figures  # sums up groups: not while something is drawn
    return gathered


def rows_of(models: Sequence[Gathered], *, folded: bool) -> list[Row]:
    """The rows, in the order of the first model's tasks; the tasks of groups only where these are not folded."""
    found: dict[str, Row] = {}
    groups = {name: task for model in models for name, task in model.figures.items() if _is_group(model, name)}
    for model in models:
        for name, task in model.figures.items():
            above = task.group if task.group in groups else ""
            if name in found or (folded and above):
                continue
            members = [one for one in model.results.tasks.values() if one.group == name] if name in groups else []
            figure = task.figures[task.main]
            found[name] = Row(
                task=name, metric=task.main, group=above, members=len(members),
                higher_is_better=figure.higher_is_better,
            )  # fmt: skip
    if folded:
        return list(found.values())
    of_group: dict[str, list[Row]] = {}
    for row in found.values():
        of_group.setdefault(row.group, []).append(row)
    return [
        part for row in of_group.get("", []) for part in (row, *(of_group.get(row.task, []) if row.members else ()))
    ]


def tasks_in(rows: Sequence[Row]) -> int:
    """How many tasks the rows show; a group shows its own where they have no rows themselves."""
    unfolded = {row.group for row in rows}
    return sum(0 if row.task in unfolded else row.members or 1 for row in rows)


def _is_group(model: Gathered, name: str) -> bool:
    return name in model.figures and name not in model.results.tasks


def figure_of(model: Gathered, row: Row) -> Figure | None:
    task = model.figures.get(row.task)
    return task.figures.get(row.metric) if task is not None else None


def sorted_rows(
    rows: Sequence[Row], by: str, model: Gathered | None, compared: Mapping[str, TaskComparison]
) -> list[Row]:
    """The rows as `SORTS` says, the best first; a group's tasks stay below it. What has no score comes last."""
    if by == "panel" or (by != "name" and model is None):
        return list(rows)

    def place(row: Row) -> tuple[bool, float, str]:
        if by == "name":
            return False, 0.0, row.task
        assert model is not None
        figure = figure_of(model, row)
        value = figure.value if figure is not None else None
        if by == "difference":
            value = compared[row.task].difference if row.task in compared else None
        if value is None:
            return True, 0.0, row.task
        return False, -value if row.higher_is_better or by == "score" else value, row.task

    above = {row.task: row for row in rows if row.members}

    def with_group(row: Row) -> tuple[object, ...]:
        top = above.get(row.group, row)
        return place(top), top.task, row is not top, place(row)

    return sorted(rows, key=with_group)


def ordered_models(models: Sequence[Gathered], by: str, row: Row | None) -> list[Gathered]:
    """The models as `ORDERS` says; checkpoints of one model by their steps, the finished one first."""
    if by == "name":
        return sorted(models, key=lambda model: (str(model.results.model.get("id")), model.step or 0))
    if by == "score" and row is not None:
        return sorted(models, key=lambda model: _rank(model, row))
    return list(models)


def _rank(model: Gathered, row: Row) -> tuple[bool, float]:
    """Lower is better; what has no score comes last."""
    figure = figure_of(model, row)
    if figure is None:
        return True, 0.0
    return False, -figure.value if row.higher_is_better else figure.value


def by_task(baseline: Gathered, other: Gathered) -> dict[str, TaskComparison]:
    """How `other` differs from the baseline, by task and by group.

    Raises `WorkbenchError` if the items cannot be read.
    """
    found: Comparison = compare(baseline, replace(other))  # a copy, so that its items go when they were compared
    return {row.task: row for row in found.tasks}


def first_baseline(models: Sequence[Gathered]) -> tuple[str, int | None] | None:
    """Whom to compare with before anybody said: the finished model that was measured first."""
    finished = [model for model in models if model.step is None] or list(models)
    return finished[-1].key if finished else None


def short(metric: str, value: float) -> str:
    """A score in at most five columns: 45.2 of a share, else three digits."""
    if report.unit(metric):
        return report.score(metric, value)
    size = abs(value)
    if 0 < size < 0.1:
        text = f"{value:.2g}".replace("0.", ".", 1)
        return text if len(text) <= 5 else f"{value:.0e}"
    if size < 100:
        return f"{value:.3f}" if size < 1 else f"{value:.2f}" if size < 10 else f"{value:.1f}"
    return f"{value:.0f}" if size < 100_000 else f"{value:.0e}".replace("e+0", "e")


def short_signed(metric: str, difference: float) -> str:
    """In at most five columns, mostly: +3.2 of a share, else three digits (+.031); ±0.0 where nothing of it is seen."""
    size = abs(difference)
    text = short(metric, size)
    if len(text) > 4 and 0 < size < 0.1 and not report.unit(metric):  # one digit of it, or the columns do not suffice
        text = f"{size:.1g}" if size >= 0.001 else f"{size:.0e}".replace("e-0", "e-")
    text = text[1:] if len(text) > 4 and text.startswith("0.") else text
    return f"{'+' if difference >= 0 else '−'}{text}" if text.strip("0.") else f"±{text}"


def difference_in_words(row: TaskComparison) -> str:
    """ "+2.1 (−0.9 to 5.1), p 0.17 (0.51 for all tasks), McNemar's exact test: inside the noise"."""
    metric = row.metric
    adjusted = "" if row.p_holm == row.p else f", {row.p_holm:.2g} adjusted for the number of tasks"
    ends = ""
    if row.low is not None and row.high is not None:
        ends = f" ({report.signed(metric, row.low)} to {report.signed(metric, row.high)})"
    return f"{report.signed(metric, row.difference)}{ends}, p {row.p:.2g}{adjusted} ({row.test}): {row.verdict}"


def history(
    models: Iterable[Gathered], identity: str, row: Row, last_step: int | None, trained: str | None = None
) -> list[tuple[int | None, Gathered, Figure]]:
    """(step, what was measured, its figure) of a model's checkpoints by their steps, then of the finished model, which
    stands at `last_step` if that is known. The checkpoints are those of the identity `trained`, where that is another:
    of the model that an export was made from."""
    found = [(model, figure) for model in models if (figure := figure_of(model, row)) is not None]
    checkpoints = [
        (model.step, model, figure)
        for model, figure in found
        if model.step is not None and model.key[0] == (trained or identity)
    ]
    finished = [
        (last_step, model, figure) for model, figure in found if model.step is None and model.key[0] == identity
    ]
    return [*sorted(checkpoints, key=lambda point: point[0] or 0), *finished]


def unreadable(error: WorkbenchError) -> str:
    return f"No difference: {error.what}"
