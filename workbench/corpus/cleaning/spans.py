"""Where the offending places of a text are: at most 200 of them, which is more than anyone looks at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from workbench.corpus.cleaning.word_splitting import Words

MAX_SPANS = 200

LINE = re.compile(r"[^\n]+")
PARAGRAPH = re.compile(r"[^\n]+(?:\n[^\n]+)*")

Spans = tuple[tuple[int, int], ...]


def first(spans: Iterable[tuple[int, int]]) -> Spans:
    return tuple(islice(spans, MAX_SPANS))


def matches(pattern: re.Pattern[str], text: str) -> Spans:
    """Where `pattern` matches."""
    return first(match.span() for match in pattern.finditer(text))


def repetitions(pattern: re.Pattern[str], text: str) -> Spans:
    """Where what `pattern` matches is something that it matched before."""
    return first(_repetitions(pattern, text))


def _repetitions(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    seen: set[str] = set()
    for match in pattern.finditer(text):
        if match.group() in seen:
            yield match.span()
        seen.add(match.group())


def chosen_words(words: Words, chosen: np.ndarray) -> Spans:
    """The words for which `chosen` [words] is true."""
    places = np.flatnonzero(chosen)[:MAX_SPANS]
    return tuple(zip(words.starts[places].tolist(), words.stops[places].tolist(), strict=True))


def runs_of_words(words: Words, ranges: Iterable[tuple[int, int]]) -> Spans:
    """Ranges of words in ascending order, those that touch each other as one."""
    spans: list[tuple[int, int]] = []
    last = -1  # the word before which the last span ends
    for start, stop in ranges:
        span = (int(words.starts[start]), int(words.stops[stop - 1]))
        if spans and start <= last:
            spans[-1] = (spans[-1][0], span[1])
        elif len(spans) == MAX_SPANS:
            break
        else:
            spans.append(span)
        last = stop
    return tuple(spans)
