"""Weights in MLX's own number formats of 4 and 8 bits: a scale and an offset for each group of a row's weights."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from engines.mlx.engine import BITS
from engines.mlx.lora import linear_layers
from workbench.errors import WorkbenchError

GROUPS = (64, 32)  # weights that share a scale: the first that divides a row; MLX has no smaller ones


def quantise_layers(model: nn.Module, weight_format: str) -> None:
    """Hold the linear layers that an adapter may sit on in `weight_format`; embeddings and output stay as they are.

    Raises `WorkbenchError` for another engine's format, or a layer of a width that MLX does not quantise.
    """
    require_format(weight_format)
    layers = linear_layers(model)
    for name, layer in layers.items():
        if group_size(layer) is None:
            raise WorkbenchError(
                f"{name} has rows of {layer.weight.shape[1]} weights, which MLX does not hold in {weight_format}: it "
                f"takes multiples of {GROUPS[-1]}.",
                "Leave out --quantize-base.",
            )

    def chosen(name: str, module: nn.Module) -> bool | dict[str, int]:
        return {"group_size": group_size(module) or 0, "bits": BITS[weight_format]} if name in layers else False

    nn.quantize(model, class_predicate=chosen)
    mx.eval(model.parameters())


def require_format(weight_format: str) -> None:
    """Raises `WorkbenchError` if MLX has no such format."""
    if weight_format not in BITS:
        raise WorkbenchError(f"The mlx engine holds no weights in {weight_format}.", f"It does in: {', '.join(BITS)}.")


def group_size(layer: Any) -> int | None:
    """How many weights of a row share a scale; None if MLX cannot quantise the layer."""
    return next((size for size in GROUPS if layer.weight.shape[-1] % size == 0), None)


def weight_count(model: nn.Module) -> int:
    """Weights of the model, however many bits each of them has."""
    found: dict[str, mx.array] = dict(tree_flatten(model.parameters()))  # type: ignore[arg-type]
    count = sum(item.size for item in found.values())
    for name, module in model.named_modules():
        if isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding):
            packed, *others = (found[f"{name}.{part}"].size for part in ("weight", "scales", "biases"))
            count += packed * 32 // module.bits - packed - sum(others)
    return count
