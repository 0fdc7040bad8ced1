"""Text that is no prose: Gopher's rules of quality."""

from __future__ import annotations

import re
from functools import cache
from typing import ClassVar

import numpy as np
from pydantic import Field

from workbench.corpus.cleaning.spans import chosen_words, matches
from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict
from workbench.corpus.cleaning.word_splitting import split_words

_HASH = re.compile("#")
_ELLIPSIS = re.compile(r"\.\.\.|…")
_BULLET_LINE = re.compile(r"^[^\S\n]*[•\-].*", re.MULTILINE)
_ELLIPSIS_LINE = re.compile(r"^.*(?:\.\.\.|…)[^\S\n]*$", re.MULTILINE)


class GopherQuality(Step):
    """Rejects documents that do not look like prose.

    Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", appendix A.1.1, with
    its thresholds. Where the paper leaves it open, as datatrove does it: words that are only signs are left out of the
    number of words and of their mean length; hashes and ellipses are set against all words, each on its own; empty
    lines are lines; required words count in small letters only. What a word is says `word_splitting`.
    """

    name: ClassVar[str] = "gopher-quality"

    min_words: int = Field(50, ge=0, description="Fewest words.", json_schema_extra={"unit": "words"})
    max_words: int = Field(100_000, ge=1, description="Most words.", json_schema_extra={"unit": "words"})
    min_word_length: float = Field(
        3,
        ge=0,
        description="Smallest mean length of the words, in characters.",
        json_schema_extra={"unit": "characters"},
    )
    max_word_length: float = Field(
        10,
        ge=0,
        description="Largest mean length of the words, in characters.",
        json_schema_extra={"unit": "characters"},
    )
    max_symbols: float = Field(0.1, ge=0, description="Most hashes for a word, and most ellipses.")
    max_bullet_lines: float = Field(0.9, ge=0, le=1, description="Largest share of lines that begin with a bullet.")
    max_ellipsis_lines: float = Field(0.3, ge=0, le=1, description="Largest share of lines that end in an ellipsis.")
    min_lettered_words: float = Field(0.8, ge=0, le=1, description="Smallest share of words with a letter in them.")
    min_stop_words: int = Field(
        2, ge=0, description="Fewest of the required words that must be there.", json_schema_extra={"unit": "words"}
    )
    stop_words: tuple[str, ...] = Field(
        ("the", "be", "to", "of", "and", "that", "have", "with"), description="The required words."
    )

    def apply(self, document: Document) -> Verdict:
        return self._words(document) or self._signs(document) or self._lines(document) or self._kinds(document) or KEPT

    def _words(self, document: Document) -> Verdict | None:
        words = document.words
        proper = ~words.signs
        count = int(np.count_nonzero(proper))
        if count < self.min_words:
            return Verdict("rejected", "few words", count, self.min_words, "min_words")
        if count > self.max_words:
            span = (int(words.starts[proper][self.max_words]), len(document.text))
            return Verdict("rejected", "many words", count, self.max_words, "max_words", (span,))
        if not count:
            return None
        length = int(words.lengths[proper].sum()) / count
        if length < self.min_word_length:
            return Verdict("rejected", "short words", length, self.min_word_length, "min_word_length")
        if length > self.max_word_length:
            spans = chosen_words(words, words.lengths > self.max_word_length)
            return Verdict("rejected", "long words", length, self.max_word_length, "max_word_length", spans)
        return None

    def _signs(self, document: Document) -> Verdict | None:
        text, count = document.text, len(document.words)
        for symbols, reason, pattern in (
            (text.count("#"), "hashes", _HASH),
            (text.count("...") + text.count("…"), "ellipses", _ELLIPSIS),
        ):
            if count and symbols / count > self.max_symbols:
                spans = matches(pattern, text)
                return Verdict("rejected", reason, symbols / count, self.max_symbols, "max_symbols", spans)
        return None

    def _lines(self, document: Document) -> Verdict | None:
        text, lines = document.text, document.lines
        if "-" in text or "•" in text:
            share = sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines)
            if share > self.max_bullet_lines:
                spans = matches(_BULLET_LINE, text)
                return Verdict("rejected", "bullet lines", share, self.max_bullet_lines, "max_bullet_lines", spans)
        if "..." in text or "…" in text:
            share = sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines)
            if share > self.max_ellipsis_lines:
                spans = matches(_ELLIPSIS_LINE, text)
                limit = self.max_ellipsis_lines
                return Verdict("rejected", "lines with an ellipsis", share, limit, "max_ellipsis_lines", spans)
        return None

    def _kinds(self, document: Document) -> Verdict | None:
        words = document.words
        if not len(words):
            return None
        share = int(np.count_nonzero(words.lettered)) / len(words)
        if share < self.min_lettered_words:
            spans = chosen_words(words, ~words.lettered)
            limit = self.min_lettered_words
            return Verdict("rejected", "words without letters", share, limit, "min_lettered_words", spans)
        found = 0
        for number in _numbers(self.stop_words) if self.min_stop_words else ():
            found += bool((words.hashes == number).any())
            if found >= self.min_stop_words:
                return None
        if found < self.min_stop_words:
            return Verdict("rejected", "few required words", found, self.min_stop_words, "min_stop_words")
        return None


@cache
def _numbers(words: tuple[str, ...]) -> np.ndarray:
    """uint64 [words]"""
    return split_words(" ".join(words)).hashes
