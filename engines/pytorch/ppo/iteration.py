"""One iteration of PPO: write answers, score them, learn from them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from engines.pytorch.distributed import Processes
from engines.pytorch.ppo.answers import answer_means, drawing_of, write_share
from engines.pytorch.ppo.mathematics import advantages, policy_loss, token_rewards, value_loss, whitened
from engines.pytorch.ppo.models import Models
from engines.pytorch.ppo.prompts import Prompt
from engines.pytorch.ppo.scoring import Rows, Written
from workbench.errors import WorkbenchError
from workbench.recipes.reinforcement import PpoRecipe

ANSWERS, MINI_BATCHES, EPOCHS, EVALUATION = range(4)  # what random numbers are for


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


@dataclass(kw_only=True)
class Update:
    """What the optimizer steps of an iteration came to; this process's share of means over all processes."""

    loss: torch.Tensor
    policy_grad_norm: torch.Tensor
    figures: dict[str, float]


class Learner:
    """The models, their optimizer, and what an iteration does with them."""

    def __init__(self, models: Models, recipe: PpoRecipe, optimizer: torch.optim.Optimizer, processes: Processes):
        """The first two groups of `optimizer` are the policy's, the others the value model's."""
        self.models, self.recipe, self.optimizer, self.processes = models, recipe, optimizer, processes
        self.kl_coef = recipe.ppo.kl_coef
        self.device = models.policy.device
        self.drawing = drawing_of(models.policy, recipe.generation)
        self.pad_id = self.drawing.pad_id

    # ------------------------------------------------------------------ answers

    def write(self, prompts: Sequence[Prompt], key: tuple[int, ...]) -> list[Written]:
        """This process's share of answers to `prompts`; their draws are a function of `key`."""
        return write_share(self.models.policy, prompts, self.drawing, self.processes, key)

    # ------------------------------------------------------------------ scores

    def score(self, written: Sequence[Written], step: int) -> list[list[MicroBatch]]:
        """The answers in mini-batches drawn at random, and those in micro-batches of similar length, scored."""
        batch, count = self.recipe.batch, self.recipe.ppo.num_mini_batches
        order = np.random.default_rng((self.recipe.seed, MINI_BATCHES, step, self.processes.rank))
        mini_batches = []
        for part in np.array_split(order.permutation(len(written)), count):
            chosen = sorted((written[row] for row in part), key=lambda item: len(item.prompt) + len(item.answer))
            size = batch.per_device_batch_size or len(chosen)
            parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
            mini_batches.append([self.scored(part) for part in parts])
        self._estimate_advantages([micro for mini_batch in mini_batches for micro in mini_batch])
        return mini_batches

    @torch.no_grad()
    def scored(self, written: Sequence[Written]) -> MicroBatch:
        """All that the models say of some answers, before any is learnt from."""
        rows = Rows.of(written, self.pad_id, self.device)
        statistics = self.models.log_probs(rows)
        scores_B = self.models.scores(rows)
        if not bool(torch.isfinite(scores_B).all()):
            raise WorkbenchError(
                f"The reward model gave {float(scores_B[~torch.isfinite(scores_B)][0])} as the score of an answer.",
                "Its weights are damaged, or its training diverged: train it anew with a lower --learning-rate.",
            )
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
        ppo, total = self.recipe.ppo, self.processes.total
        lengths = [length for micro in micro_batches for length in micro.lengths]
        mask_BT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

        def padded(name: str) -> torch.Tensor:
            values_N = torch.cat([getattr(micro, name) for micro in micro_batches]).cpu()
            return torch.zeros(mask_BT.shape).masked_scatter(mask_BT, values_N)

        scores_B = torch.cat([micro.scores_B - ppo.missing_eos_penalty * ~micro.ended_B for micro in micro_batches])
        log_probs_BT, reference_BT, values_BT = (padded(name) for name in ("log_probs_N", "reference_N", "values_N"))
        rewards_BT = token_rewards(scores_B.cpu(), log_probs_BT, reference_BT, mask_BT, self.kl_coef)
        if ppo.whiten_rewards:
            rewards_BT = whitened(rewards_BT, mask_BT, shift_mean=False, total=total)
        raw_BT = advantages(rewards_BT, values_BT, mask_BT, gamma=ppo.gamma, lam=ppo.lam)
        returns_BT = raw_BT + values_BT
        white_BT = whitened(raw_BT, mask_BT, total=total)
        start = 0
        for micro in micro_batches:
            part = slice(start, start + len(micro.lengths))
            start = part.stop
            own_BT = mask_BT[part]
            micro.advantages_N = white_BT[part][own_BT].to(self.device)
            micro.returns_N = returns_BT[part][own_BT].to(self.device)

    # ------------------------------------------------------------------ learning

    def update(self, mini_batches: Sequence[Sequence[MicroBatch]], step: int) -> Update:
        """`num_ppo_epochs` passes over the mini-batches, an optimizer step for each."""
        own = torch.tensor([sum(sum(micro.lengths) for micro in mini_batch) for mini_batch in mini_batches])
        tokens = self.processes.total(own.double()).tolist()
        order = np.random.default_rng((self.recipe.seed, EPOCHS, step))
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        norms = torch.zeros((), device=self.device)
        steps = 0
        for _ in range(self.recipe.ppo.num_ppo_epochs):
            for place in order.permutation(len(mini_batches)):
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
        """A forward and backward pass that changes nothing."""
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
        """Means over the answers of all processes: the reward model's own score, nats from the reference, length.

        "kl" is the mean of Σ log π/π_ref over sampled answers: without bias, but by chance a little below 0 where the
        two are nearly the same. It is what the penalty and target_kl work with, so it is told as it is, and not by
        an estimator that cannot be negative (k3 of Schulman 2020).
        """
        lengths = [length for micro in micro_batches for length in micro.lengths]
        sums = {
            "reward_mean": sum(float(micro.scores_B.double().sum()) for micro in micro_batches),
            "kl": sum(float((micro.log_probs_N - micro.reference_N).double().sum()) for micro in micro_batches),
            "entropy": sum(float(micro.entropy_N.double().sum()) for micro in micro_batches),
            "response_length": sum(lengths),
            "eos_rate": sum(int(micro.ended_B.sum()) for micro in micro_batches),
        }
        return answer_means(sums, len(lengths), self.processes)


def add_gradients(parameters: Sequence[torch.Tensor], processes: Processes) -> None:
    """Replace each gradient by its sum over the processes."""
    if processes.size > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)


class Stopwatch:
    """Seconds since it was last asked, on a device that works behind our back."""

    def __init__(self, device: torch.device):
        self._device = device
        self._mark = time.perf_counter()

    def lap(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        return seconds
