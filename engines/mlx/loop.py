"""The loop of every training on MLX: steps, and between them evaluation, samples, checkpoints and requests."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx

from engines.checkpoints import CheckpointFolder, Progress
from engines.held_out import before_training
from engines.mlx import device
from engines.mlx.folders import read_weights
from engines.mlx.trainer import Inputs, Trainer
from engines.step_metrics import KeptStep, StepMetrics, diverged
from workbench.contract import CheckpointSaved, Finished, Job, Metrics, Reporter, Sample, Stopped
from workbench.errors import WorkbenchError
from workbench.reporting import explain


class MlxMetrics(StepMetrics):
    """Losses and norms are arrays of MLX."""

    def read(self, kept: Sequence[KeptStep]) -> list[tuple[float, float]]:
        return [(float(item.loss), float(item.grad_norm)) for item in kept]

    def peak_memory_bytes(self) -> int:
        return device.peak_memory_bytes()


class Method(Protocol):
    """What is trained, and how it is measured."""

    trainer: Trainer

    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        """(the inputs of each forward pass of optimizer step `step`, counted from 0, tokens trained on)."""

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """Measure on what is held out, or the first `most_tokens` of it; None if `cancelled` said so.

        One of the figures is "eval_loss".
        """

    def samples(self) -> Iterator[tuple[str, str]]:
        """(prompt, answer) on the recipe's fixed prompts, always with the same draws."""

    def write(self, folder: Path) -> None:
        """The weights, and what a model's folder holds besides."""

    def restore(self, folder: Path) -> None:
        """The weights that `write` wrote."""

    def report(self) -> dict[str, Any]:
        """What the manifest says of this training, besides what the loop counts."""


@dataclass(kw_only=True)
class Training:
    """All that a training works with. `run` is the loop."""

    method: Method
    total_steps: int
    eval_steps: int
    save_steps: int
    further: bool  # of a model that was trained before: it is measured before the first step, too
    eval_tokens: int | None  # held-out tokens that an evaluation takes, at most
    final_eval_tokens: int | None  # that the last one takes, and of a further training the first
    learning_rate: Callable[[int], float]  # of each step, counted from 0
    reporter: Reporter
    metrics: MlxMetrics
    checkpoints: CheckpointFolder
    progress: Progress
    facts: Mapping[str, Any] = field(default_factory=dict)  # for the report
    _saved_step: int = field(default=-1, init=False)

    def resume(self, folder: Path) -> None:
        """Weights and optimizer as the checkpoint in `folder` has them."""
        self.method.restore(folder)
        self.method.trainer.load_state(read_weights(folder / "resume" / "optimizer.safetensors"))

    def run(self) -> bool:
        """Train to the last step; False if it was asked to stop, after writing a checkpoint."""
        progress, total = self.progress, self.total_steps
        self._saved_step = progress.step
        if self.further and progress.step == 0 and not self._evaluate():
            return self._stop()
        stop = self.reporter.should_stop()
        while progress.step < total:
            if stop:
                return self._stop()
            self._step()
            step = progress.step
            stop, checkpoint_now = self.reporter.should_stop(), self.reporter.checkpoint_requested()
            if self.metrics.due():
                self.metrics.flush()
            if step == total:
                break
            scheduled = step % self.save_steps == 0
            if (scheduled or step % self.eval_steps == 0) and not self._evaluate():
                return self._stop()
            if scheduled or checkpoint_now:
                self._save()
        if progress.eval_step != total and not self._evaluate():
            return self._stop()
        self._save()
        return True

    def report(self) -> dict[str, Any]:
        """What the manifest keeps of the training."""
        progress, seconds = self.progress, self.metrics.seconds
        best = self.checkpoints.path(progress.best_step)
        return {
            "steps": progress.step,
            "tokens": progress.tokens,
            **progress.figures,
            **before_training(progress.more.get("before", {})),
            "best_step": progress.best_step,
            "best_eval_loss": progress.best_eval_loss,
            "best_checkpoint": f"{best.parent.name}/{best.name}" if best.is_dir() else None,
            "tokens_per_second": progress.tokens / seconds if seconds else None,
            "seconds": seconds,
            "compiled": progress.compiled,
            **self.facts,
            **self.method.report(),
        }

    def _step(self) -> None:
        progress = self.progress
        rate = self.learning_rate(progress.step)
        micro, tokens = self.method.micro_batches(progress.step)
        made = self.method.trainer.step(progress.step, micro, rate)
        progress.step += 1
        progress.tokens += tokens
        self.metrics.keep(progress.step, made.loss, made.grad_norm, rate, tokens=progress.tokens, more=made.figures)

    def _evaluate(self) -> bool:
        """Evaluate and sample; False if a stop was asked for meanwhile."""
        progress = self.progress
        first = progress.step == 0
        with self.metrics.paused(), self.method.trainer.evaluating():
            # The best step of a further training is found by what every evaluation measures; its first and last go
            # over more besides, so that they can be compared.
            ends = first or progress.step == self.total_steps
            most = self.final_eval_tokens if ends and not self.further else self.eval_tokens
            found = self.method.evaluate(most, self.reporter.should_stop)
            if found is None:
                return False
            loss = found["eval_loss"]
            if not math.isfinite(loss):
                raise diverged("validation loss", progress.step, self.learning_rate(max(0, progress.step - 1)))
            if not first and (progress.best_eval_loss is None or loss < progress.best_eval_loss):
                progress.best_eval_loss, progress.best_step = loss, progress.step
            if ends and self.further and self.final_eval_tokens != self.eval_tokens:
                found = self.method.evaluate(self.final_eval_tokens, self.reporter.should_stop)
                if found is None:
                    return False
            if first:
                progress.more["before"] = found
            progress.figures, progress.eval_step, progress.eval_loss = found, progress.step, found["eval_loss"]
            self.reporter.emit(Metrics(step=progress.step, tokens=progress.tokens, more=found))
            for prompt, text in self.method.samples():
                self.reporter.emit(Sample(step=progress.step, prompt=prompt, text=text))
        mx.clear_cache()  # buffers of other sizes than the training's, which would lie there unused
        return True

    def _save(self) -> None:
        progress = self.progress
        if progress.step == self._saved_step:
            return
        with self.metrics.paused():  # its flush finds a loss that is not finite before that is saved
            progress.seconds = self.metrics.seconds
            state = self.method.trainer.state()
            # The trained weights and the optimizer's two moments, and room for the small files.
            needed = sum(item.nbytes for item in state.values()) * 3 // 2 + (1 << 20)
            with self.checkpoints.swept(progress.step, needed):
                folder = self.checkpoints.begin(progress.step, needed)
                self.method.write(folder)
                mx.save_safetensors(str(folder / "resume" / "optimizer.safetensors"), state)
                path = self.checkpoints.publish(progress)
            self._saved_step = progress.step
            measured = progress.eval_loss if progress.eval_step == progress.step else None
            best = progress.best_step == progress.step
            relative = f"{path.parent.name}/{path.name}"
            self.reporter.emit(CheckpointSaved(step=progress.step, path=relative, eval_loss=measured, best=best))

    def _stop(self) -> bool:
        self._save()
        return False


def finish(training: Training, job: Job, add: Callable[[Path], None]) -> None:
    """Run the loop, then write the artifact, with what `add` puts there, and say so."""
    try:
        finished = training.run()
    except (RuntimeError, MemoryError) as error:
        failure = explain(error)
        if failure.reason.startswith("Out of memory"):
            raise WorkbenchError(f"At step {training.progress.step + 1}: {failure.reason}", failure.remedy) from error
        raise
    if not finished:
        training.reporter.emit(Stopped(step=training.progress.step))
        return
    for left_over in job.output.iterdir():
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
    training.method.write(job.output)
    add(job.output)
    training.reporter.emit(Finished(report=training.report()))
