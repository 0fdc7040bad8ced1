"""The import stage: sources to a corpus, cleaned by the recipe's steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.corpus.addresses import NOT_FETCHED
from workbench.corpus.cleaning.presets import steps_of
from workbench.corpus.pipeline.flow import Flow, Outcome
from workbench.corpus.pipeline.funnel import READ
from workbench.corpus.pipeline.passes import AnyStep
from workbench.corpus.pipeline.pool import Pool, usual_workers
from workbench.corpus.progress import ProgressReport
from workbench.corpus.reading import ReadOptions
from workbench.corpus.sources import Expansion, expand
from workbench.errors import WorkbenchError
from workbench.recipes.corpus import ImportRecipe
from workbench.wording import amount

MAX_WARNINGS = 5
MAX_SOURCES_LISTED = 20


def import_corpus(
    recipe: ImportRecipe, output: Path, folder: Path, progress: ProgressReport, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Read the recipe's sources into a corpus in the folder `output`, answer the report.

    `folder` keeps what is done until all of it is: an import that was ended goes on there, and gives the same bytes.
    Raises `WorkbenchError` if a source does not exist, or not one document is left.
    """
    steps = steps_of(recipe)
    found = expand(recipe.sources)
    with Pool(recipe.workers or usual_workers(), progress.check, warn) as pool:
        flow = Flow(
            found=found,
            sources=recipe.sources,
            options=ReadOptions.of(recipe, folder / "downloads"),
            steps=steps,
            keep_rejects=recipe.keep_rejects,
            folder=folder,
            pool=pool,
            progress=progress,
        )
        outcome = flow.run(output)
    if not outcome.tally.documents:
        shutil.rmtree(folder)  # what could not be fetched is to be tried again
        raise _why_nothing(outcome, found, steps)
    progress.end()
    _warn(outcome, found, warn)
    shutil.rmtree(folder)
    return _report(recipe, steps, outcome)


def _warn(outcome: Outcome, found: Expansion, warn: Callable[[str], None]) -> None:
    for root in found.projects:
        warn(f"What the project in {root} made was left out: its corpora, models and runs are no sources.")
    for note in found.notes:
        warn(note)
    for what, _ in outcome.problems[:MAX_WARNINGS]:
        warn(f"{what} It was left out.")
    if more := max(outcome.left_out - MAX_WARNINGS, 0):
        warn(f"{amount(more, 'more files', 'were')} left out; the rejects name them.")
    if count := outcome.funnel[-1].reasons[NOT_FETCHED]:
        warn(f"{amount(count, 'sources', 'were')} not fetched: the same command with --again reads all of them anew.")
    if outcome.tally.repaired:
        documents = amount(outcome.tally.repaired, "documents")
        warn(f"{documents} had bytes that are not UTF-8; each became the character U+FFFD.")


def _report(recipe: ImportRecipe, steps: list[AnyStep], outcome: Outcome) -> dict[str, Any]:
    tally = outcome.tally
    names = {-1: (READ, 1)} | {place: (step.name, step.version) for place, step in enumerate(steps)}
    report: dict[str, Any] = {
        "documents": tally.documents,
        "characters": tally.characters,
        "bytes": tally.bytes,
        "files": tally.files,
        "dropped": outcome.funnel.dropped(),
        "repaired": tally.repaired,
        "cut": tally.cut,
        "funnel": outcome.funnel.report(names),
        "by_language": {
            language: {"documents": documents, "bytes": size}
            for language, (documents, size) in sorted(tally.languages.items(), key=lambda item: (-item[1][1], item[0]))
        },
        "lengths": {str(1 << power): count for power, count in sorted(tally.lengths.items())},
    }
    if len(recipe.sources) <= MAX_SOURCES_LISTED:
        report["by_source"] = {source: tally.given[place] for place, source in enumerate(recipe.sources)}
    return report


def _why_nothing(outcome: Outcome, found: Expansion, steps: list[AnyStep]) -> WorkbenchError:
    """Which file, reason or step is to blame for an empty corpus."""
    files = len(found.files) + len(found.unreadable)
    dropped = outcome.funnel.dropped()
    read = outcome.funnel[-1]
    if not read.kept or (files == 1 and not any(outcome.funnel[place].entered > 1 for place in range(len(steps)))):
        if outcome.left_out == 1 and files == 1:
            what, remedy = outcome.problems[0]
            return WorkbenchError(f"The corpus would be empty: {what}", remedy)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        remedy = outcome.problems[0][0] if outcome.problems else _remedy(next(iter(dropped), ""))
        what = f"The corpus would be empty: {files:,} file{'s' if files != 1 else ''} gave no document"
        return WorkbenchError(f"{what} ({reasons}).", remedy)
    place = max(range(len(steps)), key=lambda number: outcome.funnel[number].rejected)
    count, name = outcome.funnel[place], steps[place].name
    reason, most = count.reasons.most_common(1)[0]
    what = f"The corpus would be empty: of {read.kept:,} documents the step {name} rejected {count.rejected:,}"
    return WorkbenchError(
        f"{what}, {most:,} of them for {reason!r}.",
        f"Move the thresholds of {name}, leave it out, or import with --clean none to look at the documents.",
    )


def _remedy(reason: str) -> str:
    """What helps against the reason that most documents were dropped for."""
    if reason.startswith("line over"):
        return "Raise --max-document-mib, or break the text into lines."
    if reason.startswith("under"):
        return "Lower --min-characters, or give other sources."
    return "Give sources that hold text."
