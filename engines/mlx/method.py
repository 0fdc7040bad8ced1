"""What a training method gives to the loop: steps, evaluations, samples, files.

`GradientMethod` is the usual one: micro-batches, a loss, one update of the weights a step. A method that makes several
updates of one batch (PPO) satisfies `Method` by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx

from engines.mlx.policy import Policy
from engines.mlx.trainer import Inputs, Trainer
from engines.training_loop import Step, TrainingMethod
from workbench.recipes.tuning import TuningRecipe


class Method(TrainingMethod, Protocol):
    """What is trained, and how."""

    def evaluating(self) -> AbstractContextManager[None]:
        """The model as the training computes with it, without dropout."""

    def optimizer_state(self) -> dict[str, mx.array]:
        """By name."""

    def load_optimizer_state(self, arrays: dict[str, mx.array]) -> None:
        """The inverse of `optimizer_state`."""


class GradientMethod(ABC):
    """One update of the weights a step, over its micro-batches."""

    trainer: Trainer
    step_tokens: int
    held_out_tokens: int

    @abstractmethod
    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        """(the inputs of each forward pass of optimizer step `step`, counted from 0, tokens trained on)."""

    @abstractmethod
    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """As `engines.training_loop.TrainingMethod`."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """As `Method.write`."""

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Of a step, from the sums of what the loss noted of its micro-batches."""
        return dict(sums)

    def measured_seconds(self) -> float:
        return self.trainer.measured_seconds(self.micro_batches(0)[0])

    def optimize(self, step: int, learning_rate: float) -> Step:
        micro, tokens = self.micro_batches(step)
        made = self.trainer.step(step, micro, learning_rate)
        return Step(loss=made.loss, grad_norm=made.grad_norm, tokens=tokens, figures=self.figures(made.figures))

    def evaluating(self) -> AbstractContextManager[None]:
        return self.trainer.evaluating()

    def optimizer_state(self) -> dict[str, mx.array]:
        return self.trainer.state()

    def load_optimizer_state(self, arrays: dict[str, mx.array]) -> None:
        self.trainer.load_state(arrays)

    def write_checkpoint(self, folder: Path) -> None:
        self.write(folder)

    def state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        assert not state

    def report(self) -> dict[str, Any]:
        return {}


class PolicyMethod(GradientMethod):
    """On a model that was trained before."""

    flops_factor = 1.0  # operations a token, over those of one pass forward and backward
    chats = True  # its samples are answers; else they go on from the prompt

    def __init__(self, policy: Policy, recipe: TuningRecipe):
        self.policy, self.recipe = policy, recipe

    def samples(self) -> Iterator[tuple[str, str]]:
        section = self.recipe.evaluation
        for prompt in section.sample_prompts if section.sample_tokens else []:
            yield prompt, self.policy.sample(prompt, section.sample_tokens, chat=self.chats)

    def write(self, folder: Path) -> None:
        self.policy.save(folder)

    def restore(self, folder: Path) -> None:
        self.policy.restore(folder)
