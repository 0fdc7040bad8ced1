"""What a stage of post-training will take, from its recipe and its base model's shape. No library: the TUI's form asks
at every key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.recipes.estimate import LOGITS_BYTES, PROCESS_BYTES
from workbench.recipes.preference import DpoRecipe, KtoRecipe, PreferenceRecipe
from workbench.recipes.reinforcement import GrpoRecipe, PpoRecipe, ReinforcementRecipe
from workbench.recipes.sft import ContinueRecipe, SftRecipe
from workbench.recipes.tuning import DERIVED_LENGTH, TuningRecipe

QUANTIZED_BYTES = {"nf4": 0.53, "mlx-4bit": 0.5625, "mlx-8bit": 1.0625}  # a weight, with its scales
TRAINED_BYTES = 16  # a weight in float32, its gradient and AdamW's two moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of a decoder as Llama and Qwen3 are. `layers` are (output, input) widths by the ends of the linear layers'
    names, in each of `depth` blocks."""

    width: int
    depth: int
    inner: int
    vocab_size: int
    context_length: int
    tied: bool
    layers: Mapping[str, tuple[int, int]]

    @property
    def linear(self) -> int:
        """Weights of the blocks' linear layers."""
        return self.depth * sum(output * given for output, given in self.layers.values())

    @property
    def parameters(self) -> int:
        """All weights, with those of the norms."""
        embeddings = self.vocab_size * self.width * (1 if self.tied else 2)
        return self.linear + embeddings + self.width * (2 * self.depth + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningEstimate:
    """`memory_bytes` is a device's peak. `steps` is None where the rows are not known; then `tokens` is, too."""

    parameters: int
    trained: int  # of the weights, or the adapter's
    steps: int | None
    sequences: int  # an optimizer step
    length: int  # tokens that a sequence is cut to
    memory_bytes: int


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """From a Hugging Face config.json; None for an architecture that says its sizes in another way."""
    config = config.get("text_config") or config
    try:
        width, depth, heads = (
            int(config[name]) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")
        )
        inner, vocab_size = int(config["intermediate_size"]), int(config["vocab_size"])
        groups = int(config.get("num_key_value_heads") or heads)
        head = int(config.get("head_dim") or width // heads)
        context = int(config.get("max_position_embeddings") or DERIVED_LENGTH)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    layers = {
        "q_proj": (heads * head, width), "k_proj": (groups * head, width), "v_proj": (groups * head, width),
        "o_proj": (width, heads * head), "gate_proj": (inner, width), "up_proj": (inner, width),
        "down_proj": (width, inner),
    }  # fmt: skip
    return Shape(
        width=width, depth=depth, inner=inner, vocab_size=vocab_size, context_length=context,
        tied=bool(config.get("tie_word_embeddings", True)), layers=layers,
    )  # fmt: skip


def adapter_parameters(shape: Shape, rank: int, targets: list[str], *, dora: bool = False) -> int:
    """Weights of LoRA's matrices: rank · (output + input) of every layer that has them (Hu et al. 2021), and of each
    output's length (DoRA)."""
    chosen = [
        sizes
        for name, sizes in shape.layers.items()
        if "all-linear" in targets or any(target.endswith(name) for target in targets)
    ]
    return shape.depth * sum(rank * (output + given) + output * dora for output, given in chosen)


def tuning_estimate(
    recipe: TuningRecipe, shape: Shape, *, rows: int | None = None, parameters: int | None = None
) -> TuningEstimate:
    """Of a resolved recipe. `rows` is how many conversations, pairs or documents there are; `parameters` of the base
    if they are known better than its shape says.

    The memory is somewhat above what was measured: 4.54 GB where 4.07 were needed (all weights of SmolLM2-135M,
    4 packed sequences of 256 tokens, CPU), 3.01 where 2.46 were (LoRA).
    """
    adapter, batch = recipe.adapter, recipe.batch
    whole = parameters or shape.parameters
    adapted = adapter.lora_rank is not None
    trained = whole
    if adapter.lora_rank:
        trained = adapter_parameters(shape, adapter.lora_rank, adapter.target_modules, dora=adapter.use_dora)
    length = recipe.max_length or min(DERIVED_LENGTH, shape.context_length)
    sequences = batch.batch_size or recipe.batch_sequences
    return TuningEstimate(
        parameters=whole,
        trained=trained,
        steps=_steps(recipe, sequences, rows),
        sequences=sequences,
        length=length,
        memory_bytes=int(
            PROCESS_BYTES
            + _weights(recipe, shape, whole, trained, adapted=adapted)
            + _activations(recipe, shape, length, batch.per_device_batch_size or sequences)
        ),
    )


def _steps(recipe: TuningRecipe, sequences: int, rows: int | None) -> int | None:
    """At most: packing puts several rows into a sequence."""
    if recipe.schedule.max_steps is not None:
        return recipe.schedule.max_steps
    if rows is None:
        return None
    if isinstance(recipe, SftRecipe):
        held_out = recipe.conversations.validation_fraction
    elif isinstance(recipe, ContinueRecipe | PreferenceRecipe | ReinforcementRecipe):
        held_out = recipe.validation_fraction
    else:
        held_out = 0.0
    return max(1, math.ceil(rows * (1 - held_out) * recipe.schedule.num_train_epochs / sequences))


def _weights(recipe: TuningRecipe, shape: Shape, whole: int, trained: int, *, adapted: bool) -> float:
    """Bytes of the weights of all models that are held, with gradients and moments of those that are trained."""
    half = recipe.precision.dtype == "bfloat16"
    number = 2 if half else 4
    each = QUANTIZED_BYTES.get(recipe.adapter.quantize_base, number)
    frozen = shape.linear * each + (whole - shape.linear) * number
    policy = frozen + trained * TRAINED_BYTES if adapted else trained * (TRAINED_BYTES + (2 if half else 0))
    # An adapter that is off is the base: the reference needs no weights of its own then.
    compares = (
        isinstance(recipe, KtoRecipe | PpoRecipe)
        or (isinstance(recipe, DpoRecipe) and recipe.loss_type != "simpo")
        or (isinstance(recipe, GrpoRecipe) and recipe.beta > 0)
    )
    more: float = whole * number if compares and not adapted else 0
    if isinstance(recipe, PpoRecipe):  # a value model like the policy, and the reward model, taken to be as large
        more += policy + whole * number
    elif isinstance(recipe, GrpoRecipe):
        more += whole * number * sum(bool(judge) for judge in (recipe.reward, recipe.judge))
    return policy + more


def _activations(recipe: TuningRecipe, shape: Shape, length: int, device: int) -> float:
    """Bytes of what autograd saves, and of the logits with their gradient; as of pretraining, see `estimate`."""
    number = 2 if recipe.precision.dtype == "bfloat16" else 4
    if isinstance(recipe, ReinforcementRecipe):
        length = min(length, recipe.generation.longest * 2)  # prompts are about as long as answers
    answers = 2 if isinstance(recipe, PreferenceRecipe) and not isinstance(recipe, KtoRecipe) else 1
    tokens = device * answers * length
    block = 8.5 * shape.width + 4 * shape.inner
    if recipe.precision.gradient_checkpointing:
        kept = shape.depth * shape.width + block
    else:
        kept = shape.depth * block
    return tokens * (kept + 4 * shape.width) * number + min(tokens * shape.vocab_size * 12, LOGITS_BYTES)
