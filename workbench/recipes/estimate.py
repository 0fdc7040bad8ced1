"""What a pretraining will take, from its recipe alone. No library: the TUI's form asks at every key."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.recipes.pretrain import PretrainRecipe

LOGITS_BYTES = 1 << 30  # at most, with their gradient
PROCESS_BYTES = 400 << 20  # an engine's process with PyTorch in it, before it holds a model: measured, 381 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """`memory_bytes` is a device's peak: the process itself, weights, gradients, optimizer, activations, logits."""

    parameters: int
    tokens_per_step: int
    tokens: int  # trained on in the whole run
    flops_per_token: float  # forward and backward
    flops: float
    memory_bytes: int
    tokens_per_parameter: float


def estimate(recipe: PretrainRecipe, vocab_size: int) -> Estimate:
    """Counts for a resolved recipe and a vocabulary.

    FLOPs per token are 6·N + 12·layers·width·length (Chowdhery et al. 2022, appendix B; N without
    the input embeddings unless tied, where the output uses them).
    """
    model, batch = recipe.model, recipe.batch
    width, layers, length = model.hidden_size or 0, model.num_hidden_layers or 0, model.max_length or 0
    heads, groups, inner = model.num_attention_heads or 1, model.num_key_value_heads or 1, model.intermediate_size or 0
    head = width // heads
    attention = width * heads * head * 2 + width * groups * head * 2
    norms = 2 * width + (2 * head if model.architecture == "qwen3" else 0)
    blocks = layers * (attention + 3 * width * inner + norms) + width
    embeddings = vocab_size * width
    parameters = blocks + embeddings * (1 if model.tie_word_embeddings else 2)
    flops_per_token = 6.0 * (blocks + embeddings) + 12.0 * layers * width * length
    tokens_per_step = (batch.batch_size or 1) * length
    tokens = tokens_per_step * recipe.schedule.max_steps
    micro = (batch.per_device_batch_size or 1) * length
    half = recipe.precision.dtype == "bfloat16"
    number = 2 if half else 4
    # Counted on tensors that autograd saved: a block keeps 8.4 widths (with normed queries and keys 10.4)
    # and 4 MLP widths a token.
    widths = 10.5 if model.architecture == "qwen3" else 8.5
    activations = micro * (layers * (widths * width + 4 * inner) + 4 * width) * number
    if recipe.data.packing == "documents":
        activations += micro * length * 5  # the mask, as booleans and as numbers
    # Logits exist a chunk at a time: see engines/pytorch/loss.py.
    logits = min(micro * vocab_size * 12, LOGITS_BYTES) + embeddings * (4 + number)
    # Weights, gradients and two moments in float32; bfloat16 copies of the weights.
    memory = PROCESS_BYTES + parameters * (18 if half else 16) + activations + logits
    return Estimate(
        parameters=parameters,
        tokens_per_step=tokens_per_step,
        tokens=tokens,
        flops_per_token=flops_per_token,
        flops=flops_per_token * tokens,
        memory_bytes=int(memory),
        tokens_per_parameter=tokens / parameters,
    )
