"""The loop that writes many answers at once: left-padded prompts, one key-value cache, finished rows left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache


class Written(NamedTuple):
    """One token of each row that is still in the cache; A of all B prompts. Tensors lie on the model's device."""

    rows_A: torch.Tensor  # which of the prompts
    ids_A: torch.Tensor
    writing_A: torch.Tensor  # bool: rows that had ended before have a token too, which means nothing
    ended_A: torch.Tensor  # bool: those whose answer ends with this token


def decode(
    model: Any,
    prompts: Sequence[Sequence[int] | np.ndarray],
    draw: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor],
    *,
    max_tokens: int,
    ends: Collection[int],
    pad_id: int = 0,
    most_ended: float = 0.5,
) -> Iterator[Written]:
    """The answers to B prompts, token after token, until each has one of `ends` or all have `max_tokens`.

    `draw(logits_AV, rows_A, place)` chooses the ids of token `place`. Rows that have ended leave once they are
    `most_ended` of those in the cache: moving it costs about as much as a token.
    """
    device = next(model.parameters()).device
    count, width = len(prompts), max(len(prompt) for prompt in prompts)
    ids_BP = torch.full((count, width), pad_id)
    for row, prompt in enumerate(prompts):
        ids_BP[row, width - len(prompt) :] = torch.from_numpy(np.asarray(prompt, np.int64))
    lengths_B = torch.tensor([len(prompt) for prompt in prompts])
    # Columns of the prompts, then one for each token.
    seen_BL = (torch.arange(width + max_tokens) >= width - lengths_B[:, None]).to(device)
    ends_E = torch.tensor(sorted(ends), dtype=torch.int64, device=device)
    padded = bool((lengths_B < width).any())  # without padding attention is plainly causal, which needs no mask
    cache = DynamicCache(config=model.config)
    rows_A = torch.arange(count, device=device)
    writing_A = torch.ones(count, dtype=torch.bool, device=device)
    fed_AL = ids_BP.to(device)
    positions_AL = (seen_BL[:, :width].long().cumsum(1) - 1).clamp_min(0)
    for place in range(max_tokens):
        logits_AV = model(
            input_ids=fed_AL,
            attention_mask=seen_BL[rows_A, : width + place] if padded else None,
            position_ids=positions_AL,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        drawn_A = draw(logits_AV, rows_A, place)
        ended_A = writing_A & torch.isin(drawn_A, ends_E)
        yield Written(rows_A, drawn_A, writing_A, ended_A)
        writing_A = writing_A & ~ended_A
        left = int(writing_A.sum())
        if not left:
            return
        if left < len(rows_A) and len(rows_A) - left >= most_ended * len(rows_A):
            kept = writing_A.nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            rows_A, writing_A, drawn_A, positions_AL = rows_A[kept], writing_A[kept], drawn_A[kept], positions_AL[kept]
        fed_AL, positions_AL = drawn_A[:, None], positions_AL[:, -1:] + 1
