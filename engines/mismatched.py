"""Answers to other prompts, on which KTO estimates how far the policy is from its reference."""

from __future__ import annotations

import numpy as np

from workbench.corpus.chats.tokens import Encoded


def mismatched(prompt: Encoded, answer: Encoded) -> Encoded:
    """The prompt of one row with the answer of another."""
    before, after = int(prompt.trained_L.argmax()), int(answer.trained_L.argmax())
    ids_L = np.concatenate([prompt.ids_L[:before], answer.ids_L[after:]])
    trained_L = np.arange(len(ids_L)) >= before
    nothing = np.zeros(0, np.int16)
    return Encoded(ids_L, trained_L, nothing, nothing, "")
