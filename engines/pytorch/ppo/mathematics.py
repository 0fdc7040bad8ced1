"""Rewards, advantages and losses of PPO, on tensors of B answers, padded to T tokens.

`mask_BT` is True for an answer's own tokens, which begin at column 0; what stands beyond them never counts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Total = Callable[[torch.Tensor], torch.Tensor]
"""The sum of a tensor over all processes."""


def alone(values: torch.Tensor) -> torch.Tensor:
    """`Total` of one process."""
    return values


def token_rewards(
    scores_B: torch.Tensor,
    log_probs_BT: torch.Tensor,
    reference_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    kl_coef: float,
) -> torch.Tensor:
    """-kl_coef · (log p - log p_reference) at each token, and the score at the last (Ziegler et al. 2019)."""
    rewards_BT = -kl_coef * (log_probs_BT - reference_BT) * mask_BT
    last_B1 = mask_BT.sum(1, keepdim=True) - 1
    return rewards_BT.scatter_add(1, last_B1, scores_B[:, None].to(rewards_BT.dtype))


def advantages(
    rewards_BT: torch.Tensor, values_BT: torch.Tensor, mask_BT: torch.Tensor, *, gamma: float, lam: float
) -> torch.Tensor:
    """Generalized advantage estimation (Schulman et al. 2016, eq. 16); an answer's end is worth 0."""
    values_BT = values_BT * mask_BT
    next_values_BT = torch.cat((values_BT[:, 1:], torch.zeros_like(values_BT[:, :1])), dim=1)
    errors_BT = (rewards_BT + gamma * next_values_BT - values_BT) * mask_BT
    running_B = torch.zeros_like(errors_BT[:, 0])
    columns = []
    for column in range(errors_BT.shape[1] - 1, -1, -1):
        running_B = errors_BT[:, column] + gamma * lam * running_B
        columns.append(running_B)
    return torch.stack(columns[::-1], dim=1) * mask_BT


def whitened(
    values_BT: torch.Tensor, mask_BT: torch.Tensor, *, shift_mean: bool = True, total: Total = alone
) -> torch.Tensor:
    """Scaled to a variance of 1 over the tokens of all processes, and to a mean of 0 if `shift_mean`."""
    chosen = values_BT[mask_BT].double()
    count, added = total(torch.stack((torch.tensor(float(len(chosen))).double(), chosen.sum().cpu()))).tolist()
    mean = added / max(1.0, count)
    squares = float(total((chosen - mean).square().sum().cpu()[None])[0])
    scale = (squares / max(1.0, count) + 1e-8) ** -0.5
    shifted_BT = (values_BT - mean) * scale
    return (shifted_BT if shift_mean else shifted_BT + mean) * mask_BT


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


def adapted_kl_coef(kl_coef: float, kl: float, *, target: float, horizon: int, answers: int) -> float:
    """The coefficient after `answers` more of mean divergence `kl`, in nats (Ziegler et al. 2019, section 2.2)."""
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return kl_coef * (1.0 + error * answers / horizon)
