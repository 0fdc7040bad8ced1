"""A Hugging Face folder, or an adapter's, as a `contract.LanguageModel`: streamed generation and exact scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from engines.harness import Window
from engines.pytorch import device as devices
from engines.pytorch.folders import open_causal_lm
from engines.pytorch.generation import BATCH_TOKENS, generate_batch
from engines.pytorch.scoring import Scorer
from engines.text_model import TextModel, grouped_by_length
from workbench.contract import Sampling


class TransformersModel(TextModel):
    """Satisfies `workbench.contract.LanguageModel`."""

    def __init__(self, folder: Path, *, device: str | None = None, dtype: str | None = None):
        """Raises `WorkbenchError` if `folder` lacks a file, or one is damaged."""
        super().__init__(folder)
        self._device, kind = devices.to_answer(device, dtype)
        self._model: Any = open_causal_lm(folder, kind).to(self._device)
        self._scorer = Scorer(self._model)
        self.context_length = self._model.config.max_position_embeddings

    @torch.inference_mode()
    def distributions(self, tokens: Sequence[int], places: int) -> Iterator[Any]:
        ids_1L = torch.tensor([self._text_ids(tokens)], device=self._device)
        logits_LV = self._model(input_ids=ids_1L, use_cache=False).logits[0]
        return (piece_PV.float().cpu().numpy() for piece_PV in logits_LV.split(places))

    def close(self) -> None:
        del self._model, self._scorer
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _drawn(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, numbers: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        return generate_batch(self._model, prompts, sampling, numbers=numbers, ends=self._ends)

    def _groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        return grouped_by_length(lengths, max_tokens, most=BATCH_TOKENS.get(self._device.type, BATCH_TOKENS["cpu"]))

    def _window_scores(self, windows: Sequence[Window]) -> list[tuple[float, bool]]:
        return self._scorer.score(windows)

    @torch.inference_mode()
    def _log_probabilities(
        self, ids: Sequence[int], count: int, top: int
    ) -> list[tuple[float, list[tuple[int, float]]]]:
        tokens_1L = torch.tensor([ids], device=self._device)
        output = self._model(input_ids=tokens_1L, use_cache=False, logits_to_keep=count + 1)
        log_CV = output.logits[0, :-1].float().log_softmax(-1)
        own_C = log_CV.gather(-1, tokens_1L[0, len(ids) - count :, None])[:, 0].tolist()
        best_CT, names_CT = log_CV.topk(top, dim=-1)
        return [
            (own, list(zip(names, values, strict=True)))
            for own, names, values in zip(own_C, names_CT.tolist(), best_CT.tolist(), strict=True)
        ]
