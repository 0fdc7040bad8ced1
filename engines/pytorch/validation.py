"""Loss and bits per byte on held-out text, and texts that the model writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import torch

from engines.held_out import Tally
from engines.pytorch.decoder import TrainingModel
from engines.pytorch.distributed import Processes
from engines.pytorch.generation import generate_ids
from engines.pytorch.sequences import Sequences
from engines.tokenizer import TextTokenizer
from workbench.contract import Sampling


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
) -> Tally | None:
    """Measure on all windows, shared among the ranks; None if `cancelled` (the same on every rank) said so."""
    tally = Tally()
    for start in range(0, len(windows_WL1), batch_size * processes.size):
        if cancelled():
            return None
        windows = windows_WL1[start : start + batch_size * processes.size]
        windows_BL1 = windows[processes.share(len(windows))]
        if not len(windows_BL1):
            continue
        tokens_BL, targets_BL, limits = sequences.inputs(windows_BL1)
        losses_BL = model.losses(tokens_BL, targets_BL, limits).double().cpu().numpy()
        tally.add(losses_BL, targets_BL.cpu().numpy(), token_bytes_V)
    return Tally(*processes.total(torch.tensor(astuple(tally), dtype=torch.float64)).tolist())


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
