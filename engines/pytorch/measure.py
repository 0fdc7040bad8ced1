"""What a training will take, timed on a few micro-batches."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from engines.pytorch.sequences import Sequences
from workbench.corpus.mixture import Batches

LONG_SECONDS = 10.0  # a micro-batch that takes longer is timed once


def measured_seconds(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    sequences: Sequences,
    *,
    micro_batch: int,
    micro_batches: int,
) -> float:
    """Seconds of an optimizer step of `micro_batches`, from the first batch, after a warm-up.

    The training does not notice: the optimizer works at a rate of 0, and its state is dropped again.
    """
    windows_BL1 = batches.global_batch(0)[:micro_batch]

    def micro_step() -> float:
        begin = time.perf_counter()
        scale = torch.full((), 1 / max(1, sequences.trained_targets(windows_BL1)), device=sequences.device)
        loss = network(*sequences.inputs(windows_BL1), scale)
        loss.backward()
        loss.item()
        return time.perf_counter() - begin

    seconds = micro_step()
    if seconds < LONG_SECONDS:
        seconds = min(micro_step(), micro_step())
    update = min(_update(optimizer), _update(optimizer))
    optimizer.zero_grad(set_to_none=True)
    optimizer.state.clear()
    return seconds * micro_batches + update


def _update(optimizer: torch.optim.Optimizer) -> float:
    groups: list[dict[str, Any]] = optimizer.param_groups
    assert all(group["lr"] == 0 for group in groups)
    device = groups[0]["params"][0].device
    begin = time.perf_counter()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
