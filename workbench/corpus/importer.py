"""The import stage: source files to a corpus of normalised documents without exact duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.corpus.documents import CorpusWriter
from workbench.corpus.duplicates import Duplicates
from workbench.corpus.normalise import normalise
from workbench.corpus.progress import ProgressReport
from workbench.corpus.reading import Extracted, ReadOptions, Reject, extract, read
from workbench.corpus.sources import expand
from workbench.errors import WorkbenchError
from workbench.recipes.corpus import ImportRecipe

MAX_WARNINGS = 5
MAX_SOURCES_LISTED = 20


def import_corpus(
    recipe: ImportRecipe, output: Path, progress: ProgressReport, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Read the recipe's sources into a corpus in the folder `output`, answer the report.

    Raises `WorkbenchError` if a source does not exist, or not one document is left.
    """
    found = expand(recipe.sources)
    progress.begin("importing", total=sum(file.size for file in found.files), unit="bytes")
    options = ReadOptions.of(recipe)
    with CorpusWriter(output) as corpus:
        intake = _Intake(recipe, corpus)
        for item in read(found, options, progress.advance):
            if isinstance(item, Reject):
                intake.leave_out(item)
                continue
            before = corpus.documents
            for extracted in extract(item, options.max_document_bytes):
                if isinstance(extracted, Reject):
                    intake.leave_out(extracted)
                else:
                    intake.consider(extracted)
            if corpus.documents > before:
                intake.by_source[found.files[item.file].given] += corpus.documents - before
                intake.files.add(item.file)
        if not corpus.documents:
            raise intake.why_nothing(len(found.files) + len(found.unreadable))
    progress.end()
    for root in found.projects:
        warn(f"What the project in {root} made was left out: its corpora, models and runs are no sources.")
    for problem in intake.problems[:MAX_WARNINGS]:
        warn(f"{problem.excerpt} It was left out.")
    if len(intake.problems) > MAX_WARNINGS:
        warn(f"{len(intake.problems) - MAX_WARNINGS} more files were left out; the rejects name them.")
    if intake.repaired:
        count = "1 document" if intake.repaired == 1 else f"{intake.repaired:,} documents"
        warn(f"{count} had bytes that are not UTF-8; each became the character U+FFFD.")
    return intake.report()


class _Intake:
    """Decides what becomes part of the corpus, and counts."""

    def __init__(self, recipe: ImportRecipe, corpus: CorpusWriter):
        self.recipe = recipe
        self.corpus = corpus
        self.duplicates = Duplicates()
        self.files: set[int] = set()
        self.characters = 0
        self.bytes = 0
        self.repaired = 0
        self.cut = 0
        self.by_source: Counter[str] = Counter()
        self.problems: list[Reject] = []

    def leave_out(self, reject: Reject) -> None:
        if reject.remedy:
            self.problems.append(reject)
        if reject.reason:
            self.corpus.reject(reject.source, reject.reason, reject.excerpt)

    def consider(self, extracted: Extracted) -> None:
        source = extracted.document.source
        text = normalise(extracted.document.text)
        if not text:
            self.corpus.reject(source, "empty", "")
        elif len(text) < self.recipe.min_characters:
            self.corpus.reject(source, f"under {self.recipe.min_characters} characters", text)
        elif not self.duplicates.is_new(text):
            self.corpus.reject(source, "duplicate", text)
        else:
            self.corpus.add(text, source)
            self.characters += len(text)
            self.bytes += len(text.encode())
            self.repaired += extracted.bad_bytes > 0
            self.cut += extracted.cut

    def why_nothing(self, files: int) -> WorkbenchError:
        if len(self.problems) == 1 and files == 1:
            return WorkbenchError(f"The corpus would be empty: {self.problems[0].excerpt}", self.problems[0].remedy)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.corpus.dropped.most_common())
        remedy = self.problems[0].excerpt if self.problems else _remedy(self.corpus.dropped)
        what = f"The corpus would be empty: {files:,} file{'s' if files != 1 else ''} gave no document"
        return WorkbenchError(f"{what} ({reasons}).", remedy)

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = {
            "documents": self.corpus.documents,
            "characters": self.characters,
            "bytes": self.bytes,
            "files": len(self.files),
            "dropped": dict(self.corpus.dropped.most_common()),
            "repaired": self.repaired,
            "cut": self.cut,
        }
        if len(self.by_source) <= MAX_SOURCES_LISTED:
            report["by_source"] = dict(self.by_source)
        return report


def _remedy(dropped: Counter[str]) -> str:
    """What helps against the reason that most documents were dropped for."""
    reason = dropped.most_common(1)[0][0] if dropped else ""
    if reason.startswith("line over"):
        return "Raise --max-document-mib, or break the text into lines."
    if reason.startswith("under"):
        return "Lower --min-characters, or give other sources."
    return "Give sources that hold text."
