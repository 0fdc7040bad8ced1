"""The engine of the stages that make preferences: answers to rank, judgements, imports.

Models that answer or judge are opened through their own engines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from workbench import registry
from workbench.contract import Job, LanguageModel, Reporter, Warned
from workbench.corpus.stage_engine import StageEngine

if TYPE_CHECKING:
    from workbench.corpus.progress import ProgressReport

LIBRARIES = ("orjson", "pyarrow", "xxhash")


class PreferencesEngine(StageEngine):
    """Runs what makes preferences. Resumed, what models write goes on where it was; the others begin anew."""

    name = "preferences"
    module = "workbench.preferences"
    stages = ("import-preferences", "candidates", "collect", "judge", "self-instruct")
    libraries = dict(zip(LIBRARIES, LIBRARIES, strict=True))

    def run_stage(self, job: Job, reporter: Reporter) -> dict[str, Any] | None:
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
        raise self.no_stage(job.stage)


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
            found = registry.engine(registry.opener_of_several(folder, recipe.engine)).load(folder)
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
