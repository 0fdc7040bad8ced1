"""LoRA and DoRA on MLX's linear layers, read from and written to PEFT's files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.dora import DoRALinear
from mlx_lm.tuner.lora import LoRALinear

from engines.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from engines.mlx.folders import LORA_PREFIX, read_weights
from workbench import durable
from workbench.errors import WorkbenchError
from workbench.recipes.tuning import AdapterSection

PARTS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}
"""MLX's name for a part of an adapter -> PEFT's."""
OUTPUTS = {"lm_head", "score", "embed_out"}  # which an adapter is not put on


class Dora(DoRALinear):
    """mlx-lm's layer with PEFT's dropout."""

    def __init__(self, layer: nn.Linear | nn.QuantizedLinear, *, rank: int, dropout: float, scale: float):
        outputs, inputs = layer.weight.shape
        if isinstance(layer, nn.QuantizedLinear):
            inputs = inputs * 32 // layer.bits
        super().__init__(inputs, outputs, r=rank, dropout=dropout, scale=scale)
        self.set_linear(layer)

    def __call__(self, x: mx.array) -> mx.array:
        """W x + (k - 1) W x' + k · scale · B A x', where x' is x after dropout and k the magnitudes over the norms of
        the rows of W + scale · B A. mlx-lm has x in the place of the first x'."""
        dropped = self.dropout(x)
        if dropped is x:
            return super().__call__(x)
        weight_OI = self._dequantized_weight()
        norm_O = mx.linalg.norm(weight_OI + (self.scale * self.lora_b.T) @ self.lora_a.T, axis=1)
        factor_O = (self.m / mx.stop_gradient(norm_O)).astype(x.dtype)
        added = (self.scale * (dropped @ self.lora_a) @ self.lora_b).astype(x.dtype)
        return self.linear(x) + (factor_O - 1) * (dropped @ weight_OI.T) + factor_O * added


def linear_layers(model: nn.Module) -> dict[str, nn.Linear | nn.QuantizedLinear]:
    """By name, those that an adapter may be put on."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.QuantizedLinear) and name.rpartition(".")[2] not in OUTPUTS
    }


def add_lora(model: nn.Module, section: AdapterSection, *, seed: int) -> None:
    """Put a new adapter (LoRA, Hu et al. 2021; DoRA, Liu et al. 2024), drawn from `seed`, on the model's layers, and
    freeze all else.

    Raises `WorkbenchError` naming the layers that there are if the section's fit none.
    """
    assert section.lora_rank is not None
    layers: dict[str, Any] = linear_layers(model)
    names = section.target_modules
    ends = sorted({name.rpartition(".")[2] for name in layers})
    if names != ["all-linear"]:
        if wrong := sorted({name.rpartition(".")[2] for name in names} - set(ends)):
            raise WorkbenchError(
                f"No layer of the model is called {' or '.join(wrong)}.",
                f"Choose target_modules from: {', '.join(ends)}; or all-linear.",
            )
        layers = {
            name: layer
            for name, layer in layers.items()
            if any(name == target or name.endswith(f".{target}") for target in names)
        }
    model.freeze()
    rank = section.lora_rank
    scale = (section.lora_alpha or 2.0 * rank) / rank
    keys = mx.random.split(mx.random.key(seed), len(layers))
    dropout = section.lora_dropout
    adapted = []
    for (name, layer), key in zip(layers.items(), keys, strict=True):
        lora: Any = (
            Dora(layer, rank=rank, dropout=dropout, scale=scale)
            if section.use_dora
            else LoRALinear.from_base(layer, r=rank, dropout=dropout, scale=scale)
        )
        # As PEFT's: uniform within 1 / sqrt(inputs), the second matrix zero.
        bound = lora.lora_a.shape[0] ** -0.5
        lora.lora_a = mx.random.uniform(-bound, bound, lora.lora_a.shape, key=key)
        adapted.append((name, lora))
    model.update_modules(tree_unflatten(adapted))
    if "score" in model:  # a reward model's head is new: it is trained as a whole
        model.score.unfreeze()


@contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """The base as it was, without dropout: the reference of DPO."""
    adapted: Any = [(name, item) for name, item in model.named_modules() if isinstance(item, LoRALinear | DoRALinear)]
    model.update_modules(tree_unflatten([(name, item.linear) for name, item in adapted]))
    try:
        yield
    finally:
        model.update_modules(tree_unflatten(adapted))


def adapter_weights(model: nn.Module) -> dict[str, mx.array]:
    """PEFT's names -> weights in PEFT's layout: A [rank, inputs], B [outputs, rank], DoRA's magnitudes [outputs].

    A reward model's head, which is trained as a whole, keeps its name.
    """
    found: dict[str, mx.array] = {}
    for name, item in trained(model).items():
        place, _, kind = name.rpartition(".")
        if kind in PARTS:
            found[f"{LORA_PREFIX}{place}.{PARTS[kind]}"] = mx.contiguous(item.T)
        else:
            found[f"{LORA_PREFIX}{name}"] = item
    return found


def load_adapter_weights(model: nn.Module, path: Path) -> None:
    """The inverse of `adapter_weights`, from a file."""
    own = {theirs.removesuffix(".weight"): name for name, theirs in PARTS.items()}
    loaded = []
    for name, item in read_weights(path).items():
        place, _, kind = name.removeprefix(LORA_PREFIX).removesuffix(".weight").rpartition(".")
        whole = kind not in own
        loaded.append(
            (name.removeprefix(LORA_PREFIX), item) if whole else (f"{place}.{own[kind]}", mx.contiguous(item.T))
        )
    model.load_weights(loaded, strict=False)


def save_adapter(model: nn.Module, section: AdapterSection, folder: Path, base: Path) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`; `base` is the folder that it was made on."""
    weights = adapter_weights(model)
    ends = sorted({name.split(".")[-3] for name in weights if name.endswith("lora_A.weight")})
    every = section.target_modules == ["all-linear"]
    durable.write_json(
        folder / ADAPTER_CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "SEQ_CLS" if "score" in model else "CAUSAL_LM",
            "modules_to_save": ["classifier", "score"] if "score" in model else None,
            "base_model_name_or_path": os.path.relpath(base.resolve(), folder.resolve()),
            "r": section.lora_rank,
            "lora_alpha": section.lora_alpha,
            "lora_dropout": section.lora_dropout,
            "target_modules": ends if every else section.target_modules,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "init_lora_weights": True,
            "use_dora": section.use_dora,
            "use_rslora": False,
        },
    )
    mx.save_safetensors(str(folder / ADAPTER_WEIGHTS), weights, metadata={"format": "pt"})


def trained(model: nn.Module) -> dict[str, mx.array]:
    """The trained weights by MLX's names."""
    return dict(tree_flatten(model.trainable_parameters()))  # type: ignore[arg-type]


def stored_names(folder: Path) -> set[str]:
    """The names of the weights in a Hugging Face folder."""
    names: set[str] = set()
    for path in folder.glob("model*.safetensors"):
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        names.update(name for name in header if name != "__metadata__")
    return names
