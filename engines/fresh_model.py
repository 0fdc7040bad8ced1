"""What a model begins as, whichever engine trains it: transformers' configuration, and the spread of its weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

from transformers import LlamaConfig, PretrainedConfig, Qwen3Config

from workbench.recipes.pretrain import ModelSection

CONFIGS = {"llama": LlamaConfig, "qwen3": Qwen3Config}


def new_config(section: ModelSection, *, vocab_size: int, bos: int, eos: int, pad: int) -> PretrainedConfig:
    """Of a model with float32 weights; `section` is a resolved recipe's."""
    assert section.hidden_size is not None
    assert section.num_attention_heads is not None
    return CONFIGS[section.architecture](
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
        dtype="float32",
    )


def initial_deviation(name: str, section: ModelSection) -> float:
    """Standard deviation of the normal initial weights of the matrix `name`; vectors, of norms, begin as ones.

    sqrt(2 / (5 · width)) (Nguyen & Salazar 2019): 0.023 at width 768, near GPT-2's 0.02, and larger for small
    models, which with 0.02 stay for hundreds of steps at the frequencies of single tokens. Matrices that write to
    the residual stream have it divided by sqrt(2 · layers), so that the stream's variance does not grow with depth
    (Radford et al. 2019).
    """
    assert section.hidden_size is not None
    assert section.num_hidden_layers is not None
    into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
    scale = 1 / math.sqrt(2 * section.num_hidden_layers) if into_residual else 1.0
    return math.sqrt(2 / (5 * section.hidden_size)) * scale


def repeat_rope_theta(folder: Path) -> None:
    """Put the base of the rotation where every reader of `config.json` in `folder` looks for it."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # transformers 5 keeps it inside rope_parameters alone, where mlx-lm does not look: it would silently use 10,000.
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:  # gpt2 has no rotation, gemma3 one for each kind of layer
        config["rope_theta"] = rope["rope_theta"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
