"""The forward pass of training: transformers' parameters, computed with fewer and cheaper operations.

transformers' own forward keeps the residual stream in float32 under autocast, builds masks anew and
returns all logits; on a CPU this one is about 1.2 times as fast for 5M parameters. That both give the same
numbers is a test. Sampling and export use transformers' forward.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from engines.pytorch.attention import Boundaries, attend
from engines.pytorch.loss import linear_cross_entropy, token_losses
from engines.pytorch.operations import rms_norm, rotate


class TrainingModel(nn.Module):
    """A llama or qwen3 model with its loss; activations are in `dtype`, weights stay as they are."""

    cosines_L1J: torch.Tensor
    sines_L1J: torch.Tensor

    def __init__(self, causal_lm: PreTrainedModel, dtype: torch.dtype):
        super().__init__()
        self.causal_lm: Any = causal_lm
        self.dtype = dtype
        length, rotary = causal_lm.config.max_position_embeddings, causal_lm.model.rotary_emb
        angles_LJ = torch.arange(length)[:, None].float() * rotary.inv_freq.float()
        self.register_buffer("cosines_L1J", angles_LJ.cos()[:, None].to(dtype), persistent=False)
        self.register_buffer("sines_L1J", angles_LJ.sin()[:, None].to(dtype), persistent=False)

    def forward(
        self, tokens_BL: torch.Tensor, targets_BL: torch.Tensor, limits: Boundaries, scale: float
    ) -> torch.Tensor:
        """The summed cross-entropy of the trained-on targets, in nats, times `scale`."""
        hidden_TD = self.hidden(tokens_BL, limits).flatten(0, 1)
        return linear_cross_entropy(hidden_TD, self._cast(self.causal_lm.lm_head.weight), targets_BL.flatten(), scale)

    @torch.no_grad()
    def losses(self, tokens_BL: torch.Tensor, targets_BL: torch.Tensor, limits: Boundaries) -> torch.Tensor:
        """Nats of each target, float32 [batch, length]; 0 for those not trained on."""
        hidden_TD = self.hidden(tokens_BL, limits).flatten(0, 1)
        losses_T = token_losses(hidden_TD, self._cast(self.causal_lm.lm_head.weight), targets_BL.flatten())
        return losses_T.view_as(targets_BL)

    def hidden(self, tokens_BL: torch.Tensor, limits: Boundaries) -> torch.Tensor:
        """The last hidden states after the final norm, [batch, length, width].

        Positions count on across documents: rotary attention sees only the distances within one.
        """
        model: Any = self.causal_lm.model
        length = tokens_BL.shape[1]
        rotation = (self.cosines_L1J[:length], self.sines_L1J[:length])
        # The lookup is in the weights' own float32: its gradient adds up many rows for a frequent token.
        stream_BLD = self._cast(F.embedding(tokens_BL, model.embed_tokens.weight))
        for layer in model.layers:
            normed_BLD = self._norm(stream_BLD, layer.input_layernorm)
            stream_BLD = stream_BLD + self._attention(normed_BLD, layer.self_attn, rotation, limits)
            normed_BLD = self._norm(stream_BLD, layer.post_attention_layernorm)
            gate_BLF = F.silu(self._linear(normed_BLD, layer.mlp.gate_proj))
            up_BLF = self._linear(normed_BLD, layer.mlp.up_proj)
            stream_BLD = stream_BLD + self._linear(gate_BLF * up_BLF, layer.mlp.down_proj)
        return self._norm(stream_BLD, model.norm)

    def _attention(
        self,
        normed_BLD: torch.Tensor,
        module: Any,
        rotation: tuple[torch.Tensor, torch.Tensor],
        limits: Boundaries,
    ) -> torch.Tensor:
        heads_shape = (*normed_BLD.shape[:2], -1, module.head_dim)
        queries_BLHK = self._linear(normed_BLD, module.q_proj).view(heads_shape)
        keys_BLGK = self._linear(normed_BLD, module.k_proj).view(heads_shape)
        values_BLGK = self._linear(normed_BLD, module.v_proj).view(heads_shape)
        if hasattr(module, "q_norm"):  # qwen3
            queries_BLHK = self._norm(queries_BLHK, module.q_norm)
            keys_BLGK = self._norm(keys_BLGK, module.k_norm)
        mixed_BLHK = attend(rotate(queries_BLHK, *rotation), rotate(keys_BLGK, *rotation), values_BLGK, limits)
        return self._linear(mixed_BLHK.flatten(2), module.o_proj)

    def _linear(self, x: torch.Tensor, module: nn.Linear) -> torch.Tensor:
        return F.linear(x, self._cast(module.weight))

    def _norm(self, x: torch.Tensor, module: Any) -> torch.Tensor:
        return rms_norm(x, self._cast(module.weight), module.variance_epsilon)

    def _cast(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.dtype)
