"""The stages that train a model further, from a job to an artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from engines.pytorch import device as devices
from engines.pytorch import folders
from engines.pytorch.checkpoint import Checkpoints
from engines.pytorch.distributed import Processes, joined
from engines.pytorch.engine import library_versions
from engines.pytorch.footprint import estimated, refuse_what_cannot_fit
from engines.pytorch.method import Method
from engines.pytorch.metrics import TorchMetrics
from engines.pytorch.optimizer import adamw
from engines.pytorch.policy import Policy, open_policy
from engines.pytorch.pretrain import where_to_begin
from engines.pytorch.trl_trainer import seed_everything
from engines.pytorch.tuning import Tuning, use_device
from engines.schedule import tuning_learning_rate
from engines.training_loop import finish, most_evaluated
from workbench.contract import Job, Reporter, Started, Warned
from workbench.corpus.chats.checks import Finding, raise_errors
from workbench.corpus.chats.training_data import max_length
from workbench.errors import WorkbenchError
from workbench.recipes.tuning import TuningRecipe


@dataclass(frozen=True, slots=True)
class Made:
    """A method that is ready, and what the loop has to know of its data."""

    method: Method
    epoch_steps: int  # optimizer steps of a pass over the data
    micro_tokens: int  # of a forward pass, at most
    held_out_text: str = ""
    copies: int = 0  # further whole models in memory, such as a reference
    flops_factor: float = 1.0  # operations a token, over those of one pass forward and backward


class Workplace:
    """What every method is made from."""

    def __init__(self, job: Job, recipe: TuningRecipe, reporter: Reporter, processes: Processes):
        self.job, self.recipe, self.reporter, self.processes = job, recipe, reporter, processes
        self.device = use_device(processes)
        self.dtype = devices.choose_dtype(recipe.precision.dtype, self.device)

    def policy(self, *, reward: bool = False) -> Policy:
        """The base, made ready for training.

        Raises `WorkbenchError` if --max-length is beyond its context.
        """
        policy = open_policy(
            self.job.inputs["base"],
            self.recipe.adapter,
            seed=self.recipe.seed,
            device=self.device,
            dtype=self.dtype,
            reward=reward,
            gradient_checkpointing=self.recipe.precision.gradient_checkpointing,
        )
        if self.job.stage != "continue" and not policy.tokenizer.end_ids:
            raise WorkbenchError(
                f"The tokenizer of {self.recipe.base} has no token that ends an answer.",
                "Name one as eos_token in its tokenizer_config.json.",
            )
        self.recipe.require_fit(policy.context_length)
        return policy

    def max_length(self, policy: Policy) -> int:
        return max_length(self.recipe.max_length, policy.base)

    def warn_of_padding(self, packs: bool) -> None:
        if not packs:
            self.reporter.emit(
                Warned(
                    message="This architecture does not let attention stop inside a sequence: it is trained without "
                    "packing, and with padding."
                )
            )

    def heed(self, findings: Iterable[Finding]) -> None:
        """Tell what is odd about the data. Raises `WorkbenchError`, showing the row, for what is wrong."""
        for finding in raise_errors(findings):
            self.reporter.emit(Warned(message=str(finding.error())))

    def optimizer(self, policy: Policy) -> torch.optim.Optimizer:
        return adamw(policy.model, self.recipe.optimizer)


def train(
    job: Job,
    reporter: Reporter,
    recipe: TuningRecipe,
    make: Callable[[Workplace], Made],
) -> None:
    """Train by the method that `make` gives, to the artifact in `job.output`."""
    folders.require("trl", "Post-training")
    folders.require("peft", "Post-training")
    with joined() as processes:
        place = Workplace(job, recipe, reporter, processes)
        section = recipe.checkpoints
        checkpoints = Checkpoints(
            job.directory / "checkpoints", keep_last=section.keep_last, keep_best=section.keep_best
        )
        resumed, progress = where_to_begin(checkpoints, recipe.identity(), reporter, processes)
        made = make(place)
        method = made.method
        total = recipe.schedule.max_steps or max(1, round(made.epoch_steps * recipe.schedule.num_train_epochs))
        versions = library_versions() | folders.versions("trl", "peft", "accelerate")
        reporter.emit(
            Started(step=progress.step, total_steps=total, device=devices.name(place.device), versions=versions)
        )
        refuse_what_cannot_fit(
            method.policy,
            recipe,
            micro_tokens=made.micro_tokens,
            copies=made.copies,
            processes_here=processes.local_size,
        )
        seconds = method.measured_seconds()
        expected = estimated(
            method.policy,
            recipe,
            tokens=total * method.step_tokens,
            micro_tokens=made.micro_tokens,
            copies=made.copies,
            seconds=seconds * (total - progress.step),
        )
        reporter.emit(replace(expected, flops=expected.flops * made.flops_factor))
        seed_everything(recipe.seed, processes.rank)
        eval_steps = recipe.evaluation.eval_steps or max(1, total // 10)
        tuning = Tuning(
            method=method,
            total_steps=total,
            eval_steps=eval_steps,
            save_steps=section.save_steps or max(1, total // 5),
            further=True,
            eval_tokens=most_evaluated(eval_steps * method.step_tokens),
            final_eval_tokens=most_evaluated(total * method.step_tokens),
            learning_rate=lambda step: tuning_learning_rate(
                step, total=total, peak=recipe.optimizer.learning_rate or 0.0, schedule=recipe.schedule
            ),
            processes=processes,
            reporter=reporter,
            metrics=TorchMetrics(
                reporter, processes, place.device, tokens=progress.tokens, earlier_seconds=progress.seconds
            ),
            checkpoints=checkpoints,
            progress=progress,
            held_out=made.held_out_text,
        )
        if resumed:
            tuning.resume(resumed)
        method.replicate()
        finish(tuning, job, tuning.write, leads=processes.first)
