"""The loop of post-training: steps of a method, and between them evaluation, samples, checkpoints and requests."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from engines.checkpoints import Progress
from engines.held_out import HELD_OUT, before_training, cut_text
from engines.pytorch import device as devices
from engines.pytorch.checkpoint import Checkpoints, restore
from engines.pytorch.distributed import Processes
from engines.pytorch.footprint import weight_count
from engines.pytorch.method import Method
from engines.pytorch.requests import requests, stop_asked
from engines.schedule import tuning_learning_rate
from engines.step_metrics import StepMetrics, diverged
from workbench.contract import CheckpointSaved, Finished, Job, Metrics, Reporter, Sample, Stopped
from workbench.errors import WorkbenchError
from workbench.recipes.tuning import TuningRecipe
from workbench.reporting import explain

EVALUATION_SHARE = 0.3  # tokens of an evaluation a token trained on: a tenth of the time, forward alone
SMALLEST_EVALUATION = 8_192  # tokens
LARGEST_EVALUATION = 1 << 18  # tokens


@dataclass(kw_only=True)
class Tuning:
    """All that a training works with. `run` is the loop."""

    recipe: TuningRecipe
    method: Method
    total_steps: int
    processes: Processes
    reporter: Reporter
    metrics: StepMetrics
    checkpoints: Checkpoints
    progress: Progress
    held_out: str  # text for the export's check
    _saved_step: int = field(default=-1, init=False)

    @property
    def eval_steps(self) -> int:
        return self.recipe.evaluation.eval_steps or max(1, self.total_steps // 10)

    @property
    def save_steps(self) -> int:
        return self.recipe.checkpoints.save_steps or max(1, self.total_steps // 5)

    def run(self) -> bool:
        """Train to the last step; False if it was asked to stop, after writing a checkpoint."""
        progress, total = self.progress, self.total_steps
        self._saved_step = progress.step
        if progress.step == 0 and not self._evaluate(first=True):
            return self._stop()
        stop = self._stop_asked()
        while progress.step < total:
            if stop:
                return self._stop()
            self._step()
            step = progress.step
            stop, checkpoint_now, due = requests(self.reporter, self.metrics, self.processes)
            if due:
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

    def write(self, folder: Path) -> None:
        """The artifact's files."""
        for left_over in folder.iterdir():
            shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
        self.method.write(folder)
        if not (folder / HELD_OUT).is_file() and self.held_out:
            (folder / HELD_OUT).write_text(cut_text(self.held_out), encoding="utf-8")

    def report(self) -> dict[str, Any]:
        """What the manifest keeps of the training."""
        progress, seconds, policy = self.progress, self.metrics.seconds, self.method.policy
        best = self.checkpoints.path(progress.best_step)
        trained = sum(parameter.numel() for parameter in policy.trained())
        return {
            "parameters": weight_count(policy.model),
            "trained_parameters": trained,
            "adapter": policy.adapted,
            "steps": progress.step,
            "tokens": progress.tokens,
            **progress.figures,
            **before_training(progress.more.get("before", {})),
            "best_step": progress.best_step,
            "best_eval_loss": progress.best_eval_loss,
            "best_checkpoint": f"{best.parent.name}/{best.name}" if best.is_dir() else None,
            "tokens_per_second": progress.tokens / seconds if seconds else None,
            "seconds": seconds,
            "dtype": str(policy.dtype).removeprefix("torch."),
            **self.method.report(),
        }

    def resume(self, folder: Path) -> None:
        """Everything as the checkpoint in `folder` has it."""
        self.method.restore(folder)
        restore(folder, self.method.trained_module, self.method.optimizer, self.processes.rank)
        self.method.set_state(self.progress.more.get("method", {}))

    def _step(self) -> None:
        step, progress = self.progress.step, self.progress
        rate = tuning_learning_rate(
            step,
            total=self.total_steps,
            peak=self.recipe.optimizer.learning_rate or 0.0,
            schedule=self.recipe.schedule,
        )
        made = self.method.optimize(step, rate)
        progress.step = step + 1
        progress.tokens += made.tokens
        self.metrics.keep(
            progress.step, made.loss, made.grad_norm, rate, tokens=progress.tokens, more=dict(made.figures)
        )

    def _stop_asked(self) -> bool:
        return stop_asked(self.reporter, self.processes)

    def _most_tokens(self, steps: int) -> int:
        """What an evaluation may take, so that it is a small part of the time of so many steps."""
        share = int(steps * self.method.step_tokens * EVALUATION_SHARE)
        return max(SMALLEST_EVALUATION, min(LARGEST_EVALUATION, share))

    def _evaluate(self, *, first: bool = False) -> bool:
        """Evaluate and sample; False if a stop was asked for meanwhile.

        The first and the last go over all that is held out, or as much of it as a tenth of the whole run allows, so
        that they can be compared; the last measures what the others do too, for which step was best.
        """
        progress, last = self.progress, self.progress.step == self.total_steps
        with self.metrics.paused():
            most = self._most_tokens(self.eval_steps)
            found = self.method.evaluate(most, self._stop_asked)
            if found is None:
                return False
            self._check_finite(found)
            loss = found["eval_loss"]
            if not first and (progress.best_eval_loss is None or loss < progress.best_eval_loss):
                progress.best_eval_loss, progress.best_step = loss, progress.step
            if (first or last) and self.method.held_out_tokens > most:
                found = self.method.evaluate(self._most_tokens(self.total_steps), self._stop_asked)
                if found is None:
                    return False
            if first:
                progress.more["before"] = found
            progress.figures, progress.eval_step, progress.eval_loss = found, progress.step, found["eval_loss"]
            self.reporter.emit(Metrics(step=progress.step, tokens=progress.tokens, more=found))
            if self.processes.first:
                for prompt, text in self.method.samples():
                    self.reporter.emit(Sample(step=progress.step, prompt=prompt, text=text))
        return True

    def _check_finite(self, found: dict[str, float]) -> None:
        if not math.isfinite(found["eval_loss"]):
            raise diverged("validation loss", self.progress.step, self.method.optimizer.param_groups[0]["lr"])

    def _save(self) -> None:
        progress = self.progress
        if progress.step == self._saved_step:
            return
        with self.metrics.paused():  # its flush finds a loss that is not finite before that is saved
            progress.seconds = self.metrics.seconds
            progress.more["method"] = self.method.state()
            path = self.checkpoints.save(
                self.method.write_checkpoint,
                self.method.trained_module,
                self.method.optimizer,
                progress,
                self.processes,
            )
            self._saved_step = progress.step
            measured = progress.eval_loss if progress.eval_step == progress.step else None
            best = progress.best_step == progress.step
            relative = f"{path.parent.name}/{path.name}"
            self.reporter.emit(CheckpointSaved(step=progress.step, path=relative, eval_loss=measured, best=best))

    def _stop(self) -> bool:
        self._save()
        return False


def finish(tuning: Tuning, job: Job) -> None:
    """Run the loop, then write the artifact and say so."""
    try:
        finished = tuning.run()
    except (RuntimeError, MemoryError) as error:
        failure = explain(error)
        if failure.reason.startswith("Out of memory"):
            raise WorkbenchError(f"At step {tuning.progress.step + 1}: {failure.reason}", failure.remedy) from error
        raise
    if not tuning.processes.first:
        return
    if not finished:
        tuning.reporter.emit(Stopped(step=tuning.progress.step))
        return
    tuning.write(job.output)
    tuning.reporter.emit(Finished(report=tuning.report()))


def use_device(processes: Processes) -> torch.device:
    """This rank's device, with this machine's cores shared."""
    device = devices.choose(processes.local_rank)
    if device.type == "cpu":
        devices.use_threads(processes.local_size)
    else:
        torch.set_float32_matmul_precision("high")  # TF32
    return device
