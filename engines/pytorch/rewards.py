"""The models that give rewards on PyTorch: a reward model, a judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.companions import pad_id
from engines.pytorch import documents
from engines.pytorch.folders import open_causal_lm, open_reward_model
from engines.pytorch.ppo.scoring import Rows, ValueScorer
from engines.reinforcement.answers import Written
from engines.reinforcement.sources import JudgeSource, ModelSource
from workbench.corpus.chats.tokens import ChatTokenizer


class RewardModel(ModelSource):
    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype):
        model: Any = open_reward_model(folder, dtype)
        super().__init__(ChatTokenizer(folder), int(model.config.max_position_embeddings))
        self._scorer, self._device = ValueScorer(model.to(device)), device

    @torch.no_grad()
    def scores(self, written: Sequence[Written]) -> list[float]:
        return self._scorer.scores(Rows.of(written, pad_id(self._tokenizer), self._device)).tolist()


class Judge(JudgeSource):
    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype):
        self._model: Any = open_causal_lm(folder, dtype).to(device)  # type: ignore[arg-type]
        self._device = device
        self._packs = documents.install(self._model)
        super().__init__(folder, int(self._model.config.get_text_config().max_position_embeddings))

    @torch.no_grad()
    def digit_logits(self, asked: Sequence[np.ndarray]) -> np.ndarray:
        part = [Written(prompt=ids[:-1], answer=ids[-1:], ended=True) for ids in asked]
        rows = Rows.of(part, pad_id(self._tokenizer), self._device)
        hidden_BD = documents.hidden_states(self._model, rows.ids_BL, rows.mask_BL, rows.last_BL, packs=self._packs)
        return self._model.get_output_embeddings()(hidden_BD)[:, self.digits].float().cpu().numpy()
