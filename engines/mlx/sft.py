"""Supervised fine-tuning on conversations, and continued pretraining on plain text.

The rows, how they are packed and their order are those of every other engine, and of the inspector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from engines.companions import pad_id
from engines.mlx.forward import IGNORED, Targets, hidden_states, token_statistics
from engines.mlx.method import PolicyMethod
from engines.mlx.policy import Policy
from engines.mlx.post_training import Workplace, train
from engines.mlx.trainer import Inputs, Trainer
from engines.row_warnings import warn_of_cut_rows
from workbench.contract import Job, Reporter
from workbench.corpus.chats.packing import PackedSequence, TrainingRows, padded
from workbench.corpus.chats.training_data import conversation_rows, document_rows, mixture_report
from workbench.recipes.base import validate
from workbench.recipes.sft import ContinueRecipe, SftRecipe


def supervise(job: Job, reporter: Reporter) -> None:
    """The stages `sft` and `continue`."""
    kind = SftRecipe if job.stage == "sft" else ContinueRecipe
    recipe: SftRecipe | ContinueRecipe = validate(kind, job.recipe).resolved()

    def make(place: Workplace, policy: Policy) -> Supervised:
        length = place.max_length
        if isinstance(recipe, SftRecipe):
            rows = conversation_rows(recipe, job.inputs, policy.tokenizer, max_length=length)
        else:
            rows = document_rows(recipe, job.inputs["corpus"], policy.tokenizer, max_length=length)
        place.heed(rows.findings)
        warn_of_cut_rows(rows.train, length, reporter)
        return Supervised(policy, recipe, place, rows.train, rows.held_out, rows.text)

    train(job, reporter, recipe, make)


class Supervised(PolicyMethod):
    """Cross-entropy of the trained tokens, a mean over those of the whole step."""

    def __init__(
        self,
        policy: Policy,
        recipe: SftRecipe | ContinueRecipe,
        place: Workplace,
        rows: TrainingRows,
        held_out: TrainingRows,
        held_out_text: str,
    ):
        super().__init__(policy, recipe)
        self._rows = rows
        self.chats = isinstance(recipe, SftRecipe)
        self._noise = recipe.conversations.neftune_noise_alpha if isinstance(recipe, SftRecipe) else 0.0
        self._held_out = held_out.all_sequences()
        self.held_out_text = held_out_text
        self.held_out_tokens = sum(len(item.ids_L) for item in self._held_out)
        self.steps_per_epoch = rows.steps_per_epoch
        mean = float(rows.lengths.mean()) if not rows.packing else rows.fill * rows.max_length
        self.step_tokens = int(mean * rows.batch_size)
        self._micro = recipe.batch.per_device_batch_size or 1
        self._pad, self._padded = pad_id(policy.tokenizer), place.padded
        self._report = {
            "rows": rows.rows,
            "held_out_rows": held_out.rows,
            "trained_share": rows.trained_share,
            "max_length": rows.max_length,
            **mixture_report(recipe, rows),
        }
        self.trainer = Trainer(
            policy.model, self.loss, recipe.optimizer, dtype=place.dtype, seed=recipe.seed, compiled=place.compiled
        )

    def loss(
        self, ids_BL: mx.array, targets: Any, places_BL: mx.array, lengths_BL: mx.array, scale: mx.array
    ) -> tuple[mx.array, dict[str, mx.array]]:
        """The summed cross-entropy of the trained targets, in nats, times `scale`; its figures likewise."""
        embedded = None
        if self._noise:  # NEFTune (Jain et al. 2023): uniform, within alpha / sqrt(length · width)
            embedded = self.policy.model.model.embed_tokens(ids_BL)
            size = self._noise / mx.sqrt(lengths_BL * embedded.shape[-1])
            embedded = embedded + (mx.random.uniform(-1, 1, embedded.shape) * size[..., None]).astype(embedded.dtype)
        hidden_BLD = hidden_states(
            self.policy.model, ids_BL, places_BL, embedded, checkpointed=self.recipe.precision.gradient_checkpointing
        )
        found = token_statistics(self.policy.model, hidden_BLD, Targets(*targets))
        figures = {"token_accuracy": found.right.sum() * scale, "entropy": found.entropy.sum() * scale}
        return found.losses.sum() * scale, figures

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        batch = self._rows.batch(step)
        scale = mx.array(1 / max(1, batch.trained))
        micro = [
            (*self._inputs(batch.sequences[begin : begin + self._micro]), scale)
            for begin in range(0, len(batch.sequences), self._micro)
        ]
        return micro, batch.tokens

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        nats = trained = correct = seen = 0.0
        for begin in range(0, len(self._held_out), self._micro):
            if most_tokens is not None and seen >= most_tokens:
                break
            if cancelled():
                return None
            together = self._held_out[begin : begin + self._micro]
            seen += sum(len(item.ids_L) for item in together)
            ids_BL, targets, places_BL, _ = self._inputs(together)
            hidden_BLD = hidden_states(self.policy.model, ids_BL, places_BL)
            found = token_statistics(self.policy.model, hidden_BLD, targets)
            nats += float(np.array(found.losses, dtype=np.float64).sum())
            trained += float(targets.trained_BL.sum())
            correct += float(found.right.sum())
        count = max(1.0, trained)
        return {"eval_loss": nats / count, "eval_token_accuracy": correct / count}

    def write(self, folder: Path) -> None:
        super().write(folder)
        if not self.chats and not self.policy.tokenizer.has_own_template:
            (folder / "chat_template.jinja").unlink(missing_ok=True)  # it was not trained on turns

    def report(self) -> dict[str, Any]:
        return self._report

    def _inputs(self, sequences: Sequence[PackedSequence]) -> tuple[mx.array, Targets, mx.array, mx.array]:
        """Ids, the targets that follow them, places within documents, lengths of documents: int32 [batch, length]."""
        batch = padded(sequences, self._pad)
        labels_BL = np.where(batch.trained_BL, batch.ids_BL, IGNORED)
        targets_BL = np.full_like(labels_BL, IGNORED)
        targets_BL[:, :-1] = labels_BL[:, 1:]
        lengths_BL = np.ones_like(batch.ids_BL)
        for row, item in enumerate(sequences):
            sizes = np.diff([*item.starts, len(item.ids_L)])
            lengths_BL[row, : len(item.ids_L)] = np.repeat(sizes, sizes)
        more = ((0, 0), (0, self._padded(batch.ids_BL.shape[1]) - batch.ids_BL.shape[1]))
        filled = ((batch.ids_BL, self._pad), (batch.position_ids_BL, 0), (lengths_BL, 1))
        ids, places, lengths = (
            mx.array(np.pad(array, more, constant_values=value).astype(np.int32)) for array, value in filled
        )
        targets = Targets.of(np.pad(targets_BL, more, constant_values=IGNORED), self._padded)
        return ids, targets, places, lengths
