"""Pairs of texts of known similarity, out of the sentences of real ones."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

RUN = 5
_SENTENCE = re.compile(r"[A-Z][^.!?{}\n|<>=_/\\]{50,220}[.!?](?=\s)")
_WORD = re.compile(r"\w+")


def similarity(one: str, other: str) -> float:
    """The Jaccard index of their sets of runs of five words, in small letters."""
    left, right = (runs_of(text) for text in (one, other))
    return len(left & right) / len(left | right)


def runs_of(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return {tuple(words[place : place + RUN]) for place in range(len(words) - RUN + 1)}


def sentences_of(texts: Sequence[str]) -> list[str]:
    """Distinct sentences of prose, in the order in which they come."""
    found = (match.group() for text in texts for match in _SENTENCE.finditer(text))
    return list(dict.fromkeys(sentence for sentence in found if sentence.count(" ") > 8))


def planted(sentences: Sequence[str], count: int, seed: int, passes: Callable[[str], bool]) -> list[tuple[str, str]]:
    """`count` pairs of 12 to 70 sentences, their similarity about evenly spread from 0.5 to 1.

    The second text has words of the first replaced here and there, or a stretch of it. Both satisfy `passes`.
    """
    draw = random.Random(seed)
    words = [word for sentence in sentences[:5000] for word in sentence.split()[1:-1]]
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        lines = [" ".join(draw.sample(sentences, draw.randint(3, 6))) for _ in range(draw.randint(4, 12))]
        one = "\n\n".join(lines)
        edited = re.split(r"( |\n+)", one)  # words at even places
        places, goal = range(0, len(edited), 2), draw.uniform(0.5, 1)
        share = (1 - goal) / (1 + goal)  # of runs that change in each
        if draw.random() < 0.5:
            changed = draw.sample(places, round(len(places) * share / RUN))
        else:
            first = draw.randrange(len(places) - round(len(places) * share) + 1)
            changed = list(places[first : first + round(len(places) * share)])
        for place in changed:
            edited[place] = draw.choice(words) + ("." if edited[place].endswith(".") else "")
        other = "".join(edited)
        if other != one and passes(one) and passes(other):
            pairs.append((one, other))
    return pairs
