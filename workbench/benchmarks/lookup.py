"""The benchmarks of a project, and which one a person means by a model's name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from workbench.benchmarks import results
from workbench.benchmarks.results import Item, Results
from workbench.errors import WorkbenchError
from workbench.recipes.nearest import nearest
from workbench.store import artifacts, runs
from workbench.store.catalog import Catalog
from workbench.store.project import Project

MODELS = ("model", "export")  # what can be benchmarked


@dataclass(frozen=True)
class Benchmark:
    """A benchmark in its folder. The items are read when they are first asked for."""

    folder: Path
    results: Results
    created: float  # seconds since the epoch

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def model(self) -> str:
        """The model's id, which no other version of it has, with the step where it is a checkpoint: "base-2@200"."""
        return self._called("id", "name")

    @property
    def name(self) -> str:
        """As `model`, by the name that all versions share: "base@200"."""
        return self._called("name", "id")

    def _called(self, *facts: str) -> str:
        about = self.results.model
        called = next((str(about[fact]) for fact in facts if about.get(fact)), self.id)
        return called if self.step is None else f"{called}@{self.step}"

    @property
    def step(self) -> int | None:
        """The step of a checkpoint; None for the finished model."""
        return self.results.model.get("checkpoint")

    @property
    def key(self) -> tuple[str, int | None]:
        """The same for the same weights: the model's identity, and the step of a checkpoint."""
        return str(self.results.model.get("identity") or self.id), self.step

    @property
    def panel(self) -> str:
        """The panel's name; of tasks that were named one by one, their names."""
        return self.results.panel or ", ".join(self.results.tasks)

    @cached_property
    def items(self) -> dict[str, list[Item]]:
        """Task -> its items, in their order. Raises `WorkbenchError` if they cannot be read."""
        found: dict[str, list[Item]] = {task: [] for task in self.results.tasks}
        for item in results.read_items(self.folder):
            found.setdefault(item.task, []).append(item)
        return found


def opened(folder: Path, created: float | None = None) -> Benchmark:
    """The benchmark in `folder`. Raises `WorkbenchError` if it cannot be read."""
    return Benchmark(folder, results.read(folder), time.time() if created is None else created)


def of_project(project: Project, catalog: Catalog, panel: str | None = None) -> list[Benchmark]:
    """The benchmarks of a project (of one panel), newest first; one that cannot be read is left out."""
    found = []
    for row in catalog.rows("SELECT id, created FROM artifacts WHERE kind = 'benchmark' ORDER BY created DESC"):
        try:
            made = opened(project.folder("benchmark") / row["id"], row["created"])
        except WorkbenchError:  # `workbench verify` tells of it
            continue
        if panel in (None, made.results.panel):
            found.append(made)
    return found


def newest_per_model(found: list[Benchmark]) -> list[Benchmark]:
    """Of benchmarks, newest first, the newest of each model (or checkpoint) and panel."""
    kept: dict[tuple[tuple[str, int | None], str], Benchmark] = {}
    for made in found:
        kept.setdefault((made.key, made.panel), made)
    return list(kept.values())


def resolve(project: Project, catalog: Catalog, reference: str, panel: str | None = None) -> Benchmark:
    """The benchmark that a person means.

    `reference` is a model or an export (then its newest benchmark, of `panel` where that is given), one of their
    checkpoints ("base@200"), a benchmark ("benchmark/NAME" where a model has the name, too), or a benchmark's folder.
    Raises `WorkbenchError` that names what is near, or how to make what is lacking.
    """
    return resolve_all(project, catalog, [reference], panel)[0]


def resolve_all(project: Project, catalog: Catalog, references: list[str], panel: str | None = None) -> list[Benchmark]:
    """`resolve` for several that are to be compared with the first.

    Without `panel`: of the newest panel that all have, else the newest that have tasks in common with one of the first.
    """
    everything = of_project(project, catalog)
    candidates = [_meant(project, catalog, reference, panel, everything) for reference in references]
    for reference, found in zip(references, candidates, strict=True):
        if not found:
            like = next((others[0] for others in candidates if others), panel)
            raise _unmeasured(project, catalog, reference, panel, like, everything)
    shared = set.intersection(*({made.panel for made in found} for found in candidates))
    chosen = next((made.panel for made in candidates[0] if made.panel in shared), None)
    if chosen is not None:
        return [next(made for made in found if made.panel == chosen) for found in candidates]
    lacking = ""
    for first in candidates[0]:
        fitting = [first]
        for reference, found in zip(references[1:], candidates[1:], strict=True):
            near = next((made for made in found if made.results.tasks.keys() & first.results.tasks.keys()), None)
            if near is None:
                lacking = lacking or reference
                break
            fitting.append(near)
        else:
            return fitting
    raise WorkbenchError(
        f"{lacking} was asked no task that {references[0]} was.", _how_to_make(lacking, candidates[0][0])
    )


def _meant(
    project: Project, catalog: Catalog, reference: str, panel: str | None, everything: list[Benchmark]
) -> list[Benchmark]:
    """All of `everything` that `reference` can mean, newest first; none where the model was not measured."""
    folder = Path(reference).expanduser()
    if (folder / results.FIGURES).is_file():
        return [opened(folder.resolve())]
    kind, slash, name = reference.partition("/")
    if slash and kind == "benchmark":
        return [_benchmark(project, catalog, name)]
    model, step = _checkpoint(reference)
    try:
        made = artifacts.resolve_any(project, catalog, model, MODELS)
    except WorkbenchError as error:
        # Not of this project any more, or never: what was benchmarked keeps its name.
        found = [one for one in everything if reference in (one.id, one.model, one.name)]
        if not found:
            raise _unknown(error, reference, catalog, everything) from None
    else:
        found = [one for one in everything if one.key == (made.identity, step)]
    return [one for one in found if panel in (None, one.results.panel)]


def _unmeasured(
    project: Project,
    catalog: Catalog,
    reference: str,
    panel: str | None,
    like: Benchmark | str | None,
    everything: list[Benchmark],
) -> WorkbenchError:
    """The error for a model that has no benchmark (of `panel`), with what can be done; one of `like` would do."""
    model, step = _checkpoint(reference)
    what = f"{reference} has no benchmark{f' of the panel {panel}' if panel else ''}"
    fitting = [one for one in everything if panel in (None, one.results.panel)]
    of_model = [one for one in fitting if model in (one.results.model.get("id"), one.results.model.get("name"))]
    measured = ", ".join(f"{model}@{other}" for other in sorted({one.step for one in of_model if one.step}))
    if step is None:
        if measured:
            return WorkbenchError(f"{what} of itself.", f"Of its checkpoints these have one: {measured}.")
        return WorkbenchError(f"{what}.", _how_to_make(reference, like))
    try:
        made = artifacts.resolve_any(project, catalog, model, MODELS)
    except WorkbenchError:  # of which only the benchmarks are left
        folders = []
    else:
        folders = runs.checkpoints(project, made.run) if made.run else []
    kept = sorted(int(folder.name.removeprefix("step-")) for folder in folders)
    if step in kept:
        return WorkbenchError(f"{what}.", _how_to_make(reference, like))
    if measured:
        remedy = f"Of its checkpoints these have one: {measured}."
    elif kept:
        remedy = _how_to_make(f"{model}@{min(kept, key=lambda other: abs(other - step))}", like)
    else:
        remedy = f"Name {model} itself, the finished model."
    steps = f": the steps {', '.join(map(str, kept))} are" if kept else ""
    return WorkbenchError(f"{what}, and that step is not kept{steps}.", remedy)


def _benchmark(project: Project, catalog: Catalog, name: str) -> Benchmark:
    made = artifacts.resolve(project, catalog, "benchmark", name)
    return opened(artifacts.folder_of(project, made), made.created)


def _checkpoint(reference: str) -> tuple[str, int | None]:
    """("base", 200) of "base@200"."""
    model, at, step = reference.rpartition("@")
    return (model, int(step)) if at and step.isdecimal() else (reference, None)


def _unknown(error: WorkbenchError, reference: str, catalog: Catalog, found: list[Benchmark]) -> WorkbenchError:
    if " is the name of " in error.what:
        return error
    marks = ", ".join("?" * len(MODELS))
    rows = catalog.rows(f"SELECT DISTINCT name FROM artifacts WHERE kind IN ({marks}) ORDER BY 1", MODELS)
    names = dict.fromkeys([*(row["name"] for row in rows), *(one.id for one in found)])
    if not names:
        return error
    return WorkbenchError(f"There is no model, export or benchmark called {reference!r}.", nearest(reference, [*names]))


def _how_to_make(reference: str, like: Benchmark | str | None) -> str:
    """The command that makes a benchmark of `like`: a panel's name, or the panel or tasks of another one."""
    model, step = _checkpoint(reference)
    at = "" if step is None else f" --checkpoints {step}"
    if isinstance(like, Benchmark):
        limits = {task.setting.limit for task in like.results.tasks.values()}
        limit = next(iter(limits)) if len(limits) == 1 else None
        tasks = f"--tasks {','.join(like.results.tasks)}" + (f" --limit {limit}" if limit else "")
        what = f"--panel {like.results.panel}" if like.results.panel else tasks
    else:
        what = f"--panel {like or 'quick'}"
    return f"Run it: workbench benchmark {model}{at} {what}"
