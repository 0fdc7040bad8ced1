"""A reward model's folder as a `contract.RewardModel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from engines.pytorch import device as devices
from engines.pytorch import documents
from engines.pytorch.folders import open_reward_model
from engines.text_reward import TextReward


class TransformersReward(TextReward):
    """Satisfies `workbench.contract.RewardModel`."""

    def __init__(self, folder: Path, *, device: str | None = None, dtype: str | None = None):
        """Raises `WorkbenchError` if `folder` holds no reward model, or one is not whole."""
        super().__init__(folder)
        self._device, kind = devices.to_answer(device, dtype)
        self._model: Any = open_reward_model(folder, kind).to(self._device)
        documents.install(self._model)
        self.context_length: int = self._model.config.get_text_config().max_position_embeddings

    @torch.inference_mode()
    def score_ids(self, rows: Sequence[Sequence[int]]) -> list[float]:
        longest = max(map(len, rows))
        ids_BL = torch.full((len(rows), longest), self.pad_id)
        mask_BL = torch.zeros_like(ids_BL)
        for place, row in enumerate(rows):
            ids_BL[place, : len(row)] = torch.tensor(row)
            mask_BL[place, : len(row)] = 1
        found = self._model(input_ids=ids_BL.to(self._device), attention_mask=mask_BL.to(self._device))
        return found.logits[:, 0].float().tolist()

    def close(self) -> None:
        del self._model
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
