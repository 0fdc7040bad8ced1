"""Logits at every place of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from engines.llamacpp.context import Context
from workbench.errors import WorkbenchError


def distributions(
    context: Context, tokens: Sequence[int], places: int
) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
    """Logits (up to `places`, vocabulary) of what stands at each place of `tokens`, piece after piece.

    Forgets what `context` held. Raises `WorkbenchError` if `tokens` do not fit, or no token can begin a text.
    """
    start = context.weights.start()
    if start is None:
        raise WorkbenchError("This model has no token to begin a text with.", "Export it with a BOS or EOS token.")
    if len(tokens) > context.length:
        raise WorkbenchError(
            f"A text of {len(tokens):,} tokens does not fit into the context of {context.length:,}.", "Shorten it."
        )
    inputs = [start, *tokens[:-1]]
    context.forget(-1)
    for begin in range(0, len(inputs), places):
        piece = inputs[begin : begin + places]
        context.decode(piece, range(begin, begin + len(piece)), [0] * len(piece), range(len(piece)))
        yield np.stack([context.logits(place) for place in range(len(piece))])
    context.forget(-1)
