"""The prompts of a training: read, tokenised, split, and taken in an order that follows from seed and step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq

from workbench.corpus.chats.split import held_out_rows, prompt_key
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError
from workbench.recipes.reinforcement import ReinforcementRecipe

MOST_HELD_OUT = 64  # prompts that are answered at each evaluation
DERIVED_LENGTH = 1024  # tokens of a sequence, if nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Messages that end in a question, and their tokens, ready for the answer."""

    messages: list[dict[str, Any]]
    ids_L: np.ndarray
    tools: list[Any] | None = None

    @property
    def text(self) -> str:
        """The last message."""
        return str(self.messages[-1].get("content") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Those to learn on, those held out, and how many were left out because no room stayed for the answer."""

    train: list[Prompt]
    held_out: list[Prompt]
    too_long: int
    seed: int

    def batch(self, step: int, size: int) -> list[Prompt]:
        """The prompts of a step: passes over all of them one after another, each in an order of its own."""
        places = range(step * size, (step + 1) * size)
        count = len(self.train)
        orders = {number: self._order(number) for number in {place // count for place in places}}
        return [self.train[orders[place // count][place % count]] for place in places]

    def _order(self, number: int) -> np.ndarray:
        return np.random.default_rng((self.seed, number)).permutation(len(self.train))


def longest_sequence(recipe: ReinforcementRecipe, context: int) -> int:
    """Tokens of a prompt with its answer, at most; `context` is the smallest that reads both.

    Raises `WorkbenchError` if answers alone would fill it, or --max-length is beyond the context.
    """
    length = recipe.max_length or min(DERIVED_LENGTH, context)
    answer = recipe.generation.max_completion_length
    if length > context:
        raise WorkbenchError(
            f"max_length is {length:,} tokens, and the models read {context:,}.",
            f"Set --max-length to {context} at most.",
        )
    if answer >= length:
        raise WorkbenchError(
            f"Answers of {answer:,} tokens leave no room for a prompt: a sequence can have {length:,} tokens.",
            f"Set --max-completion-length to {length // 2} or less.",
        )
    return length


def warn_of_prompts(prompts: Prompts, recipe: ReinforcementRecipe, length: int, needed: int) -> list[str]:
    """What is odd about them and no reason to end; `needed` are answered in an iteration."""
    answer = recipe.generation.max_completion_length
    messages = []
    if prompts.too_long:
        messages.append(
            f"{prompts.too_long:,} prompts are longer than {length - answer:,} tokens, which is what an answer of "
            f"{answer:,} leaves, and are left out."
        )
    if len(prompts.train) < needed:
        messages.append(f"There are only {len(prompts.train):,} prompts to learn on: each iteration repeats some.")
    return messages


def read_prompts(folder: Path, tokenizer: ChatTokenizer, *, longest: int, fraction: float, seed: int) -> Prompts:
    """The prompts of the conversations in `folder`: their messages up to the last question.

    Prompts over `longest` tokens are left out. Raises `WorkbenchError` if too few are left to learn from.
    """
    prompts, too_long = [], 0
    table = pq.read_table(folder / "conversations.parquet", columns=["messages", "tools"])
    seen: set[str] = set()
    for row in table.to_pylist():
        messages = orjson.loads(row["messages"])
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        key = f"{orjson.dumps(messages).decode()}{row['tools']}"
        if not messages or key in seen:
            continue
        seen.add(key)
        tools = orjson.loads(row["tools"]) if row["tools"] else None
        prompt = Prompt(messages=messages, ids_L=tokenizer.prompt(messages, tools), tools=tools)
        if len(prompt.ids_L) > longest:
            too_long += 1
        else:
            prompts.append(prompt)
    out = held_out_rows([prompt_key(prompt.messages) for prompt in prompts], fraction, seed)
    train = [prompt for prompt, is_out in zip(prompts, out, strict=True) if not is_out]
    held_out = [prompt for prompt, is_out in zip(prompts, out, strict=True) if is_out]
    if not train or not held_out:
        left_out = f", after {too_long:,} of more than {longest:,} tokens were left out" if too_long else ""
        raise WorkbenchError(
            f"There are {len(prompts)} prompts{left_out}, and at least two are needed: to learn from, and to hold out.",
            "Raise --max-length, or lower --max-completion-length." if too_long else "Give more prompts.",
        )
    return Prompts(train=train, held_out=held_out[:MOST_HELD_OUT], too_long=too_long, seed=seed)
