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
from workbench.wording import amount

MOST_HELD_OUT = 64  # prompts that are answered at each evaluation
FEW_HELD_OUT = 8  # the mean of fewer rewards moves by a third of their deviation or more from answer to answer


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

    def report(self) -> dict[str, int]:
        """What the manifest says of them."""
        return {
            "prompts": len(self.train),
            "held_out_prompts": len(self.held_out),
            "prompts_too_long": self.too_long,
        }

    def _order(self, number: int) -> np.ndarray:
        return np.random.default_rng((self.seed, number)).permutation(len(self.train))


def warn_of_prompts(prompts: Prompts, recipe: ReinforcementRecipe, needed: int) -> list[str]:
    """What is odd about them and no reason to end; `needed` are answered in an iteration. `recipe` is fitted."""
    messages = []
    if prompts.too_long:
        messages.append(
            f"{amount(prompts.too_long, 'prompts', 'are')} longer than {room_for_prompts(recipe):,} tokens, which is "
            f"what an answer of {recipe.generation.longest:,} leaves: left out."
        )
    if len(prompts.train) < needed:
        messages.append(f"Only {amount(len(prompts.train), 'prompts')} to learn on: each iteration repeats some.")
    if len(prompts.held_out) < FEW_HELD_OUT:
        messages.append(
            f"The held-out reward rests on {amount(len(prompts.held_out), 'prompts')}: it says little. More prompts, "
            "or a larger --validation-fraction, make it steadier."
        )
    return messages


def room_for_prompts(recipe: ReinforcementRecipe) -> int:
    """Tokens that the longest answer leaves for its prompt; `recipe` is fitted."""
    return (recipe.max_length or 0) - recipe.generation.longest


def prompts_of(recipe: ReinforcementRecipe, folder: Path, tokenizer: ChatTokenizer) -> Prompts:
    """Those that a fitted recipe leaves room for; as `read_prompts`."""
    return read_prompts(
        folder,
        tokenizer,
        longest=room_for_prompts(recipe),
        fraction=recipe.validation_fraction,
        seed=recipe.seed,
    )


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
        left_out = f", {too_long:,} have over {longest:,} tokens" if too_long else ""
        raise WorkbenchError(
            f"{len(prompts)} of the {amount(len(prompts) + too_long, 'prompts')} can be used{left_out}; at least two "
            "are needed: to learn from, and to hold out.",
            "Raise --max-length, or lower --max-completion-length." if too_long else "Give more prompts.",
        )
    return Prompts(train=train, held_out=held_out[:MOST_HELD_OUT], too_long=too_long, seed=seed)
