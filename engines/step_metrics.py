"""Numbers of every training step, reported in bunches: an engine need not wait for its device at every step."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from workbench.contract import Metrics, Reporter
from workbench.errors import WorkbenchError

FLUSH_SECONDS = 0.5
RATE_SECONDS = 10.0  # tokens per second are over this much recent training


@dataclass(frozen=True, slots=True)
class KeptStep:
    """A step that is not reported yet."""

    step: int
    time: float
    learning_rate: float
    loss: Any  # an array on the device
    grad_norm: Any
    tokens: int
    more: Mapping[str, float]


def diverged(what: str, step: int, learning_rate: float) -> WorkbenchError:
    return WorkbenchError(
        f"The {what} is no longer finite at step {step} (learning rate {learning_rate:.2e}).",
        "Lower --learning-rate, or raise --warmup-ratio; checkpoints before that step are sound.",
    )


class StepMetrics(ABC):
    """Keeps each step's arrays on the device and reports them in bunches."""

    def __init__(self, reporter: Reporter, *, tokens: int, earlier_seconds: float):
        """`tokens` were trained on before."""
        self._reporter = reporter
        self._counted = tokens
        self._kept: list[KeptStep] = []
        self._recent: deque[tuple[int, float]] = deque()  # (tokens, seconds) of bunches
        self._mark = time.perf_counter()
        self.seconds = earlier_seconds  # of training over all attempts, without pauses

    @abstractmethod
    def read(self, kept: Sequence[KeptStep]) -> list[tuple[float, float]]:
        """(loss of the whole step, norm of its gradient) of each; waits until the device has done them."""

    @abstractmethod
    def peak_memory_bytes(self) -> int:
        """The most that was held so far."""

    def keep(
        self,
        step: int,
        loss: Any,
        grad_norm: Any,
        learning_rate: float,
        *,
        tokens: int,
        more: Mapping[str, float] | None = None,
    ) -> None:
        """`loss` and `grad_norm` as `read` takes them; `tokens` were trained on up to this step."""
        self._kept.append(KeptStep(step, time.time(), learning_rate, loss, grad_norm, tokens, more or {}))

    def due(self) -> bool:
        return time.perf_counter() - self._mark >= FLUSH_SECONDS

    def flush(self) -> None:
        """Report the kept steps; every process calls it at the same step.

        Raises `WorkbenchError` if a loss or gradient is not finite.
        """
        if not self._kept:
            return
        figures = self.read(self._kept)
        now = time.perf_counter()
        self._count(self._kept[-1].tokens, now - self._mark)
        self._mark = now
        rate = self.tokens_per_second()
        peak = self.peak_memory_bytes()
        for item, (loss, norm) in zip(self._kept, figures, strict=True):
            self._reporter.emit(
                Metrics(
                    time=item.time,
                    step=item.step,
                    tokens=item.tokens,
                    loss=loss,
                    grad_norm=norm,
                    learning_rate=item.learning_rate,
                    tokens_per_second=rate,
                    peak_memory_bytes=peak,
                    more=item.more,
                )
            )
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise diverged("gradient" if math.isfinite(loss) else "loss", item.step, item.learning_rate)
        self._kept.clear()

    def tokens_per_second(self) -> float | None:
        """Over the recent past; None before anything was measured."""
        tokens, seconds = (sum(part) for part in zip(*self._recent, strict=True)) if self._recent else (0, 0.0)
        return tokens / seconds if seconds else None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is no training: it does not count in the rates."""
        self.flush()
        try:
            yield
        finally:
            self._mark = time.perf_counter()

    def _count(self, tokens: int, seconds: float) -> None:
        self.seconds += seconds
        self._recent.append((tokens - self._counted, seconds))
        self._counted = tokens
        while len(self._recent) > 1 and sum(item[1] for item in self._recent) > RATE_SECONDS:
            self._recent.popleft()
