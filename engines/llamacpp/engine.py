"""What this engine offers to the registry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from engines.llamacpp import build, libraries
from workbench.contract import Capabilities, Job, LanguageModel, Reporter, Stopped
from workbench.errors import WorkbenchError

FORMATS = ("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")


class LlamaCppEngine:
    """Exports checkpoints to GGUF and opens GGUF files; satisfies `contract.Engine`."""

    name = "llamacpp"

    def capabilities(self) -> Capabilities:
        if libraries.missing():
            reason, _ = build.why_missing()
            return Capabilities(
                available=False,
                stages=("export",),
                versions=libraries.versions(),
                reason=reason,
                install=libraries.INSTALL,
            )
        return Capabilities(
            available=True,
            stages=("export",),
            devices=("cpu",),
            dtypes=FORMATS,
            weight_formats=FORMATS,
            versions=libraries.versions(),
        )

    def command(self, job: Job, job_file: Path) -> list[str]:
        return [sys.executable, "-m", "engines.llamacpp", str(job_file)]

    def run(self, job: Job, reporter: Reporter) -> None:
        if job.stage != "export":
            raise WorkbenchError(f"The llamacpp engine cannot run the stage {job.stage!r}.", "It runs: export.")
        if not build.wait_for_build(reporter):
            reporter.emit(Stopped())
            return
        from engines.llamacpp.export import export

        export(job, reporter)

    def load(self, model: Path, **options: Any) -> LanguageModel:
        """Open a GGUF file, or an export folder with `model.gguf` in it.

        Options: `context_length` (tokens; the model's own, at most 8,192, if not given) and `threads`.
        Raises `WorkbenchError` if llama.cpp is missing or the file cannot be read.
        """
        if libraries.missing():
            raise WorkbenchError(*build.why_missing())
        from engines.llamacpp.language_model import LlamaCppModel

        return LlamaCppModel(model, **options)
