"""From judgements to what training reads: pairs of a better and a worse answer, and answers marked good or bad."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.preferences.candidates import Candidates
from workbench.preferences.judgements import Book, Judgement

MARGIN = {2: 1.0, 1: 1 / 3}
"""Strength -> margin: of Llama 2's four (Touvron et al. 2023, table 27, "small"), those of the two that we ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """One pair that training reads."""

    prompt: Sequence[Mapping[str, str]]  # messages, ending in the question
    chosen: str
    rejected: str
    margin: float | None
    rater: str
    time: float
    tags: Sequence[str] = ()

    def trl(self) -> dict[str, Any]:
        """The row in TRL's preference format with an explicit, conversational prompt."""
        return {
            "prompt": [dict(message) for message in self.prompt],
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
            "margin": self.margin,
            "rater": self.rater,
            "time": self.time,
            "tags": list(self.tags),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One answer that is good or bad by itself."""

    prompt: Sequence[Mapping[str, str]]
    completion: str
    label: bool
    rater: str
    time: float

    def trl(self) -> dict[str, Any]:
        """The row in TRL's unpaired preference format."""
        return {
            "prompt": [dict(message) for message in self.prompt],
            "completion": [{"role": "assistant", "content": self.completion}],
            "label": self.label,
            "rater": self.rater,
            "time": self.time,
        }


def preferences(candidates: Candidates, book: Book) -> Iterator[Preference]:
    """A pair for every comparison with a winner; a rewritten answer is better than what it was.

    Hidden repeats do not count twice, and flagged prompts do not count.
    """
    flagged = _flagged(book)
    for item in book.pairs():
        prompt = candidates.prompts.get(item.prompt)
        if prompt is None or item.prompt in flagged or item.repeat_of or item.winner is None or item.loser is None:
            continue
        yield Preference(
            prompt=prompt.messages,
            chosen=prompt.answer(item.winner).text,
            rejected=prompt.answer(item.loser).text,
            margin=MARGIN.get(item.strength),
            rater=item.rater,
            time=item.time,
            tags=item.tags,
        )
    for item in _edits(book, flagged):
        prompt = candidates.prompts.get(item.prompt)
        if prompt is not None and item.text.strip() != prompt.answer(item.left).text.strip():
            yield Preference(
                prompt=prompt.messages,
                chosen=item.text,
                rejected=prompt.answer(item.left).text,
                margin=None,
                rater=item.rater,
                time=item.time,
            )


def marks(candidates: Candidates, book: Book) -> Iterator[Mark]:
    """The winner and the loser of every pair; both answers where both are bad."""
    flagged = _flagged(book)
    for item in book.pairs():
        prompt = candidates.prompts.get(item.prompt)
        if prompt is None or item.prompt in flagged or item.repeat_of:
            continue
        labels = {item.left: False, item.right: False} if item.verdict == "both_bad" else {}
        if item.winner and item.loser:
            labels = {item.winner: True, item.loser: False}
        for answer, label in labels.items():
            yield Mark(
                prompt=prompt.messages,
                completion=prompt.answer(answer).text,
                label=label,
                rater=item.rater,
                time=item.time,
            )


def conversations(candidates: Candidates, book: Book) -> Iterator[dict[str, Any]]:
    """The rewritten answers as conversations to imitate."""
    for item in _edits(book, _flagged(book)):
        prompt = candidates.prompts.get(item.prompt)
        if prompt is not None:
            answer = {"role": "assistant", "content": item.text}
            yield {"messages": [*(dict(message) for message in prompt.messages), answer], "rater": item.rater}


def _flagged(book: Book) -> set[str]:
    return {item.prompt for item in book.judgements.values() if item.kind == "flag"}


def _edits(book: Book, flagged: Iterable[str]) -> list[Judgement]:
    """The newest wording of each answer."""
    newest = {item.left: item for item in book.judgements.values() if item.kind == "edit"}
    return [item for item in newest.values() if item.prompt not in set(flagged)]
