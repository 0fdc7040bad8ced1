"""What transformers calls the parts of `llama`, `qwen2` and `qwen3`, and what llama.cpp calls them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from workbench.errors import WorkbenchError

SUPPORTED = ("llama", "qwen2", "qwen3")

_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The numbers that a GGUF file needs of a decoder-only transformer."""

    kind: str  # "llama", "qwen2" or "qwen3"
    context_length: int
    width: int
    layers: int
    feed_forward_width: int
    heads: int
    groups: int  # key and value heads
    head_width: int
    norm_epsilon: float
    rope_theta: float
    rope_scaling: Mapping[str, Any]  # of rope_type "llama3"; else empty
    vocab_size: int
    tied: bool  # output embeddings are the input's

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Architecture:
        """Read a transformers configuration.

        Raises `WorkbenchError` for an architecture or an option that the GGUF would not carry.
        """
        kind = config.get("model_type")
        if kind not in SUPPORTED:
            raise WorkbenchError(f"The model's architecture is {kind!r}.", f"The export knows {', '.join(SUPPORTED)}.")
        if config.get("hidden_act", "silu") != "silu":
            raise WorkbenchError(
                f"The model's hidden_act is {config['hidden_act']!r}.", "llama.cpp runs these architectures with silu."
            )
        if config.get("use_sliding_window") and config.get("sliding_window"):
            raise WorkbenchError(
                f"The model attends through a sliding window of {config['sliding_window']} tokens.",
                f"llama.cpp has none for {kind}: export a model with use_sliding_window false.",
            )
        rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
        rope_type = rope.get("rope_type", rope.get("type", "default"))
        if rope_type not in ("default", "llama3"):
            raise WorkbenchError(
                f"The model scales its rotary embedding by {rope_type!r}.", "The export knows default and llama3."
            )
        heads = config["num_attention_heads"]
        return cls(
            kind=kind,
            context_length=config["max_position_embeddings"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            feed_forward_width=config["intermediate_size"],
            heads=heads,
            groups=config.get("num_key_value_heads") or heads,
            head_width=config.get("head_dim") or config["hidden_size"] // heads,
            norm_epsilon=config.get("rms_norm_eps", 1e-6),
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
            rope_scaling=rope if rope_type == "llama3" else {},
            vocab_size=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )

    def gguf_name(self, name: str) -> str | None:
        """llama.cpp's name of a checkpoint's tensor; None for one that a GGUF leaves out.

        Raises `WorkbenchError` for a tensor that has no place in this architecture.
        """
        if name == "lm_head.weight" and self.tied:
            return None  # llama.cpp takes token_embd where there is no output.weight
        if name in _TOP:
            return _TOP[name]
        if name.endswith("rotary_emb.inv_freq"):  # old checkpoints store what follows from rope_theta
            return None
        if name.startswith("model.layers."):
            number, _, rest = name.removeprefix("model.layers.").partition(".")
            part, _, what = rest.rpartition(".")
            if part in _BLOCK and what in ("weight", "bias") and number.isdigit():
                return f"blk.{number}.{_BLOCK[part]}.{what}"
        raise WorkbenchError(
            f"The checkpoint's tensor {name!r} is not part of a {self.kind} model.",
            "Merge adapters into the model before the export.",
        )

    def required(self) -> set[str]:
        """Checkpoint names without which llama.cpp cannot run the model."""
        names = {"model.embed_tokens.weight", "model.norm.weight"}
        if not self.tied:
            names.add("lm_head.weight")
        parts = [part for part in _BLOCK if self.kind == "qwen3" or not part.endswith(("q_norm", "k_norm"))]
        return names | {f"model.layers.{number}.{part}.weight" for number in range(self.layers) for part in parts}

    def arrange(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor as llama.cpp expects it.

        Its llama rotates neighbouring pairs of a head where transformers rotates the two halves, so
        the rows of queries and keys are interleaved; qwen2 and qwen3 rotate halves in both.
        """
        if self.kind != "llama" or not (".q_proj." in name or ".k_proj." in name):
            return tensor
        heads = self.heads if ".q_proj." in name else self.groups
        halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
        return halves.swapaxes(1, 2).reshape(tensor.shape)

    def rope_factors(self) -> torch.Tensor | None:
        """By how much each rotary frequency is divided, [head_width / 2]; None for one that is not scaled.

        As in Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, with a smooth
        step between (transformers' `_compute_llama3_parameters`).
        """
        if not self.rope_scaling:
            return None
        factor, low, high = (float(self.rope_scaling[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
        length = float(self.rope_scaling["original_max_position_embeddings"])
        exponents = torch.arange(0, self.head_width, 2, dtype=torch.float64) / self.head_width
        wavelengths = 2 * math.pi * self.rope_theta**exponents
        smooth = ((length / wavelengths - low) / (high - low)).clamp(0, 1)
        return (1 / ((1 - smooth) / factor + smooth)).float()
