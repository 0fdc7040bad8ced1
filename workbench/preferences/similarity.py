"""ROUGE-L (Lin 2004): how much of two texts' words stand in both, in the same order."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def rouge_l(one: list[str], other: list[str]) -> float:
    """F1 of the longest common subsequence of words: 0 nothing in common, 1 the same words."""
    if not one or not other:
        return 0.0
    return 2 * _common_subsequence(one, other) / (len(one) + len(other))


def most_similar(text: list[str], others: Iterable[list[str]], *, enough: float) -> float:
    """The highest ROUGE-L of `text` with one of `others`, looked for until one is at least `enough`."""
    best = 0.0
    for other in others:
        # The subsequence is no longer than the shorter text.
        if 2 * min(len(text), len(other)) > max(best, 0.0) * (len(text) + len(other)):
            best = max(best, rouge_l(text, other))
            if best >= enough:
                break
    return best


def _common_subsequence(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence, by bits (Hyyrö 2004): a word of `other` costs one long addition."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(one) - row.bit_count()
