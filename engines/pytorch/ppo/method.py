"""PPO as a method of the loop of post-training: a step is an iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from engines.pytorch.method import Step, write_sample
from engines.pytorch.ppo.iteration import ANSWERS, EVALUATION, Learner, MicroBatch, Stopwatch
from engines.pytorch.ppo.mathematics import adapted_kl_coef
from engines.pytorch.ppo.prompts import Prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """The answers of an iteration before it is learnt from."""

    step: int
    mini_batches: list[list[MicroBatch]]
    generation_seconds: float
    scoring_seconds: float


class PpoMethod:
    """Satisfies `engines.pytorch.method.Method`."""

    held_out_tokens = 0  # the prompts held out are few: every evaluation takes all

    def __init__(self, learner: Learner, prompts: Prompts):
        self._learner, self._prompts = learner, prompts
        self.recipe, self.models = learner.recipe, learner.models
        self.policy, self.optimizer = learner.models.policy, learner.optimizer
        self.step_tokens = self.batch_size * self.recipe.generation.longest
        self.trained_module: nn.Module = learner.models.trained()
        self._figures: dict[str, float] = {}  # of the newest step
        self._ready: _Scored | None = None  # of a step that is not made yet

    @property
    def batch_size(self) -> int:
        return self.recipe.batch.batch_size or 1

    def measured_seconds(self) -> float:
        """Of an iteration: answers and scores of the first, which are kept for it, and one of its backward passes."""
        learner, watch = self._learner, Stopwatch(self.policy.device)
        self._ready = self._score(0)
        micro_batches = [micro for mini_batch in self._ready.mini_batches for micro in mini_batch]
        watch.lap()
        learner.try_learning(micro_batches[len(micro_batches) // 2])
        update = watch.lap() * len(micro_batches) * self.recipe.ppo.num_ppo_epochs
        return self._ready.generation_seconds + self._ready.scoring_seconds + update

    def replicate(self) -> None:
        """Nothing: the learner adds gradients up over the processes by itself."""

    def optimize(self, step: int, learning_rate: float) -> Step:
        """Iteration `step`: answers to the next prompts, scored, and learnt from."""
        learner, ppo = self._learner, self.recipe.ppo
        ready, self._ready = self._ready, None
        if ready is None or ready.step != step:
            ready = self._score(step)
        figures = learner.answer_figures([micro for mini_batch in ready.mini_batches for micro in mini_batch])
        watch = Stopwatch(self.policy.device)
        self._set_rates(learning_rate)
        update = learner.update(ready.mini_batches, step)
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
        learner, held_out = self._learner, self._prompts.held_out
        written = learner.write(held_out, (self.recipe.seed, EVALUATION))
        size = self.recipe.batch.per_device_batch_size or len(held_out)
        scored: list[MicroBatch] = []
        ordered = sorted(written, key=lambda item: len(item.prompt) + len(item.answer))
        for start in range(0, len(ordered), size):
            scored.append(learner.scored(ordered[start : start + size]))
        found = learner.answer_figures(scored)
        names = ("reward_mean", "kl", "response_length", "eos_rate")
        figures = {f"eval_{name}": found[name] for name in names}
        figures["eval_loss"] = self.recipe.ppo.kl_coef * found["kl"] - found["reward_mean"]
        return figures

    def samples(self) -> Iterator[tuple[str, str]]:
        section = self.recipe.evaluation
        for prompt in section.sample_prompts if section.sample_tokens else []:
            yield prompt, write_sample(self.policy, prompt, section.sample_tokens)

    def write(self, folder: Path) -> None:
        self.policy.save(folder)

    def write_checkpoint(self, folder: Path) -> None:
        """The policy, and the value model beside it."""
        self.models.save(folder)

    def restore(self, folder: Path) -> None:
        self.models.restore(folder)
        self._ready = None  # written by other weights

    def state(self) -> dict[str, Any]:
        return {"kl_coef": self._learner.kl_coef, "figures": self._figures}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._learner.kl_coef = state["kl_coef"]
        self._figures = dict(state["figures"])

    def report(self) -> dict[str, Any]:
        return self._figures | {
            "prompts": len(self._prompts.train),
            "held_out_prompts": len(self._prompts.held_out),
            "prompts_too_long": self._prompts.too_long,
        }

    def _score(self, step: int) -> _Scored:
        watch = Stopwatch(self.policy.device)
        prompts = self._prompts.batch(step, self.batch_size)
        written = self._learner.write(prompts, (self.recipe.seed, ANSWERS, step))
        generation = watch.lap()
        mini_batches = self._learner.score(written, step)
        return _Scored(step=step, mini_batches=mini_batches, generation_seconds=generation, scoring_seconds=watch.lap())

    def _set_rates(self, learning_rate: float) -> None:
        peak, value_peak = self.recipe.optimizer.learning_rate or 1.0, self.recipe.ppo.value_learning_rate or 0.0
        for place, group in enumerate(self.optimizer.param_groups):
            group["lr"] = learning_rate if place < 2 else learning_rate * value_peak / peak
