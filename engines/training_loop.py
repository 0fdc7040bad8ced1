"""The loop of every training, whichever library computes its steps: between them evaluation, samples, checkpoints and
requests."""

from __future__ import annotations

import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from engines.checkpoints import CheckpointFolder, Progress
from engines.held_out import before_training
from engines.step_metrics import StepMetrics, diverged
from workbench.contract import CheckpointSaved, Finished, Job, Metrics, Reporter, Sample, Stopped
from workbench.errors import WorkbenchError
from workbench.reporting import explain

EVALUATION_SHARE = 0.3  # tokens of an evaluation a token trained on: a tenth of the time, forward alone
SMALLEST_EVALUATION = 8_192  # tokens
LARGEST_EVALUATION = 1 << 18  # tokens


@dataclass(kw_only=True)
class Step:
    """What an optimizer step (of PPO and GRPO: an iteration) came to; `loss` and `grad_norm` lie on the device."""

    loss: Any  # of several processes each has its part: their sum is the loss
    grad_norm: Any  # before clipping
    tokens: int  # trained on, over all processes; padding does not count
    figures: Mapping[str, float] = field(default_factory=dict)


class Requests(NamedTuple):
    """What is asked of the training at this moment."""

    stop: bool
    checkpoint: bool  # now, and then go on
    metrics: bool  # are due


class TrainingMethod(Protocol):
    """What is trained, and how."""

    step_tokens: int  # of a typical step
    held_out_tokens: int  # that an evaluation without a limit takes

    def measured_seconds(self) -> float:
        """Of a step, tried out without a trace on weights, optimizer and random numbers."""

    def optimize(self, step: int, learning_rate: float) -> Step:
        """Make optimizer step `step`, counted from 0."""

    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """Measure on what is held out: all of it, or the first `most_tokens`; None if `cancelled` said so.

        One of the figures is "eval_loss".
        """

    def samples(self) -> Iterator[tuple[str, str]]:
        """(prompt, answer) on the recipe's fixed prompts, always with the same draws."""

    def write(self, folder: Path) -> None:
        """The weights, and what a model's folder holds besides."""

    def write_checkpoint(self, folder: Path) -> None:
        """What `write` does, and the weights that a resumed run needs besides."""

    def restore(self, folder: Path) -> None:
        """The weights that `write_checkpoint` wrote."""

    def state(self) -> dict[str, Any]:
        """What else a resumed run needs, as JSON."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""

    def report(self) -> dict[str, Any]:
        """What the manifest says of this method, besides what the loop counts."""


@dataclass(kw_only=True)
class TrainingLoop(ABC):
    """All that a training works with. `run` is the loop.

    A training from scratch is measured by `eval_tokens`, at its end by `final_eval_tokens`. One of a model that was
    trained `further` is measured before its first step, too; that and the last evaluation go over more besides what
    every evaluation measures, so that they can be compared, and the best step be found.
    """

    total_steps: int
    eval_steps: int
    save_steps: int
    further: bool
    eval_tokens: int
    final_eval_tokens: int
    learning_rate: Callable[[int], float]  # of each step, counted from 0
    reporter: Reporter
    metrics: StepMetrics
    checkpoints: CheckpointFolder
    progress: Progress
    _saved_step: int = field(default=-1, init=False)

    @property
    @abstractmethod
    def held_out_tokens(self) -> int:
        """That an evaluation without a limit takes."""

    @abstractmethod
    def make_step(self, step: int, learning_rate: float) -> Step:
        """Make optimizer step `step`, counted from 0."""

    @abstractmethod
    def measure(self, most_tokens: int) -> dict[str, float] | None:
        """The figures of an evaluation, "eval_loss" among them; None if a stop was asked for meanwhile."""

    @abstractmethod
    def samples(self) -> Iterator[tuple[str, str]]:
        """(prompt, answer), always with the same draws."""

    @abstractmethod
    def write_checkpoint(self) -> Path:
        """Write and publish the checkpoint of the step that was made."""

    def requests(self) -> Requests:
        """What is asked now; of several processes all get the same answer."""
        return Requests(self.reporter.should_stop(), self.reporter.checkpoint_requested(), self.metrics.due())

    def stop_asked(self) -> bool:
        return self.reporter.should_stop()

    def evaluating(self) -> AbstractContextManager[Any]:
        """Around every evaluation with its samples."""
        return nullcontext()

    def run(self) -> bool:
        """Train to the last step; False if it was asked to stop, after writing a checkpoint."""
        progress, total = self.progress, self.total_steps
        self._saved_step = progress.step
        if self.further and progress.step == 0 and not self._evaluate(first=True):
            return self._stop()
        # A stop is heard in the middle of an evaluation too: that is made up for.
        missed = 0 < progress.step < total and self._measures(progress.step) and progress.eval_step != progress.step
        if missed and not self._evaluate():
            return self._stop()
        stop = self.stop_asked()
        while progress.step < total:
            if stop:
                return self._stop()
            self._step()
            step = progress.step
            stop, checkpoint_now, due = self.requests()
            if due:
                self.metrics.flush()
            if step == total:
                break
            if self._measures(step) and not self._evaluate():
                return self._stop()
            if checkpoint_now or step % self.save_steps == 0:
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
        }

    def _measures(self, step: int) -> bool:
        """Whether the evaluation of this step is due."""
        return step % self.eval_steps == 0 or step % self.save_steps == 0

    def _step(self) -> None:
        progress = self.progress
        rate = self.learning_rate(progress.step)
        made = self.make_step(progress.step, rate)
        progress.step += 1
        progress.tokens += made.tokens
        self.metrics.keep(
            progress.step, made.loss, made.grad_norm, rate, tokens=progress.tokens, more=dict(made.figures)
        )

    def _evaluate(self, *, first: bool = False) -> bool:
        """Evaluate and sample; False if a stop was asked for meanwhile."""
        progress, last = self.progress, self.progress.step == self.total_steps
        with self.metrics.paused(), self.evaluating():
            most = self.final_eval_tokens if last and not self.further else self.eval_tokens
            found = self.measure(most)
            if found is None:
                return False
            loss = found["eval_loss"]
            if not math.isfinite(loss):
                raise diverged("validation loss", progress.step, self.learning_rate(max(0, progress.step - 1)))
            if not first and (progress.best_eval_loss is None or loss < progress.best_eval_loss):
                progress.best_eval_loss, progress.best_step = loss, progress.step
            if self.further and (first or last) and self.held_out_tokens > most:
                found = self.measure(self.final_eval_tokens)
                if found is None:
                    return False
            if first:
                progress.more["before"] = found
            progress.figures, progress.eval_step, progress.eval_loss = found, progress.step, found["eval_loss"]
            self.reporter.emit(Metrics(step=progress.step, tokens=progress.tokens, more=found))
            for prompt, text in self.samples():
                self.reporter.emit(Sample(step=progress.step, prompt=prompt, text=text))
        return True

    def _save(self) -> None:
        progress = self.progress
        if progress.step == self._saved_step:
            return
        with self.metrics.paused():  # its flush finds a loss that is not finite before that is saved
            progress.seconds = self.metrics.seconds
            path = self.write_checkpoint()
            self._saved_step = progress.step
            measured = progress.eval_loss if progress.eval_step == progress.step else None
            best = progress.best_step == progress.step
            relative = f"{path.parent.name}/{path.name}"
            self.reporter.emit(CheckpointSaved(step=progress.step, path=relative, eval_loss=measured, best=best))

    def _stop(self) -> bool:
        self._save()
        return False


@dataclass(kw_only=True)
class MethodLoop(TrainingLoop):
    """A loop in which a method says what a step is."""

    method: TrainingMethod

    @property
    def held_out_tokens(self) -> int:
        return self.method.held_out_tokens

    def make_step(self, step: int, learning_rate: float) -> Step:
        return self.method.optimize(step, learning_rate)

    def measure(self, most_tokens: int) -> dict[str, float] | None:
        return self.method.evaluate(most_tokens, self.stop_asked)

    def samples(self) -> Iterator[tuple[str, str]]:
        return self.method.samples()


def finish(loop: TrainingLoop, job: Job, write: Callable[[Path], None], *, leads: bool = True) -> None:
    """Run the loop, then have `write` put the artifact's files into the emptied `job.output`, and say so.

    Of several processes one `leads`: the others only run.
    """
    try:
        finished = loop.run()
    except (RuntimeError, MemoryError) as error:
        failure = explain(error)
        if failure.reason.startswith("Out of memory"):
            raise WorkbenchError(f"At step {loop.progress.step + 1}: {failure.reason}", failure.remedy) from error
        raise
    if not leads:
        return
    if not finished:
        loop.reporter.emit(Stopped(step=loop.progress.step))
        return
    for left_over in job.output.iterdir():
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
    write(job.output)
    loop.reporter.emit(Finished(report=loop.report()))


def most_evaluated(trained_on: int) -> int:
    """Tokens that an evaluation may take, so that it is a small part of the time of training on so many."""
    return max(SMALLEST_EVALUATION, min(LARGEST_EVALUATION, int(trained_on * EVALUATION_SHARE)))
