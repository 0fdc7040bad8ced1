"""Losses on pairs of answers, from their log-probabilities: DPO and its relatives, SimPO, ORPO.

Arrays of 2 · P answers hold the chosen of P pairs first, then their rejected ones. Log-probabilities are sums over an
answer's tokens, in nats.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

from workbench.recipes.preference import DpoRecipe, OrpoRecipe

Found = tuple[mx.array, mx.array]
"""(the loss, a mean over the pairs; the reward that it implies of each answer)."""


def dpo(recipe: DpoRecipe, log_probs_B: mx.array, reference_B: mx.array, lengths_B: mx.array) -> Found:
    """DPO (Rafailov et al. 2023, eq. 7), as TRL has it and its relatives; the reward is eq. 5 without its constant.

    ipo: Azar et al. 2023, eq. 17, on log-ratios per token, as its authors compute it. hinge: SLiC-HF, Zhao et al.
    2023. robust: Chowdhury et al. 2024, eq. 9. sigmoid_norm: DPO on log-ratios per token.
    """
    ratios_B = log_probs_B - reference_B
    per_token = recipe.loss_type in ("ipo", "sigmoid_norm")
    chosen_P, rejected_P = mx.split(ratios_B / mx.maximum(lengths_B, 1) if per_token else ratios_B, 2)
    delta_P = chosen_P - rejected_P
    if recipe.loss_type == "ipo":
        losses_P = (delta_P - 1 / (2 * recipe.beta)) ** 2
    elif recipe.loss_type == "hinge":
        losses_P = mx.maximum(1 - recipe.beta * delta_P, 0)
    elif recipe.loss_type == "robust":
        noise = recipe.label_smoothing
        right_P, wrong_P = nn.log_sigmoid(recipe.beta * delta_P), nn.log_sigmoid(-recipe.beta * delta_P)
        losses_P = (noise * wrong_P - (1 - noise) * right_P) / (1 - 2 * noise)
    else:
        losses_P = -nn.log_sigmoid(recipe.beta * delta_P)
    return losses_P.mean(), recipe.beta * ratios_B


def simpo(recipe: DpoRecipe, log_probs_B: mx.array, lengths_B: mx.array) -> Found:
    """-log σ(β · (mean log p of the chosen - of the rejected) - γ) (Meng et al. 2024, eq. 6)."""
    reward_B = recipe.beta * log_probs_B / mx.maximum(lengths_B, 1)
    chosen_P, rejected_P = mx.split(reward_B, 2)
    return -nn.log_sigmoid(chosen_P - rejected_P - recipe.simpo_gamma).mean(), reward_B


def orpo(recipe: OrpoRecipe, log_probs_B: mx.array, lengths_B: mx.array) -> Found:
    """NLL of the chosen answer - β · log σ(log odds of the chosen - of the rejected) (Hong et al. 2024, eq. 6, 7).

    The odds are those of the mean log-probability of a token. The NLL is over the answer's tokens alone.
    """
    mean_B = log_probs_B / mx.maximum(lengths_B, 1)
    log_odds_B = mean_B - mx.log(-mx.expm1(mx.minimum(mean_B, -1e-7)))
    chosen_P, rejected_P = mx.split(log_odds_B, 2)
    pairs = len(chosen_P)
    nll = -log_probs_B[:pairs].sum() / mx.maximum(lengths_B[:pairs].sum(), 1)
    return nll - recipe.beta * nn.log_sigmoid(chosen_P - rejected_P).mean(), recipe.beta * mean_B


def loss_of(recipe: DpoRecipe | OrpoRecipe) -> tuple[Callable[..., Found], bool]:
    """(loss of log-probabilities, those of the reference, and lengths; whether it looks at the reference)."""
    if isinstance(recipe, OrpoRecipe):
        return lambda own_B, _, lengths_B: orpo(recipe, own_B, lengths_B), False
    if recipe.loss_type == "simpo":
        return lambda own_B, _, lengths_B: simpo(recipe, own_B, lengths_B), False
    return lambda own_B, reference_B, lengths_B: dpo(recipe, own_B, reference_B, lengths_B), True
