"""A reward model's folder as a `contract.RewardModel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from engines.companions import pad_id
from engines.pytorch import device as devices
from engines.pytorch import documents
from engines.pytorch.folders import open_reward_model
from workbench.contract import Message
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError

SCORE_TOKENS = 8192  # of a forward pass


class TransformersReward:
    """Satisfies `workbench.contract.RewardModel`. The score is read at the token that ends the answer."""

    def __init__(self, folder: Path, *, device: str | None = None, dtype: str | None = None):
        """Raises `WorkbenchError` if `folder` holds no reward model, or one is not whole."""
        self._device = torch.device(device) if device else devices.choose()
        if self._device.type == "cpu":
            devices.use_threads(1)
        kind = getattr(torch, dtype or ("bfloat16" if self._device.type == "cuda" else "float32"))
        self.tokenizer = ChatTokenizer(folder)
        self._model: Any = open_reward_model(folder, kind).to(self._device)
        documents.install(self._model)
        self.context_length: int = self._model.config.get_text_config().max_position_embeddings

    def score(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> list[float]:
        rows = [self._ids(messages, answer) for messages, answer in pairs]
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
        scores: dict[int, float] = {}
        start = 0
        while start < len(order):
            size = max(1, SCORE_TOKENS // len(rows[order[start]]))
            chosen = order[start : start + size]
            start += size
            scores.update(zip(chosen, self.score_ids([rows[place] for place in chosen]), strict=True))
        return [scores[place] for place in range(len(rows))]

    @torch.inference_mode()
    def score_ids(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """The scores of token ids, which end in what ends an answer."""
        longest = max(map(len, rows))
        ids_BL = torch.full((len(rows), longest), pad_id(self.tokenizer))
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

    def _ids(self, messages: Sequence[Message], answer: str) -> list[int]:
        before, after = self.tokenizer.completion(messages, [{"role": "assistant", "content": answer}])
        ids = [*before.tolist(), *after.tolist()]
        if len(ids) > self.context_length:
            raise WorkbenchError(
                f"Prompt and answer have {len(ids):,} tokens, and the reward model's context is "
                f"{self.context_length:,}.",
                "Shorten them.",
            )
        return ids
