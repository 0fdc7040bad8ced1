"""What the models say of written answers, token by token, without a padding token and without keeping logits.

A micro-batch is computed in the same way when it is scored and when it is learnt from, down to its shape: so before
the first update the new and the old log-probabilities are the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from engines.pytorch import documents
from engines.pytorch.documents import _logit_scale as logit_scale
from engines.pytorch.documents import hidden_states
from engines.pytorch.token_log_probs import TokenStatistics, token_log_probs
from engines.reinforcement.answers import Written


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """B prompts with answers as tensors on the device; N is the number of answers' tokens, row after row."""

    ids_BL: torch.Tensor
    mask_BL: torch.Tensor
    before_BL: torch.Tensor  # bool: the place before a token of the answer, which predicts it
    last_BL: torch.Tensor  # bool: the answer's last token
    targets_N: torch.Tensor

    @classmethod
    def of(cls, written: Sequence[Written], pad_id: int, device: torch.device) -> Rows:
        width = max(len(item.prompt) + len(item.answer) for item in written)
        ids_BL = np.full((len(written), width), pad_id, np.int64)
        mask_BL, before_BL, last_BL = (np.zeros(ids_BL.shape, bool) for _ in range(3))
        for row, item in enumerate(written):
            start, stop = len(item.prompt), len(item.prompt) + len(item.answer)
            ids_BL[row, :start], ids_BL[row, start:stop] = item.prompt, item.answer
            mask_BL[row, :stop] = True
            before_BL[row, start - 1 : stop - 1] = True
            last_BL[row, stop - 1] = True
        targets_N = np.concatenate([item.answer for item in written]).astype(np.int64)
        arrays = (ids_BL, mask_BL, before_BL, last_BL, targets_N)
        return cls(**dict(zip(cls.__slots__, (torch.from_numpy(array).to(device) for array in arrays), strict=True)))


class LanguageScorer:
    """Log-probabilities of answers under a language model of transformers, at the temperature they were drawn at."""

    def __init__(self, model: Any, temperature: float):
        self._model, self._temperature = model, temperature
        head = model.get_output_embeddings()
        self._cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self._plain_head = not self._cap and getattr(head, "bias", None) is None
        self._scale = logit_scale(model.config) / temperature
        self._packs = documents.install(model)

    def __call__(self, rows: Rows) -> TokenStatistics:
        """Of the answers' N tokens."""
        hidden_ND = hidden_states(self._model, rows.ids_BL, rows.mask_BL, rows.before_BL, packs=self._packs)
        head = self._model.get_output_embeddings()
        if self._plain_head:
            weight_VD = head.weight if self._scale == 1.0 else head.weight * self._scale
            return token_log_probs(hidden_ND, weight_VD, rows.targets_N)
        logits_NV = head(hidden_ND).float() * (self._scale * self._temperature)
        if self._cap:
            logits_NV = torch.tanh(logits_NV / self._cap) * self._cap
        all_NV = F.log_softmax(logits_NV / self._temperature, dim=-1)
        chosen_N = all_NV.gather(1, rows.targets_N[:, None]).squeeze(1)
        with torch.no_grad():
            entropy_N = -(all_NV.exp() * all_NV).sum(1)
        return TokenStatistics(chosen_N, entropy_N, all_NV.argmax(1) == rows.targets_N)


class ValueScorer:
    """A sequence classifier with one label, read at any token."""

    def __init__(self, model: Any):
        self._model = model
        # In bfloat16 a score of 4 has steps of 0.03, and values are fitted to less.
        model.score.float()
        self._packs = documents.install(model)

    def values(self, rows: Rows) -> torch.Tensor:
        """The value of what stands before each of the answers' N tokens, float32 [N]."""
        return self._read(rows, rows.before_BL)

    def scores(self, rows: Rows) -> torch.Tensor:
        """The reward of each answer, read at its last token, float32 [B]."""
        return self._read(rows, rows.last_BL)

    def _read(self, rows: Rows, wanted_BL: torch.Tensor) -> torch.Tensor:
        hidden_ND = hidden_states(self._model, rows.ids_BL, rows.mask_BL, wanted_BL, packs=self._packs)
        with torch.autocast(hidden_ND.device.type, enabled=False):
            return self._model.score(hidden_ND.float()).squeeze(1)
