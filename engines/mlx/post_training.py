"""The stages that train a model further, from a job to an artifact."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from engines.checkpoints import CheckpointFolder, progress_of
from engines.held_out import HELD_OUT, cut_text
from engines.mlx import device
from engines.mlx.engine import library_versions
from engines.mlx.loop import MlxMetrics, Training
from engines.mlx.lora import trained
from engines.mlx.method import Method
from engines.mlx.policy import Policy, open_policy, root_of
from engines.mlx.quantization import weight_count
from engines.schedule import tuning_learning_rate
from engines.training_loop import finish, most_evaluated
from workbench.contract import Estimated, Job, Reporter, Started, Warned
from workbench.corpus.chats.checks import Finding, raise_errors
from workbench.corpus.chats.training_data import max_length
from workbench.errors import WorkbenchError
from workbench.recipes.estimate import PROCESS_BYTES
from workbench.recipes.tuning import TuningRecipe
from workbench.recipes.tuning_estimate import shape_of, tuning_estimate

SHAPE_TOKENS = 32  # rows of compiled steps have a multiple of this length, as mlx-lm's trainer has them


class Workplace:
    """What every method is made from."""

    def __init__(self, job: Job, recipe: TuningRecipe, reporter: Reporter):
        self._reporter = reporter
        self.dtype = device.choose_dtype(recipe.precision.dtype)
        self.compiled = device.compiles("auto")
        self.max_length = max_length(recipe.max_length, job.inputs["base"])

    def padded(self, length: int) -> int:
        """How long rows are made. A compiled step is compiled anew for each shape: then there are few."""
        return -(-length // SHAPE_TOKENS) * SHAPE_TOKENS if self.compiled else length

    def heed(self, findings: Iterable[Finding]) -> None:
        """Tell what is odd about the data. Raises `WorkbenchError`, showing the row, for what is wrong."""
        for finding in raise_errors(findings):
            self._reporter.emit(Warned(message=str(finding.error())))


class FurtherMethod(Method, Protocol):
    """A method on a model that was trained before."""

    policy: Policy
    held_out_text: str
    steps_per_epoch: int
    flops_factor: float


def train(
    job: Job, reporter: Reporter, recipe: TuningRecipe, make: Callable[[Workplace, Policy], FurtherMethod]
) -> None:
    """Train by the method that `make` gives, to the artifact in `job.output`."""
    device.set_limits()
    place = Workplace(job, recipe, reporter)
    section = recipe.checkpoints
    checkpoints = CheckpointFolder(
        job.directory / "checkpoints", keep_last=section.keep_last, keep_best=section.keep_best
    )
    resumed = checkpoints.newest_valid(lambda message: reporter.emit(Warned(message=message)))
    progress = progress_of(resumed, recipe.identity())
    # A resumed run does as it did before: the numbers differ in the last bits.
    place.compiled = progress.compiled = progress.compiled if progress.step else place.compiled
    base = job.inputs["base"]
    needed = _refuse_what_cannot_fit(recipe, job)
    policy = open_policy(base, recipe.adapter, seed=recipe.seed, dtype=place.dtype, reward=job.stage == "reward")
    if job.stage != "continue" and not policy.tokenizer.end_ids:
        raise WorkbenchError(
            f"The tokenizer of {recipe.base} has no token that ends an answer.",
            "Name one as eos_token in its tokenizer_config.json.",
        )
    recipe.require_fit(policy.context_length)
    method = make(place, policy)
    total = recipe.schedule.max_steps or max(1, round(method.steps_per_epoch * recipe.schedule.num_train_epochs))
    reporter.emit(Started(step=progress.step, total_steps=total, device=device.name(), versions=library_versions()))
    seconds = method.measured_seconds()
    parameters = weight_count(policy.model)
    learnt = sum(item.size for item in trained(policy.model).values())
    tokens = total * method.step_tokens
    reporter.emit(
        Estimated(
            parameters=parameters,
            memory_bytes=needed,
            # 2 a weight and token forward, 2 for the activations' gradient, 2 of each trained weight's (Kaplan 2020).
            flops=tokens * (4.0 * parameters + 2.0 * learnt) * method.flops_factor,
            tokens=tokens,
            tokens_per_parameter=tokens / parameters,
            seconds=seconds * (total - progress.step),
        )
    )
    eval_steps = recipe.evaluation.eval_steps or max(1, total // 10)
    training = Training(
        method=method,
        total_steps=total,
        eval_steps=eval_steps,
        save_steps=recipe.checkpoints.save_steps or max(1, total // 5),
        further=True,
        eval_tokens=most_evaluated(eval_steps * method.step_tokens),
        final_eval_tokens=most_evaluated(tokens),
        learning_rate=lambda step: tuning_learning_rate(
            step, total=total, peak=recipe.optimizer.learning_rate or 0.0, schedule=recipe.schedule
        ),
        reporter=reporter,
        metrics=MlxMetrics(reporter, tokens=progress.tokens, earlier_seconds=progress.seconds),
        checkpoints=checkpoints,
        progress=progress,
        facts={
            "parameters": parameters,
            "trained_parameters": learnt,
            "adapter": policy.adapted,
            "dtype": device.dtype_name(place.dtype),
        },
    )
    if resumed:
        training.resume(resumed)

    def write(folder: Path) -> None:
        method.write(folder)
        path = folder / HELD_OUT
        if not path.is_file() and method.held_out_text:
            path.write_text(cut_text(method.held_out_text), encoding="utf-8")

    finish(training, job, write)


def _refuse_what_cannot_fit(recipe: TuningRecipe, job: Job) -> int:
    """The memory that the training is expected to take, in bytes; 0 where the model's sizes are not known.

    Raises `WorkbenchError`, naming what to lower, if there is not so much.
    """
    path = root_of(job.inputs["base"]) / "config.json"
    shape = shape_of(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
    if shape is None:
        return 0
    needed = tuning_estimate(recipe, shape).memory_bytes
    free = device.free_memory_bytes() + PROCESS_BYTES
    if needed <= free:
        return needed
    if (recipe.batch.per_device_batch_size or 1) > 1:
        remedy = "Lower --per-device-batch-size: the batch of a step stays the same."
    elif not recipe.precision.gradient_checkpointing:
        remedy = "Use --gradient-checkpointing, or lower --max-length."
    elif recipe.adapter.lora_rank is None:
        remedy = "Train an adapter instead, with --lora-rank 16, or lower --max-length."
    else:
        remedy = "Lower --max-length, or choose a smaller model."
    raise WorkbenchError(
        f"The training needs about {needed / 2**30:.1f} GiB of memory; {device.name()} has {free / 2**30:.1f} GiB "
        "free.",
        remedy,
    )
