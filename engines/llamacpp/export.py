"""The export stage: checkpoint in, checked GGUF out."""

from __future__ import annotations

import gc
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from workbench import __version__, durable
from workbench.contract import Finished, Job, Progress, Reporter, Started, Stopped, Warned
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.export import ExportRecipe

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # transformers would look a local folder's name up there

from engines.export_check import LogitReport, Reference, as_plain, held_out_text
from engines.llamacpp import libraries
from engines.llamacpp.architectures import Architecture
from engines.llamacpp.check import check_vocabulary, compare, held_out_tokens
from engines.llamacpp.checkpoint import Checkpoint
from engines.llamacpp.context import available_threads
from engines.llamacpp.quantize import QUANTIZATIONS, describe, quantize, tensor_types
from engines.llamacpp.vocabulary import read_vocabulary
from engines.llamacpp.weights import Weights
from engines.llamacpp.writer import write_gguf

PROGRESS_SECONDS = 0.25  # between two events of a phase
CONVERSION_CHECK_TOKENS = 128  # of the file before quantisation; a slip in the conversion shows in every token

# The largest mean KL(checkpoint || GGUF) that passes, as a share of the checkpoint's own mean
# KL(checkpoint || uniform): that makes one scale for models that are sure and models that are not.
# Measured on SmolLM2-135M and on random two-layer models of three architectures (the most, in
# brackets), and ten-fold or more below what broken weights give. A tenfold smaller rope base gives
# 2e-3 to 1.4, a missing permutation of queries and keys 4e-3 to 1.6, 1% on one matrix of sixty
# 2e-6: those are caught in f32, before quantisation. After it, only what is broken outright is: the
# tiniest models lose the most.
KL_SHARES = {
    "f32": 1e-8,  # [1.4e-11]
    "f16": 3e-5,  # [2.9e-6]
    "bf16": 1.5e-3,  # [1.8e-4]
    "q8_0": 0.02,  # [2.1e-3]
    "q6_k": 0.08,  # [1.4e-2]
    "q5_k_m": 0.2,  # [3.8e-2]
    "q4_k_m": 0.4,  # [0.13]
    "q4_0": 0.5,  # [0.18]
}


def export(job: Job, reporter: Reporter) -> None:
    """Fill `job.output` with `model.gguf` and `check.json`.

    Raises `WorkbenchError` if the checkpoint cannot be exported, or `CheckFailed` if the GGUF is not it.
    """
    work = _Export(job, reporter)
    try:
        work.run()
    except _Stop:
        reporter.emit(Stopped())


class _Stop(Exception):
    """A stop was asked for."""


class _Export:
    """One export's inputs, read and found fit, and its steps."""

    def __init__(self, job: Job, reporter: Reporter):
        self.recipe: ExportRecipe = validate(ExportRecipe, job.recipe)
        self.reporter = reporter
        libraries.gguf()
        libraries.llama()
        reporter.emit(Started(device="cpu", versions=libraries.versions()))
        self.checkpoint = Checkpoint(job.inputs["model"])
        self.architecture = Architecture.of(self.checkpoint.config)
        self.vocabulary = read_vocabulary(self.checkpoint, self.architecture.vocab_size)
        self.file = durable.fresh_directory(job.output) / "model.gguf"
        self.threads = available_threads()
        # Before a quantisation the weights are written as they are, so that each is rounded once.
        quantized = self.recipe.quantization in QUANTIZATIONS
        self.unquantized = _own_type(self.checkpoint) if quantized else self.recipe.quantization

    def run(self) -> None:
        quantization = self.recipe.quantization
        self._check_room()
        if self.vocabulary.normalizer:
            self.reporter.emit(
                Warned(
                    message=f"The tokenizer normalises text to {self.vocabulary.normalizer} first and llama.cpp does "
                    "not: letters typed as base and combining mark may get other token ids there."
                )
            )
        quantized = quantization in QUANTIZATIONS
        written = self.file.with_name("unquantized.gguf") if quantized else self.file
        self._write(written)
        reference = Reference(self.checkpoint.folder)
        if quantized:
            self._compare(reference, written, self.unquantized, CONVERSION_CHECK_TOKENS)
            progress = self._progress("quantise", "tensors")
            quantize(written, self.file, quantization, threads=self.threads, progress=progress)
            written.unlink()
        vectors, matrices = tensor_types(self.file)
        fallen = self._fallbacks(matrices)
        logits, vocabulary = self._compare(reference, self.file, quantization, self.recipe.check_tokens, texts=True)
        if loss := logits.loss(quantization):
            self.reporter.emit(Warned(message=f"{loss}; q8_0 costs less."))
        report = {
            "name": self.recipe.title(),
            "model": self.recipe.model,
            "quantization": quantization,
            "bytes": self.file.stat().st_size,
            "architecture": self.architecture.kind,
            "context_length": self.architecture.context_length,
            "tensor_types": dict(Counter([*vectors.values(), *matrices.values()])),
            "fallbacks": fallen,
            "check": {
                **vocabulary,
                "text": held_out_text(self.checkpoint.folder)[1],
                **as_plain(logits),
                "largest_kl_share": KL_SHARES[quantization],
            },
            "versions": libraries.versions(),
        }
        durable.write_json(self.file.with_name("check.json"), report)
        self.reporter.emit(Finished(report=report))

    def _write(self, path: Path) -> None:
        about = {
            "general.name": self.recipe.title(),
            "workbench.version": __version__,
            "workbench.model": self.recipe.model,
            "workbench.model_id": self.checkpoint.folder.name,
        }
        progress = self._progress("write", "tensors")
        write_gguf(
            path,
            self.checkpoint,
            self.architecture,
            self.vocabulary,
            self.unquantized,
            about=about,
            progress=progress,
        )

    def _fallbacks(self, matrices: dict[str, str]) -> dict[str, str]:
        """Those of the matrices that llama.cpp gave another type; said in a warning."""
        quantization = self.recipe.quantization
        if quantization not in QUANTIZATIONS:
            return {}
        fallen = {name: kind for name, kind in matrices.items() if kind not in QUANTIZATIONS[quantization][1]}
        if fallen:
            self.reporter.emit(Warned(message=describe(fallen, len(matrices), quantization)))
        return fallen

    def _compare(
        self, reference: Reference, file: Path, number_type: str, count: int, *, texts: bool = False
    ) -> tuple[LogitReport, dict[str, Any]]:
        progress = self._progress("check", "tokens")
        weights = Weights(file, gpu=False)  # GPUs round to fewer bits than the comparison resolves
        try:
            vocabulary = check_vocabulary(self.checkpoint, self.vocabulary, weights) if texts else {}
            tokens = held_out_tokens(self.checkpoint.folder, weights, count)
            logits = compare(
                reference,
                weights,
                tokens,
                context_length=self.architecture.context_length,
                threads=self.threads,
                progress=progress,
            )
        finally:
            weights.close()
            gc.collect()
        logits.require(number_type, KL_SHARES[number_type])
        return logits, vocabulary

    def _progress(self, phase: str, unit: str) -> Callable[[int, int], None]:
        last = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if done >= total or now - last >= PROGRESS_SECONDS:
                last = now
                self.reporter.emit(Progress(done=done, total=total, unit=unit, phase=phase))
            if self.reporter.should_stop():
                raise _Stop

        return progress

    def _check_room(self) -> None:
        """Raises `WorkbenchError` if the disk or the memory cannot hold what the export needs."""
        numbers = sum(math.prod(self.checkpoint.shape(name)) for name in self.checkpoint.names)
        disk = numbers * (4 if self.unquantized == "f32" else 2)
        if self.recipe.quantization in QUANTIZATIONS:
            disk += numbers * 9 // 8  # q8_0 takes 8.5 bits a weight; both files are there for a while
        free = shutil.disk_usage(self.file.parent).free
        if free < disk:
            raise WorkbenchError(
                f"The export needs {disk / 2**30:.2f} GiB of disk, and {free / 2**30:.2f} GiB are free.",
                "Free some space, then run it again.",
            )
        memory, available = numbers * 4, psutil.virtual_memory().available
        if available < memory:
            raise WorkbenchError(
                f"The check of the export holds the model in float32, {memory / 2**30:.1f} GiB, and "
                f"{available / 2**30:.1f} GiB of memory are free.",
                "Close other programs, or export on a larger machine.",
            )


def _own_type(checkpoint: Checkpoint) -> str:
    """The narrowest type that holds the checkpoint's matrices exactly."""
    kinds = {checkpoint.dtype(name) for name in checkpoint.names if len(checkpoint.shape(name)) > 1}
    return {frozenset({"F16"}): "f16", frozenset({"BF16"}): "bf16"}.get(frozenset(kinds), "f32")
