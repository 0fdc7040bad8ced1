"""Answers that a policy writes: how they are drawn, and what is counted of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.companions import pad_id
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError
from workbench.recipes.reinforcement import GenerationSection

ANSWERS, MINI_BATCHES, EPOCHS, EVALUATION = range(4)  # what random numbers are for


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How answers are written: until one of `end_ids`, which is part of the answer, or `max_tokens`."""

    end_ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    pad_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A prompt with its answer."""

    prompt: np.ndarray
    answer: np.ndarray
    ended: bool  # by an end token, rather than cut off

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer)


def drawing_of(tokenizer: ChatTokenizer, base: Path, section: GenerationSection) -> Drawing:
    """How the policy on `base` writes; `section` is a fitted recipe's.

    Raises `WorkbenchError` if nothing ends its answers.
    """
    assert section.max_completion_length is not None
    if not tokenizer.end_ids:
        raise WorkbenchError(
            f"The tokenizer in {base.name} has no token that ends an answer.",
            "Name one as eos_token in tokenizer_config.json.",
        )
    return Drawing(
        end_ids=tokenizer.end_ids,
        max_tokens=section.max_completion_length,
        temperature=section.temperature,
        pad_id=pad_id(tokenizer),
    )


def uniform_numbers(rows: int, tokens: int, *key: int) -> np.ndarray:
    """Float64 [rows, tokens] in [0, 1), a function of `key`.

    One for each token that a row may write. So an answer does not depend on which answers are written beside it, on
    how many processes there are, or on what was drawn before.
    """
    return np.random.default_rng(key).random((rows, tokens))


def written_of(prompts: Sequence[np.ndarray], answers: Sequence[np.ndarray], drawing: Drawing) -> list[Written]:
    return [
        Written(prompt=prompt, answer=answer, ended=int(answer[-1]) in drawing.end_ids)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def answer_means(
    sums: Mapping[str, float],
    written: int,
    total: Callable[[np.ndarray], np.ndarray] = lambda values: values,
) -> dict[str, float]:
    """Sums over this process's `written` answers as means over those of all processes, by the same names.

    `total` adds arrays up over the processes. "entropy" is the mean over the answers' tokens, of which
    "response_length" counts those of an answer.
    """
    totals = total(np.array([*sums.values(), written], np.float64)).tolist()
    means = {name: value / totals[-1] for name, value in zip(sums, totals, strict=False)}
    return means | {"entropy": means["entropy"] / means["response_length"]}


class Stopwatch:
    """Seconds since it was last asked; `wait` until the device has done what it was told."""

    def __init__(self, wait: Callable[[], None]):
        self._wait = wait
        self._mark = time.perf_counter()

    def lap(self) -> float:
        self._wait()
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        return seconds
