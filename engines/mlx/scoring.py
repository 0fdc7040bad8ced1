"""Log-likelihoods of many token windows, what they share at the beginning computed once.

Sorted windows that begin alike are scored together: their common beginning is read once into a cache, which the rows
of a batch share, each with its own rest, padded on the right. The choices of a question share its stem thereby. What is
computed together follows from one call's windows alone: the same call gives the same numbers, whatever came before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import KVCache, make_prompt_cache

from engines.harness import Window, common
from engines.mlx.generation import READ_TOKENS

BATCH_TOKENS = 2_048  # in the rows of a batch, with padding
PASS_TOKENS = 32  # what one forward pass more costs, in tokens


class Scorer:
    """Scores windows with one model."""

    def __init__(self, model: Any):
        self._model = model
        # What counts by itself, or forgets (state spaces, sliding windows), is not shared.
        self._shares = all(type(layer) is KVCache for layer in make_prompt_cache(model))

    def score(self, windows: Sequence[Window]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy decoding would write them) of each window's scored tokens."""
        results = [(0.0, True)] * len(windows)
        for numbers, shared in batches(windows) if self._shares else (([n], 0) for n in range(len(windows))):
            found = self._together([windows[number] for number in numbers], shared)
            for number, result in zip(numbers, found, strict=True):
                results[number] = result
        return results

    def _together(self, windows: Sequence[Window], shared: int) -> list[tuple[float, bool]]:
        cache = self._read(windows[0].ids[:shared], len(windows)) if shared else None
        rests = [window.ids[shared:-1] for window in windows]
        size = max(len(rest) for rest in rests)
        ids_BL = np.array([[*rest, *[0] * (size - len(rest))] for rest in rests])
        logits_BLV = self._model(mx.array(ids_BL), cache=cache).astype(mx.float32)
        targets_BL = np.zeros_like(ids_BL)
        for row, window in enumerate(windows):
            targets_BL[row, : len(rests[row])] = window.ids[shared + 1 :]
        targets = mx.array(targets_BL)
        own_BL = mx.take_along_axis(logits_BLV, targets[..., None], axis=-1)[..., 0]
        values_BL = own_BL - mx.logsumexp(logits_BLV, axis=-1)
        greedy_BL = mx.argmax(logits_BLV, axis=-1) == targets
        values, greedy = np.array(values_BL, dtype=np.float64), np.array(greedy_BL)
        return [
            (float(values[row, end - window.count : end].sum()), bool(greedy[row, end - window.count : end].all()))
            for row, window in enumerate(windows)
            for end in [len(rests[row])]
        ]

    def _read(self, ids: Sequence[int], rows: int) -> list[Any]:
        """A cache of `ids` for so many rows."""
        read = make_prompt_cache(self._model)
        for begin in range(0, len(ids), READ_TOKENS):
            self._model(mx.array([ids[begin : begin + READ_TOKENS]]), cache=read)
            mx.eval([layer.state for layer in read])
        caches = [KVCache() for _ in read]
        for cache, layer in zip(caches, read, strict=True):
            keys, values = layer.keys_and_values()
            cache.keys, cache.values = (mx.broadcast_to(item, (rows, *item.shape[1:])) for item in (keys, values))
            cache.offset = layer.offset
        return caches


def batches(windows: Sequence[Window]) -> Iterator[tuple[list[int], int]]:
    """(numbers of windows that are scored together, how many tokens they all begin with and that are read once).

    A window joins the one before it, in sorted order, where both together cost less than apart.
    """
    group: list[int] = []
    shared, longest, cost = 0, 0, 0
    for number in sorted(range(len(windows)), key=lambda number: windows[number].ids):
        window = windows[number]
        # What is read once ends before the token whose logits come first.
        own, size = len(window.stem) - 1, len(window.ids) - 1
        if group:
            joined = min(shared, own, common(windows[group[0]].ids, window.ids))
            rows = (len(group) + 1) * (max(longest, size) - joined)
            if rows <= BATCH_TOKENS and joined + rows <= cost + size + PASS_TOKENS:
                group.append(number)
                shared, longest, cost = joined, max(longest, size), joined + rows
                continue
            yield group, shared
        group, shared, longest, cost = [number], own, size, size
    if group:
        yield group, shared
