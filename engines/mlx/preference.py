"""Learning from judged answers: reward models, DPO and its relatives, SimPO, ORPO, KTO."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from engines.companions import pad_id
from engines.judged import Row, judged_report, mean_step_tokens, reward_report, right_by_prompt, row_tokens
from engines.mismatched import mismatched
from engines.mlx.folders import open_causal_lm
from engines.mlx.forward import IGNORED, Targets, TokenStatistics, hidden_states, token_losses, token_statistics
from engines.mlx.lora import without_adapter
from engines.mlx.method import PolicyMethod
from engines.mlx.policy import Policy
from engines.mlx.post_training import Workplace, train
from engines.mlx.preference_losses import loss_of
from engines.mlx.reward_model import scores_of
from engines.mlx.trainer import Inputs, Trainer
from engines.row_warnings import warn_of_cut_answers
from workbench.contract import Job, Reporter
from workbench.corpus.chats.encoded import Encoded
from workbench.corpus.chats.pairs import Mark, Pair
from workbench.corpus.chats.training_data import Judged, mark_rows, pair_rows
from workbench.errors import WorkbenchError
from workbench.recipes.base import Section, validate
from workbench.recipes.preference import DpoRecipe, KtoRecipe, OrpoRecipe, PreferenceRecipe, RewardRecipe

RECIPES: dict[str, type[Section]] = {"reward": RewardRecipe, "dpo": DpoRecipe, "orpo": OrpoRecipe, "kto": KtoRecipe}


def prefer(job: Job, reporter: Reporter) -> None:
    """The stages `reward`, `dpo`, `orpo` and `kto`."""
    recipe: PreferenceRecipe = validate(RECIPES[job.stage], job.recipe).resolved()
    if isinstance(recipe, KtoRecipe) and recipe.batch.per_device_batch_size == 1:
        raise WorkbenchError(
            "KTO estimates a divergence on mismatched answers of one forward pass, which holds a single one.",
            "Set --per-device-batch-size to 2 or more.",
        )

    def make(place: Workplace, policy: Policy) -> JudgedMethod:
        read: Any = mark_rows if isinstance(recipe, KtoRecipe) else pair_rows
        data = read(recipe, job.inputs["preferences"], policy.tokenizer, max_length=place.max_length)
        place.heed(data.findings)
        warn_of_cut_answers(data, place.max_length, reporter)
        kind = {"reward": Reward, "kto": Kto}.get(job.stage, Preferring)
        return kind(policy, recipe, place, data)

    train(job, reporter, recipe, make)


class JudgedMethod(PolicyMethod):
    """Batches of judged answers; the loss is a mean over the rows of a step. The reference is the base."""

    def __init__(
        self, policy: Policy, recipe: PreferenceRecipe, place: Workplace, data: Judged[Any], *, compares: bool
    ):
        """`compares`: whether the loss looks at the reference."""
        super().__init__(policy, recipe)
        self._data, self._compares = data, compares
        # An adapter that is off is the base.
        self._reference: Any = None
        if compares and not policy.adapted:
            self._reference, _ = open_causal_lm(policy.base, place.dtype)
        self._micro = recipe.batch.per_device_batch_size or 1
        self._pad, self._padded = pad_id(policy.tokenizer), place.padded
        self.held_out_text = ""
        self.steps_per_epoch = data.order.steps_per_epoch
        self.held_out_tokens = sum(map(row_tokens, data.held_out))
        self.step_tokens = mean_step_tokens(data, recipe.batch.batch_size or 1)
        self.trainer = Trainer(
            policy.model, self.loss, recipe.optimizer, dtype=place.dtype, seed=recipe.seed, compiled=place.compiled
        )

    @abstractmethod
    def inputs(self, rows: Sequence[Row], items: Sequence[Any]) -> Inputs:
        """What `loss` reads of these rows, but for their share."""

    @abstractmethod
    def loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        """The mean loss of the rows, and its figures, times the last of `inputs`: their share of the step."""

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        numbers = self._data.order.batch(step)
        micro: list[Inputs] = []
        for begin in range(0, len(numbers), self._micro):
            part = numbers[begin : begin + self._micro]
            inputs = self.inputs([self._data.train[n] for n in part], [self._data.items[n] for n in part])
            micro.append((*inputs, mx.array(len(part) / len(numbers))))
        return micro, sum(row_tokens(self._data.train[number]) for number in numbers)

    def report(self) -> dict[str, Any]:
        return judged_report(self._data)

    def held_out(
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
            seen += sum(map(row_tokens, rows))
            yield rows, self._data.held_out_items[begin : begin + self._micro]

    def arrays(self, sequences: Sequence[Encoded]) -> tuple[mx.array, Targets]:
        """Ids, int32 [answers, length], padded on the right, and targets."""
        shape = (len(sequences), self._padded(max(len(item.ids_L) for item in sequences)))
        ids_BL, targets_BL = np.full(shape, self._pad, np.int32), np.full(shape, IGNORED, np.int32)
        for place, item in enumerate(sequences):
            length = len(item.ids_L)
            ids_BL[place, :length] = item.ids_L
            targets_BL[place, : length - 1] = np.where(item.trained_L, item.ids_L, IGNORED)[1:]
        return mx.array(ids_BL), Targets.of(targets_BL, self._padded)

    def statistics(self, ids_BL: mx.array, targets: Targets) -> TokenStatistics:
        """Of the policy's answers, for its gradient."""
        checkpointed = self.recipe.precision.gradient_checkpointing
        hidden_BLD = hidden_states(self.policy.model, ids_BL, None, checkpointed=checkpointed)
        return token_statistics(self.policy.model, hidden_BLD, targets)

    def of_the_reference(self, ids_BL: mx.array, targets: Targets) -> mx.array:
        """The log-probability of each answer under the reference, as a constant."""
        if not self._compares:
            return mx.zeros(len(ids_BL))
        if self._reference is not None:
            found_B = log_probs(self._reference, ids_BL, targets)
        else:
            with without_adapter(self.policy.model):
                found_B = log_probs(self.policy.model, ids_BL, targets)
        mx.eval(found_B)
        return found_B


class PairMethod(JudgedMethod):
    """On pairs, with the chosen answers first. A figure of the loss is a mean over the pairs."""

    MEASURES: tuple[str, ...] = ("reward_accuracy", "reward_margin")

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """Exact means over pairs, not over batches."""
        sums = dict.fromkeys(("loss", *self.MEASURES), 0.0)
        count = 0
        for part in self.held_out(most_tokens, cancelled):
            if part is None:
                return None
            rows, items = part
            loss, figures = self.measured(rows, items)
            sums["loss"] += float(loss)
            for name in self.MEASURES:
                total = float(figures[name])
                # A share of right ones is a whole number of pairs, but for float32.
                sums[name] += round(total) if name == "reward_accuracy" else total
            count += len(rows)
        return {f"eval_{name}": value / max(1, count) for name, value in sums.items()}

    def measured(self, rows: Sequence[Row], items: Sequence[Any]) -> tuple[mx.array, dict[str, mx.array]]:
        """Sums over these pairs."""
        return self.loss(*self.inputs(rows, items), mx.array(float(len(rows))))


class Preferring(PairMethod):
    """DPO and its relatives, SimPO, ORPO."""

    def __init__(self, policy: Policy, recipe: DpoRecipe | OrpoRecipe, place: Workplace, data: Judged[Any]):
        self._pairwise, compares = loss_of(recipe)
        super().__init__(policy, recipe, place, data, compares=compares)

    def inputs(self, rows: Sequence[Row], items: Sequence[Pair]) -> Inputs:
        arrays = self.arrays([row[0] for row in rows] + [row[1] for row in rows])
        return (*arrays, self.of_the_reference(*arrays))

    def loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        ids_BL, fields, reference_B, share = inputs
        targets = Targets(*fields)
        found = self.statistics(ids_BL, targets)
        own_B, lengths_B = -found.losses.sum(1), targets.trained_BL.sum(1)
        loss, reward_B = self._pairwise(own_B, reference_B, lengths_B)
        chosen_P, rejected_P = mx.split(mx.stop_gradient(reward_B), 2)
        figures = {
            "reward_margin": (chosen_P - rejected_P).mean(),
            "reward_accuracy": (chosen_P > rejected_P).astype(mx.float32).mean(),
            "reward_chosen": chosen_P.mean(),
            "reward_rejected": rejected_P.mean(),
        }
        if isinstance(self.recipe, DpoRecipe) and self.recipe.loss_type != "simpo":
            log_chosen_P, log_rejected_P = mx.split(mx.stop_gradient(own_B), 2)
            pairs = len(log_chosen_P)
            figures |= {
                "log_prob_chosen": log_chosen_P.mean(),
                "log_prob_rejected": log_rejected_P.mean(),
                "token_accuracy": found.right[:pairs].sum() / lengths_B[:pairs].sum(),
                "entropy": found.entropy.sum() / lengths_B.sum(),
            }
        return loss * share, {name: value * share for name, value in figures.items()}


class Reward(PairMethod):
    """-log σ(score of the chosen - score of the rejected - margin) (Bradley & Terry 1952; Ouyang et al. 2022)."""

    recipe: RewardRecipe
    MEASURES = (*PairMethod.MEASURES, "reward_mean")

    def __init__(self, policy: Policy, recipe: RewardRecipe, place: Workplace, data: Judged[Any]):
        super().__init__(policy, recipe, place, data, compares=False)
        self._margins = recipe.use_margins and any(item.margin is not None for item in data.items)
        self._seen: list[Pair] = []  # in an evaluation
        self._right: list[bool] = []  # of those
        self._by_prompt: list[list[int]] = []  # of the last evaluation

    def inputs(self, rows: Sequence[Row], items: Sequence[Pair]) -> Inputs:
        sequences = [row[0] for row in rows] + [row[1] for row in rows]
        ids_BL, _ = self.arrays(sequences)
        last_B = mx.array([len(item.ids_L) - 1 for item in sequences])
        margins_P = mx.array([(item.margin or 0.0) if self._margins else 0.0 for item in items])
        return ids_BL, last_B, margins_P

    def loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        ids_BL, last_B, margins_P, share = inputs
        checkpointed = self.recipe.precision.gradient_checkpointing
        scores_B = scores_of(self.policy.model, ids_BL, last_B, checkpointed=checkpointed)
        chosen_P, rejected_P = mx.split(scores_B, 2)
        loss = -nn.log_sigmoid(chosen_P - rejected_P - margins_P).mean()
        if self.recipe.center_rewards_coefficient:
            loss = loss + self.recipe.center_rewards_coefficient * ((chosen_P + rejected_P) ** 2).mean()
        figures = {
            "reward_margin": (chosen_P - rejected_P).mean(),
            "reward_accuracy": (chosen_P > rejected_P).astype(mx.float32).mean(),
            "reward_mean": scores_B.mean(),
            "reward_min": scores_B.min(),
            "reward_max": scores_B.max(),
        }
        return loss * share, {name: mx.stop_gradient(value) * share for name, value in figures.items()}

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        self._seen, self._right = [], []
        found = super().evaluate(most_tokens, cancelled)
        if found is not None:
            self._by_prompt = right_by_prompt(self._data.held_out_items, self._seen, self._right).tolist()
        return found

    def measured(self, rows: Sequence[Row], items: Sequence[Any]) -> tuple[mx.array, dict[str, mx.array]]:
        ids_BL, last_B, margins_P = self.inputs(rows, items)
        chosen_P, rejected_P = mx.split(scores_of(self.policy.model, ids_BL, last_B), 2)
        self._seen += items
        self._right += [bool(right) for right in np.array(chosen_P > rejected_P)]
        return self.loss(ids_BL, last_B, margins_P, mx.array(float(len(rows))))

    def samples(self) -> Iterator[tuple[str, str]]:
        yield from ()  # it writes no text

    def state(self) -> dict[str, Any]:
        return {"by_prompt": self._by_prompt}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._by_prompt = state["by_prompt"]

    def report(self) -> dict[str, Any]:
        return super().report() | reward_report(self._data, self._by_prompt)


class Kto(JudgedMethod):
    """Single answers, marked good or bad (Ethayarajh et al. 2024, eq. 7, 8)."""

    recipe: KtoRecipe

    def __init__(self, policy: Policy, recipe: KtoRecipe, place: Workplace, data: Judged[Any]):
        super().__init__(policy, recipe, place, data, compares=True)

    def inputs(self, rows: Sequence[Row], items: Sequence[Mark]) -> Inputs:
        sequences = [row[0] for row in rows]
        own = self.arrays(sequences)
        # The divergence is estimated on answers to other prompts: each with the answer of the row before it.
        others = self.arrays([mismatched(row, sequences[place - 1]) for place, row in enumerate(sequences)])
        good_B = mx.array([item.label for item in items])
        return (*own, self.of_the_reference(*own), *others, self.of_the_reference(*others), good_B)

    def loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        """Figures that are of good or of bad answers alone come as sums with their counts; `figures` divides them."""
        losses_B, reward_B, kl, found, good_B, targets = self._found(*inputs[:-1])
        share = inputs[-1]
        noted = {"kl": kl * share, "entropy": found.entropy.sum() / targets.trained_BL.sum() * share}
        log_probs_B = -found.losses.sum(1)
        for name, chosen_B in (("chosen", good_B), ("rejected", ~good_B)):
            noted |= {
                f"count_{name}": chosen_B.sum(),
                f"reward_{name}": mx.where(chosen_B, reward_B, 0.0).sum(),
                f"log_prob_{name}": mx.where(chosen_B, log_probs_B, 0.0).sum(),
            }
        return losses_B.mean() * share, {name: mx.stop_gradient(value) for name, value in noted.items()}

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        found = {"kl": sums["kl"], "entropy": sums["entropy"]}
        for name in ("chosen", "rejected"):
            if count := sums[f"count_{name}"]:
                found |= {f"{kind}_{name}": sums[f"{kind}_{name}"] / count for kind in ("reward", "log_prob")}
        if {"reward_chosen", "reward_rejected"} <= found.keys():
            found["reward_margin"] = found["reward_chosen"] - found["reward_rejected"]
        return found

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """With the margin between the mean rewards of good and of bad answers."""
        loss = divergence = 0.0
        count = 0
        rewards: dict[bool, list[float]] = {True: [], False: []}
        for part in self.held_out(most_tokens, cancelled):
            if part is None:
                return None
            rows, items = part
            losses_B, reward_B, kl, *_ = self._found(*self.inputs(rows, items))
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
        fields: Any,
        reference_B: mx.array,
        other_ids_BL: mx.array,
        other_fields: Any,
        other_reference_B: mx.array,
        good_B: mx.array,
    ) -> tuple[mx.array, mx.array, mx.array, TokenStatistics, mx.array, Targets]:
        """(the loss of each answer, its reward, the divergence, the answers' tokens, which are good, targets)."""
        recipe = self.recipe
        other_B = log_probs(self.policy.model, other_ids_BL, Targets(*other_fields))
        kl = mx.stop_gradient(mx.maximum((other_B - other_reference_B).mean(), 0))
        targets = Targets(*fields)
        found = self.statistics(ids_BL, targets)
        ratios_B = -found.losses.sum(1) - reference_B
        gain_B = recipe.beta * mx.where(good_B, ratios_B - kl, kl - ratios_B)
        weights_B = mx.where(good_B, recipe.desirable_weight, recipe.undesirable_weight)
        return weights_B * (1 - mx.sigmoid(gain_B)), recipe.beta * ratios_B, kl, found, good_B, targets


def log_probs(model: Any, ids_BL: mx.array, targets: Targets) -> mx.array:
    """The sum of the targets' log-probabilities of each row; padding is on the right."""
    return -token_losses(model, hidden_states(model, ids_BL, None), targets).sum(1)
