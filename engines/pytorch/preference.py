"""Learning from preferences: reward models, DPO and its relatives, ORPO, KTO.

DPO, KTO and the reward model have TRL's losses. ORPO and SimPO are ours: TRL's ORPO trains on the prompts too, and
its DPO has no SimPO.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from engines.companions import pad_id
from engines.judged import Row, judged_report, mean_step_tokens, reward_report, right_by_prompt, row_tokens
from engines.mismatched import mismatched
from engines.pytorch.distributed import Processes
from engines.pytorch.method import GradientMethod, Inputs
from engines.pytorch.policy import Policy
from engines.pytorch.trl_trainer import take_figures
from workbench.corpus.chats.pairs import Mark, Pair
from workbench.corpus.chats.tokens import Encoded
from workbench.corpus.chats.training_data import Judged
from workbench.recipes.preference import DpoRecipe, KtoRecipe, OrpoRecipe, PreferenceRecipe, RewardRecipe


class PreferenceMethod(GradientMethod):
    """Batches of judged answers; the loss is a mean over the rows of a step."""

    def __init__(
        self,
        policy: Policy,
        recipe: PreferenceRecipe,
        data: Judged[Any],
        *,
        optimizer: torch.optim.Optimizer,
        processes: Processes,
        trainer: Any = None,
    ):
        super().__init__(policy, optimizer, recipe, processes)
        self._data, self._trainer = data, trainer
        self._seen: list[Any] = []  # this process's part of what the last evaluation went over
        self._pad = pad_id(policy.tokenizer)
        self.held_out_tokens = sum(map(row_tokens, data.held_out))
        self.step_tokens = mean_step_tokens(data, recipe.batch.batch_size or 1)

    @abstractmethod
    def inputs(self, rows: Sequence[Row], items: Sequence[Any]) -> Inputs:
        """What the loss reads, on the device."""

    def loss_of(self, network: Any, inputs: Inputs) -> torch.Tensor:
        """The mean loss of the rows of one forward pass."""
        return self._trainer.compute_loss(network, inputs)

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        numbers = self._data.order.batch(step)
        tokens = sum(row_tokens(self._data.train[number]) for number in numbers)
        own = numbers[self.processes.share(len(numbers))]
        size = self.recipe.batch.per_device_batch_size or len(own)
        micro = []
        for start in range(0, len(own), size):
            part = own[start : start + size]
            inputs = self.inputs([self._data.train[n] for n in part], [self._data.items[n] for n in part])
            micro.append({**inputs, "share": len(part) / len(own)})
        return micro, tokens

    def loss(self, inputs: Inputs) -> torch.Tensor:
        share = inputs.pop("share")
        return self.loss_of(self.network, inputs) * share

    def figures(self) -> dict[str, float]:
        return take_figures(self._trainer)

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """Exact means over rows, not over batches."""
        size = (self.recipe.batch.per_device_batch_size or 1) * self.processes.size
        sums: dict[str, float] = {}
        rows = seen = 0
        self._seen = []
        with self.policy.evaluating(), self._alone():
            for start in range(0, len(self._data.held_out), size):
                if most_tokens is not None and seen >= most_tokens:
                    break
                if cancelled():
                    return None
                together = self._data.held_out[start : start + size]
                seen += sum(map(row_tokens, together))
                part = self.processes.share(len(together))
                own, items = together[part], self._data.held_out_items[start : start + size][part]
                if not own:
                    continue
                inputs = self.inputs(own, items)
                found = {"loss": float(self.loss_of(self.policy.model, inputs)), **self._measured()}
                for name, value in found.items():
                    total = value * len(own)
                    # A share of right ones is a whole number of rows, but for float32.
                    sums[name] = sums.get(name, 0.0) + (round(total) if name == "reward_accuracy" else total)
                rows += len(own)
                self._seen += items
        names = self._measures()
        totals = torch.tensor([rows, *(sums.get(name, 0.0) for name in names)], dtype=torch.float64)
        count, *values = self.processes.total(totals).tolist()
        return {f"eval_{name}": value / max(1.0, count) for name, value in zip(names, values, strict=True)}

    def report(self) -> dict[str, Any]:
        return judged_report(self._data)

    def _measures(self) -> list[str]:
        return ["loss", "reward_accuracy", "reward_margin"]

    def _measured(self) -> dict[str, float]:
        """What the loss noted of the batch in evaluation."""
        return take_figures(self._trainer, "eval")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """TRL's losses gather over processes, which have different numbers of rows in an evaluation: here not."""
        accelerator = self._trainer.accelerator if self._trainer is not None else None
        if accelerator is None:
            yield
            return
        accelerator.gather = accelerator.gather_for_metrics = lambda value, *args, **kwargs: value
        try:
            yield
        finally:
            del accelerator.gather, accelerator.gather_for_metrics

    def _pairs(self, rows: Sequence[Row]) -> Inputs:
        """The chosen answers with their prompts, then the rejected ones: each [2 · pairs, length], padded right."""
        sequences = [row[0] for row in rows] + [row[1] for row in rows]
        return self._padded(sequences)

    def _padded(self, sequences: Sequence[Encoded], prefix: str = "") -> Inputs:
        longest = max(len(item.ids_L) for item in sequences)
        ids_BL = np.full((len(sequences), longest), self._pad, np.int64)
        real_BL, answer_BL = np.zeros_like(ids_BL), np.zeros_like(ids_BL)
        for place, item in enumerate(sequences):
            length = len(item.ids_L)
            ids_BL[place, :length] = item.ids_L
            real_BL[place, :length] = 1
            answer_BL[place, :length] = item.trained_L
        arrays = {"input_ids": ids_BL, "attention_mask": real_BL, "completion_mask": answer_BL}
        return {f"{prefix}{name}": self._on_device(array) for name, array in arrays.items()}

    def _on_device(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.policy.device)


class RewardMethod(PreferenceMethod):
    """-log σ(score of the chosen - score of the rejected - margin) (Bradley & Terry 1952; Ouyang et al. 2022)."""

    recipe: RewardRecipe

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._right: list[bool] = []  # of the pairs that the evaluation has seen
        self._by_prompt: list[list[int]] = []  # [right, pairs] of each held-out prompt in the last evaluation

    def inputs(self, rows: Sequence[Row], items: Sequence[Pair]) -> Inputs:
        inputs = self._pairs(rows)
        del inputs["completion_mask"]
        if self.recipe.use_margins and any(item.margin is not None for item in self._data.items):
            margins = np.array([item.margin or 0.0 for item in items], np.float32)
            inputs["margin"] = self._on_device(margins)
        return inputs

    def loss_of(self, network: Any, inputs: Inputs) -> torch.Tensor:
        loss, outputs = self._trainer.compute_loss(network, inputs, return_outputs=True)
        if not network.training:
            chosen_P, rejected_P = outputs.logits.squeeze(-1).chunk(2)
            self._right += (chosen_P > rejected_P).tolist()
        return loss

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        self._right = []
        found = super().evaluate(most_tokens, cancelled)
        if found is None:
            return None
        sums_P2 = torch.from_numpy(right_by_prompt(self._data.held_out_items, self._seen, self._right))
        self._by_prompt = self.processes.total(sums_P2).tolist()
        return found

    def state(self) -> dict[str, Any]:
        return {"by_prompt": self._by_prompt}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._by_prompt = state["by_prompt"]

    def samples(self) -> Iterator[tuple[str, str]]:
        yield from ()  # it writes no text

    def _measures(self) -> list[str]:
        return [*super()._measures(), "reward_mean"]

    def report(self) -> dict[str, Any]:
        """With what length alone would score, and how likely the accuracy is by chance."""
        return super().report() | reward_report(self._data, self._by_prompt)


class DpoMethod(PreferenceMethod):
    """TRL's DPO losses; its reference is the base model."""

    def inputs(self, rows: Sequence[Row], items: Sequence[Pair]) -> Inputs:
        return self._pairs(rows)


class PairwiseMethod(PreferenceMethod):
    """Losses of our own on the log-probabilities of both answers, without a reference."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._noted: list[dict[str, float]] = []

    def inputs(self, rows: Sequence[Row], items: Sequence[Pair]) -> Inputs:
        return self._pairs(rows)

    def loss_of(self, network: Any, inputs: Inputs) -> torch.Tensor:
        mask_BL = inputs["completion_mask"]
        labels_BL = inputs["input_ids"].masked_fill(mask_BL == 0, -100)
        found = network(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels_BL,
            fused_lm_head=True,
        )  # fmt: skip
        lengths_B = found.label_mask.sum(1)
        loss, reward_B = self.pairwise(found.log_probs, lengths_B)
        chosen_P, rejected_P = reward_B.detach().chunk(2)
        self._noted.append(
            {
                "reward_margin": float((chosen_P - rejected_P).mean()),
                "reward_accuracy": float((chosen_P > rejected_P).float().mean()),
                "reward_chosen": float(chosen_P.mean()),
                "reward_rejected": float(rejected_P.mean()),
            }
        )
        return loss

    @abstractmethod
    def pairwise(self, log_probs_BL: torch.Tensor, lengths_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean loss, the reward that it implies of each answer): chosen answers first, then the rejected ones."""

    def figures(self) -> dict[str, float]:
        """Of this process's pairs."""
        noted, self._noted = self._noted, []
        return {name: sum(item[name] for item in noted) / len(noted) for name in noted[0]} if noted else {}

    def _measured(self) -> dict[str, float]:
        return self.figures()


class SimpoMethod(PairwiseMethod):
    """-log σ(β · (mean log p of the chosen - of the rejected) - γ) (Meng et al. 2024, eq. 6)."""

    recipe: DpoRecipe

    def pairwise(self, log_probs_BL: torch.Tensor, lengths_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        reward_B = self.recipe.beta * log_probs_BL.sum(1) / lengths_B.clamp_min(1)
        chosen_P, rejected_P = reward_B.chunk(2)
        return -F.logsigmoid(chosen_P - rejected_P - self.recipe.simpo_gamma).mean(), reward_B


class OrpoMethod(PairwiseMethod):
    """NLL of the chosen answer - β · log σ(log odds of the chosen - of the rejected) (Hong et al. 2024, eq. 6, 7).

    The odds are those of the mean log-probability of a token. The NLL is over the answer's tokens alone.
    """

    recipe: OrpoRecipe

    def pairwise(self, log_probs_BL: torch.Tensor, lengths_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean_B = log_probs_BL.sum(1) / lengths_B.clamp_min(1)
        log_odds_B = mean_B - torch.log(-torch.expm1(mean_B.clamp_max(-1e-7)))
        pairs = len(mean_B) // 2
        nll = -log_probs_BL[:pairs].sum() / lengths_B[:pairs].sum().clamp_min(1)
        chosen_P, rejected_P = log_odds_B.chunk(2)
        loss = nll - self.recipe.beta * F.logsigmoid(chosen_P - rejected_P).mean()
        return loss, self.recipe.beta * mean_B


class KtoMethod(PreferenceMethod):
    """TRL's KTO: single answers, marked good or bad."""

    recipe: KtoRecipe

    def inputs(self, rows: Sequence[Row], items: Sequence[Mark]) -> Inputs:
        sequences = [row[0] for row in rows]
        # The divergence is estimated on answers to other prompts: each with the answer of the row before it.
        others = [mismatched(own, sequences[place - 1]) for place, own in enumerate(sequences)]
        labels = torch.tensor([item.label for item in items], device=self.policy.device)
        return {**self._padded(sequences), **self._padded(others, "KL_"), "label": labels}

    def _measures(self) -> list[str]:
        return ["loss", "kl"]

    def loss_of(self, network: Any, inputs: Inputs) -> torch.Tensor:
        self._good = int(inputs["label"].sum())
        self._bad = len(inputs["label"]) - self._good
        return super().loss_of(network, inputs)

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """With the margin between the mean rewards of good and of bad answers."""
        self._rewards = {"rewards/chosen": [0.0, 0.0], "rewards/rejected": [0.0, 0.0]}  # sum, count
        found = super().evaluate(most_tokens, cancelled)
        if found is None:
            return None
        sums = torch.tensor(list(self._rewards.values()), dtype=torch.float64)
        (good, goods), (bad, bads) = self.processes.total(sums).tolist()
        if goods and bads:
            found["eval_reward_margin"] = good / goods - bad / bads
        return found

    def _measured(self) -> dict[str, float]:
        counts = {"rewards/chosen": self._good, "rewards/rejected": self._bad}
        for name, sums in self._rewards.items():
            if measured := self._trainer._metrics["eval"].get(name):
                sums[0] += measured[-1] * counts[name]
                sums[1] += counts[name]
        return take_figures(self._trainer, "eval")
