"""Learning from judged answers without a reward model: DPO and its relatives, SimPO, ORPO, KTO."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from engines.companions import pad_id
from engines.mismatched import mismatched
from engines.mlx.folders import open_causal_lm
from engines.mlx.forward import IGNORED, hidden_states, token_losses
from engines.mlx.lora import without_adapter
from engines.mlx.policy import Policy
from engines.mlx.post_training import Workplace, train
from engines.mlx.preference_losses import loss_of
from engines.mlx.trainer import Inputs, Trainer
from workbench.contract import Job, Reporter, Warned
from workbench.corpus.chats.encoded import Encoded
from workbench.corpus.chats.pairs import Mark, Pair
from workbench.corpus.chats.split import prompt_key
from workbench.corpus.chats.training_data import Judged, mark_rows, pair_rows
from workbench.errors import WorkbenchError
from workbench.recipes.base import Section, validate
from workbench.recipes.preference import DpoRecipe, KtoRecipe, OrpoRecipe, PreferenceRecipe
from workbench.wording import amount

Row = tuple[Encoded, ...]
RECIPES: dict[str, type[Section]] = {"dpo": DpoRecipe, "orpo": OrpoRecipe, "kto": KtoRecipe}


def prefer(job: Job, reporter: Reporter) -> None:
    """The stages `dpo`, `orpo` and `kto`."""
    recipe: DpoRecipe | OrpoRecipe | KtoRecipe = validate(RECIPES[job.stage], job.recipe).resolved()
    if isinstance(recipe, KtoRecipe) and recipe.batch.per_device_batch_size == 1:
        raise WorkbenchError(
            "KTO estimates a divergence on mismatched answers of one forward pass, which holds a single one.",
            "Set --per-device-batch-size to 2 or more.",
        )

    def make(place: Workplace, policy: Policy) -> JudgedMethod:
        folder, length = job.inputs["preferences"], place.max_length
        data: Judged[Any]
        if isinstance(recipe, KtoRecipe):
            data = mark_rows(recipe, folder, policy.tokenizer, max_length=length)
        else:
            data = pair_rows(recipe, folder, policy.tokenizer, max_length=length)
        place.heed(data.findings)
        if data.cut:
            reporter.emit(
                Warned(
                    message=f"{amount(data.cut, 'answers', 'were')} cut: with their prompts they are longer than "
                    f"{length:,} tokens. A higher --max-length keeps them."
                )
            )
        if isinstance(recipe, KtoRecipe):
            return Kto(policy, recipe, place, data)
        return Preferring(policy, recipe, place, data)

    train(job, reporter, recipe, make)


class JudgedMethod(ABC):
    """Batches of judged answers; the loss is a mean over the rows of a step. The reference is the base."""

    def __init__(
        self, policy: Policy, recipe: PreferenceRecipe, place: Workplace, data: Judged[Any], *, compares: bool
    ):
        """`compares`: whether the loss looks at the reference."""
        self.policy, self._recipe, self._data, self._compares = policy, recipe, data, compares
        # An adapter that is off is the base.
        self._reference: Any = None
        if compares and not policy.adapted:
            self._reference, _ = open_causal_lm(policy.base, place.dtype)
        self._micro = recipe.batch.per_device_batch_size or 1
        self._pad = pad_id(policy.tokenizer)
        self.held_out_text = ""
        self.steps_per_epoch = data.order.steps_per_epoch
        mean = sum(map(_tokens, data.train)) / len(data.train)
        self.step_tokens = int(mean * (recipe.batch.batch_size or 1))
        self.trainer = Trainer(
            policy.model, self.loss, recipe.optimizer, dtype=place.dtype, seed=recipe.seed, compiled=place.compiled
        )

    @abstractmethod
    def inputs(self, rows: Sequence[Row], items: Sequence[Any]) -> Inputs:
        """What `loss` reads of these rows, but for their share."""

    @abstractmethod
    def loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        """The mean loss of the rows, and its figures, times the last of `inputs`: their share of the step."""

    @abstractmethod
    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """As `engines.mlx.loop.Method`: exact means over rows, not over batches."""

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        numbers = self._data.order.batch(step)
        micro: list[Inputs] = []
        for begin in range(0, len(numbers), self._micro):
            part = numbers[begin : begin + self._micro]
            inputs = self.inputs([self._data.train[n] for n in part], [self._data.items[n] for n in part])
            micro.append((*inputs, mx.array(len(part) / len(numbers))))
        return micro, sum(_tokens(self._data.train[number]) for number in numbers)

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

    def _held_out(
        self, most_tokens: int | None, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[Sequence[Row], Sequence[Any]] | None]:
        """(rows, items) of each forward pass of an evaluation; None, and the end, if `cancelled` said so."""
        seen = 0
        for begin in range(0, len(self._data.held_out), self._micro):
            if most_tokens is not None and seen >= most_tokens:
                return
            if cancelled():
                yield None
                return
            rows = self._data.held_out[begin : begin + self._micro]
            seen += sum(map(_tokens, rows))
            yield rows, self._data.held_out_items[begin : begin + self._micro]

    def _arrays(self, sequences: Sequence[Encoded]) -> tuple[mx.array, mx.array]:
        """Ids and targets, int32 [answers, length], padded on the right."""
        shape = (len(sequences), max(len(item.ids_L) for item in sequences))
        ids_BL, targets_BL = np.full(shape, self._pad, np.int32), np.full(shape, IGNORED, np.int32)
        for place, item in enumerate(sequences):
            length = len(item.ids_L)
            ids_BL[place, :length] = item.ids_L
            targets_BL[place, : length - 1] = np.where(item.trained_L, item.ids_L, IGNORED)[1:]
        return mx.array(ids_BL), mx.array(targets_BL)

    def _log_probs(self, ids_BL: mx.array, targets_BL: mx.array) -> tuple[mx.array, mx.array]:
        """Of the policy, for its gradient."""
        checkpointed = self._recipe.precision.gradient_checkpointing
        return log_probs(self.policy.model, ids_BL, targets_BL, checkpointed=checkpointed)

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


class Preferring(JudgedMethod):
    """Pairs, with the chosen answers first."""

    def __init__(self, policy: Policy, recipe: DpoRecipe | OrpoRecipe, place: Workplace, data: Judged[Any]):
        self._pairwise, compares = loss_of(recipe)
        super().__init__(policy, recipe, place, data, compares=compares)

    def inputs(self, rows: Sequence[Row], items: Sequence[Pair]) -> Inputs:
        arrays = self._arrays([row[0] for row in rows] + [row[1] for row in rows])
        return (*arrays, self._of_the_reference(*arrays))

    def loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        ids_BL, targets_BL, reference_B, share = inputs
        own_B, lengths_B = self._log_probs(ids_BL, targets_BL)
        loss, reward_B = self._pairwise(own_B, reference_B, lengths_B)
        chosen_P, rejected_P = mx.split(mx.stop_gradient(reward_B), 2)
        figures = {
            "reward_margin": (chosen_P - rejected_P).mean(),
            "reward_accuracy": (chosen_P > rejected_P).astype(mx.float32).mean(),
            "reward_chosen": chosen_P.mean(),
            "reward_rejected": rejected_P.mean(),
        }
        return loss * share, {name: value * share for name, value in figures.items()}

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        sums = {"loss": 0.0, "reward_accuracy": 0.0, "reward_margin": 0.0}
        count = 0
        for part in self._held_out(most_tokens, cancelled):
            if part is None:
                return None
            rows, items = part
            loss, figures = self.loss(*self.inputs(rows, items), mx.array(float(len(rows))))
            sums["loss"] += float(loss)
            # A share of right ones is a whole number of pairs, but for float32.
            sums["reward_accuracy"] += round(float(figures["reward_accuracy"]))
            sums["reward_margin"] += float(figures["reward_margin"])
            count += len(rows)
        return {f"eval_{name}": value / max(1, count) for name, value in sums.items()}


class Kto(JudgedMethod):
    """Single answers, marked good or bad (Ethayarajh et al. 2024, eq. 7, 8)."""

    _recipe: KtoRecipe

    def __init__(self, policy: Policy, recipe: KtoRecipe, place: Workplace, data: Judged[Any]):
        super().__init__(policy, recipe, place, data, compares=True)

    def inputs(self, rows: Sequence[Row], items: Sequence[Mark]) -> Inputs:
        sequences = [row[0] for row in rows]
        own = self._arrays(sequences)
        # The divergence is estimated on answers to other prompts: each with the answer of the row before it.
        others = self._arrays([mismatched(row, sequences[place - 1]) for place, row in enumerate(sequences)])
        good_B = mx.array([item.label for item in items])
        return (*own, self._of_the_reference(*own), *others, self._of_the_reference(*others), good_B)

    def loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        losses_B, _, kl = self._found(*inputs[:-1])
        share = inputs[-1]
        return losses_B.mean() * share, {"kl": kl * share}

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """With the margin between the mean rewards of good and of bad answers."""
        loss = divergence = 0.0
        count = 0
        rewards: dict[bool, list[float]] = {True: [], False: []}
        for part in self._held_out(most_tokens, cancelled):
            if part is None:
                return None
            rows, items = part
            losses_B, reward_B, kl = self._found(*self.inputs(rows, items))
            loss += float(losses_B.sum())
            divergence += float(kl) * len(rows)
            count += len(rows)
            for item, reward in zip(items, np.array(reward_B, dtype=np.float64).tolist(), strict=True):
                rewards[bool(item.label)].append(reward)
        found = {"eval_loss": loss / max(1, count), "eval_kl": divergence / max(1, count)}
        good, bad = rewards[True], rewards[False]
        if good and bad:
            found["eval_reward_margin"] = sum(good) / len(good) - sum(bad) / len(bad)
        return found

    def _found(
        self,
        ids_BL: mx.array,
        targets_BL: mx.array,
        reference_B: mx.array,
        other_ids_BL: mx.array,
        other_targets_BL: mx.array,
        other_reference_B: mx.array,
        good_B: mx.array,
    ) -> tuple[mx.array, mx.array, mx.array]:
        """(the loss of each answer, its reward, the divergence)."""
        recipe = self._recipe
        other_B, _ = log_probs(self.policy.model, other_ids_BL, other_targets_BL)
        kl = mx.stop_gradient(mx.maximum((other_B - other_reference_B).mean(), 0))
        own_B, _ = self._log_probs(ids_BL, targets_BL)
        ratios_B = own_B - reference_B
        gain_B = recipe.beta * mx.where(good_B, ratios_B - kl, kl - ratios_B)
        weights_B = mx.where(good_B, recipe.desirable_weight, recipe.undesirable_weight)
        return weights_B * (1 - mx.sigmoid(gain_B)), recipe.beta * ratios_B, kl


def log_probs(
    model: Any, ids_BL: mx.array, targets_BL: mx.array, *, checkpointed: bool = False
) -> tuple[mx.array, mx.array]:
    """(the sum of the targets' log-probabilities, how many there are) of each row; padding is on the right."""
    hidden_BLD = hidden_states(model, ids_BL, None, checkpointed=checkpointed)
    return -token_losses(model, hidden_BLD, targets_BL).sum(1), (targets_BL != IGNORED).sum(1)


def _tokens(row: Row) -> int:
    return sum(len(item.ids_L) for item in row)
