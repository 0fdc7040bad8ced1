"""Cross-entropy of a language model without keeping its logits.

The logits of a batch are its largest tensor: 16,384 tokens of a vocabulary of 50,000 take 3.3 GB in
float32. Here they are made, used and dropped a chunk of tokens at a time, and the gradient is taken
in the same pass, as in Liger Kernel (Hsu et al. 2024).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

IGNORED = -100  # targets that are not trained on
# A chunk's float32 logits: near the size of a CPU core's cache, or enough to fill a GPU.
CHUNK_BYTES = {"cpu": 4 << 20, "cuda": 1 << 28}
SMALLEST_CHUNK = 128  # tokens; below this the matrix products lose speed


def chunk_tokens(vocab_size: int, device: torch.device) -> int:
    return max(SMALLEST_CHUNK, CHUNK_BYTES[device.type] // (4 * vocab_size))


class LinearCrossEntropy(torch.autograd.Function):
    """Sum over the targets of -log softmax(hidden · weightᵀ), times `scale`."""

    @staticmethod
    def forward(
        ctx: Any, hidden_TD: torch.Tensor, weight_VD: torch.Tensor, targets_T: torch.Tensor, scale: float
    ) -> torch.Tensor:
        chunk = chunk_tokens(weight_VD.shape[0], hidden_TD.device)
        loss = torch.zeros((), dtype=torch.float32, device=hidden_TD.device)
        hidden_gradient_TD = torch.empty_like(hidden_TD)
        weight_gradient_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        for start in range(0, hidden_TD.shape[0], chunk):
            part = slice(start, start + chunk)
            hidden_CD = hidden_TD[part]
            trained_C1 = (targets_T[part] != IGNORED).unsqueeze(1)
            targets_C1 = targets_T[part].clamp_min(0).unsqueeze(1)
            logits_CV = (hidden_CD @ weight_VD.t()).float()
            normaliser_C1 = logits_CV.logsumexp(1, keepdim=True)
            losses_C1 = normaliser_C1 - logits_CV.gather(1, targets_C1)
            loss += (losses_C1 * trained_C1).sum()
            # The gradient of the logits is softmax - one_hot, and 0 for what is not trained on.
            factors_C1 = trained_C1 * scale
            gradient_CV = logits_CV.sub_(normaliser_C1).exp_().mul_(factors_C1)
            gradient_CV.scatter_add_(1, targets_C1, -factors_C1)
            gradient_CV = gradient_CV.to(hidden_TD.dtype)
            hidden_gradient_TD[part] = gradient_CV @ weight_VD
            weight_gradient_VD += gradient_CV.t() @ hidden_CD
        ctx.save_for_backward(hidden_gradient_TD, weight_gradient_VD.to(weight_VD.dtype))
        return loss * scale

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_gradient_TD, weight_gradient_VD = ctx.saved_tensors
        return hidden_gradient_TD * outputs[0], weight_gradient_VD * outputs[0], None, None


def linear_cross_entropy(
    hidden_TD: torch.Tensor, weight_VD: torch.Tensor, targets_T: torch.Tensor, scale: float
) -> torch.Tensor:
    """The summed loss in nats times `scale`, over the targets that are not `IGNORED`; differentiable."""
    return LinearCrossEntropy.apply(hidden_TD, weight_VD, targets_T, scale)


@torch.no_grad()
def token_losses(hidden_TD: torch.Tensor, weight_VD: torch.Tensor, targets_T: torch.Tensor) -> torch.Tensor:
    """Nats of each target, float32 [tokens]; 0 for `IGNORED` ones."""
    chunk = chunk_tokens(weight_VD.shape[0], hidden_TD.device)
    losses = [
        F.cross_entropy((hidden_CD @ weight_VD.t()).float(), targets_C, ignore_index=IGNORED, reduction="none")
        for hidden_CD, targets_C in zip(hidden_TD.split(chunk), targets_T.split(chunk), strict=True)
    ]
    return torch.cat(losses)
