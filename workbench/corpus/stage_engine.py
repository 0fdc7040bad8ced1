"""What the engines have in common that run stages in a process of their own, without a training device."""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from workbench import durable
from workbench.contract import Capabilities, Finished, Job, LanguageModel, Reporter, Started, Stopped
from workbench.errors import WorkbenchError


class StageEngine(ABC):
    """Satisfies `workbench.contract.Engine`. A stopped stage leaves nothing in its output."""

    name: str
    module: ClassVar[str]  # that runs a job: python -m MODULE JOB.JSON
    stages: ClassVar[tuple[str, ...]]
    libraries: ClassVar[Mapping[str, str]]  # distribution -> what to install
    optional: ClassVar[frozenset[str]] = frozenset()

    def capabilities(self) -> Capabilities:
        versions = self.versions()
        missing = [
            install
            for library, install in self.libraries.items()
            if library not in versions and library not in self.optional
        ]
        if missing:
            return Capabilities(
                available=False, reason=f"{', '.join(missing)} is missing.", install=self.install(missing)
            )
        return Capabilities(available=True, stages=self.stages, devices=("cpu",), versions=versions)

    def install(self, missing: list[str]) -> str:
        """The command that installs what is missing."""
        return f"pip install {' '.join(missing)}"

    def versions(self) -> dict[str, str]:
        """Of the libraries that are there."""
        found = {}
        for library in self.libraries:
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[library] = metadata.version(library)
        return found

    def command(self, job: Job, job_file: Path) -> list[str]:
        return [sys.executable, "-m", self.module, str(job_file)]

    def run(self, job: Job, reporter: Reporter) -> None:
        from workbench.corpus.progress import Interrupted

        durable.fresh_directory(job.output)
        reporter.emit(Started(versions=self.versions()))
        try:
            report = self.run_stage(job, reporter)
        except Interrupted:
            report = None
        if report is None:
            durable.fresh_directory(job.output)
            reporter.emit(Stopped())
            return
        reporter.emit(Finished(report=report))

    def load(self, model: Path, **options: Any) -> LanguageModel:
        raise WorkbenchError(f"The engine {self.name} runs no models.", "Open the model with pytorch or llamacpp.")

    @abstractmethod
    def run_stage(self, job: Job, reporter: Reporter) -> dict[str, Any] | None:
        """Write the artifact into `job.output`; the report, None if it was stopped."""

    def no_stage(self, stage: str) -> WorkbenchError:
        """The error for a stage that is another engine's."""
        return WorkbenchError(f"The {self.name} engine has no stage {stage!r}.", f"It runs: {', '.join(self.stages)}.")
