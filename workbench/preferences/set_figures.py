"""What a set of preferences holds, before something is trained on it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from workbench.corpus.chats.messages import Message
from workbench.corpus.chats.pairs import Mark, Pair, read_marks, read_pairs
from workbench.corpus.chats.split import prompt_key
from workbench.preferences.agreement import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFigures:
    """Of one set. Lengths are characters, medians over the pairs."""

    pairs: int
    marks: int
    good: int  # of the marks
    prompts: int  # different first questions: what a held-out part is made by
    most_of_a_prompt: int  # pairs of the prompt that has most
    by_rater: Mapping[str, int]  # pairs and marks; "" where nobody is named
    longer_chosen: Share  # of the pairs in which one answer is longer
    chosen_length: float | None
    rejected_length: float | None
    with_margin: int
    contradicted: int  # pairs that are there the other way round too
    tags: Mapping[str, int]


def set_figures(folder: Path) -> SetFigures:
    """Of the folder of kind preferences. Raises `WorkbenchError` if it cannot be read."""
    pairs, marks = list(read_pairs(folder)), list(read_marks(folder))
    judged: list[Pair | Mark] = [*pairs, *marks]
    prompts = Counter(prompt_key(pair.prompt) for pair in pairs)
    lengths = [(_characters(pair.chosen), _characters(pair.rejected)) for pair in pairs]
    differ = [(chosen, rejected) for chosen, rejected in lengths if chosen != rejected]
    seen: set[bytes] = set()
    contradicted = 0
    for pair in pairs:
        contradicted += orjson.dumps([pair.prompt, pair.rejected, pair.chosen]) in seen
        seen.add(orjson.dumps([pair.prompt, pair.chosen, pair.rejected]))
    return SetFigures(
        pairs=len(pairs),
        marks=len(marks),
        good=sum(mark.label for mark in marks),
        prompts=len(prompts.keys() | {prompt_key(mark.prompt) for mark in marks}),
        most_of_a_prompt=max(prompts.values(), default=0),
        by_rater=dict(Counter(item.rater for item in judged).most_common()),
        longer_chosen=Share(sum(chosen > rejected for chosen, rejected in differ), len(differ)),
        chosen_length=statistics.median(chosen for chosen, _ in lengths) if lengths else None,
        rejected_length=statistics.median(rejected for _, rejected in lengths) if lengths else None,
        with_margin=sum(pair.margin is not None for pair in pairs),
        contradicted=contradicted,
        tags=dict(Counter(tag for item in judged for tag in item.tags).most_common()),
    )


def _characters(answer: Sequence[Message]) -> int:
    return sum(len(turn["content"]) for turn in answer)
