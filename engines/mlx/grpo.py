"""The stage `grpo` on MLX: several answers to each prompt, each better or worse than the others of its group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from engines.mlx import device
from engines.mlx.answers import Judge, RewardModel, Rows, answer_statistics, rows_of, write
from engines.mlx.folders import open_causal_lm
from engines.mlx.forward import IGNORED
from engines.mlx.lora import without_adapter
from engines.mlx.method import PolicyMethod
from engines.mlx.policy import Policy
from engines.mlx.post_training import Workplace, train
from engines.mlx.trainer import Inputs, Trainer
from engines.reinforcement.answers import Stopwatch, Written, answer_means, drawing_of
from engines.reinforcement.grpo import Grouped
from engines.reinforcement.prompts import Prompt, Prompts, prompts_of, warn_of_prompts
from engines.reinforcement.sources import Source, open_sources
from engines.training_loop import Step
from workbench.contract import Job, Reporter, Warned
from workbench.recipes.base import validate
from workbench.recipes.reinforcement import GrpoRecipe


def grpo(job: Job, reporter: Reporter) -> None:
    """Raise the rewards of a model's answers, or go on from the run's newest whole checkpoint."""
    asked: GrpoRecipe = validate(GrpoRecipe, job.recipe).resolved()

    def make(place: Workplace, policy: Policy) -> Grpo:
        recipe = asked.fitted(policy.context_length)
        dtype = place.dtype
        sources = open_sources(
            recipe,
            job.inputs,
            reward=lambda folder: RewardModel(folder, device.dtype_name(dtype)),
            judge=lambda folder: Judge(folder, dtype),
        )
        prompts = prompts_of(recipe, job.inputs["prompts"], policy.tokenizer)
        method = Grpo(policy, recipe, place, prompts, sources)
        for message in warn_of_prompts(prompts, recipe, method.batch_size // recipe.num_generations):
            reporter.emit(Warned(message=message))
        return method

    train(job, reporter, asked, make)


class Grpo(Grouped, PolicyMethod):
    """A step is an iteration: `num_iterations` optimizer steps on the same answers. The loss is a mean over their
    tokens (DAPO, Yu et al. 2025)."""

    recipe: GrpoRecipe

    def __init__(
        self, policy: Policy, recipe: GrpoRecipe, place: Workplace, prompts: Prompts, sources: Mapping[str, Source]
    ):
        PolicyMethod.__init__(self, policy, recipe)
        Grouped.__init__(self, recipe, prompts, sources, policy.base)
        self._drawing = drawing_of(policy.tokenizer, policy.base, recipe.generation)
        self._padded = place.padded
        # An adapter that is off is the base.
        self._reference: Any = None
        if not policy.adapted:
            self._reference, _ = open_causal_lm(policy.base, place.dtype)
        self.held_out_text = "\n\n".join(prompt.text for prompt in prompts.held_out)
        self.steps_per_epoch = math.ceil(len(prompts.train) / (self.batch_size // recipe.num_generations))
        self.flops_factor = (6 + 6 * recipe.num_iterations) / 6.0  # 2 for writing and each of two scores, over 6
        self.trainer = Trainer(
            policy.model, self.loss, recipe.optimizer, dtype=place.dtype, seed=recipe.seed, compiled=place.compiled
        )

    # ------------------------------------------------------------------ answers

    def write_answers(self, prompts: Sequence[Prompt], key: tuple[int, ...]) -> list[Written]:
        with self.trainer.evaluating():
            return write(self.policy.model, prompts, self._drawing, key)

    def own(self, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
        return prompts

    def counted(self, micro: Inputs, tokens: int) -> Inputs:
        return (*micro, mx.array(1 / max(1, tokens)))

    def means(self, sums: Mapping[str, float], written: int) -> dict[str, float]:
        return answer_means(sums, written)

    def wait(self) -> None:
        """Nothing: what is timed is evaluated."""

    def scored(self, written: Sequence[Written], gains_B: np.ndarray) -> tuple[Inputs, np.ndarray]:
        rows = rows_of(written, self._drawing.pad_id, self._padded)
        temperature, model = self.recipe.generation.temperature, self.policy.model
        with self.trainer.evaluating():
            own = answer_statistics(model, rows, temperature)
            if self._reference is not None:
                reference_BL = -answer_statistics(self._reference, rows, temperature).losses
            else:
                with without_adapter(model):
                    reference_BL = -answer_statistics(model, rows, temperature).losses
            mx.eval(own, reference_BL)
        sums = np.array(
            [rows.gathered(item).sum(dtype=np.float64) for item in (-own.losses - reference_BL, own.entropy)]
        )
        gains = mx.array(gains_B.astype(np.float32))
        # With one step on the answers the old probabilities are the new ones, whatever dropout makes of them.
        old_BL = -own.losses if self.recipe.num_iterations > 1 else None
        return (rows, gains, reference_BL, old_BL), sums

    # ------------------------------------------------------------------ learning

    def loss(self, *inputs: Any) -> tuple[mx.array, dict[str, mx.array]]:
        """The clipped objective, negated, and beta times an estimate of the divergence, summed over tokens."""
        rows, gains_B, reference_BL, old_BL, scale = inputs
        checkpointed = self.recipe.precision.gradient_checkpointing
        new_BL = -answer_statistics(
            self.policy.model, Rows(*rows), self.recipe.generation.temperature, checkpointed=checkpointed
        ).losses
        lost_BL, clipped_BL = group_loss(
            new_BL,
            mx.stop_gradient(new_BL) if old_BL is None else old_BL,
            reference_BL,
            gains_B[:, None],
            epsilon=self.recipe.epsilon,
            beta=self.recipe.beta,
        )
        counts_BL = Rows(*rows).targets_BL != IGNORED
        return (lost_BL * counts_BL).sum() * scale, {"clip_fraction": (clipped_BL & counts_BL).sum() * scale}

    def optimize(self, step: int, learning_rate: float) -> Step:
        """Iteration `step`: answers to the next prompts, and `num_iterations` optimizer steps on them."""
        micro, tokens = self.micro_batches(step)
        watch, count = Stopwatch(self.wait), self.recipe.num_iterations
        made = [self.trainer.step(step * count + number, micro, learning_rate) for number in range(count)]
        clipped = sum(item.figures["clip_fraction"] for item in made) / count
        self._figures |= {"clip_fraction": clipped, "seconds_update": watch.lap()}
        return Step(
            loss=sum(float(item.loss) for item in made) / count,
            grad_norm=float(np.max([float(item.grad_norm) for item in made])),
            tokens=tokens,
            figures=self._figures,
        )

    def measured_seconds(self) -> float:
        return self.timed(lambda inputs: mx.eval(self.trainer.gradients(*inputs)))

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        self._ready = None  # written by other weights


def group_loss(
    new: mx.array, old: mx.array, reference: mx.array, gains: mx.array, *, epsilon: float, beta: float
) -> tuple[mx.array, mx.array]:
    """(the loss of each token, whether the clip decides) from log-probabilities.

    The clipped objective (Shao et al. 2024, eq. 3), negated, and `beta` times the estimate k3 of the divergence
    (Schulman 2020), weighted by the ratio, as in TRL.
    """
    ratio = mx.exp(new - old)
    bounded = mx.clip(ratio, 1 - epsilon, 1 + epsilon)
    lost = -mx.minimum(ratio * gains, bounded * gains)
    if beta:
        away = reference - new
        lost = lost + beta * (mx.exp(away) - away - 1) * ratio
    clipped = ((ratio < 1 - epsilon) & (gains < 0)) | ((ratio > 1 + epsilon) & (gains > 0))
    return lost, clipped
