"""The stage import-preferences: rows of any known format to pairs and marks, validated and without duplicates."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import xxhash

from workbench.corpus.chats.importer import LONG_CHARACTERS, LOOKED_AT, unknown_format
from workbench.corpus.chats.messages import Message, Unfit, canonical
from workbench.corpus.chats.pairs import Mark, Pair, PreferenceWriter
from workbench.corpus.chats.rejects import Rejects
from workbench.corpus.chats.rows import BadRow, Row, RowFile, find_rows, read_rows
from workbench.corpus.duplicates import Duplicates
from workbench.corpus.progress import ProgressReport
from workbench.corpus.reading import UnusableFile
from workbench.errors import WorkbenchError
from workbench.preferences.formats import detect, read_preference
from workbench.recipes.chats import ImportPreferencesRecipe


def import_preferences(
    recipe: ImportPreferencesRecipe, output: Path, progress: ProgressReport, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Read the recipe's sources into preferences in the folder `output`, answer the report.

    Raises `WorkbenchError` if a source does not exist, its format is unknown, or not one row is left.
    """
    found = find_rows(recipe.sources)
    for line in found.left_out:
        warn(f"{line}.")
    progress.begin("importing", total=sum(file.size for file in found.files) or None, unit="bytes")
    with PreferenceWriter(output) as preferences, Rejects(output) as rejects:
        intake = _Intake(preferences, rejects)
        for file in found.files:
            try:
                intake.read(file, recipe.format, progress)
            except UnusableFile as problem:
                rejects.add(file.name, problem.reason, problem.what)
                if len(found.files) == 1 and not intake.kept:
                    raise WorkbenchError(problem.what, problem.remedy) from None
                warn(f"{problem.what} It was left out.")
        if not intake.kept:
            raise rejects.nothing_left(
                "preference", "Each row needs a question and two answers that differ, or a mark."
            )
    progress.end()
    rejects.tell(warn)
    if intake.long:
        many = "1 row has" if intake.long == 1 else f"{intake.long:,} rows have"
        warn(f"{many} answers of over {LONG_CHARACTERS:,} characters: training cuts them.")
    if intake.contradicted:
        many = "1 pair is" if intake.contradicted == 1 else f"{intake.contradicted:,} pairs are"
        warn(f"{many} there the other way round too: raters disagree.")
    return intake.report() | rejects.report()


class _Intake:
    """Decides what is kept, and counts."""

    def __init__(self, preferences: PreferenceWriter, rejects: Rejects):
        self.preferences, self.rejects = preferences, rejects
        self.duplicates, self.prompts = Duplicates(), Duplicates()
        self.reversed: set[int] = set()  # hashes of the pairs the wrong way round
        self.formats: Counter[str] = Counter()
        self.different_prompts = self.contradicted = self.long = self.longer_chosen = self.with_margin = 0

    @property
    def kept(self) -> int:
        return self.preferences.pairs + self.preferences.marks

    def read(self, file: RowFile, form: str, progress: ProgressReport) -> None:
        rows: Iterator[Row | BadRow] = read_rows(file, progress.advance)
        if form == "auto":
            first = list(itertools.islice(rows, LOOKED_AT))
            values = [row.value for row in first if isinstance(row, Row)]
            detected = detect(values)
            if detected is None and values:
                raise unknown_format(file, values, "prompt, chosen and rejected; or prompt, completion and label")
            form = detected or "trl"
            rows = itertools.chain(first, rows)
        for row in rows:
            if isinstance(row, BadRow):
                self.rejects.add(row.source, row.reason, row.excerpt)
                continue
            try:
                self._add(read_preference(row.value, form, row.source))
                self.formats[form] += 1
            except Unfit as why:
                self.rejects.add(row.source, str(why), row.value)

    def _add(self, item: Pair | Mark) -> None:
        answers = [item.chosen, item.rejected] if isinstance(item, Pair) else [item.completion]
        judged = canonical([item.prompt, *answers, item.rater, item.label if isinstance(item, Mark) else None])
        if not self.duplicates.is_new(judged):
            raise Unfit("duplicate")
        if isinstance(item, Pair):
            self.contradicted += _hash(item.prompt, item.chosen, item.rejected) in self.reversed
            self.reversed.add(_hash(item.prompt, item.rejected, item.chosen))
            self.longer_chosen += _characters(item.chosen) > _characters(item.rejected)
            self.with_margin += item.margin is not None
        self.long += any(_characters(answer) > LONG_CHARACTERS for answer in answers)
        self.different_prompts += self.prompts.is_new(canonical(item.prompt))
        self.preferences.add(item)

    def report(self) -> dict[str, Any]:
        pairs = self.preferences.pairs
        report: dict[str, Any] = {
            "pairs": pairs,
            "marks": self.preferences.marks,
            "prompts": self.different_prompts,
            "long_answers": self.long,
            "format": ", ".join(form for form, _ in self.formats.most_common()),
        }
        if pairs:
            # A reward model that only prefers the longer answer is right this often.
            report["longer_chosen"] = round(self.longer_chosen / pairs, 4)
            report |= {"with_margin": self.with_margin, "contradicted": self.contradicted}
        return report


def _characters(answer: list[Message]) -> int:
    return sum(len(turn["content"]) for turn in answer)


def _hash(*parts: list[Message]) -> int:
    return xxhash.xxh3_128_intdigest(canonical(parts).encode())
