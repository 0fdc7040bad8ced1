"""llama.cpp's working memory for a model: tokens in, logits out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from engines.llamacpp import libraries
from engines.llamacpp.weights import Weights
from workbench.errors import WorkbenchError

BATCH_TOKENS = 512  # decoded at once; logits of a whole batch at a vocabulary of 50,000 take 100 MB


class Context:
    """A key-value cache of `length` tokens, shared by up to `sequences` sequences."""

    def __init__(self, weights: Weights, *, length: int, threads: int, sequences: int = 1, exact: bool = False):
        """`exact` keeps keys and values in f32, on the CPU, and attends without fused kernels, to compare logits.

        Raises `WorkbenchError` if there is no memory for it.
        """
        self._llama = llama = libraries.llama()
        self.weights = weights
        self.length = length
        self.sequences = sequences
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = length
        parameters.n_batch = parameters.n_ubatch = min(BATCH_TOKENS, length)
        parameters.n_seq_max = sequences
        parameters.kv_unified = True  # one pool of cells: a single sequence may use all of it
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        if exact:
            parameters.type_k = parameters.type_v = 0  # GGML_TYPE_F32
            parameters.flash_attn_type = 0  # LLAMA_FLASH_ATTN_TYPE_DISABLED
            parameters.offload_kqv = parameters.op_offload = False
        self.handle = llama.llama_init_from_model(weights.handle, parameters)
        if not self.handle:
            raise WorkbenchError(
                f"llama.cpp cannot make a context of {length} tokens: {libraries.last_log_lines()}.",
                "Lower the context length.",
            )
        self.batch_tokens: int = parameters.n_batch
        self._memory = llama.llama_get_memory(self.handle)
        self._batch = llama.llama_batch_init(self.batch_tokens, 0, 1)
        for place in range(self.batch_tokens):
            self._batch.n_seq_id[place] = 1

    def close(self) -> None:
        if self.handle:
            self._llama.llama_batch_free(self._batch)
            self._llama.llama_free(self.handle)
            self.handle = None

    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], wanted: Sequence[int]
    ) -> None:
        """Run up to `batch_tokens` tokens; keep the logits of the places `wanted`.

        Raises `WorkbenchError` if the cache is full or llama.cpp fails.
        """
        batch = self._batch
        batch.n_tokens = len(tokens)
        for place, (token, position, sequence) in enumerate(zip(tokens, positions, sequences, strict=True)):
            batch.token[place] = token
            batch.pos[place] = position
            batch.seq_id[place][0] = sequence
            batch.logits[place] = 0
        for place in wanted:
            batch.logits[place] = 1
        status = self._llama.llama_decode(self.handle, batch)
        if status == 1:
            raise WorkbenchError(f"The context of {self.length} tokens is full.", "Begin anew, or load a longer one.")
        if status:
            raise WorkbenchError(
                f"llama.cpp failed to decode (status {status}): {libraries.last_log_lines()}.",
                "Load the model again; if it happens again, export it anew.",
            )

    def logits(self, place: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The logits [vocab_size] at a place of the last batch: a view, valid until the next one."""
        pointer = self._llama.llama_get_logits_ith(self.handle, place)
        return np.ctypeslib.as_array(pointer, shape=(self.weights.vocab_size,))

    def forget(self, sequence: int, start: int = 0, end: int = -1) -> None:
        """Drop positions `start` to `end` (-1: all after) of a sequence; sequence -1: of all."""
        self._llama.llama_memory_seq_rm(self._memory, sequence, start, end)

    def share(self, source: int, target: int, end: int = -1) -> None:
        """Let sequence `target` see what `source` holds up to `end` (-1: all), without copying it."""
        self._llama.llama_memory_seq_cp(self._memory, source, target, 0, end)


def available_threads() -> int:
    """Cores that this process may use, or OMP_NUM_THREADS where it is set."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
