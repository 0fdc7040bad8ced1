"""The loop of post-training on PyTorch: what a method makes of each step, on one process or several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engines.held_out import HELD_OUT, cut_text
from engines.pytorch import device as devices
from engines.pytorch.checkpoint import Checkpoints, restore
from engines.pytorch.distributed import Processes
from engines.pytorch.footprint import weight_count
from engines.pytorch.method import Method
from engines.pytorch.requests import SharedLoop
from engines.training_loop import MethodLoop


@dataclass(kw_only=True)
class Tuning(SharedLoop, MethodLoop):
    """All that a post-training works with."""

    method: Method
    checkpoints: Checkpoints
    held_out: str  # text for the export's check

    def samples(self) -> Iterator[tuple[str, str]]:
        yield from super().samples() if self.processes.first else ()

    def write_checkpoint(self) -> Path:
        method = self.method
        self.progress.more["method"] = method.state()
        return self.checkpoints.save(
            method.write_checkpoint, method.trained_module, method.optimizer, self.progress, self.processes
        )

    def write(self, folder: Path) -> None:
        """The artifact's files."""
        self.method.write(folder)
        if not (folder / HELD_OUT).is_file() and self.held_out:
            (folder / HELD_OUT).write_text(cut_text(self.held_out), encoding="utf-8")

    def report(self) -> dict[str, Any]:
        policy = self.method.policy
        return {
            "parameters": weight_count(policy.model),
            "trained_parameters": sum(parameter.numel() for parameter in policy.trained()),
            "adapter": policy.adapted,
            **super().report(),
            "dtype": str(policy.dtype).removeprefix("torch."),
            **self.method.report(),
        }

    def resume(self, folder: Path) -> None:
        """Everything as the checkpoint in `folder` has it."""
        self.method.restore(folder)
        restore(folder, self.method.trained_module, self.method.optimizer, self.processes.rank)
        self.method.set_state(self.progress.more.get("method", {}))


def use_device(processes: Processes) -> torch.device:
    """This rank's device, with this machine's cores shared."""
    device = devices.choose(processes.local_rank)
    if device.type == "cpu":
        devices.use_threads(processes.local_size)
    else:
        torch.set_float32_matmul_precision("high")  # TF32
    return device
