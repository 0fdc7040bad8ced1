"""Drawing tokens with llama.cpp's samplers, and turning them into text."""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Sequence
from typing import Any

from engines.llamacpp import libraries
from engines.llamacpp.context import Context
from engines.stop_texts import StopGate
from workbench.contract import Sampling


class Sampler:
    """A chain of llama.cpp's samplers for one answer."""

    def __init__(self, sampling: Sampling, context: Context, *, number: int, prompt: Sequence[int]):
        """`number` tells apart several answers to be drawn with one seed."""
        self._llama = llama = libraries.llama()
        self.handle: Any = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        if sampling.repetition_penalty != 1.0:
            # Over prompt and answer, as transformers does: the whole context, not llama.cpp's last 64 tokens.
            sizes = (context.weights.vocab_size, context.length)
            self._add(llama.llama_sampler_init_penalties(*sizes, sampling.repetition_penalty, 0.0, 0.0))
            for token in prompt:
                llama.llama_sampler_accept(self.handle, token)
        if sampling.temperature <= 0:
            self._add(llama.llama_sampler_init_greedy())
            return
        # Temperature first, then the cuts, as transformers does; top-k commutes with it and leaves less to sort.
        if sampling.top_k > 0:
            self._add(llama.llama_sampler_init_top_k(sampling.top_k))
        self._add(llama.llama_sampler_init_temp(sampling.temperature))
        if sampling.top_p < 1:
            self._add(llama.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            self._add(llama.llama_sampler_init_min_p(sampling.min_p, 1))
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed + number
        self._add(llama.llama_sampler_init_dist(seed & 0xFFFFFFFF))

    def draw(self, context: Context, place: int) -> int:
        """A token from the logits at `place` of the last batch."""
        return self._llama.llama_sampler_sample(self.handle, context.handle, place)

    def close(self) -> None:
        if self.handle:
            self._llama.llama_sampler_free(self.handle)
            self.handle = None

    def _add(self, sampler: Any) -> None:
        self._llama.llama_sampler_chain_add(self.handle, sampler)


class TextStream:
    """Bytes of tokens in, whole characters out, up to the first stop text."""

    def __init__(self, stop: Sequence[str]):
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._gate = StopGate(stop)

    @property
    def stopped(self) -> bool:
        return self._gate.stopped

    def push(self, piece: bytes, *, final: bool = False) -> str:
        """The text that can be shown now; after a stop text, `stopped` is set and nothing more comes."""
        if self.stopped:
            return ""
        text = self._gate.add(self._decoder.decode(piece, final))
        return text + self._gate.rest() if final and not self.stopped else text
