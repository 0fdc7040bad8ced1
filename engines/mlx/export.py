"""The export stage on MLX: checkpoint in, a checked folder in MLX's number formats out, which mlx-lm loads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load, quantize_model, save_config, save_model
from safetensors import safe_open

from engines.adapters import is_adapter, read_config
from engines.awkward import AWKWARD_STRINGS
from engines.companions import copy_companions
from engines.export_check import (
    CHUNK_TOKENS,
    CheckFailed,
    LogitReport,
    Logits,
    Reference,
    as_plain,
    compare_logits,
    held_out_text,
)
from engines.held_out import HELD_OUT
from engines.mlx import device
from engines.mlx.engine import BITS, library_versions
from engines.mlx.folders import context_length, open_causal_lm
from engines.mlx.quantization import GROUPS, require_format, weight_count
from engines.text_model import end_ids
from engines.tokenizer import TextTokenizer
from workbench import durable
from workbench.contract import Finished, Job, Progress, Reporter, Started, Stopped, Warned
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.export import ExportRecipe

GENERATION_CONFIG = "generation_config.json"
CONVERSION_CHECK_TOKENS = 128  # before quantisation; a slip in the conversion shows in every token
CONVERSION_SHARE = 3e-5  # of KL, see `LogitReport.kl_share`: float32, which a GPU may multiply in fewer bits
# The largest `kl_share` that passes (see engines/llamacpp/export.py), and the most that was measured: on SmolLM2-135M
# and on random two-layer models, which lose the most. SmolLM2 alone: 2.0e-4 and 0.055.
KL_SHARES = {
    "mlx-8bit": 0.02,  # [1e-3]
    "mlx-4bit": 0.5,  # [0.15]
}


def export(job: Job, reporter: Reporter) -> None:
    """Fill `job.output` with a folder for mlx-lm, and `check.json`.

    Raises `WorkbenchError` if the checkpoint cannot be exported, or `CheckFailed` if what was written is not it.
    """
    recipe: ExportRecipe = validate(ExportRecipe, job.recipe)
    require_format(recipe.quantization)
    try:
        _Export(recipe, job, reporter).run()
    except _Stop:
        reporter.emit(Stopped())


class _Stop(Exception):
    """A stop was asked for."""


class _Export:
    """One export's inputs, read and found fit, and its steps."""

    def __init__(self, recipe: ExportRecipe, job: Job, reporter: Reporter):
        self.recipe, self.reporter = recipe, reporter
        self.folder, self.output = job.inputs["model"], durable.fresh_directory(job.output)
        reporter.emit(Started(device=device.name(), versions=library_versions()))
        if is_adapter(self.folder):
            raise WorkbenchError(f"{self.folder.name} is an adapter.", "Merge it first: workbench merge-adapter")
        _refuse_what_cannot_fit(self.folder)
        device.set_limits()
        self.model, self.config = open_causal_lm(self.folder)
        if "quantization" in self.config:
            raise WorkbenchError(f"{self.folder.name} is quantised already.", "Export the model that it was made from.")
        self.tokenizer, self.reference = TextTokenizer(self.folder), Reference(self.folder)

    def run(self) -> None:
        quantization = self.recipe.quantization
        exact = self._compared(self.model, CONVERSION_CHECK_TOKENS, "float32", CONVERSION_SHARE)
        group = self._quantise(BITS[quantization])
        self._write()
        del self.model
        mx.clear_cache()
        # Opened as mlx-lm opens it, not as it lies in memory.
        model, tokenizer = load(str(self.output))[:2]
        kinds = _kinds(model, quantization)
        if not device.on_metal():
            model.set_dtype(mx.float32)  # see `open_causal_lm`
        figures = self._compared(model, self.recipe.check_tokens, quantization, KL_SHARES[quantization])
        if loss := figures.loss(quantization):
            self.reporter.emit(
                Warned(message=f"{loss}; mlx-8bit costs less." if quantization == "mlx-4bit" else f"{loss}.")
            )
        files = [*self.output.glob("*.safetensors")]
        size = sum(path.stat().st_size for path in files)
        report = {
            "name": self.recipe.title(),
            "model": self.recipe.model,
            "quantization": quantization,
            "bytes": size,
            "bits_per_weight": size * 8 / weight_count(model),
            "group_size": group,
            "architecture": self.config["model_type"],
            "context_length": context_length(self.config),
            "tensor_types": dict(Counter(kinds.values())),
            "fallbacks": {
                name: kind for name, kind in kinds.items() if kind != quantization and not name.endswith("norm")
            },
            "check": {
                **self._check_texts(tokenizer),
                "text": held_out_text(self.folder)[1],
                **as_plain(figures),
                "largest_kl_share": KL_SHARES[quantization],
                "conversion_kl_share": float(f"{exact.kl_share:.3g}"),
            },
            "versions": library_versions(),
        }
        durable.write_json(self.output / "check.json", report)
        self.reporter.emit(Finished(report=report))

    def _compared(self, model: Any, count: int, number_type: str, most: float) -> LogitReport:
        """The logits of `model` against the checkpoint's; raises `CheckFailed` if they are not the same."""

        def progress(done: int, total: int) -> None:
            self.reporter.emit(Progress(done=done, total=total, unit="tokens", phase=f"check {number_type}"))
            if self.reporter.should_stop():
                raise _Stop

        tokenizer = self.tokenizer
        # A token is seldom longer than 16 bytes: no need to encode a megabyte for 512 tokens.
        tokens = tokenizer.encode(held_out_text(self.folder)[0][: count * 32], special=False)[:count]
        found = compare_logits(
            self.reference,
            lambda part: _chunks(model, part),
            tokens,
            start=tokenizer.bos if tokenizer.bos is not None else tokenizer.eos,
            context_length=context_length(self.config),
            size_bytes=lambda part: len(tokenizer.decode(part).encode()),
            progress=progress,
        )
        found.require(number_type, most)
        return found

    def _quantise(self, bits: int) -> int:
        """Quantise the model in memory, and say so in its configuration; how many weights share a scale.

        What is not quantised, and the scales, are in 16 bits: bfloat16 if the checkpoint is, else float16, whose
        scales are finer: on a random model of 8 bits a mean KL of 0.4% instead of 2.3% of what it says at all.
        """
        layers = {
            name: module.weight.shape[-1]
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear | nn.Embedding)
        }
        fitting = [size for size in GROUPS if any(width % size == 0 for width in layers.values())]
        if not fitting:
            raise WorkbenchError(
                f"{self.folder.name} has no layer that MLX can quantise: it takes widths that are multiples of "
                f"{GROUPS[-1]}, and theirs are {', '.join(map(str, sorted(set(layers.values()))))}.",
                "Export it as GGUF: --quantization q8_0",
            )
        # The one that leaves out the fewest; of such the larger, which costs fewer bits.
        group = max(fitting, key=lambda size: sum(width % size == 0 for width in layers.values()))
        left = {name: width for name, width in layers.items() if width % group}
        if left:
            first = next(iter(left))
            self.reporter.emit(
                Warned(
                    message=f"{len(left)} of {len(layers)} matrices stay in 16 bits, such as {first}: their rows of "
                    f"{left[first]} weights are no multiple of {group}."
                )
            )
        stored = self.config.get("dtype") or self.config.get("torch_dtype")
        kept = mx.bfloat16 if stored == "bfloat16" else mx.float16
        self.model.set_dtype(kept)
        self.config["dtype"] = device.dtype_name(kept)
        self.model, self.config = quantize_model(self.model, self.config, group, bits)
        return group

    def _write(self) -> None:
        self.reporter.emit(Progress(done=0, phase="write"))
        save_model(self.output, self.model)
        save_config(dict(self.config), self.output / "config.json")
        copy_companions(self.folder, self.output, template=self.tokenizer.chat_template)
        (self.output / HELD_OUT).unlink(missing_ok=True)  # an export is not trained further
        # By the model's architecture transformers may choose a class with rules of its own: Qwen's normalises to NFC.
        path = self.output / "tokenizer_config.json"
        stored = read_config(path) if path.is_file() else {}
        durable.write_json(path, stored | {"tokenizer_class": "PreTrainedTokenizerFast"})
        if (self.folder / GENERATION_CONFIG).is_file():
            (self.output / GENERATION_CONFIG).write_bytes((self.folder / GENERATION_CONFIG).read_bytes())

    def _check_texts(self, tokenizer: Any) -> dict[str, Any]:
        """mlx-lm's tokenizer of the export against the checkpoint's: ids, chat template, where it stops.

        Raises `CheckFailed` at the first thing that differs.
        """
        for text in AWKWARD_STRINGS:
            ours, theirs = tokenizer.encode(text, add_special_tokens=False), self.tokenizer.encode(text, special=True)
            if ours != theirs:
                raise CheckFailed(f"mlx-lm's token ids differ from the tokenizer's on {text[:60]!r}.")
        if tokenizer.chat_template != self.tokenizer.chat_template:
            raise CheckFailed("its chat template is not the checkpoint's.")
        ends = end_ids(self.folder, self.tokenizer)
        if lost := ends - set(tokenizer.eos_token_ids):
            raise CheckFailed(f"mlx-lm does not stop at token {min(lost)}, where the checkpoint does.")
        return {
            "strings": len(AWKWARD_STRINGS),
            "chat_template": "none" if self.tokenizer.chat_template is None else "same",
            "stop_tokens": tokenizer.convert_ids_to_tokens(sorted(ends)),
        }


def _chunks(model: Any, tokens: list[int]) -> Iterator[Logits]:
    cache = make_prompt_cache(model)
    for begin in range(0, len(tokens), CHUNK_TOKENS):
        logits_LV = model(mx.array([tokens[begin : begin + CHUNK_TOKENS]]), cache=cache)[0]
        yield np.array(logits_LV.astype(mx.float32))


def _kinds(model: Any, quantization: str) -> dict[str, str]:
    """Layer -> the number format of its weights."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding):
            found[name] = quantization
        elif "weight" in module:
            found[name] = device.dtype_name(module.weight.dtype)
    return found


def _refuse_what_cannot_fit(folder: Path) -> None:
    """Raises `WorkbenchError` if the memory cannot hold what the check needs."""
    numbers = 0
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, "np") as file:
            numbers += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    needed, free = numbers * 8, device.free_memory_bytes()
    if needed > free:
        raise WorkbenchError(
            f"The check of the export holds the model twice in float32, {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB of memory are free.",
            "Close other programs, or export on a larger machine.",
        )
