"""Two models' distributions over the next token, place by place, in numbers. Imports numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

DIGITS = 7  # of a token's KL that are kept

Pieces = Iterable[np.ndarray]  # logits (places, vocabulary), piece by piece


def compared(ours: Pieces, theirs: Pieces, tokens: Sequence[int]) -> dict[str, Any]:
    """{"nats", "kl", "agreed"}: log-likelihood of `tokens` by us, KL(theirs || ours) at each place in nats, and at how
    many places both find the same token likeliest.
    """
    nats, agreed, kl = 0.0, 0, []
    begin = 0
    for q_LV, p_LV in zip(ours, theirs, strict=True):
        q_LV, p_LV = log_softmax(q_LV), log_softmax(p_LV)
        # Tokens that the reference rules out add nothing, however unlikely we find them.
        gaps_LV = np.where(np.isneginf(p_LV), 0.0, p_LV - q_LV)
        kl += [float(f"{value:.{DIGITS}g}") for value in (np.exp(p_LV) * gaps_LV).sum(axis=1)]
        agreed += int((p_LV.argmax(axis=1) == q_LV.argmax(axis=1)).sum())
        nats += _of_tokens(q_LV, tokens, begin)
        begin += len(q_LV)
    return {"nats": nats, "kl": kl, "agreed": agreed}


def nats(ours: Pieces, tokens: Sequence[int]) -> float:
    """Log-likelihood of `tokens`."""
    total, begin = 0.0, 0
    for q_LV in ours:
        total += _of_tokens(log_softmax(q_LV), tokens, begin)
        begin += len(q_LV)
    return total


def log_softmax(logits_LV: np.ndarray) -> np.ndarray:
    """Log-probabilities along the last axis, in float64."""
    shifted_LV = logits_LV.astype(np.float64) - logits_LV.max(axis=-1, keepdims=True)
    return shifted_LV - np.log(np.exp(shifted_LV).sum(axis=-1, keepdims=True))


def _of_tokens(log_LV: np.ndarray, tokens: Sequence[int], begin: int) -> float:
    places = np.asarray(tokens[begin : begin + len(log_LV)])
    return float(log_LV[np.arange(len(places)), places].sum())
