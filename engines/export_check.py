"""The check of an export, whatever wrote it: its logits against those of the checkpoint that it was made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.awkward import HELD_OUT_TEXT
from engines.held_out import HELD_OUT
from engines.log_probabilities import log_softmax
from workbench.errors import WorkbenchError

Logits = np.ndarray[Any, np.dtype[np.float32]]

CHUNK_TOKENS = 128  # positions whose logits are held at once: 75 MB for each side at a vocabulary of 150,000
WORTH_A_WARNING = 1.03  # times the checkpoint's bits per byte
WINDOW_TOKENS = 2048  # texts are compared in windows of at most this, so that memory stays bounded

CONVERSATION = (
    {"role": "system", "content": "You answer briefly."},
    {"role": "user", "content": "What is 1 < 2 && \"a\"?\n  A question with 'quotes'."},
    {"role": "assistant", "content": "True."},
    {"role": "user", "content": "Thanks! 👍"},
)
"""Also rendered without its first message, for templates that refuse one."""


class CheckFailed(WorkbenchError):
    """The export does not do what the checkpoint does."""

    def __init__(self, what: str):
        super().__init__(
            f"The export was checked and failed: {what}", "The checkpoint is as it was; the export is not kept."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitReport:
    """Both models on the same held-out text; KL is KL(checkpoint || export), in nats a token."""

    tokens: int
    largest_logit_difference: float
    mean_logit_difference: float
    mean_kl: float
    uniform_kl: float  # mean KL(checkpoint || uniform): how much the checkpoint says at all
    top1_agreement: float  # share of places where both find the same token likeliest
    bits_per_byte: float  # the export's
    checkpoint_bits_per_byte: float

    @property
    def kl_share(self) -> float:
        """Mean KL(checkpoint || export) as a share of the checkpoint's own mean KL(checkpoint || uniform): one scale
        for models that are sure and models that are not."""
        return self.mean_kl / max(self.uniform_kl, 1e-9)

    def require(self, number_type: str, most: float) -> None:
        """Raises `CheckFailed` if the logits are not the checkpoint's, by a `kl_share` of at most `most`."""
        if not self.kl_share <= most:  # NaN fails too
            raise CheckFailed(
                f"its logits in {number_type} are not the checkpoint's: mean KL {self.mean_kl:.2g} nats is "
                f"{self.kl_share:.2g} of the model's own {self.uniform_kl:.2g}, and at most {most:.2g} was expected "
                f"(largest difference {self.largest_logit_difference:.3g}, same likeliest token at "
                f"{self.top1_agreement:.0%} of {self.tokens} places)."
            )

    def loss(self, number_type: str) -> str | None:
        """What the format costs in bits per byte, in a sentence, where that is worth a warning."""
        ratio = self.bits_per_byte / self.checkpoint_bits_per_byte
        if ratio <= WORTH_A_WARNING:
            return None
        return (
            f"{number_type} costs this model {ratio - 1:.0%} in bits per byte ({self.checkpoint_bits_per_byte:.3f} to "
            f"{self.bits_per_byte:.3f})"
        )


class Reference:
    """The checkpoint in transformers, in float32."""

    def __init__(self, folder: Path):
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # it would draw into the run's log
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()

    @torch.inference_mode()
    def chunks(self, tokens: list[int]) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
        """Logits [chunk, vocab] of `tokens`, chunk after chunk."""
        cache = None
        for start in range(0, len(tokens), CHUNK_TOKENS):
            ids_BL = torch.tensor([tokens[start : start + CHUNK_TOKENS]])
            output = self._model(input_ids=ids_BL, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            yield output.logits[0].numpy()


def held_out_text(folder: Path) -> tuple[str, str]:
    """(the model's held-out text, "held_out.txt"), or a paragraph of our own where it has none, and that it is ours."""
    file = folder / HELD_OUT
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    return (text, HELD_OUT) if text.strip() else (HELD_OUT_TEXT, "built-in paragraph")


def compare_logits(
    reference: Reference,
    chunks: Callable[[list[int]], Iterator[Logits]],
    tokens: list[int],
    *,
    start: int | None,
    context_length: int,
    size_bytes: Callable[[list[int]], int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LogitReport:
    """Run both over `tokens` in windows that begin with `start`, if there is one, and score each token once.

    `chunks(tokens)` are the export's logits [chunk, vocab], `CHUNK_TOKENS` places at a time; `size_bytes` says how
    much text some tokens are. `progress(done, total)` counts tokens and may raise.
    """
    window = min(context_length, WINDOW_TOKENS) - 1
    first = [start] if start is not None else []
    totals = dict.fromkeys(("largest", "difference", "kl", "uniform", "agree", "ours", "theirs"), 0.0)
    scored, size = 0, 0
    for begin in range(0, len(tokens), window):
        part = tokens[begin : begin + window]
        targets = part if first else part[1:]
        inputs = (first + part)[: len(targets)] or part
        for number, (theirs_LV, ours_LV) in enumerate(zip(reference.chunks(inputs), chunks(inputs), strict=True)):
            _add(totals, theirs_LV, ours_LV, targets[number * CHUNK_TOKENS :])
            progress(min(begin + (number + 1) * CHUNK_TOKENS, len(tokens)), len(tokens))
        scored += len(targets)
        size += size_bytes(targets)
    bits = math.log(2) * max(size, 1)
    count = max(scored, 1)
    return LogitReport(
        tokens=scored,
        largest_logit_difference=totals["largest"],
        mean_logit_difference=totals["difference"] / count,
        mean_kl=totals["kl"] / count,
        uniform_kl=totals["uniform"] / count,
        top1_agreement=totals["agree"] / count,
        bits_per_byte=totals["ours"] / bits,
        checkpoint_bits_per_byte=totals["theirs"] / bits,
    )


def _add(totals: dict[str, float], theirs_LV: Any, ours_LV: Any, targets: list[int]) -> None:
    """Add a chunk's sums; `targets` are the tokens that follow its places."""
    rows = min(len(theirs_LV), len(targets))
    theirs_LV, ours_LV = theirs_LV[:rows], ours_LV[:rows]
    difference_LV = np.abs(theirs_LV - ours_LV)
    # A NaN must not look like a small number: max() with it would depend on the order.
    totals["largest"] = float(np.fmax(totals["largest"], np.nan_to_num(difference_LV, nan=np.inf).max(initial=0.0)))
    totals["difference"] += float(difference_LV.mean(axis=1).sum())
    p_LV, q_LV = log_softmax(theirs_LV), log_softmax(ours_LV)
    weight_LV = np.exp(p_LV)
    totals["kl"] += float((weight_LV * (p_LV - q_LV)).sum())
    totals["uniform"] += float((weight_LV * p_LV).sum() + rows * math.log(p_LV.shape[1]))
    totals["agree"] += float((theirs_LV.argmax(axis=1) == ours_LV.argmax(axis=1)).sum())
    places = (np.arange(rows), np.array(targets[:rows], dtype=np.int64))
    totals["theirs"] -= float(p_LV[places].sum())
    totals["ours"] -= float(q_LV[places].sum())


def as_plain(report: LogitReport) -> dict[str, float]:
    """For JSON: seven significant digits say all that was measured."""
    return {key: float(f"{value:.7g}") if isinstance(value, float) else value for key, value in asdict(report).items()}
