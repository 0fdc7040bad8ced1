"""One iteration of PPO: write answers, score them, learn from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from engines.pytorch.distributed import Processes
from engines.pytorch.ppo.answers import total_of, write_share
from engines.pytorch.ppo.mathematics import policy_loss, value_loss
from engines.pytorch.ppo.models import Models
from engines.pytorch.ppo.scoring import Rows
from engines.reinforcement.advantages import token_advantages
from engines.reinforcement.answers import Written, answer_means, drawing_of
from engines.reinforcement.ppo import Update, parted, passes, require_finite
from engines.reinforcement.prompts import Prompt
from workbench.recipes.reinforcement import PpoRecipe


@dataclass(kw_only=True)
class MicroBatch:
    """Answers that go through the models at once, with what is learnt from them; N are their tokens."""

    rows: Rows
    lengths: list[int]
    log_probs_N: torch.Tensor
    reference_N: torch.Tensor
    entropy_N: torch.Tensor
    values_N: torch.Tensor
    scores_B: torch.Tensor
    ended_B: torch.Tensor
    advantages_N: torch.Tensor
    returns_N: torch.Tensor


class Learner:
    """Satisfies `engines.reinforcement.ppo.Learner`."""

    def __init__(self, models: Models, recipe: PpoRecipe, optimizer: torch.optim.Optimizer, processes: Processes):
        """The first two groups of `optimizer` are the policy's, the others the value model's."""
        self.models, self.recipe, self.optimizer, self.processes = models, recipe, optimizer, processes
        self.kl_coef = recipe.ppo.kl_coef
        self.device = models.policy.device
        self.drawing = drawing_of(models.policy.tokenizer, models.policy.base, recipe.generation)
        self.pad_id = self.drawing.pad_id

    # ------------------------------------------------------------------ answers

    def write(self, prompts: Sequence[Prompt], key: tuple[int, ...]) -> list[Written]:
        return write_share(self.models.policy, prompts, self.drawing, self.processes, key)

    # ------------------------------------------------------------------ scores

    def score(self, written: Sequence[Written], step: int) -> list[list[MicroBatch]]:
        mini_batches = [
            [self.scored(part) for part in mini_batch]
            for mini_batch in parted(written, self.recipe, step, self.processes.rank)
        ]
        self._estimate_advantages([micro for mini_batch in mini_batches for micro in mini_batch])
        return mini_batches

    @torch.no_grad()
    def scored(self, written: Sequence[Written]) -> MicroBatch:
        rows = Rows.of(written, self.pad_id, self.device)
        statistics = self.models.log_probs(rows)
        scores_B = self.models.scores(rows)
        require_finite(scores_B.cpu().numpy())
        empty_N = torch.empty_like(statistics.log_probs)
        return MicroBatch(
            rows=rows,
            lengths=[len(item.answer) for item in written],
            log_probs_N=statistics.log_probs,
            reference_N=self.models.reference_log_probs(rows),
            entropy_N=statistics.entropy,
            values_N=self.models.values(rows),
            scores_B=scores_B,
            ended_B=torch.tensor([item.ended for item in written], device=self.device),
            advantages_N=empty_N,
            returns_N=empty_N,
        )

    def _estimate_advantages(self, micro_batches: Sequence[MicroBatch]) -> None:
        """Set the advantages and returns of every token."""

        def together(name: str) -> np.ndarray:
            return torch.cat([getattr(micro, name) for micro in micro_batches]).cpu().numpy()

        advantages_N, returns_N = token_advantages(
            self.recipe.ppo,
            self.kl_coef,
            lengths=[length for micro in micro_batches for length in micro.lengths],
            ended=together("ended_B").tolist(),
            scores_B=together("scores_B"),
            log_probs_N=together("log_probs_N"),
            reference_N=together("reference_N"),
            values_N=together("values_N"),
            total=total_of(self.processes),
        )
        start = 0
        for micro in micro_batches:
            part = slice(start, start + sum(micro.lengths))
            start = part.stop
            micro.advantages_N = torch.from_numpy(advantages_N[part]).to(self.device)
            micro.returns_N = torch.from_numpy(returns_N[part]).to(self.device)

    # ------------------------------------------------------------------ learning

    def update(self, mini_batches: Sequence[Sequence[MicroBatch]], step: int, learning_rate: float) -> Update:
        peak, value_peak = self.recipe.optimizer.learning_rate or 1.0, self.recipe.ppo.value_learning_rate or 0.0
        for place, group in enumerate(self.optimizer.param_groups):
            group["lr"] = learning_rate if place < 2 else learning_rate * value_peak / peak
        own = torch.tensor([sum(sum(micro.lengths) for micro in mini_batch) for mini_batch in mini_batches])
        tokens = self.processes.total(own.double()).tolist()
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        norms = torch.zeros((), device=self.device)
        steps = 0
        for place in passes(self.recipe, step, len(mini_batches)):
            for micro in mini_batches[place]:
                sums += self._learn(micro, 1.0 / tokens[place])
            norms = torch.maximum(norms, self._optimizer_step())
            steps += 1
        sums /= steps
        policy, value, clipped, clipped_value = self.processes.total(sums.cpu().clone()).tolist()
        figures = {
            "policy_loss": policy,
            "value_loss": value,
            "clip_fraction": clipped,
            "value_clip_fraction": clipped_value,
        }
        loss = (sums[0] + self.recipe.ppo.vf_coef * sums[1]).float()
        return Update(loss=loss, policy_grad_norm=norms, figures=figures)

    def try_learning(self, micro: MicroBatch) -> None:
        self._learn(micro, 1.0 / sum(micro.lengths))
        self.optimizer.zero_grad(set_to_none=True)

    def _learn(self, micro: MicroBatch, scale: float) -> torch.Tensor:
        """Add the gradients of a micro-batch, whose tokens count `scale` each; the sums of its figures."""
        ppo = self.recipe.ppo
        log_probs_N = self.models.log_probs(micro.rows).log_probs
        policy_N, clipped_N = policy_loss(log_probs_N, micro.log_probs_N, micro.advantages_N, ppo.cliprange)
        values_N = self.models.values(micro.rows)
        value_N, value_clipped_N = value_loss(values_N, micro.values_N, micro.returns_N, ppo.cliprange_value)
        ((policy_N.sum() + ppo.vf_coef * value_N.sum()) * scale).backward()
        figures = (policy_N.detach(), value_N.detach(), clipped_N, value_clipped_N)
        return torch.stack([figure_N.sum().double() for figure_N in figures]) * scale

    def _optimizer_step(self) -> torch.Tensor:
        """Add the processes' gradients up, clip each model's, and step; the norm of the policy's before that."""
        groups = self.optimizer.param_groups
        policy, value = ([item for group in part for item in group["params"]] for part in (groups[:2], groups[2:]))
        add_gradients([*policy, *value], self.processes)
        most = self.recipe.optimizer.max_grad_norm or math.inf
        norm = nn.utils.clip_grad_norm_(policy, most)
        nn.utils.clip_grad_norm_(value, most)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    # ------------------------------------------------------------------ figures

    def answer_figures(self, micro_batches: Sequence[MicroBatch]) -> dict[str, float]:
        lengths = [length for micro in micro_batches for length in micro.lengths]
        sums = {
            "reward_mean": sum(float(micro.scores_B.double().sum()) for micro in micro_batches),
            "kl": sum(float((micro.log_probs_N - micro.reference_N).double().sum()) for micro in micro_batches),
            "entropy": sum(float(micro.entropy_N.double().sum()) for micro in micro_batches),
            "response_length": sum(lengths),
            "eos_rate": sum(int(micro.ended_B.sum()) for micro in micro_batches),
        }
        return answer_means(sums, len(lengths), total_of(self.processes))


def add_gradients(parameters: Sequence[torch.Tensor], processes: Processes) -> None:
    """Replace each gradient by its sum over the processes."""
    if processes.size > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
