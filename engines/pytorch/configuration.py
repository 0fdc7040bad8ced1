"""The config.json of a model folder: what cannot be opened is refused by it, before any weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
)
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING as LANGUAGE_MODELS
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as CLASSIFIERS

from engines.adapters import read_config
from workbench.errors import WorkbenchError

DEQUANTISED = ("fp8",)  # which transformers makes floating point again while it reads the weights
SPOILT = "Copy the file anew from the model's source."
OTHERS = "Take a model of another architecture, such as llama, qwen3 or gpt2."
KINDS: dict[Any, tuple[Any, str]] = {
    AutoModelForCausalLM: (LANGUAGE_MODELS, "language model"),
    AutoModelForSequenceClassification: (CLASSIFIERS, "reward model"),
}
"""transformers' name for a kind of model -> its classes by configuration, and what the kind is called."""


def open_config(folder: Path) -> PretrainedConfig:
    """The configuration of the model in `folder`.

    Raises `WorkbenchError` if there is none, or transformers does not know what it names, or the weights are in a
    number format that is not read here.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise WorkbenchError(f"{folder} is no model: config.json is missing.", "Give a Hugging Face model folder.")
    plain = read_config(path)
    _require_known_numbers(folder, plain)
    name = plain.get("model_type")
    if name not in CONFIG_MAPPING:
        raise WorkbenchError(
            f"{path} names the architecture {name!r}, which transformers {transformers.__version__} does not know."
            if name
            else f"{path} does not say of which architecture the model is (model_type).",
            OTHERS if name else SPOILT,
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # every architecture checks its own values, and raises what it likes
        raise WorkbenchError(
            f"{path} describes no model of the architecture {name}: {first_line(error)}.", SPOILT
        ) from error
    if plain.get("quantization_config") is not None:
        config.quantization_config["dequantize"] = True  # else a GPU of the right kind would keep the 8 bits
    return config


def require_kind(folder: Path, config: PretrainedConfig, kind: Any) -> None:
    """Raises `WorkbenchError` if no model of `kind` can be made from the configuration."""
    classes, called = KINDS[kind]
    if type(config) not in classes:
        raise WorkbenchError(f"{folder} is of the architecture {config.model_type}, which makes no {called}.", OTHERS)
    model_class = classes[type(config)]
    # Documents that are packed, and contexts that are shared, need its masks.
    if not model_class._supports_sdpa:
        raise WorkbenchError(
            f"{folder} is of the architecture {config.model_type}, which the pytorch engine does not open: "
            "transformers has no scaled_dot_product_attention for it.",
            OTHERS,
        )
    try:
        with torch.device("meta"):
            model_class(config)
    except Exception as error:  # as above
        raise WorkbenchError(
            f"{folder / 'config.json'} describes no model of the architecture {config.model_type}: "
            f"{first_line(error)}.",
            SPOILT,
        ) from error


def first_line(error: Exception) -> str:
    """What a library says, without its advice below."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = " ".join(line.strip() for line in lines[: 2 if lines[0].endswith(":") else 1])
    return said[:300].rstrip(".:")


def _require_known_numbers(folder: Path, plain: dict[str, Any]) -> None:
    if "quantization" in plain:
        raise WorkbenchError(
            f"The weights in {folder} are in a number format of MLX, which the pytorch engine does not read.",
            "Take the model that they were made from; chat, serve and benchmark open these weights with --engine mlx.",
        )
    said = plain.get("quantization_config")
    if said is None:
        return
    method = said.get("quant_method") if isinstance(said, dict) else None
    if method not in DEQUANTISED:
        raise WorkbenchError(
            f"By its config.json {folder} was quantised by {method or 'a method without a name'}, whose weights the "
            "pytorch engine does not read.",
            "Take the model before it was quantised.",
        )
