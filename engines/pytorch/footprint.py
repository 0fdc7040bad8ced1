"""What a post-training takes: memory before it starts, operations, and the sentence if it cannot fit."""

from __future__ import annotations

import math
from typing import Any

import torch

from engines.pytorch import device as devices
from engines.pytorch.policy import Policy
from workbench.contract import Estimated
from workbench.errors import WorkbenchError
from workbench.recipes.tuning import TuningRecipe

LOGITS_BYTES = 1 << 28  # a chunk of logits with its probabilities: see token_log_probs
BLOCK_WIDTHS = 14  # numbers of the residual width that autograd keeps of a block and token, in transformers' forward


def weight_count(model: Any) -> int:
    """How many weights `model` has: those in 4 bits lie two in a byte, and count as the two that they are."""
    packed = ((item, getattr(item, "quant_state", None)) for item in model.parameters())
    return sum(item.numel() if state is None else math.prod(state.shape) for item, state in packed)


def activation_bytes(policy: Policy, tokens: int, *, gradient_checkpointing: bool) -> int:
    """Of a forward pass over `tokens` that is kept for the backward pass.

    A block keeps about 14 numbers of the residual width and 4 of the MLP's a token; with gradient checkpointing
    its input alone, and one block in full while it is computed again.
    """
    config: Any = policy.plain.config.get_text_config()
    width = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * width
    layers = config.num_hidden_layers
    number = 2 if policy.dtype == torch.bfloat16 else 4
    block = BLOCK_WIDTHS * width + 4 * inner
    kept = layers * width + block if gradient_checkpointing else layers * block
    return tokens * kept * number


def memory_bytes(policy: Policy, recipe: TuningRecipe, *, micro_tokens: int, copies: int = 0) -> int:
    """Weights as they lie, gradients and two moments of the trained ones, activations, and a chunk of logits.

    `copies` are further whole models in float32, such as a reference.
    """
    weights = sum(item.numel() * item.element_size() for item in policy.model.parameters())
    trained = sum(item.numel() for item in policy.trained())
    everything = weight_count(policy.model)
    activations = activation_bytes(policy, micro_tokens, gradient_checkpointing=recipe.precision.gradient_checkpointing)
    half = 2 * trained if policy.dtype == torch.bfloat16 else 0  # autocast's copies
    return weights + 12 * trained + half + copies * 4 * everything + activations + LOGITS_BYTES


def refuse_what_cannot_fit(
    policy: Policy, recipe: TuningRecipe, *, micro_tokens: int, copies: int, processes_here: int
) -> None:
    """Raises `WorkbenchError`, naming what to lower, if what is still to be taken exceeds the free memory."""
    free = devices.free_memory_bytes(policy.device)
    if policy.device.type == "cpu":
        free //= processes_here
    weights = sum(item.numel() * item.element_size() for item in policy.model.parameters())
    needed = memory_bytes(policy, recipe, micro_tokens=micro_tokens, copies=copies) - weights  # they lie there already
    if needed <= free:
        return
    micro = recipe.batch.per_device_batch_size or 1
    if micro > 1:
        remedy = "Lower --per-device-batch-size: the batch of a step stays the same."
    elif not recipe.precision.gradient_checkpointing:
        remedy = "Use --gradient-checkpointing, or lower --max-length."
    elif not policy.adapted:
        remedy = "Train an adapter instead, with --lora-rank 16, or lower --max-length."
    else:
        remedy = "Lower --max-length, or choose a smaller model."
    raise WorkbenchError(
        f"The training needs about {needed / 2**30:.1f} GiB more memory; {policy.device} has {free / 2**30:.1f} GiB "
        "free.",
        remedy,
    )


def estimated(
    policy: Policy, recipe: TuningRecipe, *, tokens: int, micro_tokens: int, copies: int, seconds: float
) -> Estimated:
    """The event. FLOPs: 2 a weight and token forward, 2 for the gradient of the activations, and 2 of each trained
    weight's (Kaplan et al. 2020); a reference's forward pass too."""
    everything = weight_count(policy.model)
    trained = sum(item.numel() for item in policy.trained())
    flops = tokens * (4.0 * everything + 2.0 * trained + 2.0 * everything * copies)
    return Estimated(
        parameters=everything,
        memory_bytes=memory_bytes(policy, recipe, micro_tokens=micro_tokens, copies=copies),
        flops=flops,
        tokens=tokens,
        tokens_per_parameter=tokens / everything,
        seconds=seconds,
    )
