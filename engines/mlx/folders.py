"""Model folders on MLX: the same Hugging Face folders, by mlx-lm's definitions; adapters are merged when opened."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes, load_model

from engines.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_of, is_adapter, read_config
from engines.mlx import device
from workbench.errors import WorkbenchError

LORA_PREFIX = "base_model.model."


def open_causal_lm(folder: Path, dtype: mx.Dtype = mx.float32) -> tuple[Any, dict[str, Any]]:
    """(mlx-lm's model of `folder` with weights in `dtype`, its configuration); adapters are merged, in float32.

    Raises `WorkbenchError` if the folder, or one that it builds on, is no complete model that mlx-lm knows.
    """
    if is_adapter(folder):
        model, config = open_causal_lm(base_of(folder))
        merge(model, folder)
    else:
        model, config = open_folder(folder)
    # The scales of a quantised model stay as fine as they are; a CPU multiplies with those of 16 bits at a tenth of
    # its speed or less.
    if "quantization" not in config or dtype == mx.float32:
        model.set_dtype(dtype)
    mx.eval(model.parameters())
    return model, config


def context_length(config: dict[str, Any]) -> int:
    """In tokens."""
    text = config.get("text_config") or config
    return int(text.get("max_position_embeddings") or text.get("n_positions") or text.get("n_ctx") or 1024)


def weight_names(model: Any) -> dict[str, mx.array]:
    """Name in the model, which for most architectures is that in the folder -> weights."""
    return dict(tree_flatten(model.parameters()))


def read_weights(path: Path) -> dict[str, mx.array]:
    """Raises `RuntimeError` if the safetensors file is damaged."""
    return mx.load(str(path))  # type: ignore[return-value]


def merge(model: Any, folder: Path) -> None:
    """Add the adapter in `folder` to the model's weights: W + scale · B · A, of DoRA with rows of its magnitudes.

    Raises `WorkbenchError` for an adapter that is damaged, of another base, or of another kind.
    """
    config = read_config(folder / ADAPTER_CONFIG)
    if config.get("peft_type", "LORA") != "LORA" or config.get("alpha_pattern"):
        raise WorkbenchError(
            f"The adapter in {folder} is of a kind that the mlx engine does not merge.",
            "Merge it with the other engine: workbench merge-adapter --engine pytorch",
        )
    weights = weight_names(model)
    try:
        adapter = read_weights(folder / ADAPTER_WEIGHTS)
        merged = []
        for name in (name for name in adapter if name.endswith(".lora_A.weight")):
            place = name.removeprefix(LORA_PREFIX).removesuffix(".lora_A.weight")
            a_RI = adapter[name].astype(mx.float32)
            b_OR = adapter[name.replace(".lora_A.", ".lora_B.")].astype(mx.float32)
            rank = a_RI.shape[0]
            scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
            weight_OI = weights[f"{place}.weight"] + scale * (b_OR @ a_RI)
            if config.get("use_dora"):
                length_O = adapter[name.replace("lora_A.weight", "lora_magnitude_vector")]
                weight_OI = weight_OI * (length_O / mx.linalg.norm(weight_OI, axis=1))[:, None]
            merged.append((f"{place}.weight", weight_OI))
    except (KeyError, RuntimeError, ValueError) as error:
        raise WorkbenchError(
            f"The adapter in {folder} cannot be opened: {error}.",
            "Copy it anew: it is damaged, or was made for another base.",
        ) from error
    model.load_weights(merged, strict=False)


def open_folder(folder: Path, classes: Callable[[dict[str, Any]], tuple[type, type]] = _get_classes) -> tuple[Any, Any]:
    """(the whole model in `folder` as it is stored, its configuration); `classes` as mlx-lm's: of model and arguments.

    Raises `WorkbenchError` as `open_causal_lm`.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise WorkbenchError(f"{folder} is no model: config.json is missing.", "Give a Hugging Face model folder.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkbenchError(f"{path} cannot be read: {error}.", "Copy the file anew from its source.") from error
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method is not None:
        raise WorkbenchError(
            f"{folder} was quantised by {method}, whose weights the mlx engine does not read.",
            "Take the model before it was quantised.",
        )
    _refuse_what_has_no_room(folder)
    try:
        return load_model(folder, model_config=_rotation(config), get_model_classes=classes)
    except (FileNotFoundError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if str(error).startswith("Model type "):  # mlx-lm's words
            raise WorkbenchError(
                f"{folder} is a model of the architecture {config.get('model_type')!r}, which mlx-lm does not know.",
                "Use --engine pytorch, or a model of another architecture.",
            ) from error
        raise WorkbenchError(
            f"{folder} cannot be opened as a model: {_reason(error)}.",
            "Is it complete, and is its architecture one that mlx-lm knows?",
        ) from error


def _reason(error: Exception) -> str:
    """On one line: mlx-lm lists weights line by line, and leaves a config's missing keys to Python."""
    words = " ".join(str(error).split())
    if lacking := re.search(r"missing \d+ required positional arguments?: (.+)", words):
        return f"config.json lacks {lacking[1]}"
    return (words if len(words) <= 300 else f"{words[:300]} …").rstrip(".")


def _refuse_what_has_no_room(folder: Path) -> None:
    """Raises `WorkbenchError` if the weights are larger than the memory that is free."""
    needed = sum(path.stat().st_size for path in folder.glob("model*.safetensors"))
    free = device.free_memory_bytes()
    if needed > free:
        raise WorkbenchError(
            f"The weights in {folder} take {needed / 2**30:.1f} GiB of memory; {device.name()} has "
            f"{free / 2**30:.1f} GiB free.",
            "Choose a smaller model, or one in fewer bits: workbench export --engine mlx --quantization mlx-4bit",
        )


def _rotation(config: dict[str, Any]) -> dict[str, Any]:
    """What transformers 5 keeps inside rope_parameters and mlx-lm looks for outside: it would take 10,000 silently."""
    rope = config.get("rope_parameters") or {}
    found: dict[str, Any] = {}
    if "rope_theta" in rope and "rope_theta" not in config:
        found["rope_theta"] = rope["rope_theta"]
    if rope.get("rope_type", "default") != "default" and not config.get("rope_scaling"):
        found["rope_scaling"] = rope
    return found
