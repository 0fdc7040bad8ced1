"""What is counted of judged answers, whichever library computes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.corpus.chats.encoded import Encoded
from workbench.corpus.chats.pairs import Pair
from workbench.corpus.chats.split import prompt_key
from workbench.corpus.chats.training_data import Judged

Row = tuple[Encoded, ...]
"""A chosen and a rejected answer with their prompt, or one that is marked."""


def row_tokens(row: Row) -> int:
    return sum(len(item.ids_L) for item in row)


def mean_step_tokens(data: Judged[Any], batch_size: int) -> int:
    """Of a typical step."""
    return int(sum(map(row_tokens, data.train)) / len(data.train) * batch_size)


def judged_report(data: Judged[Any]) -> dict[str, Any]:
    """What the manifest says of the data."""
    return {
        "rows": len(data.train),
        "held_out_rows": len(data.held_out),
        "held_out_prompts": len({prompt_key(item.prompt) for item in data.held_out_items}),
        "cut": data.cut,
        "untrained": data.untrained,
    }


def reward_report(data: Judged[Any], by_prompt: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What length alone would score, and how likely the accuracy is by chance; `by_prompt` as of `right_by_prompt`."""
    pairs = [(len(row[0].ids_L), len(row[1].ids_L)) for row in data.held_out]
    longer = sum(1.0 if chosen > rejected else 0.5 * (chosen == rejected) for chosen, rejected in pairs)
    seen_P = [(right, count) for right, count in by_prompt if count]
    return {
        "length_only_accuracy": longer / len(pairs),
        "eval_rows": sum(count for _, count in seen_P),
        "eval_prompts": len(seen_P),
        "p_value": p_value([right for right, _ in seen_P], [count for _, count in seen_P]),
    }


def right_by_prompt(held_out: Sequence[Pair], seen: Sequence[Pair], right: Sequence[bool]) -> np.ndarray:
    """[right, pairs] of each prompt of `held_out`, of the pairs that were `seen`: int64 [prompts, 2]."""
    numbers = {key: place for place, key in enumerate(dict.fromkeys(prompt_key(item.prompt) for item in held_out))}
    sums_P2 = np.zeros((len(numbers), 2), np.int64)
    for item, won in zip(seen, right, strict=True):
        sums_P2[numbers[prompt_key(item.prompt)]] += [won, 1]
    return sums_P2


def p_value(right_P: Sequence[int], pairs_P: Sequence[int]) -> float:
    """The chance of at least as many right pairs by tossing a coin for each of P prompts, whose pairs stand or fall
    together: answers to one question are alike, so that its pairs are no independent trials.

    The exact sign-flip test (Fisher 1935) of each prompt's surplus, right less wrong. Where every prompt has one pair
    it is the binomial tail.
    """
    surplus_P = 2 * np.asarray(right_P, np.int64) - np.asarray(pairs_P, np.int64)
    sizes, counts = np.unique(np.abs(surplus_P[surplus_P != 0]), return_counts=True)
    # Of the sum of all surpluses with random signs: the chance of each value, from -span to span.
    span, chances = 0, np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        heads = np.arange(count + 1)
        logs = [math.lgamma(count + 1) - math.lgamma(n + 1) - math.lgamma(count - n + 1) for n in heads.tolist()]
        steps = np.zeros(2 * size * count + 1)
        steps[2 * size * heads] = np.exp(np.array(logs) - count * math.log(2))
        chances, span = np.convolve(chances, steps), span + size * count
    return float(min(1.0, chances[span + int(surplus_P.sum()) :].sum()))
