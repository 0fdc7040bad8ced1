"""Sources of rewards for answers: a reward model, a regular expression, a function of the user's, a judge."""

from __future__ import annotations

import importlib.util
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines.reinforcement.answers import Written
from engines.reinforcement.prompts import Prompt
from engines.tokenizer import TextTokenizer
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError
from workbench.recipes.reinforcement import GrpoRecipe

Source = Callable[[Sequence[Prompt], Sequence[str]], list[float]]
"""A number for each answer (its text, without special tokens) to each prompt; more is better."""

BATCH = 16  # answers that a model reads at once
MARKS = range(1, 10)
SHOWN_CHARACTERS = 120
SIGNATURE = "A function (prompt: str, answer: str) -> score"
QUESTION = """Rate how well the answer meets the request, from 1 (worst) to 9 (best). Reply with the number alone.

Request:
{request}

Answer:
{answer}"""


def open_sources(
    recipe: GrpoRecipe,
    inputs: Mapping[str, Path],
    *,
    reward: Callable[[Path], Source],
    judge: Callable[[Path], Source],
) -> dict[str, Source]:
    """The sources that the recipe names, by the names of its fields; `reward` and `judge` open an engine's models.

    Raises `WorkbenchError` if one cannot be opened.
    """
    found: dict[str, Source] = {}
    if recipe.reward is not None:
        found["reward"] = reward(inputs["reward"])
    if recipe.reward_pattern is not None:
        found["reward_pattern"] = Pattern(recipe.reward_pattern)
    if recipe.reward_function is not None:
        found["reward_function"] = Function(recipe.reward_function)
    if recipe.judge is not None:
        found["judge"] = judge(inputs["judge"])
    return found


class ModelSource(ABC):
    """The score of a reward model of any tokenizer, read at the end of the conversation."""

    def __init__(self, tokenizer: ChatTokenizer, context: int):
        self._tokenizer, self._context = tokenizer, context

    @abstractmethod
    def scores(self, written: Sequence[Written]) -> list[float]:
        """Of some answers with their prompts, in one forward pass."""

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        written = []
        for prompt, answer in zip(prompts, answers, strict=True):
            said = [{"role": "assistant", "content": answer}]
            before, after = self._tokenizer.completion(prompt.messages, said, prompt.tools)
            room = max(1, self._context - len(after))  # of a long prompt the beginning is left out
            written.append(Written(prompt=before[-room:], answer=after[: self._context - 1], ended=True))
        return [
            score for start in range(0, len(written), BATCH) for score in self.scores(written[start : start + BATCH])
        ]


class Pattern:
    """1 for an answer in which a regular expression is found, else 0."""

    def __init__(self, pattern: str):
        """Raises `WorkbenchError` if it is none."""
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise WorkbenchError(
                f"reward_pattern {pattern!r} is no regular expression: {error}.", "See Python's re for how to write it."
            ) from None

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        return [float(bool(self._pattern.search(answer))) for answer in answers]


class Function:
    """A Python function of the user's: (prompt, answer) -> score, where prompt is the text of the last message."""

    def __init__(self, where: str):
        """`where` is FILE.py:NAME. Raises `WorkbenchError` if it is not there."""
        path, _, name = where.rpartition(":")
        self._where = where
        if not path or not Path(path).is_file():
            raise WorkbenchError(
                f"reward_function is {where!r}, and there is no such file.", "Write it as FILE.py:NAME."
            )
        specification = importlib.util.spec_from_file_location(f"workbench_reward_{Path(path).stem}", path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        try:
            specification.loader.exec_module(module)
        except Exception as error:  # the user's own code
            raise WorkbenchError(
                f"{path} cannot be imported: {type(error).__name__}: {error}.", "Mend it; python FILE.py shows where."
            ) from error
        self._function: Any = getattr(module, name, None)
        if not callable(self._function):
            names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise WorkbenchError(
                f"{path} has no function {name!r}.", f"It has: {', '.join(names) or 'none'}. Write it as FILE.py:NAME."
            )

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        return [self._score(prompt.text, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    def _score(self, prompt: str, answer: str) -> float:
        try:
            found = self._function(prompt, answer)
        except Exception as error:  # the user's own code
            raise WorkbenchError(
                f"The reward function {self._where} failed on the answer {answer[:80]!r}: "
                f"{_short(f'{type(error).__name__}: {error}')}.",
                f"{SIGNATURE} has to take any text.",
            ) from error
        if isinstance(found, (bool, int, float, np.number)) and math.isfinite(float(found)):
            return float(found)
        raise WorkbenchError(
            f"The reward function {self._where} gave {_short(repr(found))} for the answer {answer[:80]!r}.",
            f"{SIGNATURE} has to give a finite number, for one prompt and one answer at a time.",
        )


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


class JudgeSource(ABC):
    """The mark from 1 to 9 that a language model is expected to give, by its probabilities of the nine digits (as in
    G-Eval, Liu et al. 2023): one forward pass, and marks between the whole ones."""

    def __init__(self, folder: Path, context: int):
        """Raises `WorkbenchError` if the model's tokenizer has no digits."""
        self._tokenizer, self._context = ChatTokenizer(folder), context
        texts = TextTokenizer(folder)
        self.digits = [texts.encode(str(mark), special=False)[-1] for mark in MARKS]
        if len(set(self.digits)) < len(self.digits):
            raise WorkbenchError(
                f"The judge {folder.name} has no token for each of the digits 1 to 9.", "Choose another model."
            )

    @abstractmethod
    def digit_logits(self, asked: Sequence[np.ndarray]) -> np.ndarray:
        """Of the nine digits after each of some prompts of ids, in one forward pass: float32 [prompts, 9]."""

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        asked = []
        for prompt, answer in zip(prompts, answers, strict=True):
            content = QUESTION.format(request=prompt.text, answer=answer)
            asked.append(self._tokenizer.prompt([{"role": "user", "content": content}])[-self._context :])
        found: list[float] = []
        for start in range(0, len(asked), BATCH):
            logits_BM = self.digit_logits(asked[start : start + BATCH])
            weights_BM = np.exp(logits_BM - logits_BM.max(axis=1, keepdims=True))
            found += (weights_BM @ np.array(MARKS, np.float32) / weights_BM.sum(axis=1)).tolist()
        return found
