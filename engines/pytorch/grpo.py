"""The stage `grpo`: several answers to each prompt, each better or worse than the others of its group.

The loss is TRL's, which by default is a mean over tokens (DAPO, Yu et al. 2025). Writing, scoring and the loop are
ours: TRL's trainer writes padded answers to the end of the longest, and its checkpoints do not hold what a resumed
run needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engines.pytorch.method import GradientMethod, Inputs, Step
from engines.pytorch.policy import Policy
from engines.pytorch.post_training import Made, Workplace, train
from engines.pytorch.ppo.answers import answer_means, drawing_of, write_share
from engines.pytorch.ppo.iteration import ANSWERS, EVALUATION, Stopwatch, add_gradients
from engines.pytorch.ppo.prompts import Prompt, Prompts, read_prompts, room_for_prompts, warn_of_prompts
from engines.pytorch.ppo.scoring import LanguageScorer, Rows, Written
from engines.pytorch.rewards import Source, open_sources
from engines.pytorch.trl_trainer import frozen_reference, new_trainer, take_figures
from engines.tokenizer import TextTokenizer
from workbench.contract import Job, Reporter, Warned
from workbench.recipes.base import validate
from workbench.recipes.reinforcement import GrpoRecipe

SMALLEST_DEVIATION = 1e-4  # added to a group's, as in TRL


def grpo(job: Job, reporter: Reporter) -> None:
    """Raise the rewards of a model's answers, or go on from the run's newest whole checkpoint."""
    asked: GrpoRecipe = validate(GrpoRecipe, job.recipe).resolved()

    def make(place: Workplace) -> Made:
        policy = place.policy()
        recipe = asked.fitted(policy.context_length)
        sources = open_sources(recipe, job.inputs, place.device, place.dtype)
        prompts = read_prompts(
            job.inputs["prompts"],
            policy.tokenizer,
            longest=room_for_prompts(recipe),
            fraction=recipe.validation_fraction,
            seed=recipe.seed,
        )
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


@dataclass(kw_only=True)
class _Answered:
    """An iteration before it is learnt from."""

    step: int
    micro: list[Inputs]
    tokens: int
    figures: dict[str, float]
    generation_seconds: float
    scoring_seconds: float


class GrpoMethod(GradientMethod):
    """Group relative policy optimization (Shao et al. 2024); a step is an iteration."""

    held_out_tokens = 0  # the prompts held out are few: every evaluation takes all

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
        super().__init__(policy, place.optimizer(policy), recipe, place.processes)
        self._recipe, self._trainer, self._prompts, self._sources = recipe, trainer, prompts, sources
        self._drawing = drawing_of(policy, recipe.generation)
        self._scorer = self._reference = scorer
        if reference is not None:
            self._reference = LanguageScorer(reference, recipe.generation.temperature)
        self._texts = TextTokenizer(policy.base)
        self.batch_size = recipe.batch.batch_size or 1
        self.step_tokens = self.batch_size * recipe.generation.longest
        self._figures: dict[str, float] = {}  # of the newest step
        self._ready: _Answered | None = None  # of a step that is not made yet

    # ------------------------------------------------------------------ answers and their rewards

    def _answered(self, step: int) -> _Answered:
        watch = Stopwatch(self.policy.device)
        count = self._recipe.num_generations
        prompts = self._prompts.batch(step, self.batch_size // count)
        every = [prompt for prompt in prompts for _ in range(count)]
        written = write_share(self.policy, every, self._drawing, self.processes, (self._recipe.seed, ANSWERS, step))
        generation = watch.lap()
        own = every[self.processes.share(len(every))]
        rewards_S = self._rewards(own, written)
        rewards = np.sum(list(rewards_S.values()), axis=0)
        cut = np.array([not item.ended for item in written])
        gains, spread = group_advantages(rewards - self._recipe.missing_eos_penalty * cut, count)
        size = self._recipe.batch.per_device_batch_size or len(written)
        order = sorted(range(len(written)), key=lambda row: len(written[row].prompt) + len(written[row].answer))
        micro, scored = [], np.zeros(2)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            part = [written[row] for row in chosen]
            inputs, sums = self._inputs(part, gains[chosen])
            micro.append(inputs)
            scored += sums
        more = {"reward_spread": float(spread.sum()) * count}
        if len(rewards_S) > 1:
            more |= {f"{name}_mean": float(values.sum()) for name, values in rewards_S.items()}
        figures = self._figures_of(written, rewards, scored, more)
        tokens = round(figures["response_length"] * self.batch_size)
        for inputs in micro:
            inputs["num_items_in_batch"] = torch.tensor(tokens, device=self.policy.device)
        return _Answered(
            step=step,
            micro=micro,
            tokens=tokens,
            figures=figures,
            generation_seconds=generation,
            scoring_seconds=watch.lap(),
        )

    def _rewards(self, prompts: Sequence[Prompt], written: Sequence[Written]) -> dict[str, np.ndarray]:
        """The rewards of this process's answers, by source."""
        texts = [self._texts.decode(item.answer.tolist()) for item in written]
        return {name: np.array(source(prompts, texts), np.float64) for name, source in self._sources.items()}

    @torch.no_grad()
    def _inputs(self, written: Sequence[Written], gains_B: np.ndarray) -> tuple[Inputs, np.ndarray]:
        """(what TRL's loss reads, sums over the answers' tokens of log-ratio to the reference and entropy, in nats)."""
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
        return answer_means(sums | dict(more or {}), len(written), self.processes)

    # ------------------------------------------------------------------ learning

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        ready, self._ready = self._ready, None
        if ready is None or ready.step != step:
            ready = self._answered(step)
        seconds = {"seconds_generation": ready.generation_seconds, "seconds_scoring": ready.scoring_seconds}
        self._figures = ready.figures | seconds
        return ready.micro, ready.tokens

    def loss(self, inputs: Inputs) -> torch.Tensor:
        return self._trainer.compute_loss(self.policy.model, inputs)

    def optimize(self, step: int, learning_rate: float) -> Step:
        """Iteration `step`: answers to the next prompts, and `num_iterations` optimizer steps on them."""
        micro, tokens = self.micro_batches(step)
        watch = Stopwatch(self.policy.device)
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
        clipped = take_figures(self._trainer)["clip_fraction"]
        self._figures |= {"clip_fraction": clipped, "seconds_update": watch.lap()}
        return Step(loss=losses / self.processes.size, grad_norm=norms, tokens=tokens, figures=self._figures)

    def replicate(self) -> None:
        """Nothing: `optimize` adds gradients up over the processes by itself."""

    def measured_seconds(self) -> float:
        """Of an iteration: answers and rewards of the first, which are kept for it, and one of its backward passes."""
        ready = self._answered(0)
        watch = Stopwatch(self.policy.device)
        self._trainer.current_gradient_accumulation_steps = self._trainer.args.steps_per_generation
        self.policy.model.train()
        self.backward(ready.micro[0])
        self.optimizer.zero_grad(set_to_none=True)
        take_figures(self._trainer)
        self._ready = ready
        update = watch.lap() * len(ready.micro) * self._recipe.num_iterations
        return ready.generation_seconds + ready.scoring_seconds + update

    # ------------------------------------------------------------------ the loop's questions

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """An answer to each prompt held out, always with the same draws.

        "eval_loss" is beta · KL - reward.
        """
        if cancelled():  # once: processes have to ask alike, and write answers of different lengths
            return None
        held_out = self._prompts.held_out
        written = write_share(self.policy, held_out, self._drawing, self.processes, (self._recipe.seed, EVALUATION))
        rewards = self._rewards(held_out[self.processes.share(len(held_out))], written)
        scored = np.zeros(2)
        size = self._recipe.batch.per_device_batch_size or len(held_out)
        for start in range(0, len(written), size):
            part = written[start : start + size]
            scored += self._inputs(part, np.zeros(len(part)))[1]
        found = self._figures_of(written, np.sum(list(rewards.values()), axis=0), scored)
        loss = self._recipe.beta * found["kl"] - found["reward_mean"]
        return {f"eval_{name}": value for name, value in found.items()} | {"eval_loss": loss}

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        self._ready = None  # written by other weights

    def state(self) -> dict[str, Any]:
        return {"figures": self._figures}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._figures = dict(state["figures"])

    def report(self) -> dict[str, Any]:
        figures = {name: value for name, value in self._figures.items() if not name.startswith("seconds")}
        return figures | {
            "prompts": len(self._prompts.train),
            "held_out_prompts": len(self._prompts.held_out),
            "prompts_too_long": self._prompts.too_long,
        }


def group_advantages(rewards_R: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(each reward less its group's mean, over the group's deviation (Shao et al. 2024, section 4.1.2); deviations).

    Groups of `count` answers to one prompt lie one behind another.
    """
    groups_GC = np.asarray(rewards_R, np.float64).reshape(-1, count)
    deviations_G = groups_GC.std(axis=1, ddof=1)
    gains_GC = (groups_GC - groups_GC.mean(axis=1, keepdims=True)) / (deviations_G[:, None] + SMALLEST_DEVIATION)
    return gains_GC.reshape(-1), deviations_G


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
