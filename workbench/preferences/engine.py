"""The engine of the stages that make preferences: answers to rank, judgements, imports.

Models that answer or judge are opened through their own engines.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import durable, registry
from workbench.contract import Capabilities, Finished, Job, LanguageModel, Reporter, Started, Stopped, Warned
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.corpus.progress import ProgressReport

STAGES = ("import-preferences", "candidates", "collect", "judge", "self-instruct")
LIBRARIES = ("orjson", "pyarrow", "xxhash")


class PreferencesEngine:
    """Runs what makes preferences. Resumed, what models write goes on where it was; the others begin anew."""

    name = "preferences"

    def capabilities(self) -> Capabilities:
        versions = _versions()
        if missing := [library for library in LIBRARIES if library not in versions]:
            install = f"pip install {' '.join(missing)}"
            return Capabilities(available=False, reason=f"{', '.join(missing)} is missing.", install=install)
        return Capabilities(available=True, stages=STAGES, devices=("cpu",), versions=versions)

    def command(self, job: Job, job_file: Path) -> list[str]:
        return [sys.executable, "-m", "workbench.preferences", str(job_file)]

    def run(self, job: Job, reporter: Reporter) -> None:
        from workbench.corpus.progress import Interrupted

        durable.fresh_directory(job.output)
        reporter.emit(Started(versions=_versions()))
        try:
            report = _run_stage(job, reporter)
        except Interrupted:
            report = None
        if report is None:
            durable.fresh_directory(job.output)
            reporter.emit(Stopped())
            return
        reporter.emit(Finished(report=report))

    def load(self, model: Path, **options: Any) -> LanguageModel:
        raise WorkbenchError("This engine runs no models.", "Open the model with pytorch or llamacpp.")


def _run_stage(job: Job, reporter: Reporter) -> dict[str, Any] | None:
    """The report; None if it was stopped."""
    from workbench.corpus.progress import ProgressReport
    from workbench.recipes.base import validate

    def warn(message: str) -> None:
        reporter.emit(Warned(message=message))

    match job.stage:
        case "import-preferences":
            from workbench.preferences.importer import import_preferences
            from workbench.recipes.chats import ImportPreferencesRecipe

            recipe = validate(ImportPreferencesRecipe, job.recipe)
            return import_preferences(recipe, job.output, ProgressReport(reporter), warn)
        case "candidates":
            from workbench.preferences.writer import write_candidates
            from workbench.recipes.chats import CandidatesRecipe

            return write_candidates(validate(CandidatesRecipe, job.recipe), job, reporter)
        case "collect":
            from workbench.recipes.chats import CollectRecipe

            return _collect(validate(CollectRecipe, job.recipe).judgements, job)
        case "judge":
            from workbench.preferences.judge import judge
            from workbench.recipes.chats import JudgeRecipe

            recipe = validate(JudgeRecipe, job.recipe)
            model = job.inputs.get("model")
            return judge(recipe, job.inputs["candidates"], model, job.output, ProgressReport(reporter), warn)
        case "self-instruct":
            return _self_instruct(job, ProgressReport(reporter), warn)
    raise WorkbenchError(f"This engine has no stage {job.stage!r}.", f"It runs: {', '.join(STAGES)}.")


def _self_instruct(job: Job, progress: ProgressReport, warn: Callable[[str], None]) -> dict[str, Any]:
    """Open who writes and who judges, and have them work."""
    from workbench.preferences.authors import Author, EndpointAuthor, ModelAuthor
    from workbench.preferences.self_instruct import self_instruct
    from workbench.recipes.base import validate
    from workbench.recipes.instructions import SelfInstructRecipe

    recipe = validate(SelfInstructRecipe, job.recipe).resolved()
    with contextlib.ExitStack() as opened:

        def model(role: str) -> LanguageModel:
            folder = job.inputs[role]
            kind = "export" if (folder / "model.gguf").is_file() else "model"
            found = registry.engine(registry.CHATS_WITH[kind]).load(folder)
            opened.callback(found.close)
            return found

        author: Author
        if recipe.endpoint:
            author = EndpointAuthor(recipe.endpoint, recipe.endpoint_model, progress.check)
        else:
            author = ModelAuthor(model("model"), progress.check)
        judge = model("judge") if recipe.judge else None
        return self_instruct(recipe, job.directory, job.output, author, judge, progress, warn)


def _collect(lines: int, job: Job) -> dict[str, Any]:
    """The first `lines` judgements on the candidates as preferences, with a copy of those lines beside them."""
    from workbench.preferences.candidates import FILE, Candidates
    from workbench.preferences.collect import collect
    from workbench.preferences.judgements import Book
    from workbench.store import judgements
    from workbench.store.artifacts import read_manifest
    from workbench.store.project import open_project

    folder = job.inputs["candidates"]
    written = judgements.file_of(open_project(folder.parent.parent), read_manifest(folder).identity)
    copied = job.output / written.name
    with open(written, "rb") as whole, open(copied, "wb") as part:
        part.writelines(islice(whole, lines))
    return collect(Candidates(folder / FILE), Book(copied), job.output) | {"judgements": lines}


def _versions() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return versions
