"""Learning from pairs of answers without a reward model: DPO and its relatives, SimPO, ORPO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from engines.companions import pad_id
from engines.mlx.folders import open_causal_lm
from engines.mlx.forward import IGNORED, hidden_states, token_losses
from engines.mlx.lora import without_adapter
from engines.mlx.policy import Policy
from engines.mlx.post_training import Workplace, train
from engines.mlx.preference_losses import loss_of
from engines.mlx.trainer import Inputs, Trainer
from workbench.contract import Job, Reporter, Warned
from workbench.corpus.chats.encoded import Encoded
from workbench.corpus.chats.pairs import Pair
from workbench.corpus.chats.split import prompt_key
from workbench.corpus.chats.training_data import Judged, pair_rows
from workbench.recipes.base import validate
from workbench.recipes.preference import DpoRecipe, OrpoRecipe
from workbench.wording import amount


def prefer(job: Job, reporter: Reporter) -> None:
    """The stages `dpo` and `orpo`."""
    kind = DpoRecipe if job.stage == "dpo" else OrpoRecipe
    recipe: DpoRecipe | OrpoRecipe = validate(kind, job.recipe).resolved()

    def make(place: Workplace, policy: Policy) -> Preferring:
        data = pair_rows(recipe, job.inputs["preferences"], policy.tokenizer, max_length=place.max_length)
        place.heed(data.findings)
        if data.cut:
            reporter.emit(
                Warned(
                    message=f"{amount(data.cut, 'answers', 'were')} cut: with their prompts they are longer than "
                    f"{place.max_length:,} tokens. A higher --max-length keeps them."
                )
            )
        return Preferring(policy, recipe, place, data)

    train(job, reporter, recipe, make)


class Preferring:
    """Pairs with the chosen answer first; the loss is a mean over the pairs of a step. The reference is the base."""

    def __init__(self, policy: Policy, recipe: DpoRecipe | OrpoRecipe, place: Workplace, data: Judged[Pair]):
        self.policy, self._recipe, self._data = policy, recipe, data
        self._loss, compares = loss_of(recipe)
        # An adapter that is off is the base.
        self._reference: Any = None
        if compares and not policy.adapted:
            self._reference, _ = open_causal_lm(policy.base, place.dtype)
            self._reference.freeze()
        self._compares = compares
        self._micro = recipe.batch.per_device_batch_size or 1
        self._pad = pad_id(policy.tokenizer)
        self.held_out_text = ""
        self.steps_per_epoch = data.order.steps_per_epoch
        mean = sum(map(_tokens, data.train)) / len(data.train)
        self.step_tokens = int(mean * (recipe.batch.batch_size or 1))
        self.trainer = Trainer(
            policy.model, self.loss, recipe.optimizer, dtype=place.dtype, seed=recipe.seed, compiled=place.compiled
        )

    def loss(
        self, ids_BL: mx.array, targets_BL: mx.array, reference_B: mx.array, share: mx.array
    ) -> tuple[mx.array, dict[str, mx.array]]:
        """The mean loss of the pairs times their share of the step, and what the loss implies of their rewards."""
        checkpointed = self._recipe.precision.gradient_checkpointing
        own_B, lengths_B = log_probs(self.policy.model, ids_BL, targets_BL, checkpointed=checkpointed)
        loss, reward_B = self._loss(own_B, reference_B, lengths_B)
        chosen_P, rejected_P = mx.split(mx.stop_gradient(reward_B), 2)
        figures = {
            "reward_margin": (chosen_P - rejected_P).mean(),
            "reward_accuracy": (chosen_P > rejected_P).astype(mx.float32).mean(),
            "reward_chosen": chosen_P.mean(),
            "reward_rejected": rejected_P.mean(),
        }
        return loss * share, {name: value * share for name, value in figures.items()}

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        numbers = self._data.order.batch(step)
        micro: list[Inputs] = []
        for begin in range(0, len(numbers), self._micro):
            part = numbers[begin : begin + self._micro]
            inputs = self._inputs([self._data.train[number] for number in part])
            micro.append((*inputs, mx.array(len(part) / len(numbers))))
        return micro, sum(_tokens(self._data.train[number]) for number in numbers)

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """Exact means over pairs, not over batches."""
        sums = {"loss": 0.0, "reward_accuracy": 0.0, "reward_margin": 0.0}
        rows = seen = 0
        for begin in range(0, len(self._data.held_out), self._micro):
            if most_tokens is not None and seen >= most_tokens:
                break
            if cancelled():
                return None
            part = self._data.held_out[begin : begin + self._micro]
            loss, figures = self.loss(*self._inputs(part), mx.array(float(len(part))))
            # A share of right ones is a whole number of pairs, but for float32.
            sums["loss"] += float(loss)
            sums["reward_accuracy"] += round(float(figures["reward_accuracy"]))
            sums["reward_margin"] += float(figures["reward_margin"])
            rows, seen = rows + len(part), seen + sum(map(_tokens, part))
        return {f"eval_{name}": value / max(1, rows) for name, value in sums.items()}

    def samples(self) -> Iterator[tuple[str, str]]:
        section = self._recipe.evaluation
        for prompt in section.sample_prompts if section.sample_tokens else []:
            yield prompt, self.policy.sample(prompt, section.sample_tokens)

    def write(self, folder: Path) -> None:
        self.policy.save(folder)

    def restore(self, folder: Path) -> None:
        self.policy.restore(folder)

    def report(self) -> dict[str, Any]:
        data = self._data
        return {
            "rows": len(data.train),
            "held_out_rows": len(data.held_out),
            "held_out_prompts": len({prompt_key(item.prompt) for item in data.held_out_items}),
            "cut": data.cut,
            "untrained": data.untrained,
        }

    def _inputs(self, rows: Sequence[tuple[Encoded, ...]]) -> tuple[mx.array, mx.array, mx.array]:
        """Ids and targets, int32 [2 · pairs, length], and the reference's log-probabilities [2 · pairs]."""
        sequences = [row[0] for row in rows] + [row[1] for row in rows]
        shape = (len(sequences), max(len(item.ids_L) for item in sequences))
        ids_BL, targets_BL = np.full(shape, self._pad, np.int32), np.full(shape, IGNORED, np.int32)
        for place, item in enumerate(sequences):
            length = len(item.ids_L)
            ids_BL[place, :length] = item.ids_L
            targets_BL[place, : length - 1] = np.where(item.trained_L, item.ids_L, IGNORED)[1:]
        ids, targets = mx.array(ids_BL), mx.array(targets_BL)
        return ids, targets, self._of_the_reference(ids, targets)

    def _of_the_reference(self, ids_BL: mx.array, targets_BL: mx.array) -> mx.array:
        if not self._compares:
            return mx.zeros(len(ids_BL))
        if self._reference is not None:
            found, _ = log_probs(self._reference, ids_BL, targets_BL)
        else:
            with without_adapter(self.policy.model):
                found, _ = log_probs(self.policy.model, ids_BL, targets_BL)
        mx.eval(found)
        return found


def log_probs(
    model: Any, ids_BL: mx.array, targets_BL: mx.array, *, checkpointed: bool = False
) -> tuple[mx.array, mx.array]:
    """(the sum of the targets' log-probabilities, how many there are) of each row; padding is on the right."""
    hidden_BLD = hidden_states(model, ids_BL, None, checkpointed=checkpointed)
    return -token_losses(model, hidden_BLD, targets_BL).sum(1), (targets_BL != IGNORED).sum(1)


def _tokens(row: tuple[Encoded, ...]) -> int:
    return sum(len(item.ids_L) for item in row)
