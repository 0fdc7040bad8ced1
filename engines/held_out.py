"""What is measured on held-out text, and what of it a model's folder keeps. Numpy only: every engine counts alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engines.tokenizer import TextTokenizer
from workbench.corpus.packing import TokenStream

HELD_OUT = "held_out.txt"
HELD_OUT_BYTES = 64 << 10


def before_training(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures of an evaluation before the first step, each named `<name>_before`.

    A policy that is its own reference gives both answers of every pair the reward 0: all are ties, and an accuracy
    of 0 would read as all of them wrong. There it is left out. (None is right and the margins add up to 0: none is
    wrong.)
    """
    tied = figures.get("eval_reward_accuracy") == 0 == figures.get("eval_reward_margin")
    return {f"{name}_before": value for name, value in figures.items() if not (tied and name == "eval_reward_accuracy")}


@dataclass(frozen=True, slots=True)
class Validation:
    """What was measured: `loss` in nats per token, over `tokens` targets."""

    loss: float
    bits_per_byte: float
    tokens: int


@dataclass(slots=True)
class Tally:
    """Sums over the targets of held-out text; they add up over batches and processes.

    Bits per byte are ΣNLL / (ln 2 · UTF-8 bytes) over the tokens of text, those with bytes; the loss also counts
    `<|eos|>`.
    """

    nats: float = 0.0
    text_nats: float = 0.0
    tokens: float = 0.0
    bytes: float = 0.0

    def add(self, losses_BL: np.ndarray, targets_BL: np.ndarray, token_bytes_V: np.ndarray) -> None:
        """`losses_BL` are float64 nats, 0 where a target is negative: not counted."""
        bytes_BL = np.where(targets_BL >= 0, token_bytes_V[targets_BL.clip(0)], 0)
        self.nats += float(losses_BL.sum())
        self.text_nats += float(losses_BL[bytes_BL > 0].sum())
        self.tokens += int((targets_BL >= 0).sum())
        self.bytes += int(bytes_BL.sum())

    def validation(self) -> Validation:
        return Validation(
            loss=self.nats / max(1, self.tokens),
            bits_per_byte=self.text_nats / (math.log(2) * max(1, self.bytes)),
            tokens=int(self.tokens),
        )


def held_out_text(streams: Sequence[TokenStream], tokenizer: TextTokenizer) -> str:
    """The beginning of each stream's held-out documents, up to 64 KiB in all, an empty line between two."""
    most = HELD_OUT_BYTES // len(streams)
    return cut_text("\n\n".join(cut_text(_text(stream, tokenizer), most) for stream in streams))


def _text(stream: TokenStream, tokenizer: TextTokenizer) -> str:
    ids = stream.read(0, min(stream.tokens, HELD_OUT_BYTES)).tolist()
    documents: list[list[int]] = [[]]
    for token in ids:
        if token == tokenizer.bos:
            documents.append([])
        documents[-1].append(token)
    return "\n\n".join(tokenizer.decode(document) for document in documents if document)


def cut_text(text: str, most: int = HELD_OUT_BYTES) -> str:
    """The beginning of `text`, up to `most` bytes in UTF-8."""
    return text.encode()[:most].decode(errors="ignore")
