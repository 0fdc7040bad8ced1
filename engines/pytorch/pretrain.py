"""The stage `pretrain`: from a job to a trained model in `job.output`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from engines.checkpoints import Progress, progress_of
from engines.held_out import HELD_OUT, held_out_text
from engines.pretraining import FINAL_EVALUATION, estimated, refuse_what_cannot_fit, special_ids, training_data
from engines.pytorch import device as devices
from engines.pytorch.attention import varlen_works
from engines.pytorch.checkpoint import Checkpoints, restore
from engines.pytorch.decoder import TrainingModel
from engines.pytorch.distributed import Processes, joined
from engines.pytorch.engine import library_versions
from engines.pytorch.loop import Training
from engines.pytorch.measure import measured_seconds
from engines.pytorch.metrics import TorchMetrics
from engines.pytorch.model import new_model
from engines.pytorch.optimizer import adamw
from engines.pytorch.sequences import Sequences
from engines.schedule import learning_rate
from engines.tokenizer import TextTokenizer
from engines.training_loop import finish
from workbench.contract import Job, Reporter, Started, Warned
from workbench.corpus.tokenizer import token_byte_lengths
from workbench.recipes.base import validate
from workbench.recipes.pretrain import PretrainRecipe

# Runs shorter than this, in seconds, end sooner without torch.compile: it warms up for about a minute, then
# saves a fifth on a CPU and about a half on a GPU.
COMPILE_PAYS_SECONDS = {"cpu": 600.0, "cuda": 120.0}


def pretrain(job: Job, reporter: Reporter) -> None:
    """Train from scratch, or on from the run's newest whole checkpoint; satisfies `Engine.run`."""
    recipe: PretrainRecipe = validate(PretrainRecipe, job.recipe).resolved()
    with joined() as processes:
        training = prepare(recipe, job, reporter, processes)

        def write(folder: Path) -> None:
            training.write_weights(folder)
            text = held_out_text([item.validation for item in training.data.sources], training.tokenizer)
            (folder / HELD_OUT).write_text(text, encoding="utf-8")

        finish(training, job, write, leads=processes.first)


def prepare(recipe: PretrainRecipe, job: Job, reporter: Reporter, processes: Processes) -> Training:
    """Everything that the loop needs, at the step where it begins.

    Raises `WorkbenchError` if the inputs do not fit each other, the text is too short, or the memory too small.
    """
    device = devices.choose(processes.local_rank)
    dtype = devices.choose_dtype(recipe.precision.dtype, device)
    if device.type == "cpu":
        devices.use_threads(processes.local_size)
    else:
        torch.set_float32_matmul_precision("high")  # TF32
    identity = recipe.identity()  # before `auto` is replaced by what it means on this machine
    recipe = _with_dtype(recipe, dtype)

    tokenizer_folder = job.inputs["tokenizer"]
    tokenizer = TextTokenizer(tokenizer_folder)
    data = training_data(recipe, job.inputs, reporter)
    bos, eos, pad = special_ids(tokenizer, data.vocab_size)
    free = devices.free_memory_bytes(device)
    if device.type == "cpu":
        free //= processes.local_size  # they share it
    refuse_what_cannot_fit(recipe, data.vocab_size, free, str(device))

    section = recipe.checkpoints
    checkpoints = Checkpoints(job.directory / "checkpoints", keep_last=section.keep_last, keep_best=section.keep_best)
    resumed, progress = where_to_begin(checkpoints, identity, reporter, processes)
    total = recipe.schedule.max_steps
    reporter.emit(
        Started(step=progress.step, total_steps=total, device=devices.name(device), versions=library_versions())
    )

    causal_lm = new_model(recipe, vocab_size=data.vocab_size, bos=bos, eos=eos, pad=pad)
    model = TrainingModel(causal_lm, dtype).to(device)
    optimizer = adamw(model, recipe.optimizer)
    sequences = Sequences(
        device=device,
        bos=bos,
        pack_documents=recipe.data.packing == "documents",
        varlen=varlen_works(device, dtype, causal_lm.config.head_dim),
    )

    def seconds_of(network: nn.Module) -> float:
        return measured_seconds(
            network,
            optimizer,
            data.batches,
            sequences,
            micro_batch=recipe.batch.per_device_batch_size or 1,
            micro_batches=recipe.batch.gradient_accumulation_steps or 1,
        )

    network: nn.Module = model
    step_seconds = seconds_of(network)
    if _compiles(recipe, progress, step_seconds * total, device, processes):
        # A compiler that lacks a header fails late; what was not asked for must not end the run.
        torch._dynamo.config.suppress_errors = recipe.precision.compile == "auto"
        network = torch.compile(model)  # type: ignore[assignment]
        step_seconds = seconds_of(network)
        progress.compiled = True
    reporter.emit(estimated(recipe, data, seconds=step_seconds * (total - progress.step)))
    if resumed:
        load_model(causal_lm, resumed / "model.safetensors")
        restore(resumed, causal_lm, optimizer, processes.rank)
    if processes.size > 1:
        here = [device.index] if device.type == "cuda" else None
        network = DistributedDataParallel(network, device_ids=here, gradient_as_bucket_view=True)
    eval_tokens = recipe.evaluation.eval_tokens or 0
    return Training(
        recipe=recipe,
        total_steps=total,
        eval_steps=recipe.evaluation.eval_steps or 1,
        save_steps=section.save_steps or 1,
        further=False,
        eval_tokens=eval_tokens,
        final_eval_tokens=eval_tokens * FINAL_EVALUATION,
        learning_rate=lambda step: learning_rate(
            step, peak=recipe.optimizer.learning_rate or 0.0, schedule=recipe.schedule
        ),
        model=model,
        network=network,
        optimizer=optimizer,
        data=data,
        sequences=sequences,
        token_bytes_V=token_byte_lengths(tokenizer_folder),
        tokenizer=tokenizer,
        tokenizer_folder=tokenizer_folder,
        processes=processes,
        reporter=reporter,
        metrics=TorchMetrics(reporter, processes, device, tokens=progress.tokens, earlier_seconds=progress.seconds),
        checkpoints=checkpoints,
        progress=progress,
    )


def where_to_begin(
    checkpoints: Checkpoints, identity: dict[str, Any], reporter: Reporter, processes: Processes
) -> tuple[Path | None, Progress]:
    """The checkpoint to go on from, if there is one."""

    def warn(message: str) -> None:
        reporter.emit(Warned(message=message))

    if not processes.first:
        processes.wait()  # rank 0 sweeps away what kills left
    resumed = checkpoints.newest_valid(warn)
    if processes.first:
        processes.wait()
    return resumed, progress_of(resumed, identity)


def _with_dtype(recipe: PretrainRecipe, dtype: torch.dtype) -> PretrainRecipe:
    """The recipe with `auto` replaced by what it means here."""
    precision = recipe.precision.model_copy(update={"dtype": str(dtype).removeprefix("torch.")})
    return recipe.model_copy(update={"precision": precision})


def _compiles(
    recipe: PretrainRecipe, progress: Progress, run_seconds: float, device: torch.device, processes: Processes
) -> bool:
    """Whether to use torch.compile. A resumed run does as it did before: the numbers differ in the last bits."""
    setting = recipe.precision.compile
    if setting != "auto":
        return setting == "always"
    if progress.step:
        return progress.compiled
    pays = run_seconds > COMPILE_PAYS_SECONDS[device.type] and devices.can_compile(device)
    return bool(processes.agree([int(pays)])[0])
