"""PPO as a method of the loop of post-training: a step is an iteration, of answers written, scored and learnt from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engines.reinforcement.advantages import adapted_kl_coef
from engines.reinforcement.answers import ANSWERS, EPOCHS, EVALUATION, MINI_BATCHES, Stopwatch, Written
from engines.reinforcement.prompts import Prompt, Prompts
from engines.training_loop import Step
from workbench.errors import WorkbenchError
from workbench.recipes.reinforcement import PpoRecipe


@dataclass(kw_only=True)
class Update:
    """What the optimizer steps of an iteration came to; this process's share of means over all processes."""

    loss: Any
    policy_grad_norm: Any
    figures: dict[str, float]


class Learner(Protocol):
    """The models, their optimizers, and what an iteration does with them."""

    recipe: PpoRecipe
    kl_coef: float

    def write(self, prompts: Sequence[Prompt], key: tuple[int, ...]) -> list[Written]:
        """This process's share of answers to `prompts`; their draws are a function of `key`."""

    def score(self, written: Sequence[Written], step: int) -> list[list[Any]]:
        """The answers in mini-batches drawn at random, and those in micro-batches of similar length, scored."""

    def scored(self, written: Sequence[Written]) -> Any:
        """All that the models say of some answers, before any is learnt from: a micro-batch."""

    def update(self, mini_batches: Sequence[Sequence[Any]], step: int, learning_rate: float) -> Update:
        """`num_ppo_epochs` passes over the mini-batches, an optimizer step for each."""

    def try_learning(self, micro: Any) -> None:
        """A forward and backward pass that changes nothing."""

    def answer_figures(self, micro_batches: Sequence[Any]) -> dict[str, float]:
        """Means over the answers of all processes: the reward model's own score, nats from the reference, length.

        "kl" is the mean of Σ log π/π_ref over sampled answers: without bias, but by chance a little below 0 where the
        two are nearly the same. It is what the penalty and target_kl work with, so it is told as it is, and not by
        an estimator that cannot be negative (k3 of Schulman 2020).
        """


def parted(written: Sequence[Written], recipe: PpoRecipe, step: int, rank: int = 0) -> list[list[list[Written]]]:
    """Answers in mini-batches drawn at random, and those in micro-batches of similar length."""
    order = np.random.default_rng((recipe.seed, MINI_BATCHES, step, rank)).permutation(len(written))
    mini_batches = []
    for part in np.array_split(order, recipe.ppo.num_mini_batches):
        chosen = sorted((written[row] for row in part), key=lambda item: item.length)
        size = recipe.batch.per_device_batch_size or len(chosen)
        mini_batches.append([chosen[start : start + size] for start in range(0, len(chosen), size)])
    return mini_batches


def passes(recipe: PpoRecipe, step: int, mini_batches: int) -> Iterator[int]:
    """The mini-batch of each optimizer step of an iteration."""
    order = np.random.default_rng((recipe.seed, EPOCHS, step))
    for _ in range(recipe.ppo.num_ppo_epochs):
        yield from order.permutation(mini_batches).tolist()


def require_finite(scores_B: np.ndarray) -> None:
    """Raises `WorkbenchError` if the reward model gave what is no number."""
    if not np.isfinite(scores_B).all():
        raise WorkbenchError(
            f"The reward model gave {float(scores_B[~np.isfinite(scores_B)][0])} as the score of an answer.",
            "Its weights are damaged, or its training diverged: train it anew with a lower --learning-rate.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """The answers of an iteration before it is learnt from."""

    step: int
    mini_batches: list[list[Any]]
    generation_seconds: float
    scoring_seconds: float


class Ppo(ABC):
    """What every engine's PPO does; subclasses keep the weights."""

    held_out_tokens = 0  # the prompts held out are few: every evaluation takes all

    def __init__(self, learner: Learner, prompts: Prompts):
        self.learner, self.prompts, self.recipe = learner, prompts, learner.recipe
        self.batch_size = self.recipe.batch.batch_size or 1
        self.step_tokens = self.batch_size * self.recipe.generation.longest
        self._figures: dict[str, float] = {}  # of the newest step
        self._ready: _Scored | None = None  # of a step that is not made yet

    @abstractmethod
    def wait(self) -> None:
        """Until the device has done what it was told."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """The weights of policy and value model from a checkpoint; subclasses call this too."""
        self._ready = None  # written by other weights

    def measured_seconds(self) -> float:
        """Of an iteration: answers and scores of the first, which are kept for it, and one of its backward passes."""
        learner, watch = self.learner, Stopwatch(self.wait)
        self._ready = self._score(0)
        micro_batches = [micro for mini_batch in self._ready.mini_batches for micro in mini_batch]
        watch.lap()
        learner.try_learning(micro_batches[len(micro_batches) // 2])
        update = watch.lap() * len(micro_batches) * self.recipe.ppo.num_ppo_epochs
        return self._ready.generation_seconds + self._ready.scoring_seconds + update

    def optimize(self, step: int, learning_rate: float) -> Step:
        """Iteration `step`: answers to the next prompts, scored, and learnt from."""
        learner, ppo = self.learner, self.recipe.ppo
        ready, self._ready = self._ready, None
        if ready is None or ready.step != step:
            ready = self._score(step)
        figures = learner.answer_figures([micro for mini_batch in ready.mini_batches for micro in mini_batch])
        watch = Stopwatch(self.wait)
        update = learner.update(ready.mini_batches, step, learning_rate)
        seconds = {
            "seconds_generation": ready.generation_seconds,
            "seconds_scoring": ready.scoring_seconds,
            "seconds_update": watch.lap(),
        }
        self._figures = figures | update.figures | {"kl_coef": learner.kl_coef}
        if ppo.target_kl is not None:
            learner.kl_coef = adapted_kl_coef(
                learner.kl_coef, figures["kl"], target=ppo.target_kl, horizon=ppo.kl_horizon, answers=self.batch_size
            )
        return Step(
            loss=update.loss,
            grad_norm=update.policy_grad_norm,
            tokens=round(figures["response_length"] * self.batch_size),
            figures=self._figures | seconds,
        )

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """Answers to the prompts held out, always with the same draws.

        "eval_loss" is the objective that PPO climbs, negated: kl_coef · KL - reward, with the recipe's kl_coef.
        """
        if cancelled():  # once: processes have to ask alike, and write answers of different lengths
            return None
        learner, held_out = self.learner, self.prompts.held_out
        written = learner.write(held_out, (self.recipe.seed, EVALUATION))
        size = self.recipe.batch.per_device_batch_size or len(held_out)
        ordered = sorted(written, key=lambda item: item.length)
        found = learner.answer_figures(
            [learner.scored(ordered[start : start + size]) for start in range(0, len(ordered), size)]
        )
        names = ("reward_mean", "kl", "response_length", "eos_rate")
        figures = {f"eval_{name}": found[name] for name in names}
        figures["eval_loss"] = self.recipe.ppo.kl_coef * found["kl"] - found["reward_mean"]
        return figures

    def state(self) -> dict[str, Any]:
        return {"kl_coef": self.learner.kl_coef, "figures": self._figures}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.learner.kl_coef = state["kl_coef"]
        self._figures = dict(state["figures"])

    def report(self) -> dict[str, Any]:
        return self._figures | self.prompts.report()

    def _score(self, step: int) -> _Scored:
        watch = Stopwatch(self.wait)
        prompts = self.prompts.batch(step, self.batch_size)
        written = self.learner.write(prompts, (self.recipe.seed, ANSWERS, step))
        generation = watch.lap()
        mini_batches = self.learner.score(written, step)
        return _Scored(step=step, mini_batches=mini_batches, generation_seconds=generation, scoring_seconds=watch.lap())
