"""GRPO apart from its loss: several answers to each prompt, each better or worse than the others of its group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.reinforcement.advantages import group_advantages
from engines.reinforcement.answers import ANSWERS, EVALUATION, Stopwatch, Written
from engines.reinforcement.prompts import Prompt, Prompts
from engines.reinforcement.sources import Source
from engines.tokenizer import TextTokenizer
from workbench.recipes.reinforcement import GrpoRecipe


@dataclass(kw_only=True)
class Answered:
    """An iteration before it is learnt from."""

    step: int
    micro: list[Any]
    tokens: int
    figures: dict[str, float]
    generation_seconds: float
    scoring_seconds: float


class Grouped(ABC):
    """What every engine's GRPO does (Shao et al. 2024); subclasses keep the weights and compute the loss."""

    held_out_tokens = 0  # the prompts held out are few: every evaluation takes all

    def __init__(self, recipe: GrpoRecipe, prompts: Prompts, sources: Mapping[str, Source], base: Path):
        self._recipe, self._prompts, self._sources = recipe, prompts, sources
        self._texts = TextTokenizer(base)
        self.batch_size = recipe.batch.batch_size or 1
        self.step_tokens = self.batch_size * recipe.generation.longest
        self._figures: dict[str, float] = {}  # of the newest step
        self._ready: Answered | None = None  # of a step that is not made yet

    @abstractmethod
    def write_answers(self, prompts: Sequence[Prompt], key: tuple[int, ...]) -> list[Written]:
        """This process's share of answers to `prompts`; their draws are a function of `key`."""

    @abstractmethod
    def own(self, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
        """Those of `prompts` that this process answers."""

    @abstractmethod
    def scored(self, written: Sequence[Written], gains_B: np.ndarray) -> tuple[Any, np.ndarray]:
        """(what the loss reads, sums over the answers' tokens of log-ratio to the reference and entropy, in nats)."""

    @abstractmethod
    def counted(self, micro: Any, tokens: int) -> Any:
        """What the loss reads, with how many tokens the answers of the iteration have in all."""

    @abstractmethod
    def means(self, sums: Mapping[str, float], written: int) -> dict[str, float]:
        """As `engines.reinforcement.answers.answer_means`, over all processes."""

    @abstractmethod
    def wait(self) -> None:
        """Until the device has done what it was told."""

    def answered(self, step: int) -> Answered:
        """The answers of an iteration, with their rewards."""
        watch = Stopwatch(self.wait)
        count = self._recipe.num_generations
        prompts = self._prompts.batch(step, self.batch_size // count)
        every = [prompt for prompt in prompts for _ in range(count)]
        written = self.write_answers(every, (self._recipe.seed, ANSWERS, step))
        generation = watch.lap()
        rewards_S = self._rewards(self.own(every), written)
        rewards = np.sum(list(rewards_S.values()), axis=0)
        cut = np.array([not item.ended for item in written])
        gains, spread = group_advantages(rewards - self._recipe.missing_eos_penalty * cut, count)
        size = self._recipe.batch.per_device_batch_size or len(written)
        order = sorted(range(len(written)), key=lambda row: written[row].length)
        micro, scored = [], np.zeros(2)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            inputs, sums = self.scored([written[row] for row in chosen], gains[chosen])
            micro.append(inputs)
            scored += sums
        more = {"reward_spread": float(spread.sum()) * count}
        if len(rewards_S) > 1:
            more |= {f"{name}_mean": float(values.sum()) for name, values in rewards_S.items()}
        figures = self._figures_of(written, rewards, scored, more)
        tokens = round(figures["response_length"] * self.batch_size)
        return Answered(
            step=step,
            micro=[self.counted(inputs, tokens) for inputs in micro],
            tokens=tokens,
            figures=figures,
            generation_seconds=generation,
            scoring_seconds=watch.lap(),
        )

    def micro_batches(self, step: int) -> tuple[Sequence[Any], int]:
        """(this process's inputs of each forward pass of iteration `step`, tokens over all processes)."""
        ready, self._ready = self._ready, None
        if ready is None or ready.step != step:
            ready = self.answered(step)
        seconds = {"seconds_generation": ready.generation_seconds, "seconds_scoring": ready.scoring_seconds}
        self._figures = ready.figures | seconds
        return ready.micro, ready.tokens

    def timed(self, learn: Callable[[Any], None]) -> float:
        """Seconds of an iteration: answers and rewards of the first, which are kept for it, and one time `learn`, a
        forward and backward pass."""
        ready = self.answered(0)
        watch = Stopwatch(self.wait)
        learn(ready.micro[0])
        self._ready = ready
        update = watch.lap() * len(ready.micro) * self._recipe.num_iterations
        return ready.generation_seconds + ready.scoring_seconds + update

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """An answer to each prompt held out, always with the same draws.

        "eval_loss" is beta · KL - reward.
        """
        if cancelled():  # once: processes have to ask alike, and write answers of different lengths
            return None
        held_out = self._prompts.held_out
        written = self.write_answers(held_out, (self._recipe.seed, EVALUATION))
        rewards = self._rewards(self.own(held_out), written)
        scored = np.zeros(2)
        size = self._recipe.batch.per_device_batch_size or len(held_out)
        for start in range(0, len(written), size):
            part = written[start : start + size]
            scored += self.scored(part, np.zeros(len(part)))[1]
        found = self._figures_of(written, np.sum(list(rewards.values()), axis=0), scored)
        loss = self._recipe.beta * found["kl"] - found["reward_mean"]
        return {f"eval_{name}": value for name, value in found.items()} | {"eval_loss": loss}

    def state(self) -> dict[str, Any]:
        return {"figures": self._figures}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._figures = dict(state["figures"])

    def report(self) -> dict[str, Any]:
        figures = {name: value for name, value in self._figures.items() if not name.startswith("seconds")}
        return figures | self._prompts.report()

    def _rewards(self, prompts: Sequence[Prompt], written: Sequence[Written]) -> dict[str, np.ndarray]:
        """The rewards of this process's answers, by source."""
        texts = [self._texts.decode(item.answer.tolist()) for item in written]
        return {name: np.array(source(prompts, texts), np.float64) for name, source in self._sources.items()}

    def _figures_of(
        self,
        written: Sequence[Written],
        rewards: np.ndarray,
        scored: np.ndarray,
        more: Mapping[str, float] | None = None,
    ) -> dict[str, float]:
        """Means over the answers of all processes; `scored` and `more` are sums over this one's.

        "kl" is the mean of Σ log π/π_ref over sampled answers: without bias, but by chance a little below 0.
        """
        sums = {
            "reward_mean": float(rewards.sum()),
            "kl": float(scored[0]),
            "entropy": float(scored[1]),
            "response_length": sum(len(item.answer) for item in written),
            "eos_rate": sum(item.ended for item in written),
        }
        return self.means(sums | dict(more or {}), len(written))
