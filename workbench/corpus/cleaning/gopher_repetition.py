"""Text that says the same again and again: Gopher's rules of repetition."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from workbench.corpus.cleaning.spans import LINE, PARAGRAPH, repetitions, runs_of_words
from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict
from workbench.corpus.cleaning.word_splitting import Words

_TOP = (2, 3, 4)
_DUPLICATE = (5, 6, 7, 8, 9, 10)


class GopherRepetition(Step):
    """Rejects documents of which too much is repeated lines, paragraphs or n-grams.

    Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", table A1, with its
    thresholds. Shares of characters are of the whole text. Where the paper leaves it open, as datatrove does it: a
    line or paragraph counts from its second occurrence on; of the n-grams of 2 to 4 words the commonest counts (the
    earliest of those), all occurrences, overlaps included, with one space between its words; repeated n-grams of 5 to
    10 words are counted from left to right, those that share a word with one already counted left out, without spaces.
    What a word is says `word_splitting`.
    """

    name: ClassVar[str] = "gopher-repetition"

    duplicate_lines: float = Field(0.30, ge=0, le=1, description="Largest share of lines that were there before.")
    duplicate_paragraphs: float = Field(0.30, ge=0, le=1, description="Largest share of repeated paragraphs.")
    duplicate_line_characters: float = Field(0.20, ge=0, le=1, description="Largest share in repeated lines.")
    duplicate_paragraph_characters: float = Field(0.20, ge=0, le=1, description="Largest share in such paragraphs.")
    top_2_gram: float = Field(0.20, ge=0, description="Largest share of characters in the commonest pair of words.")
    top_3_gram: float = Field(0.18, ge=0, description="The same of three words.")
    top_4_gram: float = Field(0.16, ge=0, description="The same of four words.")
    duplicate_5_grams: float = Field(0.15, ge=0, le=1, description="Largest share in repeated runs of five words.")
    duplicate_6_grams: float = Field(0.14, ge=0, le=1, description="The same of six words.")
    duplicate_7_grams: float = Field(0.13, ge=0, le=1, description="The same of seven words.")
    duplicate_8_grams: float = Field(0.12, ge=0, le=1, description="The same of eight words.")
    duplicate_9_grams: float = Field(0.11, ge=0, le=1, description="The same of nine words.")
    duplicate_10_grams: float = Field(0.10, ge=0, le=1, description="The same of ten words.")

    def apply(self, document: Document) -> Verdict:
        if not document.text:
            return Verdict("rejected", "empty")
        return (
            self._repeated(document.text, document.paragraphs, "paragraph")
            or self._repeated(document.text, self._lines(document), "line")
            or self._top(document.text, document.words)
            or self._duplicates(document.text, document.words)
            or KEPT
        )

    def _lines(self, document: Document) -> list[str]:
        """The lines with something in them, or an empty one at the text's ends."""
        lines = list(filter(None, document.lines))
        ends = document.text.startswith("\n") + document.text.endswith("\n")
        return lines + [""] * ends

    def _repeated(self, text: str, parts: list[str], what: str) -> Verdict | None:
        distinct = set(parts)
        repeated = len(parts) - len(distinct)
        if not repeated:
            return None
        share = repeated / len(parts)
        characters = (sum(map(len, parts)) - sum(map(len, distinct))) / len(text)
        for value, reason, parameter in (
            (share, f"repeated {what}s", f"duplicate_{what}s"),
            (characters, f"characters in repeated {what}s", f"duplicate_{what}_characters"),
        ):
            limit = getattr(self, parameter)
            if value > limit:
                spans = repetitions(LINE if what == "line" else PARAGRAPH, text)
                return Verdict("rejected", reason, value, limit, parameter, spans)
        return None

    def _top(self, text: str, words: Words) -> Verdict | None:
        most = len(words)
        for n in _TOP:
            limit = getattr(self, f"top_{n}_gram")
            sizes = words.spanned(n) + n - 1
            # No n-gram is commoner than the shorter one that it begins with, or longer than the longest.
            if not len(sizes) or most * int(sizes.max()) <= limit * len(text):
                continue
            numbers = words.n_grams(n)
            most = min(most, _at_most(numbers))
            if most * int(sizes.max()) <= limit * len(text):
                continue
            _, firsts, counts = _alike(numbers)
            most = int(counts.max())
            commonest = int(firsts[counts == most].min())
            value = int(sizes[commonest]) * most / len(text)
            if value > limit:
                places = np.flatnonzero(numbers == numbers[commonest])
                spans = runs_of_words(words, ((place, place + n) for place in places.tolist()))
                return Verdict("rejected", f"one {n}-gram again and again", value, limit, f"top_{n}_gram", spans)
        return None

    def _duplicates(self, text: str, words: Words) -> Verdict | None:
        numbers = words.n_grams(_DUPLICATE[0])
        if not len(numbers):
            return None
        ordered = np.sort(numbers)
        again_count = int(np.count_nonzero(ordered[1:] == ordered[:-1]))
        least = min(getattr(self, f"duplicate_{n}_grams") for n in _DUPLICATE) * len(text)
        if again_count * int(words.spanned(_DUPLICATE[0]).max()) <= least:
            return None
        places = np.arange(len(numbers))  # of n-grams that may be there twice; longer ones begin at some of them
        for n in _DUPLICATE:
            order, firsts, counts = _alike(numbers)
            repeated = np.ones(len(numbers), bool)
            repeated[firsts] = False
            bound = _covered(places[repeated], n, words.sums)
            # Repeated longer n-grams lie within repeated shorter ones, so that this bounds them all.
            if all(bound <= getattr(self, f"duplicate_{m}_grams") * len(text) for m in _DUPLICATE if m >= n):
                return None
            again = np.sort(order[np.repeat(counts > 1, counts)])
            places, numbers = places[again], numbers[again]
            parameter = f"duplicate_{n}_grams"
            limit = getattr(self, parameter)
            if bound > limit * len(text):
                counted = _left_to_right(places.tolist(), numbers.tolist(), n)
                value = _covered(np.array(counted, np.int64), n, words.sums) / len(text)
                if value > limit:
                    spans = runs_of_words(words, ((place, place + n) for place in counted))
                    return Verdict("rejected", f"repeated {n}-grams", value, limit, parameter, spans)
            inside = places + n < len(words)
            places = places[inside]
            numbers = words.appended(numbers[inside], places + n)
        return None


def _at_most(numbers: np.ndarray) -> int:
    """No number is there more often than this: counts of their last twelve bits."""
    return int(np.bincount((numbers & np.uint64(0xFFF)).view(np.int64)).max())


def _alike(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order that sorts `numbers`, and of each distinct number the first place and how often it is there."""
    if not len(numbers):
        return (np.zeros(0, np.int64),) * 3
    order = np.argsort(numbers)
    ordered = numbers[order]
    edges = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return order, np.minimum.reduceat(order, edges), np.diff(edges, append=len(numbers))


def _covered(places: np.ndarray, n: int, sums: np.ndarray) -> int:
    """Characters of all words in one of the n-grams at `places`, which ascend; `sums` [words + 1] counts them up."""
    stops = places + n
    stops[:-1] = np.minimum(stops[:-1], places[1:])
    return int((sums[stops] - sums[places]).sum())


def _left_to_right(places: list[int], numbers: list[int], n: int) -> list[int]:
    """Those of `places` where a number is that was counted before, each leaving out those that overlap it."""
    seen: set[int] = set()
    found = []
    free = 0
    for place, number in zip(places, numbers, strict=True):
        if place >= free:
            if number in seen:
                found.append(place)
                free = place + n
            else:
                seen.add(number)
    return found
