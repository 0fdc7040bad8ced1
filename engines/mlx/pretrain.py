"""The stage `pretrain`: from a job to a trained model in `job.output`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from transformers import PretrainedConfig

from engines.checkpoints import CheckpointFolder, progress_of
from engines.fresh_model import new_config
from engines.held_out import HELD_OUT, Tally, held_out_text
from engines.mlx import device
from engines.mlx.engine import library_versions
from engines.mlx.folders import weight_names
from engines.mlx.forward import IGNORED, Targets, hidden_states, token_losses
from engines.mlx.fresh import new_model, save_model
from engines.mlx.generation import Writer
from engines.mlx.loop import MlxMetrics, Training
from engines.mlx.method import GradientMethod
from engines.mlx.trainer import Inputs, Trainer
from engines.pretraining import (
    FINAL_EVALUATION,
    estimated,
    figures,
    refuse_what_cannot_fit,
    sources_report,
    special_ids,
    training_data,
)
from engines.schedule import learning_rate
from engines.tokenizer import TextTokenizer, copy_tokenizer
from engines.training_loop import finish
from workbench.contract import Job, Reporter, Sampling, Started, Warned
from workbench.corpus.packing import document_positions, training_targets
from workbench.corpus.pretraining_data import PretrainingData
from workbench.corpus.tokenizer import token_byte_lengths
from workbench.recipes.base import validate
from workbench.recipes.pretrain import PretrainRecipe


def pretrain(job: Job, reporter: Reporter) -> None:
    """Train from scratch, or on from the run's newest whole checkpoint; satisfies `Engine.run`."""
    recipe: PretrainRecipe = validate(PretrainRecipe, job.recipe).resolved()
    method, training = prepare(recipe, job, reporter)

    def write(folder: Path) -> None:
        method.write(folder)
        text = held_out_text([item.validation for item in method.data.sources], method.tokenizer)
        (folder / HELD_OUT).write_text(text, encoding="utf-8")

    finish(training, job, write)


def prepare(recipe: PretrainRecipe, job: Job, reporter: Reporter) -> tuple[Pretraining, Training]:
    """Everything that the loop needs, at the step where it begins.

    Raises `WorkbenchError` if the inputs do not fit each other, the text is too short, or the memory too small.
    """
    device.set_limits()
    identity = recipe.identity()  # before `auto` is replaced by what it means on this machine
    dtype = device.choose_dtype(recipe.precision.dtype)
    precision = recipe.precision.model_copy(update={"dtype": device.dtype_name(dtype)})
    recipe = recipe.model_copy(update={"precision": precision})
    folder = job.inputs["tokenizer"]
    tokenizer = TextTokenizer(folder)
    data = training_data(recipe, job.inputs, reporter)
    bos, eos, pad = special_ids(tokenizer, data.vocab_size)
    refuse_what_cannot_fit(recipe, data.vocab_size, device.free_memory_bytes(), device.name())

    section = recipe.checkpoints
    checkpoints = CheckpointFolder(
        job.directory / "checkpoints", keep_last=section.keep_last, keep_best=section.keep_best
    )
    resumed = checkpoints.newest_valid(lambda message: reporter.emit(Warned(message=message)))
    progress = progress_of(resumed, identity)
    total = recipe.schedule.max_steps
    reporter.emit(Started(step=progress.step, total_steps=total, device=device.name(), versions=library_versions()))
    config = new_config(recipe.model, vocab_size=data.vocab_size, bos=bos, eos=eos, pad=pad)
    # A resumed run does as it did before: the numbers differ in the last bits.
    progress.compiled = progress.compiled if progress.step else device.compiles(recipe.precision.compile)
    method = Pretraining(
        recipe,
        config,
        data,
        tokenizer,
        folder,
        dtype=dtype,
        compiled=progress.compiled,
    )
    reporter.emit(estimated(recipe, data, seconds=method.measured_seconds() * (total - progress.step)))
    training = Training(
        method=method,
        total_steps=total,
        eval_steps=recipe.evaluation.eval_steps or 1,
        save_steps=recipe.checkpoints.save_steps or 1,
        further=False,
        eval_tokens=recipe.evaluation.eval_tokens or 0,
        final_eval_tokens=(recipe.evaluation.eval_tokens or 0) * FINAL_EVALUATION,
        learning_rate=lambda step: learning_rate(
            step, peak=recipe.optimizer.learning_rate or 0.0, schedule=recipe.schedule
        ),
        reporter=reporter,
        metrics=MlxMetrics(reporter, tokens=progress.tokens, earlier_seconds=progress.seconds),
        checkpoints=checkpoints,
        progress=progress,
    )
    if resumed:
        training.resume(resumed)
    return method, training


class Pretraining(GradientMethod):
    """The mean loss over the trained-on targets of a step's whole batch."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        config: PretrainedConfig,
        data: PretrainingData,
        tokenizer: TextTokenizer,
        tokenizer_folder: Path,
        *,
        dtype: mx.Dtype,
        compiled: bool,
    ):
        self._recipe, self._config = recipe, config
        self.data, self.tokenizer = data, tokenizer
        self._folder = tokenizer_folder
        self._token_bytes_V = token_byte_lengths(tokenizer_folder)
        self._micro = recipe.batch.per_device_batch_size or 1
        self.step_tokens = (recipe.batch.batch_size or 1) * (recipe.model.max_length or 1)
        self.held_out_tokens = sum(item.validation.tokens for item in data.sources)
        self._documents = recipe.data.packing == "documents"
        self._dtype = dtype
        assert tokenizer.bos is not None
        self._bos = tokenizer.bos
        self.model = new_model(recipe.model, config, seed=recipe.data.seed)
        self.trainer = Trainer(
            self.model, self.loss, recipe.optimizer, dtype=dtype, seed=recipe.data.seed, compiled=compiled
        )

    def loss(
        self, tokens_BL: mx.array, targets_BL: mx.array, places_BL: mx.array | None, scale: mx.array
    ) -> tuple[mx.array, dict[str, mx.array]]:
        """The summed cross-entropy of the trained-on targets, in nats, times `scale`."""
        hidden_BLD = hidden_states(self.model, tokens_BL, places_BL)
        return token_losses(self.model, hidden_BLD, Targets(targets_BL)).sum() * scale, {}

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        windows_BL1 = self.data.batches.global_batch(step)
        scale = mx.array(1 / max(1, int((windows_BL1[:, 1:] != self._bos).sum())))
        size = self._micro
        micro = [
            (*self._inputs(windows_BL1[begin : begin + size]), scale) for begin in range(0, len(windows_BL1), size)
        ]
        return micro, windows_BL1.shape[0] * (windows_BL1.shape[1] - 1)

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        tallies = []
        for windows_WL1 in self.data.validation_windows(most_tokens):
            tallies.append(Tally())
            for begin in range(0, len(windows_WL1), self._micro):
                if cancelled():
                    return None
                tokens_BL, targets_BL, places_BL = self._inputs(windows_WL1[begin : begin + self._micro])
                hidden_BLD = hidden_states(self.model, tokens_BL, places_BL)
                losses_BL = token_losses(self.model, hidden_BLD, Targets(targets_BL))
                tallies[-1].add(np.array(losses_BL, dtype=np.float64), np.array(targets_BL), self._token_bytes_V)
        return figures(self.data, tallies)

    def samples(self) -> Iterator[tuple[str, str]]:
        section = self._recipe.evaluation
        for prompt in section.sample_prompts if section.sample_tokens else []:
            yield prompt, self._sample(prompt, section.sample_tokens)

    def write(self, folder: Path) -> None:
        """The model and its tokenizer, without a chat template: it was never trained on turns."""
        save_model(self.model, self._config, folder)
        copy_tokenizer(self._folder, folder, chat_template=False)

    def restore(self, folder: Path) -> None:
        self.model.load_weights(str(folder / "model.safetensors"))

    def report(self) -> dict[str, Any]:
        parameters = sum(item.size for item in weight_names(self.model).values())
        found = {"parameters": parameters, "dtype": device.dtype_name(self._dtype)}
        return found | {"sources": sources_report(self.data)}

    def _inputs(self, windows_BL1: np.ndarray) -> tuple[mx.array, mx.array, mx.array | None]:
        """Tokens and targets, int32 [batch, length], and the tokens' places in their documents if those count."""
        tokens_BL = windows_BL1[:, :-1]
        places = document_positions(tokens_BL, self._bos) if self._documents else None
        return (
            mx.array(tokens_BL.astype(np.int32)),
            mx.array(training_targets(windows_BL1, self._bos, IGNORED).astype(np.int32)),
            None if places is None else mx.array(places.astype(np.int32)),
        )

    def _sample(self, prompt: str, max_tokens: int) -> str:
        """The model's continuation of `prompt`; the same draws each time, so that samples show the model's change."""
        context = self._recipe.model.max_length or 1
        ids = [self._bos, *self.tokenizer.encode(prompt, special=False)][: context - 1]
        sampling = Sampling(max_tokens=min(max_tokens, context - len(ids)), seed=0)
        ends = [] if self.tokenizer.eos is None else [self.tokenizer.eos]
        drawn = Writer(self.model).write([ids], sampling, ends=ends, numbers=[0])
        return self.tokenizer.decode(token for _, token in drawn if token not in ends)
