"""A new model on MLX, and writing it as a Hugging Face folder with the names and number formats of the others."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from transformers import GenerationConfig, PretrainedConfig

from engines.fresh_model import initial_deviation, repeat_rope_theta
from workbench.recipes.pretrain import ModelSection

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def new_model(section: ModelSection, config: PretrainedConfig, *, seed: int) -> Any:
    """A fresh model in float32: the same weights for the same recipe, and of the same spread as other engines'."""
    definition = importlib.import_module(f"mlx_lm.models.{section.architecture}")
    settings = config.to_dict() | {"rope_theta": section.rope_theta}
    model = definition.Model(definition.ModelArgs.from_dict(settings))
    weights: Any = tree_flatten(model.parameters())
    keys = mx.random.split(mx.random.key(seed), len(weights))
    fresh = [
        (name, mx.ones(item.shape))
        if item.ndim < 2
        else (name, mx.random.normal(item.shape, scale=initial_deviation(name, section), key=key))
        for (name, item), key in zip(weights, keys, strict=True)
    ]
    model.load_weights(fresh)
    mx.eval(model.parameters())
    return model


def save_model(model: Any, config: PretrainedConfig, folder: Path) -> None:
    """Write `config.json`, `generation_config.json` and `model.safetensors` into `folder`."""
    config.architectures = [ARCHITECTURES[config.model_type]]
    config.save_pretrained(folder)
    repeat_rope_theta(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
