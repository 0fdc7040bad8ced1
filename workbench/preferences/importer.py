"""The stage import-preferences: rows of any known format to pairs and marks, validated and without duplicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import xxhash

from workbench.corpus.chats.intake import LONG_CHARACTERS, Intake
from workbench.corpus.chats.messages import Message, Unfit, canonical
from workbench.corpus.chats.pairs import Mark, Pair, PreferenceWriter
from workbench.corpus.chats.rejects import Rejects
from workbench.corpus.chats.rows import Row
from workbench.corpus.duplicates import Duplicates
from workbench.corpus.progress import ProgressReport
from workbench.preferences.formats import detect, read_preference
from workbench.recipes.chats import ImportPreferencesRecipe
from workbench.wording import amount


def import_preferences(
    recipe: ImportPreferencesRecipe, output: Path, progress: ProgressReport, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Read the recipe's sources into preferences in the folder `output`, answer the report.

    Raises `WorkbenchError` if a source does not exist, its format is unknown, or not one row is left.
    """
    with PreferenceWriter(output) as preferences, Rejects(output) as rejects:
        intake = _Preferences(preferences, rejects)
        intake.read(recipe.sources, recipe.format, progress, warn)
        if not intake.kept:
            raise rejects.nothing_left(
                "preference", "Each row needs a question and two answers that differ, or a mark."
            )
    progress.end()
    intake.tell(warn)
    if intake.contradicted:
        warn(f"{amount(intake.contradicted, 'pairs', 'are')} there the other way round too: raters disagree.")
    return intake.report() | rejects.report()


class _Preferences(Intake):
    fallback = "trl"
    keys = "prompt, chosen and rejected; or prompt, completion and label"

    def __init__(self, preferences: PreferenceWriter, rejects: Rejects):
        super().__init__(rejects)
        self.preferences = preferences
        self.duplicates, self.prompts = Duplicates(), Duplicates()
        self.reversed: set[int] = set()  # hashes of the pairs the wrong way round
        self.different_prompts = self.contradicted = self.longer_chosen = self.with_margin = 0

    @property
    def kept(self) -> int:
        return self.preferences.pairs + self.preferences.marks

    def detect(self, rows: Sequence[Any]) -> str | None:
        return detect(rows)

    def take(self, row: Row, form: str) -> None:
        self._add(read_preference(row.value, form, row.source))
        self.formats[form] += 1

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
            "repaired": self.repaired,
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
