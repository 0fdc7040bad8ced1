"""What the reward models of engines in Python share: conversations as token ids, and which are scored together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from engines.companions import pad_id
from workbench.contract import Message
from workbench.corpus.chats.tokens import ChatTokenizer
from workbench.errors import WorkbenchError

SCORE_TOKENS = 8192  # of a forward pass


class TextReward(ABC):
    """A `workbench.contract.RewardModel` on an engine that scores rows of ids. The score is read at the token that ends
    the answer."""

    context_length: int  # tokens; set by subclasses

    def __init__(self, folder: Path):
        """Raises `WorkbenchError` if there is no readable tokenizer in `folder`."""
        self.tokenizer = ChatTokenizer(folder)
        self.pad_id = pad_id(self.tokenizer)

    @abstractmethod
    def score_ids(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """The scores of token ids, which end in what ends an answer, from one forward pass."""

    def score(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> list[float]:
        return self.score_rows([self._ids(messages, answer) for messages, answer in pairs])

    def score_rows(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """As `score_ids`, in as many forward passes as it takes."""
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
        scores: dict[int, float] = {}
        start = 0
        while start < len(order):
            size = max(1, SCORE_TOKENS // len(rows[order[start]]))
            chosen = order[start : start + size]
            start += size
            scores.update(zip(chosen, self.score_ids([rows[place] for place in chosen]), strict=True))
        return [scores[place] for place in range(len(rows))]

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
