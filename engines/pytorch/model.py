"""The network: transformers' own classes, with weights drawn from the recipe's seed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

from workbench.recipes.pretrain import PretrainRecipe

transformers_logging.disable_progress_bar()  # of saving and loading: the log would fill with it


def new_model(recipe: PretrainRecipe, *, vocab_size: int, bos: int, eos: int, pad: int) -> PreTrainedModel:
    """A fresh model in float32 on the CPU: the same weights for the same recipe, on any machine.

    Normal weights of deviation sqrt(2 / (5 · width)) (Nguyen & Salazar 2019): 0.023 at width 768, near GPT-2's
    0.02, and larger for small models, which with 0.02 stay for hundreds of steps at the frequencies of single
    tokens. Those that write to the residual stream have it divided by sqrt(2 · layers), so that the stream's
    variance does not grow with depth (Radford et al. 2019).
    """
    section = recipe.model
    assert section.hidden_size is not None
    assert section.num_attention_heads is not None
    assert section.num_hidden_layers is not None
    kinds = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
    config_class, model_class = kinds[section.architecture]
    config = config_class(
        vocab_size=vocab_size,
        hidden_size=section.hidden_size,
        intermediate_size=section.intermediate_size,
        num_hidden_layers=section.num_hidden_layers,
        num_attention_heads=section.num_attention_heads,
        num_key_value_heads=section.num_key_value_heads,
        head_dim=section.hidden_size // section.num_attention_heads,
        max_position_embeddings=section.max_length,
        tie_word_embeddings=section.tie_word_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": section.rope_theta},
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
        attn_implementation="sdpa",
        dtype=torch.float32,
    )
    with torch.random.fork_rng(devices=[]):
        model = model_class(config)
        std = math.sqrt(2 / (5 * section.hidden_size))
        generator = torch.Generator().manual_seed(recipe.data.seed)
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                nn.init.ones_(parameter)
                continue
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            scale = 1 / math.sqrt(2 * section.num_hidden_layers) if into_residual else 1.0
            nn.init.normal_(parameter, std=std * scale, generator=generator)
    return model


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write `config.json`, `generation_config.json` and `model.safetensors` into `folder`."""
    model.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # transformers 5 keeps it inside rope_parameters alone, where mlx-lm does not look: it would silently use 10,000.
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:  # gpt2 has no rotation, gemma3 one for each kind of layer
        config["rope_theta"] = rope["rope_theta"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
