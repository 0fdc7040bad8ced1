"""Log-probabilities of chosen tokens without keeping the logits: chunk by chunk, in forward and backward.

The gradient of a token's log-probability is g · (onehot - softmax) for the logits; with W the output weights that
is g · (W[target] - softmax · W) for the hidden state. The bracket needs no g, so forward keeps it instead of the
logits, and a frozen W costs two matrix products a token. A trained W needs g with the softmax: one more product
makes the logits anew. TRL's fused head makes them anew in both cases, and on a CPU scores padding and prompts too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from engines.pytorch.loss import chunk_tokens


class TokenStatistics(NamedTuple):
    """Of N scored tokens, float32 [N]; only `log_probs` is differentiable."""

    log_probs: torch.Tensor
    entropy: torch.Tensor  # of the distribution, in nats
    top1: torch.Tensor  # bool: whether the token is the likeliest


def token_log_probs(hidden_ND: torch.Tensor, weight_VD: torch.Tensor, targets_N: torch.Tensor) -> TokenStatistics:
    """log softmax(hidden · weightᵀ)[target], in the number format of the matrix products under autocast."""
    return TokenStatistics(*_TokenLogProbs.apply(hidden_ND, weight_VD, targets_N))


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, targets_N: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        kind = hidden_ND.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_ND.dtype
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        with torch.autocast(kind, enabled=False):
            hidden, weight = hidden_ND.to(dtype), weight_VD.to(dtype)
            count = hidden.shape[0]
            log_probs = torch.empty(count, dtype=torch.float32, device=hidden.device)
            entropy, normaliser = torch.empty_like(log_probs), torch.empty_like(log_probs)
            top1 = torch.empty(count, dtype=torch.bool, device=hidden.device)
            direction_ND = torch.empty_like(hidden) if needs_hidden else None
            chunk = chunk_tokens(weight.shape[0], hidden.device)
            for start in range(0, count, chunk):
                part = slice(start, start + chunk)
                logits_CV = (hidden[part] @ weight.t()).float()
                targets_C1 = targets_N[part].unsqueeze(1)
                target_logits_C = logits_CV.gather(1, targets_C1).squeeze(1)
                normaliser[part] = logits_CV.logsumexp(1)
                log_probs[part] = target_logits_C - normaliser[part]
                top1[part] = logits_CV.argmax(1) == targets_N[part]
                probabilities_CV = (logits_CV - normaliser[part, None]).exp_()
                entropy[part] = normaliser[part] - torch.linalg.vecdot(probabilities_CV, logits_CV)
                if direction_ND is not None:
                    direction_ND[part] = weight[targets_N[part]] - probabilities_CV.to(dtype) @ weight
        ctx.mark_non_differentiable(entropy, top1)
        if needs_weight:
            ctx.save_for_backward(direction_ND, hidden, weight, targets_N, normaliser)
        else:
            ctx.save_for_backward(direction_ND)
        ctx.types = hidden_ND.dtype, weight_VD.dtype
        return log_probs, entropy, top1

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient_N = gradients[0]
        direction_ND, *rest = ctx.saved_tensors
        hidden_type, weight_type = ctx.types
        hidden_gradient = None
        if direction_ND is not None:
            hidden_gradient = (direction_ND * gradient_N[:, None].to(direction_ND.dtype)).to(hidden_type)
        if not rest:
            return hidden_gradient, None, None
        hidden, weight, targets_N, normaliser = rest
        weight_gradient_VD = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        chunk = chunk_tokens(weight.shape[0], hidden.device)
        for start in range(0, hidden.shape[0], chunk):
            part = slice(start, start + chunk)
            scale_C1 = gradient_N[part].unsqueeze(1)
            logits_CV = (hidden[part] @ weight.t()).float()
            slopes_CV = (logits_CV - normaliser[part, None]).exp_().mul_(-scale_C1)
            slopes_CV.scatter_add_(1, targets_N[part].unsqueeze(1), scale_C1)
            weight_gradient_VD += slopes_CV.to(weight.dtype).t() @ hidden[part]
        return hidden_gradient, weight_gradient_VD.to(weight_type), None
