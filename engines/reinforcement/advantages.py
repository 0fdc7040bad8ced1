"""Rewards and advantages of PPO and GRPO.

Arrays hold B answers, padded to T tokens; `mask_BT` is True for an answer's own tokens, which begin at column 0. What
stands beyond them never counts. N are the tokens of all answers, row after row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from workbench.recipes.reinforcement import PpoSection

SMALLEST_DEVIATION = 1e-4  # added to a group's, as in TRL

Total = Callable[[np.ndarray], np.ndarray]
"""The sum of an array over all processes."""


def alone(values: np.ndarray) -> np.ndarray:
    """`Total` of one process."""
    return values


def token_advantages(
    section: PpoSection,
    kl_coef: float,
    *,
    lengths: Sequence[int],
    ended: Sequence[bool],
    scores_B: np.ndarray,
    log_probs_N: np.ndarray,
    reference_N: np.ndarray,
    values_N: np.ndarray,
    total: Total = alone,
) -> tuple[np.ndarray, np.ndarray]:
    """(advantages, white over the tokens of all processes; returns) of the answers' tokens, float32 [N]."""
    mask_BT = np.arange(max(lengths)) < np.asarray(lengths)[:, None]

    def padded(values_N: np.ndarray) -> np.ndarray:
        values_BT = np.zeros(mask_BT.shape, np.float32)
        values_BT[mask_BT] = values_N
        return values_BT

    paid_B = scores_B - section.missing_eos_penalty * ~np.asarray(ended)
    values_BT = padded(values_N)
    rewards_BT = token_rewards(paid_B.astype(np.float32), padded(log_probs_N), padded(reference_N), mask_BT, kl_coef)
    if section.whiten_rewards:
        rewards_BT = whitened(rewards_BT, mask_BT, shift_mean=False, total=total)
    raw_BT = advantages(rewards_BT, values_BT, mask_BT, gamma=section.gamma, lam=section.lam)
    white_BT = whitened(raw_BT, mask_BT, total=total)
    return white_BT[mask_BT].astype(np.float32), (raw_BT + values_BT)[mask_BT].astype(np.float32)


def token_rewards(
    scores_B: np.ndarray, log_probs_BT: np.ndarray, reference_BT: np.ndarray, mask_BT: np.ndarray, kl_coef: float
) -> np.ndarray:
    """-kl_coef · (log p - log p_reference) at each token, and the score at the last (Ziegler et al. 2019)."""
    rewards_BT = -kl_coef * (log_probs_BT - reference_BT) * mask_BT
    rewards_BT[np.arange(len(scores_B)), mask_BT.sum(1) - 1] += scores_B
    return rewards_BT


def advantages(
    rewards_BT: np.ndarray, values_BT: np.ndarray, mask_BT: np.ndarray, *, gamma: float, lam: float
) -> np.ndarray:
    """Generalized advantage estimation (Schulman et al. 2016, eq. 16); an answer's end is worth 0."""
    values_BT = values_BT * mask_BT
    next_values_BT = np.concatenate((values_BT[:, 1:], np.zeros_like(values_BT[:, :1])), axis=1)
    errors_BT = (rewards_BT + gamma * next_values_BT - values_BT) * mask_BT
    found_BT, running_B = np.zeros_like(errors_BT), np.zeros_like(errors_BT[:, 0])
    for column in range(errors_BT.shape[1] - 1, -1, -1):
        running_B = errors_BT[:, column] + gamma * lam * running_B
        found_BT[:, column] = running_B
    return found_BT * mask_BT


def whitened(
    values_BT: np.ndarray, mask_BT: np.ndarray, *, shift_mean: bool = True, total: Total = alone
) -> np.ndarray:
    """Scaled to a variance of 1 over the tokens of all processes, and to a mean of 0 if `shift_mean`."""
    chosen_N = values_BT[mask_BT].astype(np.float64)
    count, added = total(np.array([len(chosen_N), chosen_N.sum()], np.float64)).tolist()
    mean = added / max(1.0, count)
    squares = float(total(np.array([((chosen_N - mean) ** 2).sum()]))[0])
    scale = (squares / max(1.0, count) + 1e-8) ** -0.5
    shifted_BT = (values_BT - mean) * scale
    return (shifted_BT if shift_mean else shifted_BT + mean) * mask_BT


def adapted_kl_coef(kl_coef: float, kl: float, *, target: float, horizon: int, answers: int) -> float:
    """The coefficient after `answers` more of mean divergence `kl`, in nats (Ziegler et al. 2019, section 2.2)."""
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return kl_coef * (1.0 + error * answers / horizon)


def group_advantages(rewards_R: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(each reward less its group's mean, over the group's deviation (Shao et al. 2024, section 4.1.2); deviations).

    Groups of `count` answers to one prompt lie one behind another.
    """
    groups_GC = np.asarray(rewards_R, np.float64).reshape(-1, count)
    deviations_G = groups_GC.std(axis=1, ddof=1)
    gains_GC = (groups_GC - groups_GC.mean(axis=1, keepdims=True)) / (deviations_G[:, None] + SMALLEST_DEVIATION)
    return gains_GC.reshape(-1), deviations_G
