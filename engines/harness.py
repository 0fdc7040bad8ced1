"""The token ids that a benchmark scores: of (context, continuation) pairs and of whole texts, as lm-eval's HFLM.

Follows lm-eval 0.4.13: `TemplateLM._encode_pair` and `loglikelihood`, `HFLM.tok_encode` and `loglikelihood_rolling`,
`utils.get_rolling_token_windows`.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from workbench.contract import Score
from workbench.errors import WorkbenchError


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens that fit into the model (their last is only predicted), of which the last `count` are scored."""

    ids: tuple[int, ...]
    count: int

    @property
    def stem(self) -> tuple[int, ...]:
        """The tokens before the scored ones; never empty."""
        return self.ids[: -self.count]


@dataclass(frozen=True, slots=True)
class Request:
    """The windows of a pair or text: their log-likelihoods add up to its own."""

    windows: tuple[Window, ...]
    truncated: bool = False

    def score(self, parts: Sequence[tuple[float, bool]]) -> Score:
        """From the (log-likelihood, greedy) of each window."""
        return Score(
            log_likelihood=sum(part for part, _ in parts),
            tokens=sum(window.count for window in self.windows),
            greedy=all(greedy for _, greedy in parts),
            truncated=self.truncated,
        )


class Splitter:
    """Splits what is scored together: each context is put into tokens once."""

    def __init__(self, encode: Callable[[str], Sequence[int]], *, start: int | None, adds_bos: bool, length: int):
        """`encode` puts text into tokens without BOS, special tokens' texts as those; `start` is BOS, else EOS.

        `length` is the model's context in tokens.
        """
        self._encode, self._start, self._adds_bos, self._length = encode, start, adds_bos, length
        self._context = functools.lru_cache(maxsize=1024)(self._whole)

    def pair(self, context: str, continuation: str) -> Request:
        """A continuation after its context, put into tokens as one text and cut where the context's tokens end.

        White space at the context's end goes to the continuation, whose first token usually holds it. Of a pair
        that is too long the beginning is left out.
        Raises `WorkbenchError` if the continuation has no tokens, or the model no token to begin a text with.
        """
        bare = context.rstrip()
        given, context, continuation = continuation, bare, context[len(bare) :] + continuation
        before = self._context(context)
        after = tuple(self._encode(continuation)) if not context else self._whole(context + continuation)[len(before) :]
        if not context:
            begin = self.beginning()
            before, after = (begin, after) if after[:1] != begin else (after[:1], after[1:])
        if not after:
            raise WorkbenchError(f"The continuation {given[:60]!r} has no tokens of its own.", "Leave this pair out.")
        ids = (*before, *after)
        return Request(self._windows(ids, len(after)), truncated=len(ids) > self._length + 1)

    def text(self, text: str) -> Request:
        """A whole text, its first token after BOS, else EOS, in windows that score each token once.

        A tokenizer that adds BOS by itself adds it to the text, too: it is then scored as the text's first token,
        as in lm-eval.
        Raises `WorkbenchError` if the model has no token to begin a text with.
        """
        ids = self._whole(text)
        return Request(self._windows((*self.beginning(), *ids), len(ids)))

    def _whole(self, text: str) -> tuple[int, ...]:
        ids = tuple(self._encode(text))
        adds = self._adds_bos and ids[:1] != (self._start,)
        return (*self.beginning(), *ids) if adds else ids

    def beginning(self) -> tuple[int]:
        """BOS, else EOS. Raises `WorkbenchError` if the model has neither."""
        if self._start is None:
            raise WorkbenchError("The context is empty.", "This model has no BOS token to begin with: write a word.")
        return (self._start,)

    def _windows(self, ids: tuple[int, ...], count: int) -> tuple[Window, ...]:
        """Windows whose scored tokens follow on each other, each with as much before it as fits."""
        ends = range(len(ids) - count, len(ids), self._length)
        return tuple(
            Window(ids[max(0, end - self._length - 1) : end], end - first)
            for first in ends
            for end in [min(first + self._length, len(ids))]
        )


class ScoresByWindow(ABC):
    """The two scoring methods of a `workbench.contract.LanguageModel` that scores windows of ids."""

    @abstractmethod
    def _splitter(self) -> Splitter:
        """For this model's tokens and context."""

    @abstractmethod
    def _scores(self, requests: Sequence[Request]) -> list[Score]:
        """Of each request, from its windows."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        splitter = self._splitter()
        return self._scores([splitter.pair(context, continuation) for context, continuation in pairs])

    def score_texts(self, texts: Sequence[str]) -> list[Score]:
        splitter = self._splitter()
        return self._scores([splitter.text(text) for text in texts])


def scores(requests: Sequence[Request], results: Iterable[tuple[float, bool]]) -> list[Score]:
    """A score for each request, from the results of all their windows in order."""
    parts = iter(results)
    return [request.score([next(parts) for _ in request.windows]) for request in requests]


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    pairs = zip(left, right, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(left), len(right)))
