"""Loss and bits per byte on held-out text, and texts that the model writes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from engines.pytorch.decoder import TrainingModel
from engines.pytorch.distributed import Processes
from engines.pytorch.generation import generate_ids
from engines.pytorch.sequences import Sequences
from engines.pytorch.tokenizer import TextTokenizer
from workbench.contract import Sampling


@dataclass(frozen=True, slots=True)
class Validation:
    """What was measured: `loss` in nats per token, over `tokens` targets."""

    loss: float
    bits_per_byte: float
    tokens: int


@torch.no_grad()
def validate(
    model: TrainingModel,
    windows_WL1: np.ndarray,
    sequences: Sequences,
    token_bytes_V: np.ndarray,
    *,
    batch_size: int,
    processes: Processes,
    cancelled: Callable[[], bool],
) -> Validation | None:
    """Measure on all windows, shared among the ranks; None if `cancelled` (the same on every rank) said so.

    Bits per byte are ΣNLL / (ln 2 · UTF-8 bytes) over the tokens of text, those with bytes in `token_bytes_V`;
    the loss also counts `<|eos|>`.
    """
    nats = text_nats = 0.0
    count = text_bytes = 0
    for start in range(0, len(windows_WL1), batch_size * processes.size):
        if cancelled():
            return None
        windows = windows_WL1[start : start + batch_size * processes.size]
        windows_BL1 = windows[processes.share(len(windows))]
        if not len(windows_BL1):
            continue
        tokens_BL, targets_BL, limits = sequences.inputs(windows_BL1)
        losses_BL = model.losses(tokens_BL, targets_BL, limits).double().cpu().numpy()
        targets = targets_BL.cpu().numpy()
        bytes_BL = np.where(targets >= 0, token_bytes_V[targets.clip(0)], 0)
        nats += float(losses_BL.sum())
        text_nats += float(losses_BL[bytes_BL > 0].sum())
        count += int((targets >= 0).sum())
        text_bytes += int(bytes_BL.sum())
    sums = processes.total(torch.tensor([nats, text_nats, count, text_bytes], dtype=torch.float64)).tolist()
    return Validation(
        loss=sums[0] / max(1, sums[2]),
        bits_per_byte=sums[1] / (math.log(2) * max(1, sums[3])),
        tokens=int(sums[2]),
    )


def write_sample(model: TrainingModel, tokenizer: TextTokenizer, prompt: str, max_tokens: int) -> str:
    """The model's continuation of `prompt`; the same draws each time, so that samples show the model's change."""
    context = model.causal_lm.config.max_position_embeddings
    ids = [tokenizer.bos, *tokenizer.encode(prompt, special=False)] if tokenizer.bos is not None else []
    ids = ids[: context - 1]
    sampling = Sampling(max_tokens=min(max_tokens, context - len(ids)), seed=0)
    written = []
    device: str = model.cosines_L1J.device.type
    with torch.autocast(device, torch.bfloat16, enabled=model.dtype == torch.bfloat16):
        for token in generate_ids(model.causal_lm, ids, sampling):
            if token == tokenizer.eos:
                break
            written.append(token)
    return tokenizer.decode(written)
