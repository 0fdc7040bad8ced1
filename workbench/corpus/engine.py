"""The engine of the stages that turn text into tokens. It needs no accelerator and no torch."""

from __future__ import annotations

import contextlib
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.contract import Capabilities, Finished, Job, LanguageModel, Reporter, Started, Stopped, Warned
from workbench.errors import WorkbenchError

STAGES = ("import", "tokenizer", "shards", "import-chat", "template-chat")
LIBRARIES = ("numpy", "orjson", "pyarrow", "tiktoken", "tokenizers", "xxhash")
OPTIONAL = {"tiktoken"}  # without it, shards take longer


class CorpusEngine:
    """Runs what turns files into corpora, tokens and conversations. A stopped stage begins anew when it is resumed."""

    name = "corpus"

    def capabilities(self) -> Capabilities:
        versions = _versions()
        missing = [library for library in LIBRARIES if library not in versions and library not in OPTIONAL]
        if missing:
            install = f"pip install {' '.join(missing)}"
            return Capabilities(available=False, reason=f"{', '.join(missing)} is missing.", install=install)
        return Capabilities(available=True, stages=STAGES, devices=("cpu",), versions=versions)

    def command(self, job: Job, job_file: Path) -> list[str]:
        return [sys.executable, "-m", "workbench.corpus", str(job_file)]

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
        raise WorkbenchError("The corpus engine runs no models.", "Open the model with pytorch or llamacpp.")


def _run_stage(job: Job, reporter: Reporter) -> dict[str, Any]:
    from workbench.corpus.progress import ProgressReport
    from workbench.recipes.base import validate
    from workbench.recipes.chats import ImportChatRecipe
    from workbench.recipes.corpus import ImportRecipe, ShardsRecipe, TokenizerRecipe

    progress = ProgressReport(reporter)

    def warn(message: str) -> None:
        reporter.emit(Warned(message=message))

    match job.stage:
        case "import":
            from workbench.corpus.importer import import_corpus

            return import_corpus(validate(ImportRecipe, job.recipe), job.output, progress, warn)
        case "tokenizer":
            from workbench.corpus.tokenizer import train_tokenizer

            recipe = validate(TokenizerRecipe, job.recipe)
            return train_tokenizer(recipe, job.inputs["corpus"], job.output, progress, warn)
        case "shards":
            from workbench.corpus.tokenise import tokenise

            recipe = validate(ShardsRecipe, job.recipe)
            return tokenise(recipe, job.inputs["corpus"], job.inputs["tokenizer"], job.output, progress)
        case "import-chat":
            from workbench.corpus.chats.importer import import_chat

            return import_chat(validate(ImportChatRecipe, job.recipe), job.output, progress, warn)
        case "template-chat":
            from workbench.corpus.chats.tasks import template_chat
            from workbench.recipes.instructions import TemplateChatRecipe

            tasks = validate(TemplateChatRecipe, job.recipe).resolved()
            return template_chat(tasks, job.output, progress, warn)
    raise WorkbenchError(
        f"The corpus engine has no stage {job.stage!r}.", f"It runs {', '.join(STAGES[:-1])} and {STAGES[-1]}."
    )


def _versions() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    return versions
