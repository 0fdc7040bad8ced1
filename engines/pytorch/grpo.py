"""The stage `grpo`: several answers to each prompt, each better or worse than the others of its group.

The loss is TRL's, which by default is a mean over tokens (DAPO, Yu et al. 2025). Writing, scoring and the loop are
ours: TRL's trainer writes padded answers to the end of the longest, and its checkpoints do not hold what a resumed
run needs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engines.pytorch.method import GradientMethod, Inputs
from engines.pytorch.policy import Policy
from engines.pytorch.post_training import Made, Workplace, train
from engines.pytorch.ppo.answers import total_of, waiting, write_share
from engines.pytorch.ppo.iteration import add_gradients
from engines.pytorch.ppo.scoring import LanguageScorer, Rows
from engines.pytorch.rewards import Judge, RewardModel
from engines.pytorch.trl_trainer import frozen_reference, new_trainer, take_figures
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

    def make(place: Workplace) -> Made:
        policy = place.policy()
        recipe = asked.fitted(policy.context_length)
        sources = open_sources(
            recipe,
            job.inputs,
            reward=lambda folder: RewardModel(folder, place.device, place.dtype),
            judge=lambda folder: Judge(folder, place.device, place.dtype),
        )
        prompts = prompts_of(recipe, job.inputs["prompts"], policy.tokenizer)
        reference = frozen_reference(policy)
        scorer = LanguageScorer(policy.plain, recipe.generation.temperature)
        trainer = new_losses(policy, recipe, place, scorer)
        method = GrpoMethod(
            policy, recipe, place, trainer=trainer, scorer=scorer, prompts=prompts, sources=sources, reference=reference
        )
        needed = method.batch_size // recipe.num_generations
        for message in warn_of_prompts(prompts, recipe, needed):
            reporter.emit(Warned(message=message))
        return Made(
            method,
            epoch_steps=math.ceil(len(prompts.train) / needed),
            micro_tokens=(recipe.batch.per_device_batch_size or method.batch_size) * (recipe.max_length or 0),
            held_out_text="\n\n".join(prompt.text for prompt in prompts.held_out),
            # 2 a weight and token for writing and for each of two scores, over the 6 of a pass.
            flops_factor=(6 + 6 * recipe.num_iterations) / 6.0,
        )

    train(job, reporter, asked, make)


def new_losses(policy: Policy, recipe: GrpoRecipe, place: Workplace, scorer: LanguageScorer) -> Any:
    """TRL's trainer, for its loss alone."""
    import trl

    class Losses(trl.GRPOTrainer):
        """Scores answers as they are scored everywhere here: without padding, at the temperature of writing."""

        def __init__(self, **named: Any):
            super().__init__(reward_funcs=_no_reward, **named)

        def _get_per_token_logps_and_entropies(
            self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *_: Any, **__: Any
        ) -> tuple[torch.Tensor, torch.Tensor, None]:
            answered_BT = attention_mask[:, -logits_to_keep:].bool()
            before_BL = nn.functional.pad(answered_BT, (input_ids.shape[1] - logits_to_keep - 1, 1))
            rows = Rows(
                ids_BL=input_ids,
                mask_BL=attention_mask,
                before_BL=before_BL,
                last_BL=before_BL,
                targets_N=input_ids[:, -logits_to_keep:][answered_BT],
            )
            found = scorer(rows)
            return _spread(found.log_probs, answered_BT), _spread(found.entropy, answered_BT), None

    configuration: Any = _without_max_length

    trainer, _ = new_trainer(
        Losses, configuration, policy, recipe, place.job.directory, disable_dropout=not recipe.adapter.lora_dropout,
        gradient_accumulation_steps=recipe.batch.gradient_accumulation_steps, num_generations=recipe.num_generations,
        epsilon=recipe.epsilon, temperature=recipe.generation.temperature,
        max_completion_length=recipe.generation.longest,
    )  # fmt: skip
    # Given to TRL's constructor it would open a reference of its own, from the disk.
    trainer.beta = recipe.beta
    return trainer


def _without_max_length(max_length: None, **settings: Any) -> Any:
    """TRL's configuration, which lacks what those of its other trainers have."""
    import trl

    del max_length
    return trl.GRPOConfig(**settings)


def _no_reward(**_: Any) -> list[float | None]:
    raise AssertionError("rewards come from `rewards`, not through the trainer")


class GrpoMethod(Grouped, GradientMethod):
    """Group relative policy optimization; a step is an iteration."""

    def __init__(
        self,
        policy: Policy,
        recipe: GrpoRecipe,
        place: Workplace,
        *,
        trainer: Any,
        scorer: LanguageScorer,
        prompts: Prompts,
        sources: dict[str, Source],
        reference: Any,
    ):
        GradientMethod.__init__(self, policy, place.optimizer(policy), recipe, place.processes)
        Grouped.__init__(self, recipe, prompts, sources, policy.base)
        self._trainer = trainer
        self._drawing = drawing_of(policy.tokenizer, policy.base, recipe.generation)
        self._scorer = self._reference = scorer
        if reference is not None:
            self._reference = LanguageScorer(reference, recipe.generation.temperature)
        self._wait = waiting(policy.device)

    # ------------------------------------------------------------------ answers

    def write_answers(self, prompts: Sequence[Prompt], key: tuple[int, ...]) -> list[Written]:
        return write_share(self.policy, prompts, self._drawing, self.processes, key)

    def own(self, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
        return prompts[self.processes.share(len(prompts))]

    def counted(self, micro: Inputs, tokens: int) -> Inputs:
        return micro | {"num_items_in_batch": torch.tensor(tokens, device=self.policy.device)}

    def means(self, sums: Mapping[str, float], written: int) -> dict[str, float]:
        return answer_means(sums, written, total_of(self.processes))

    def wait(self) -> None:
        self._wait()

    @torch.no_grad()
    def scored(self, written: Sequence[Written], gains_B: np.ndarray) -> tuple[Inputs, np.ndarray]:
        device, pad = self.policy.device, self._drawing.pad_id
        rows = Rows.of(written, pad, device)
        with self.policy.evaluating():
            log_probs_N, entropy_N, _ = self._scorer(rows)
            with self.policy.without_adapter():
                reference_N = self._reference(rows).log_probs
        prompt_BP, prompt_mask_BP = _padded([item.prompt for item in written], pad, device, left=True)
        answer_BT, answer_mask_BT = _padded([item.answer for item in written], pad, device, left=False)
        inputs = {
            "prompt_ids": prompt_BP,
            "prompt_mask": prompt_mask_BP,
            "completion_ids": answer_BT,
            "completion_mask": answer_mask_BT,
            "advantages": torch.from_numpy(gains_B).float().to(device),
            "ref_per_token_logps": _spread(reference_N, answer_mask_BT),
        }
        if self._recipe.num_iterations > 1:
            inputs["old_per_token_logps"] = _spread(log_probs_N, answer_mask_BT)
        sums = torch.stack(((log_probs_N - reference_N).double().sum(), entropy_N.double().sum()))
        return inputs, sums.cpu().numpy()

    # ------------------------------------------------------------------ learning

    def loss(self, inputs: Inputs) -> torch.Tensor:
        return self._trainer.compute_loss(self.policy.model, inputs)

    def optimize(self, step: int, learning_rate: float) -> Step:
        """Iteration `step`: answers to the next prompts, and `num_iterations` optimizer steps on them."""
        micro, tokens = self.micro_batches(step)
        watch = Stopwatch(self._wait)
        self._trainer.current_gradient_accumulation_steps = self._trainer.args.steps_per_generation
        self.policy.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        most = self._recipe.optimizer.max_grad_norm or math.inf
        losses, norms = torch.zeros((), device=self.policy.device), torch.zeros((), device=self.policy.device)
        for _ in range(self._recipe.num_iterations):
            for inputs in micro:
                losses += self.backward(inputs) / self._recipe.num_iterations
            add_gradients(self.policy.trained(), self.processes)
            for parameter in self.policy.trained():
                if parameter.grad is not None:
                    parameter.grad /= self.processes.size
            norms = torch.maximum(norms, nn.utils.clip_grad_norm_(self.policy.trained(), most))
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        counts = torch.tensor([float(inputs["completion_mask"].sum()) for inputs in micro])
        weights = self.processes.total(counts).tolist() * self._recipe.num_iterations
        clipped = take_figures(self._trainer, weights=weights)["clip_fraction"]
        self._figures |= {"clip_fraction": clipped, "seconds_update": watch.lap()}
        return Step(loss=losses / self.processes.size, grad_norm=norms, tokens=tokens, figures=self._figures)

    def replicate(self) -> None:
        """Nothing: `optimize` adds gradients up over the processes by itself."""

    def measured_seconds(self) -> float:
        self._trainer.current_gradient_accumulation_steps = self._trainer.args.steps_per_generation
        self.policy.model.train()

        def learn(inputs: Inputs) -> None:
            self.backward(inputs)
            self.optimizer.zero_grad(set_to_none=True)
            take_figures(self._trainer)

        return self.timed(learn)

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        self._ready = None  # written by other weights


def _padded(
    rows: Sequence[np.ndarray], pad_id: int, device: torch.device, *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask) of rows filled up on the left or on the right, int64 [rows, longest]."""
    width = max(len(row) for row in rows)
    ids, mask = np.full((len(rows), width), pad_id, np.int64), np.zeros((len(rows), width), np.int64)
    for place, row in enumerate(rows):
        kept = slice(width - len(row), width) if left else slice(0, len(row))
        ids[place, kept], mask[place, kept] = row, 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def _spread(values_N: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """The values at the places of the mask, row after row; 0 elsewhere."""
    return values_N.new_zeros(mask_BT.shape).masked_scatter(mask_BT.bool(), values_N)
