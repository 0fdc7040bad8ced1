"""A Hugging Face folder, or an adapter's, as a `contract.LanguageModel` on MLX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from engines.harness import Window
from engines.mlx import device
from engines.mlx.folders import context_length, open_causal_lm
from engines.mlx.generation import BATCH_TOKENS, Writer
from engines.mlx.scoring import Scorer
from engines.text_model import TextModel, grouped_by_length
from workbench.contract import Sampling


class MlxModel(TextModel):
    """Satisfies `workbench.contract.LanguageModel`."""

    def __init__(self, folder: Path, *, dtype: str = "auto"):
        """Raises `WorkbenchError` if `folder` lacks a file, or one is damaged, or mlx-lm does not know the model."""
        super().__init__(folder)
        device.set_limits()
        self._model, config = open_causal_lm(folder, device.choose_dtype(dtype))
        self._model.eval()
        self._writer, self._scorer = Writer(self._model), Scorer(self._model)
        self.context_length = context_length(config)

    def distributions(self, tokens: Sequence[int], places: int) -> Iterator[Any]:
        logits_LV = self._model(mx.array([self._text_ids(tokens)]))[0]
        return (
            np.array(logits_LV[begin : begin + places].astype(mx.float32)) for begin in range(0, len(tokens), places)
        )

    def close(self) -> None:
        del self._model, self._writer, self._scorer
        mx.clear_cache()

    def _drawn(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, numbers: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        return self._writer.write(prompts, sampling, ends=self._ends, numbers=numbers)

    def _groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        if not self._writer.batches():
            return [[place] for place in range(len(lengths))]
        return grouped_by_length(lengths, max_tokens, most=BATCH_TOKENS)

    def _window_scores(self, windows: Sequence[Window]) -> list[tuple[float, bool]]:
        return self._scorer.score(windows)

    def _log_probabilities(
        self, ids: Sequence[int], count: int, top: int
    ) -> list[tuple[float, list[tuple[int, float]]]]:
        logits_CV = self._model(mx.array([ids[:-1]]))[0, len(ids) - 1 - count :].astype(mx.float32)
        log_CV = np.array(logits_CV - mx.logsumexp(logits_CV, axis=-1, keepdims=True))
        best_CT = np.argsort(-log_CV, axis=-1, kind="stable")[:, :top]
        return [
            (float(log_V[token]), [(int(name), float(log_V[name])) for name in best_T])
            for token, log_V, best_T in zip(ids[len(ids) - count :], log_CV, best_CT, strict=True)
        ]
