"""The network: transformers' own classes, with weights drawn from the recipe's seed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

from engines.fresh_model import initial_deviation, new_config, repeat_rope_theta
from workbench.recipes.pretrain import PretrainRecipe

transformers_logging.disable_progress_bar()  # of saving and loading: the log would fill with it


def new_model(recipe: PretrainRecipe, *, vocab_size: int, bos: int, eos: int, pad: int) -> PreTrainedModel:
    """A fresh model in float32 on the CPU: the same weights for the same recipe, on any machine."""
    config = new_config(recipe.model, vocab_size=vocab_size, bos=bos, eos=eos, pad=pad)
    model_class = {"llama": LlamaForCausalLM, "qwen3": Qwen3ForCausalLM}[recipe.model.architecture]
    with torch.random.fork_rng(devices=[]):
        model = model_class(config)
        generator = torch.Generator().manual_seed(recipe.data.seed)
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                nn.init.ones_(parameter)
                continue
            nn.init.normal_(parameter, std=initial_deviation(name, recipe.model), generator=generator)
    return model


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write `config.json`, `generation_config.json` and `model.safetensors` into `folder`."""
    model.save_pretrained(folder)
    repeat_rope_theta(folder)
