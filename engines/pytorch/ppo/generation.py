"""Many answers at once: left-padded prompts of similar length, one key-value cache, finished answers left out.

A row's draws are given as uniform numbers, one for each token that it may write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from engines.pytorch.decoding import decode
from engines.reinforcement.answers import Drawing

# Of keys and values for the answers that are written at once.
CACHE_BYTES = {"cpu": 1 << 30, "cuda": 8 << 30}


def write_answers(
    model: Any,
    prompts: Sequence[np.ndarray],
    uniform_RT: torch.Tensor,
    drawing: Drawing,
) -> list[np.ndarray]:
    """The ids of an answer to each of R prompts, int64 [its length].

    `model` is transformers', perhaps with an adapter, without dropout. `uniform_RT` are float64 in [0, 1).
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    answers: list[np.ndarray] = [np.empty(0, np.int64)] * len(prompts)
    while order:
        rows = _rows_at_once(model, prompts, order, drawing.max_tokens)
        chosen, order = order[:rows], order[rows:]
        written = _write_batch(model, [prompts[row] for row in chosen], uniform_RT[chosen], drawing)
        for row, answer in zip(chosen, written, strict=True):
            answers[row] = answer
    return answers


@torch.no_grad()
def _write_batch(
    model: Any,
    prompts: Sequence[np.ndarray],
    uniform_BT: torch.Tensor,
    drawing: Drawing,
) -> list[np.ndarray]:
    device, count = next(model.parameters()).device, len(prompts)
    uniform_BT = uniform_BT.to(device)
    written_BT = torch.full((count, drawing.max_tokens), drawing.pad_id, device=device)
    lengths_B = torch.full((count,), drawing.max_tokens, device=device)

    def drawn(logits_AV: torch.Tensor, rows_A: torch.Tensor, place: int) -> torch.Tensor:
        return draw(logits_AV.float() / drawing.temperature, uniform_BT[rows_A, place])

    tokens = decode(model, prompts, drawn, max_tokens=drawing.max_tokens, ends=drawing.end_ids, pad_id=drawing.pad_id)
    for place, written in enumerate(tokens):
        written_BT[written.rows_A, place] = written.ids_A
        lengths_B[written.rows_A[written.ended_A]] = place + 1
    lengths = lengths_B.tolist()
    return [row[:length] for row, length in zip(written_BT.cpu().numpy(), lengths, strict=True)]


def draw(logits_BV: torch.Tensor, uniform_B: torch.Tensor) -> torch.Tensor:
    """The id whose share of the summed probabilities holds each uniform number (inverse transform sampling)."""
    cumulative_BV = logits_BV.softmax(-1).cumsum(-1, dtype=torch.float64)
    total_B1 = cumulative_BV[:, -1:]
    # Below the sum of all, so that rounding never chooses beyond the last id that has a probability.
    places_B1 = torch.minimum(uniform_B[:, None] * total_B1, torch.nextafter(total_B1, torch.zeros_like(total_B1)))
    return torch.searchsorted(cumulative_BV, places_B1, right=True).squeeze(1).clamp_max(logits_BV.shape[1] - 1)


def _rows_at_once(model: Any, prompts: Sequence[np.ndarray], order: Sequence[int], max_tokens: int) -> int:
    """How many of the prompts, from the shortest in `order`, have room in the cache."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    parameter = next(model.parameters())
    token_bytes = 2 * config.num_hidden_layers * heads * width * 4
    rows = 1
    while rows < len(order):
        longest = len(prompts[order[rows]]) + max_tokens
        if (rows + 1) * longest * token_bytes > CACHE_BYTES[parameter.device.type]:
            break
        rows += 1
    return rows
