"""Drawing the next token from logits, on numpy: the same rules as the other engines'."""

from __future__ import annotations

import numpy as np

from workbench.contract import Sampling


def draw(logits_V: np.ndarray, sampling: Sampling, seen_V: np.ndarray, generator: np.random.Generator) -> int:
    """One id: repetition penalty, temperature, then the cuts top-k, top-p and min-p, as in transformers."""
    if sampling.repetition_penalty != 1.0:  # Keskar et al. 2019
        penalty = sampling.repetition_penalty
        logits_V = np.where(seen_V, np.where(logits_V > 0, logits_V / penalty, logits_V * penalty), logits_V)
    if sampling.temperature <= 0:
        return int(logits_V.argmax())
    logits_V = logits_V.astype(np.float64) / sampling.temperature
    count = min(sampling.top_k, len(logits_V)) if sampling.top_k > 0 else len(logits_V)
    ids_K = np.argpartition(-logits_V, count - 1)[:count] if count < len(logits_V) else np.arange(count)
    ids_K = ids_K[np.argsort(-logits_V[ids_K], kind="stable")]
    weights_K = np.exp(logits_V[ids_K] - logits_V[ids_K[0]])
    probabilities_K = weights_K / weights_K.sum()
    before_K = probabilities_K.cumsum() - probabilities_K
    dropped_K = (before_K >= sampling.top_p) | (probabilities_K < sampling.min_p * probabilities_K[0])
    dropped_K[0] = False  # the likeliest stays under every cut
    cumulated_K = np.where(dropped_K, 0.0, probabilities_K).cumsum()
    place = int(np.searchsorted(cumulated_K, generator.random() * cumulated_K[-1], side="right"))
    return int(ids_K[min(place, count - 1)])


def generator_of(seed: int | None, number: int) -> np.random.Generator:
    """For the answer to prompt `number`: the same draws in any company."""
    return np.random.default_rng(None if seed is None else (seed % 2**64, number))


def inverse_transform(logits_BV: np.ndarray, uniform_B: np.ndarray) -> list[int]:
    """The id whose share of the summed probabilities holds each uniform number."""
    weights_BV = np.exp(logits_BV - logits_BV.max(axis=1, keepdims=True))
    cumulative_BV = (weights_BV / weights_BV.sum(axis=1, keepdims=True)).cumsum(axis=1, dtype=np.float64)
    drawn = []
    for cumulative_V, uniform in zip(cumulative_BV, uniform_B, strict=True):
        total = cumulative_V[-1]
        # Below the sum of all, so that rounding never chooses beyond the last id that has a probability.
        place = min(uniform * total, np.nextafter(total, 0.0))
        drawn.append(min(int(np.searchsorted(cumulative_V, place, side="right")), len(cumulative_V) - 1))
    return drawn
