"""What a judge said: one verdict a question, turn and order, with all that it was shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.benchmarks.judging.ledger import Ledger
from workbench.errors import WorkbenchError

VERDICTS = "verdicts.jsonl"

Better = Literal["first", "second", "tie"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One reply of the judge. Where one answer is graded alone, `models`, `samples` and `answers` have one item.

    `better` or `grade` is None where the reply held no verdict.
    """

    question: str
    turn: int  # from 1
    category: str
    prompt: tuple[Mapping[str, str], ...]  # messages up to the first question
    asked: tuple[str, ...]  # the further questions, up to this turn's
    models: tuple[str, ...]  # as they were shown: the first is assistant A
    samples: tuple[int, ...]
    answers: tuple[tuple[str, ...], ...]  # of each model, a text a turn
    better: Better | None = None
    grade: float | None = None  # 1 to 10
    log_odds: float | None = None  # likelihood: of the first against the second, in nats
    said: str = ""  # the reply, as it came
    reason: str = ""  # the reply without its verdict
    before: str = ""  # what it replied at first, where it had to be asked again
    truncated: bool = False  # the judge's context did not hold all of it

    @property
    def none(self) -> bool:
        """Whether it says nothing."""
        return self.better is None and self.grade is None


def ledger(folder: Path) -> Ledger:
    return Ledger(folder / VERDICTS, lambda row: (row["question"], row["turn"], *row["models"], *row["samples"]))


def verdicts_in(kept: Ledger) -> list[Verdict]:
    return [_verdict(row) for row in kept.rows.values()]


def read_verdicts(folder: Path) -> list[Verdict]:
    """Those of an artifact of kind verdicts, in the order in which they were given.

    Raises `WorkbenchError` if they cannot be read.
    """
    try:
        return verdicts_in(ledger(folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WorkbenchError(f"The verdicts {folder.name} cannot be read: {error}.", "Judge again.") from None


def _verdict(row: Mapping[str, Any]) -> Verdict:
    plain = dict(row)
    for name in ("prompt", "asked", "models", "samples"):
        plain[name] = tuple(plain[name])
    return Verdict(**{**plain, "answers": tuple(tuple(texts) for texts in row["answers"])})
