"""The engine of the stages that measure models. The models are opened through their own engines."""

from __future__ import annotations

import contextlib
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.contract import Capabilities, Finished, Job, LanguageModel, Reporter, Started, Stopped
from workbench.errors import WorkbenchError

STAGES = ("benchmark", "assess")
LIBRARIES = {"lm_eval": "lm-eval", "numpy": "numpy", "pyarrow": "pyarrow"}  # distribution -> what to install


class BenchmarksEngine:
    """Runs what measures models. Resumed, it goes on with the questions that were not answered yet."""

    name = "benchmarks"

    def capabilities(self) -> Capabilities:
        versions = _versions()
        if missing := [install for library, install in LIBRARIES.items() if library not in versions]:
            return Capabilities(
                available=False,
                reason=f"Benchmarks need {' and '.join(missing)}, which is not installed.",
                install="pip install 'llm-workbench[benchmarks]'",
            )
        return Capabilities(available=True, stages=STAGES, devices=("cpu",), versions=versions)

    def command(self, job: Job, job_file: Path) -> list[str]:
        return [sys.executable, "-m", "workbench.benchmarks", str(job_file)]

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
    from workbench.recipes.base import validate

    match job.stage:
        case "benchmark":
            from workbench.benchmarks.benchmark import benchmark
            from workbench.recipes.benchmark import BenchmarkRecipe

            return benchmark(validate(BenchmarkRecipe, job.recipe).resolved(), job, reporter)
        case "assess":
            from workbench.benchmarks.judging.assess import assess
            from workbench.recipes.assess import AssessRecipe

            return assess(validate(AssessRecipe, job.recipe).resolved(), job, reporter)
    raise WorkbenchError(f"This engine has no stage {job.stage!r}.", f"It runs: {', '.join(STAGES)}.")


def _versions() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return versions
