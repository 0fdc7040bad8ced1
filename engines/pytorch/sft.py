"""Supervised fine-tuning on conversations, and continued pretraining on plain text.

The loss is TRL's; the rows, how they are packed and their order are those that the inspector shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.companions import pad_id
from engines.pytorch.method import GradientMethod, Inputs
from engines.pytorch.policy import Policy
from engines.pytorch.post_training import Made, Workplace, train
from engines.pytorch.trl_trainer import new_trainer, take_figures
from engines.row_warnings import warn_of_cut_rows
from workbench.contract import Job, Reporter
from workbench.corpus.chats.packing import PackedSequence, TrainingRows, padded
from workbench.corpus.chats.training_data import conversation_rows, document_rows, mixture_report
from workbench.recipes.base import validate
from workbench.recipes.sft import ContinueRecipe, SftRecipe

IGNORED = -100


def supervise(job: Job, reporter: Reporter) -> None:
    """The stages `sft` and `continue`."""
    kind = SftRecipe if job.stage == "sft" else ContinueRecipe
    recipe: SftRecipe | ContinueRecipe = validate(kind, job.recipe).resolved()

    def make(place: Workplace) -> Made:

        policy = place.policy()
        length = place.max_length(policy)
        trainer, packs = supervised_trainer(policy, recipe, job.directory)
        place.warn_of_padding(packs)
        if isinstance(recipe, SftRecipe):
            rows = conversation_rows(
                recipe, job.inputs, policy.tokenizer, max_length=length, packing=None if packs else False
            )
        else:
            corpus = job.inputs["corpus"]
            rows = document_rows(recipe, corpus, policy.tokenizer, max_length=length, packing=packs)
        place.heed(rows.findings)
        warn_of_cut_rows(rows.train, length, reporter)
        method = SupervisedMethod(
            policy,
            recipe,
            optimizer=place.optimizer(policy),
            processes=place.processes,
            rows=rows.train,
            held_out=rows.held_out,
            trainer=trainer,
            report={
                "rows": rows.train.rows,
                "held_out_rows": rows.held_out.rows,
                "trained_share": rows.train.trained_share,
                "max_length": length,
                **mixture_report(recipe, rows.train),
            },
        )
        micro = (recipe.batch.per_device_batch_size or 1) * length
        return Made(method, rows.train.steps_per_epoch, micro, rows.text)

    train(job, reporter, recipe, make)


class SupervisedMethod(GradientMethod):
    """Cross-entropy of the trained tokens, a mean over those of the whole step."""

    def __init__(
        self,
        policy: Policy,
        recipe: SftRecipe | ContinueRecipe,
        *,
        optimizer: torch.optim.Optimizer,
        processes: Any,
        rows: TrainingRows,
        held_out: TrainingRows,
        trainer: Any,
        report: dict[str, Any],
    ):
        super().__init__(policy, optimizer, recipe, processes)
        self._rows, self._trainer, self._report = rows, trainer, report
        self.chats = isinstance(recipe, SftRecipe)
        self._held_out = held_out.all_sequences()
        self.held_out_tokens = sum(len(item.ids_L) for item in self._held_out)
        mean = float(rows.lengths.mean()) if not rows.packing else rows.fill * rows.max_length
        self.step_tokens = int(mean * rows.batch_size)
        self._pad = pad_id(policy.tokenizer)
        self._trained = torch.tensor(1, device=policy.device)  # tokens that count in the loss of the step

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        batch = self._rows.batch(step)
        own = batch.sequences[self.processes.share(len(batch.sequences))]
        self._trained = torch.tensor(max(1, batch.trained), device=self.policy.device)
        size = self.recipe.batch.per_device_batch_size or len(own)
        return [self._inputs(own[start : start + size]) for start in range(0, len(own), size)], batch.tokens

    def loss(self, inputs: Inputs) -> torch.Tensor:
        return self._trainer.compute_loss(self.network, inputs, num_items_in_batch=self._trained)

    def figures(self) -> dict[str, float]:
        return take_figures(self._trainer)

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        nats = trained = correct = seen = 0.0
        size = (self.recipe.batch.per_device_batch_size or 1) * self.processes.size
        with self.policy.evaluating():
            for start in range(0, len(self._held_out), size):
                if most_tokens is not None and seen >= most_tokens:
                    break
                if cancelled():
                    return None
                together = self._held_out[start : start + size]
                seen += sum(len(item.ids_L) for item in together)
                own = together[self.processes.share(len(together))]
                if not own:
                    continue
                found = self.policy.model(**self._inputs(own), fused_lm_head=True)
                nats -= float(found.log_probs.double().sum())
                trained += float(found.label_mask.sum())
                correct += float(found.is_top1.sum())
        sums = self.processes.total(torch.tensor([nats, trained, correct], dtype=torch.float64)).tolist()
        count = max(1.0, sums[1])
        return {"eval_loss": sums[0] / count, "eval_token_accuracy": sums[2] / count}

    def write(self, folder: Path) -> None:
        super().write(folder)
        if not self.chats and not self.policy.tokenizer.has_own_template:
            (folder / "chat_template.jinja").unlink(missing_ok=True)  # it was not trained on turns

    def report(self) -> dict[str, Any]:
        return self._report

    def _inputs(self, sequences: Sequence[PackedSequence]) -> Inputs:
        batch = padded(sequences, self._pad)
        labels_BL = np.where(batch.trained_BL, batch.ids_BL, IGNORED)
        arrays = {
            "input_ids": batch.ids_BL,
            "labels": labels_BL,
            "position_ids": batch.position_ids_BL,
            "attention_mask": batch.real_BL.astype(np.int64),
        }
        return {name: torch.from_numpy(array).to(self.policy.device) for name, array in arrays.items()}


def supervised_trainer(policy: Policy, recipe: SftRecipe | ContinueRecipe, folder: Path) -> tuple[Any, bool]:
    """(TRL's SFT trainer, whether it computes without padding)."""
    from trl import SFTConfig, SFTTrainer

    noise = recipe.conversations.neftune_noise_alpha if isinstance(recipe, SftRecipe) else 0.0
    return new_trainer(
        SFTTrainer, SFTConfig, policy, recipe, folder, neftune=noise, packing=False, router_aux_loss_coef=0.0
    )
