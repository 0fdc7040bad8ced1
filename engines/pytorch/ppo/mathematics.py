"""The losses of PPO, on tensors of N tokens."""

from __future__ import annotations

import torch


def policy_loss(
    log_probs_N: torch.Tensor, old_N: torch.Tensor, advantages_N: torch.Tensor, cliprange: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The clipped objective (Schulman et al. 2017, eq. 7), negated, of each of N tokens; and where the clip decides."""
    ratio_N = torch.exp(log_probs_N - old_N)
    free_N = -advantages_N * ratio_N
    clipped_N = -advantages_N * ratio_N.clamp(1 - cliprange, 1 + cliprange)
    return torch.maximum(free_N, clipped_N), clipped_N > free_N


def value_loss(
    values_N: torch.Tensor, old_N: torch.Tensor, returns_N: torch.Tensor, cliprange: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Half the squared error of each token's value, which counts as no nearer than `cliprange` to its old one; and
    where the clip decides (as in Ziegler et al. 2019)."""
    near_N = torch.minimum(torch.maximum(values_N, old_N - cliprange), old_N + cliprange)
    free_N, clipped_N = (values_N - returns_N).square(), (near_N - returns_N).square()
    return 0.5 * torch.maximum(free_N, clipped_N), clipped_N > free_N
