"""The training loop: steps, and between them validation, samples, checkpoints and requests."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from engines.checkpoints import Progress
from engines.pytorch.checkpoint import Checkpoints
from engines.pytorch.decoder import TrainingModel
from engines.pytorch.distributed import Processes
from engines.pytorch.model import save_model
from engines.pytorch.requests import requests, stop_asked
from engines.pytorch.sequences import Sequences
from engines.pytorch.validation import validate, write_sample
from engines.schedule import learning_rate
from engines.step_metrics import StepMetrics, diverged
from engines.tokenizer import TextTokenizer, copy_tokenizer
from workbench.contract import CheckpointSaved, Metrics, Reporter, Sample
from workbench.corpus.packing import Batches, TokenStream, validation_windows
from workbench.recipes.pretrain import PretrainRecipe

FINAL_EVALUATION = 8  # times `eval_tokens`, for the last validation


@dataclass(kw_only=True)
class Training:
    """All that a training works with. `run` is the loop."""

    recipe: PretrainRecipe
    model: TrainingModel
    network: nn.Module  # the model as it is trained: compiled, replicated, or itself
    optimizer: torch.optim.Optimizer
    batches: Batches
    sequences: Sequences
    validation_stream: TokenStream
    token_bytes_V: np.ndarray
    tokenizer: TextTokenizer
    tokenizer_folder: Path
    processes: Processes
    reporter: Reporter
    metrics: StepMetrics
    checkpoints: Checkpoints
    progress: Progress
    _saved_step: int = field(default=-1, init=False)

    def run(self) -> bool:
        """Train to the last step; False if it was asked to stop, after writing a checkpoint."""
        total = self.recipe.schedule.max_steps
        eval_steps, save_steps = self.recipe.evaluation.eval_steps, self.recipe.checkpoints.save_steps
        assert eval_steps is not None
        assert save_steps is not None
        self._saved_step = self.progress.step
        stop = self._stop_asked()
        while self.progress.step < total:
            if stop:
                return self._stop()
            self._step()
            step = self.progress.step
            stop, checkpoint_now, due = requests(self.reporter, self.metrics, self.processes)
            if due:
                self.metrics.flush()
            if step == total:
                break
            scheduled = step % save_steps == 0
            if (scheduled or step % eval_steps == 0) and not self._evaluate():
                return self._stop()
            if scheduled or checkpoint_now:
                self._save()
        if self.progress.eval_step != total and not self._evaluate():
            return self._stop()
        self._save()
        return True

    def _step(self) -> None:
        """One optimizer step on this rank's slice of the global batch.

        The loss is a mean over the trained-on targets of the whole global batch, so that neither ranks nor
        micro-batches change it.
        """
        step, size = self.progress.step, self.processes.size
        windows_BL1 = self.batches.global_batch(step)
        targets = max(1, self.sequences.trained_targets(windows_BL1))
        scale = torch.full((), size / targets, device=self.sequences.device)  # DDP divides gradients by `size`
        own_BL1 = windows_BL1[self.processes.share(len(windows_BL1))]
        micro = self.recipe.batch.per_device_batch_size or len(own_BL1)
        loss = torch.zeros((), device=self.sequences.device)
        for start in range(0, len(own_BL1), micro):
            last = start + micro >= len(own_BL1)
            waits = not last and isinstance(self.network, DistributedDataParallel)
            with self.network.no_sync() if waits else nullcontext():  # type: ignore[operator]
                part = self.network(*self.sequences.inputs(own_BL1[start : start + micro]), scale)
                part.backward()
            loss += part.detach()
        norm = self._clip()
        rate = learning_rate(step, peak=self.recipe.optimizer.learning_rate or 0.0, schedule=self.recipe.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step = step + 1
        self.progress.tokens += windows_BL1.shape[0] * (windows_BL1.shape[1] - 1)
        self.metrics.keep(step + 1, loss / size, norm, rate, tokens=self.progress.tokens)

    def _clip(self) -> torch.Tensor:
        """Clip the gradients; their norm before that."""
        most = self.recipe.optimizer.max_grad_norm or float("inf")
        return nn.utils.clip_grad_norm_(self.model.parameters(), most)

    def _stop_asked(self) -> bool:
        return stop_asked(self.reporter, self.processes)

    def _evaluate(self) -> bool:
        """Validate and sample; False if a stop was asked for meanwhile."""
        last = self.progress.step == self.recipe.schedule.max_steps
        most = (self.recipe.evaluation.eval_tokens or 0) * (FINAL_EVALUATION if last else 1)
        length = self.recipe.model.max_length or 1
        with self.metrics.paused():
            measured = validate(
                self.model,
                validation_windows(self.validation_stream, length=length, max_tokens=most),
                self.sequences,
                self.token_bytes_V,
                batch_size=self.recipe.batch.per_device_batch_size or 1,
                processes=self.processes,
                cancelled=self._stop_asked,
            )
            if measured is None:
                return False
            progress = self.progress
            if not math.isfinite(measured.loss):
                raise diverged("validation loss", progress.step, self.optimizer.param_groups[0]["lr"])
            progress.eval_loss, progress.eval_step = measured.loss, progress.step
            progress.eval_bits_per_byte = measured.bits_per_byte
            if progress.best_eval_loss is None or measured.loss < progress.best_eval_loss:
                progress.best_eval_loss, progress.best_step = measured.loss, progress.step
            figures = {"eval_loss": measured.loss, "eval_bits_per_byte": measured.bits_per_byte}
            self.reporter.emit(Metrics(step=progress.step, tokens=progress.tokens, more=figures))
            if self.processes.first:
                self._write_samples()
        return True

    def _write_samples(self) -> None:
        section = self.recipe.evaluation
        for prompt in section.sample_prompts if section.sample_tokens else []:
            text = write_sample(self.model, self.tokenizer, prompt, section.sample_tokens)
            self.reporter.emit(Sample(step=self.progress.step, prompt=prompt, text=text))

    def _save(self) -> None:
        progress = self.progress
        if progress.step == self._saved_step:
            return
        with self.metrics.paused():  # its flush finds a loss that is not finite before that is saved
            progress.seconds = self.metrics.seconds
            path = self.checkpoints.save(
                self.write_weights, self.model.causal_lm, self.optimizer, progress, self.processes
            )
            self._saved_step = progress.step
            measured = progress.eval_loss if progress.eval_step == progress.step else None
            best = progress.best_step == progress.step
            relative = f"{path.parent.name}/{path.name}"
            self.reporter.emit(CheckpointSaved(step=progress.step, path=relative, eval_loss=measured, best=best))

    def write_weights(self, folder: Path) -> None:
        """The model and its tokenizer, without a chat template: it was never trained on turns."""
        save_model(self.model.causal_lm, folder)
        copy_tokenizer(self.tokenizer_folder, folder, chat_template=False)

    def _stop(self) -> bool:
        self._save()
        return False
