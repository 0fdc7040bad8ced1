"""What a training will take: refused before it starts, or timed on a few micro-batches."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from engines.pytorch import device as devices
from engines.pytorch.sequences import Sequences
from workbench.corpus.packing import Batches
from workbench.errors import WorkbenchError
from workbench.recipes.estimate import PROCESS_BYTES, estimate
from workbench.recipes.pretrain import SIZES, PretrainRecipe

LONG_SECONDS = 10.0  # a micro-batch that takes longer is timed once


def refuse_what_cannot_fit(recipe: PretrainRecipe, vocab_size: int, device: torch.device, processes_here: int) -> None:
    """Raises `WorkbenchError`, naming what to lower, if the estimate exceeds the free memory of the device."""
    free = devices.free_memory_bytes(device)
    if device.type == "cpu":
        free //= processes_here  # they share it
    free += PROCESS_BYTES  # the estimate counts what this process has already
    needed = estimate(recipe, vocab_size).memory_bytes
    if needed <= free:
        return
    micro = recipe.batch.per_device_batch_size or 1
    remedy = _smaller(recipe)
    while micro > 1:
        micro //= 2
        batch = recipe.batch.model_copy(update={"per_device_batch_size": micro})
        if estimate(recipe.model_copy(update={"batch": batch}), vocab_size).memory_bytes <= free:
            remedy = f"Lower --per-device-batch-size to {micro}: the batch of a step stays the same."
            break
    raise WorkbenchError(
        f"The training needs about {needed / 2**30:.1f} GiB of memory; {device} has {free / 2**30:.1f} GiB free.",
        remedy,
    )


def _smaller(recipe: PretrainRecipe) -> str:
    """What to lower when not one sequence fits: the size, unless other numbers have overruled it."""
    shape, model = SIZES[recipe.model.size], recipe.model
    by_hand = [
        f"--{name.replace('_', '-')}"
        for name in ("hidden_size", "num_hidden_layers")
        if (getattr(model, name) or 0) > getattr(shape, name)
    ]
    if not by_hand:
        return "Choose a smaller --size, or lower --max-length."
    return f"Lower {' or '.join(by_hand)}, set above what --size {recipe.model.size} has, or --max-length."


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
