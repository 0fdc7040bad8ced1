"""From judgements to what training reads: pairs of a better and a worse answer, and answers marked good or bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from workbench.corpus.chats.pairs import Mark, Pair, PreferenceWriter
from workbench.errors import WorkbenchError
from workbench.preferences.candidates import Candidates, Prompt
from workbench.preferences.judgements import Book, Judgement

MARGIN = {2: 1.0, 1: 1 / 3}
"""Strength -> margin: of Llama 2's four (Touvron et al. 2023, table 27, "small"), those of the two that we ask for."""


def preferences(candidates: Candidates, book: Book) -> Iterator[Pair]:
    """A pair for every comparison with a winner; a rewritten answer is better than what it was.

    Hidden repeats do not count twice, and flagged prompts do not count.
    """
    flagged = _flagged(book)
    for item in book.pairs():
        prompt = candidates.prompts.get(item.prompt)
        if prompt is None or item.prompt in flagged or item.repeat_of or item.winner is None or item.loser is None:
            continue
        yield Pair(
            prompt=messages(prompt),
            chosen=[answer(prompt.answer(item.winner).text)],
            rejected=[answer(prompt.answer(item.loser).text)],
            source=source(prompt),
            margin=MARGIN.get(item.strength),
            rater=item.rater,
            time=item.time,
            tags=item.tags,
        )
    for item in _edits(book, flagged):
        prompt = candidates.prompts.get(item.prompt)
        if prompt is not None and item.text.strip() != prompt.answer(item.left).text.strip():
            yield Pair(
                prompt=messages(prompt),
                chosen=[answer(item.text)],
                rejected=[answer(prompt.answer(item.left).text)],
                source=source(prompt),
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
        for judged, label in labels.items():
            yield Mark(
                prompt=messages(prompt),
                completion=[answer(prompt.answer(judged).text)],
                source=source(prompt),
                tags=item.tags,
                label=label,
                rater=item.rater,
                time=item.time,
            )


def conversations(candidates: Candidates, book: Book) -> Iterator[dict[str, Any]]:
    """The rewritten answers as conversations to imitate."""
    for item in _edits(book, _flagged(book)):
        prompt = candidates.prompts.get(item.prompt)
        if prompt is not None:
            yield {"messages": [*messages(prompt), answer(item.text)], "rater": item.rater, "time": item.time}


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    return [dict(message) for message in prompt.messages]


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def source(prompt: Prompt) -> str:
    """Where a pair came from, for errors."""
    return f"prompt {prompt.id}"


def collect(candidates: Candidates, book: Book, output: Path) -> dict[str, Any]:
    """Write pairs and marks into the folder `output`, answer the report.

    Raises `WorkbenchError` if the judgements hold neither.
    """
    with PreferenceWriter(output) as writer:
        found = list(preferences(candidates, book))
        for pair in found:
            writer.add(pair)
        for mark in marks(candidates, book):
            writer.add(mark)
        if not writer.pairs and not writer.marks:
            raise WorkbenchError(
                "The judgements prefer nothing: they are ties, skips or flags.", "Rank more: workbench rank NAME"
            )
    raters = Counter(item.rater for item in found)
    return {
        "pairs": writer.pairs,
        "marks": writer.marks,
        "prompts": len({item.source for item in found}),
        "raters": dict(raters.most_common()),
        "longer_chosen": round(sum(_longer(item) for item in found) / len(found), 4) if found else None,
        "edits": len(_edits(book, _flagged(book))),
    }


def _longer(item: Pair) -> bool:
    return len(item.chosen[0]["content"]) > len(item.rejected[0]["content"])


def _flagged(book: Book) -> set[str]:
    return {item.prompt for item in book.judgements.values() if item.kind == "flag"}


def _edits(book: Book, flagged: Iterable[str]) -> list[Judgement]:
    """The newest wording of each answer."""
    newest = {item.left: item for item in book.judgements.values() if item.kind == "edit"}
    return [item for item in newest.values() if item.prompt not in set(flagged)]
