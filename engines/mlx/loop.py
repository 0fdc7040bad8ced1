"""The loop of every training on MLX: what a method makes of each step, and its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from engines.mlx import device
from engines.mlx.folders import read_weights
from engines.mlx.method import Method
from engines.step_metrics import KeptStep, StepMetrics
from engines.training_loop import MethodLoop


class MlxMetrics(StepMetrics):
    """Losses and norms are arrays of MLX."""

    def read(self, kept: Sequence[KeptStep]) -> list[tuple[float, float]]:
        return [(float(item.loss), float(item.grad_norm)) for item in kept]

    def peak_memory_bytes(self) -> int:
        return device.peak_memory_bytes()


@dataclass(kw_only=True)
class Training(MethodLoop):
    """All that a training works with."""

    method: Method
    facts: Mapping[str, Any] = field(default_factory=dict)  # for the report

    def resume(self, folder: Path) -> None:
        """Everything as the checkpoint in `folder` has it."""
        self.method.restore(folder)
        self.method.load_optimizer_state(read_weights(folder / "resume" / "optimizer.safetensors"))
        self.method.set_state(self.progress.more.get("method", {}))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        with self.method.evaluating():
            yield
        mx.clear_cache()  # buffers of other sizes than the training's, which would lie there unused

    def write_checkpoint(self) -> Path:
        progress, state = self.progress, self.method.optimizer_state()
        progress.more["method"] = self.method.state()
        # The trained weights and the optimizer's two moments, and room for the small files.
        needed = sum(item.nbytes for item in state.values()) * 3 // 2 + (1 << 20)
        with self.checkpoints.swept(progress.step, needed):
            folder = self.checkpoints.begin(progress.step, needed)
            self.method.write_checkpoint(folder)
            mx.save_safetensors(str(folder / "resume" / "optimizer.safetensors"), state)
            return self.checkpoints.publish(progress)

    def report(self) -> dict[str, Any]:
        return super().report() | {"compiled": self.progress.compiled} | dict(self.facts) | self.method.report()
