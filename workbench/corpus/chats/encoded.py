"""Conversations and answers, before and after they became tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.corpus.chats.template import Messages


@dataclass(frozen=True, slots=True)
class Encoded:
    """One conversation of L tokens."""

    ids_L: np.ndarray  # int32
    trained_L: np.ndarray  # bool; the first is never trained on, nothing predicts it
    role_L: np.ndarray  # int16: the index of the message that the token belongs to
    offsets_L2: np.ndarray  # int32: where each begins and ends in `text`, in characters
    text: str
    cut: bool = False  # whether there was more

    def cut_to(self, length: int) -> Encoded:
        """The first `length` tokens."""
        if len(self.ids_L) <= length:
            return self
        kept = slice(length)
        return Encoded(
            self.ids_L[kept], self.trained_L[kept], self.role_L[kept], self.offsets_L2[kept], self.text, True
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages, the tools that the assistant may call, and where it came from (for errors)."""

    messages: Messages
    tools: Sequence[Any] | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt with answers to it, each as messages."""

    prompt: Messages
    completions: Sequence[Messages]
    tools: Sequence[Any] | None = None
    source: str = ""
