"""The engine of the stages that make preferences. It needs no accelerator of its own."""

from __future__ import annotations

import contextlib
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.contract import Capabilities, Finished, Job, LanguageModel, Reporter, Started, Stopped, Warned
from workbench.errors import WorkbenchError

STAGES = ("import-preferences",)
LIBRARIES = ("orjson", "pyarrow", "xxhash")


class PreferencesEngine:
    """Runs what makes preferences. A stopped stage begins anew when it is resumed."""

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
            durable.fresh_directory(job.output)
            reporter.emit(Stopped())
            return
        reporter.emit(Finished(report=report))

    def load(self, model: Path, **options: Any) -> LanguageModel:
        raise WorkbenchError("This engine runs no models.", "Open the model with pytorch or llamacpp.")


def _run_stage(job: Job, reporter: Reporter) -> dict[str, Any]:
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
    raise WorkbenchError(f"This engine has no stage {job.stage!r}.", f"It runs: {', '.join(STAGES)}.")


def _versions() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return versions
