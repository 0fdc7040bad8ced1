"""The stage `pretrain`: from a job to a trained model in `job.output`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from engines.checkpoints import Progress, progress_of
from engines.held_out import HELD_OUT, held_out_text
from engines.pretraining import refuse_what_cannot_fit, special_ids, training_data
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
from engines.tokenizer import TextTokenizer
from workbench.contract import Estimated, Finished, Job, Reporter, Started, Stopped, Warned
from workbench.corpus.shards import Shards
from workbench.corpus.tokenizer import token_byte_lengths
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.estimate import estimate
from workbench.recipes.pretrain import PretrainRecipe
from workbench.reporting import explain

# Runs shorter than this, in seconds, end sooner without torch.compile: it warms up for about a minute, then
# saves a fifth on a CPU and about a half on a GPU.
COMPILE_PAYS_SECONDS = {"cpu": 600.0, "cuda": 120.0}


def pretrain(job: Job, reporter: Reporter) -> None:
    """Train from scratch, or on from the run's newest whole checkpoint; satisfies `Engine.run`."""
    recipe: PretrainRecipe = validate(PretrainRecipe, job.recipe).resolved()
    with joined() as processes:
        training = prepare(recipe, job, reporter, processes)
        try:
            finished = training.run()
        except (RuntimeError, MemoryError) as error:
            failure = explain(error)
            if failure.reason.startswith("Out of memory"):
                raise WorkbenchError(
                    f"At step {training.progress.step + 1}: {failure.reason}", failure.remedy
                ) from error
            raise
        if not processes.first:
            return
        if not finished:
            reporter.emit(Stopped(step=training.progress.step))
            return
        write_model(training, job.output)
        reporter.emit(Finished(report=report(training)))


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
    tokenizer, shards = TextTokenizer(tokenizer_folder), Shards(job.inputs["shards"])
    bos, eos, pad = special_ids(tokenizer, shards)
    free = devices.free_memory_bytes(device)
    if device.type == "cpu":
        free //= processes.local_size  # they share it
    refuse_what_cannot_fit(recipe, shards.vocab_size, free, str(device))
    batches, validation_stream = training_data(recipe, shards, reporter)

    section = recipe.checkpoints
    checkpoints = Checkpoints(job.directory / "checkpoints", keep_last=section.keep_last, keep_best=section.keep_best)
    resumed, progress = where_to_begin(checkpoints, identity, reporter, processes)
    total = recipe.schedule.max_steps
    reporter.emit(
        Started(step=progress.step, total_steps=total, device=devices.name(device), versions=library_versions())
    )

    causal_lm = new_model(recipe, vocab_size=shards.vocab_size, bos=bos, eos=eos, pad=pad)
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
            batches,
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
    expected = estimate(recipe, shards.vocab_size)
    reporter.emit(
        Estimated(
            parameters=expected.parameters,
            memory_bytes=expected.memory_bytes,
            flops=expected.flops,
            tokens=expected.tokens,
            tokens_per_parameter=expected.tokens_per_parameter,
            seconds=step_seconds * (total - progress.step),
        )
    )
    if resumed:
        load_model(causal_lm, resumed / "model.safetensors")
        restore(resumed, causal_lm, optimizer, processes.rank)
    if processes.size > 1:
        here = [device.index] if device.type == "cuda" else None
        network = DistributedDataParallel(network, device_ids=here, gradient_as_bucket_view=True)
    return Training(
        recipe=recipe,
        model=model,
        network=network,
        optimizer=optimizer,
        batches=batches,
        sequences=sequences,
        validation_stream=validation_stream,
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


def write_model(training: Training, folder: Path) -> None:
    """The model's artifact: a Hugging Face folder with a held-out text for the export's check."""
    for left_over in folder.iterdir():
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
    training.write_weights(folder)
    text = held_out_text(training.validation_stream, training.tokenizer)
    (folder / HELD_OUT).write_text(text, encoding="utf-8")


def report(training: Training) -> dict[str, Any]:
    """What the model's manifest keeps of its training."""
    progress, seconds = training.progress, training.metrics.seconds
    best = training.checkpoints.path(progress.best_step)
    return {
        "parameters": sum(parameter.numel() for parameter in training.model.causal_lm.parameters()),
        "steps": progress.step,
        "tokens": progress.tokens,
        "eval_loss": progress.eval_loss,
        "eval_bits_per_byte": progress.eval_bits_per_byte,
        "best_step": progress.best_step,
        "best_eval_loss": progress.best_eval_loss,
        "best_checkpoint": f"{best.parent.name}/{best.name}" if best.is_dir() else None,
        "tokens_per_second": progress.tokens / seconds if seconds else None,
        "seconds": seconds,
        "dtype": training.recipe.precision.dtype,
        "compiled": progress.compiled,
    }


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
