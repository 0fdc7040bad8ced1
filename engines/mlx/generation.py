"""Writing token after token with a key-value cache: one prompt, going on from what the cache holds, or many at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import BatchKVCache, KVCache, can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache

from engines.harness import common
from engines.mlx.sampling import draw, generator_of
from workbench.contract import Sampling

BATCH_TOKENS = 65_536  # prompt and answer tokens of the prompts that are answered at once
READ_TOKENS = 512  # of a prompt, read at once


class Writer:
    """Answers prompts with one model. Of the last prompt answered alone, it keeps what was computed."""

    def __init__(self, model: Any):
        self._model = model
        self._held: list[int] = []  # the tokens that the kept cache is of
        self._cache: list[Any] = []

    def batches(self) -> bool:
        """Whether the architecture's cache is one that several prompts can share."""
        return all(type(layer) is KVCache for layer in make_prompt_cache(self._model))

    def write(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, ends: Collection[int], numbers: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        """(row, id) of the answers to all prompts, one token of each at a time; an end token is a row's last.

        Every row draws from a generator seeded by `sampling.seed` and its number.
        """
        if len(prompts) == 1:
            for token in self._one(prompts[0], sampling, ends, numbers[0]):
                yield 0, token
        else:
            yield from self._many(prompts, sampling, ends, numbers)

    def _one(self, prompt: Sequence[int], sampling: Sampling, ends: Collection[int], number: int) -> Iterator[int]:
        cache = self._reused(prompt)
        fed = list(prompt)
        done = self._offset(cache)
        try:
            while len(fed) - 1 - done > 0:
                part = fed[done : min(len(fed) - 1, done + READ_TOKENS)]
                self._model(mx.array([part]), cache=cache)
                mx.eval([layer.state for layer in cache])
                done += len(part)
            generator, seen_V = generator_of(sampling.seed, number), None
            for _ in range(sampling.max_tokens):
                logits_V = np.array(self._model(mx.array([fed[-1:]]), cache=cache)[0, -1].astype(mx.float32))
                if seen_V is None:
                    seen_V = np.zeros(len(logits_V), dtype=np.bool_)
                    seen_V[fed] = True
                token = draw(logits_V, sampling, seen_V, generator)
                yield token
                if token in ends:
                    return
                seen_V[token] = True
                fed.append(token)
        finally:
            # Closed half-way or at the end: what has been read is known, and so is what the cache is of.
            self._held, self._cache = fed[: self._offset(cache)], cache

    def _many(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, ends: Collection[int], numbers: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        generators = [generator_of(sampling.seed, number) for number in numbers]
        seen: list[np.ndarray] = []

        def drawn(logits_AV: np.ndarray, rows: Sequence[int], place: int) -> list[int]:
            if not seen:
                for prompt in prompts:
                    seen.append(np.zeros(logits_AV.shape[1], dtype=np.bool_))
                    seen[-1][list(prompt)] = True
            tokens = [
                draw(logits_V, sampling, seen[row], generators[row])
                for row, logits_V in zip(rows, logits_AV, strict=True)
            ]
            for row, token in zip(rows, tokens, strict=True):
                seen[row][token] = True
            return tokens

        yield from decode(self._model, prompts, drawn, max_tokens=sampling.max_tokens, ends=ends)

    def _reused(self, prompt: Sequence[int]) -> list[Any]:
        """A cache that holds as much of the prompt's beginning as the kept one has of it, but for the last token."""
        shared = min(common(self._held, prompt), len(prompt) - 1)
        cache, self._cache = self._cache, []  # whoever asks meanwhile begins anew
        surplus = len(self._held) - shared
        if shared and can_trim_prompt_cache(cache) and trim_prompt_cache(cache, surplus) == surplus:
            return cache
        return make_prompt_cache(self._model)

    @staticmethod
    def _offset(cache: Sequence[Any]) -> int:
        return int(cache[0].offset) if hasattr(cache[0], "offset") else 0


def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    draw: Callable[[np.ndarray, Sequence[int], int], list[int]],
    *,
    max_tokens: int,
    ends: Collection[int],
) -> Iterator[tuple[int, int]]:
    """(row, id) of the answers to several prompts, one token of each at a time; an end token is a row's last.

    `draw(logits_AV, rows, place)` chooses the ids of token `place`; rows that have ended leave the cache.
    """
    width = max(len(prompt) for prompt in prompts)
    padding = [width - len(prompt) for prompt in prompts]
    ids_BL = np.array([[*[0] * pad, *prompt] for pad, prompt in zip(padding, prompts, strict=True)])
    cache = [BatchKVCache(padding) for _ in model.layers]
    for begin in range(0, width - 1, READ_TOKENS):
        model(mx.array(ids_BL[:, begin : min(width - 1, begin + READ_TOKENS)]), cache=cache)
        mx.eval([(layer.keys, layer.values) for layer in cache])
    rows, last = list(range(len(prompts))), ids_BL[:, -1].tolist()
    for place in range(max_tokens):
        logits_AV = np.array(model(mx.array(last)[:, None], cache=cache)[:, -1].astype(mx.float32))
        last = draw(logits_AV, rows, place)
        yield from zip(rows, last, strict=True)
        going = [number for number, token in enumerate(last) if token not in ends]
        if not going:
            return
        if len(going) < len(rows):
            for layer in cache:
                layer.filter(mx.array(going))
            rows, last = [rows[number] for number in going], [last[number] for number in going]
