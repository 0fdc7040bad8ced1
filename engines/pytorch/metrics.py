"""Numbers of every step, reported without waiting for the device at every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engines.pytorch import device as devices
from engines.pytorch.distributed import Processes
from engines.step_metrics import KeptStep, StepMetrics
from workbench.contract import Reporter


class TorchMetrics(StepMetrics):
    """Each step's loss is this rank's part of the global batch's mean loss."""

    def __init__(
        self,
        reporter: Reporter,
        processes: Processes,
        device: torch.device,
        *,
        tokens: int,
        earlier_seconds: float,
    ):
        """`tokens` were trained on before."""
        super().__init__(reporter, tokens=tokens, earlier_seconds=earlier_seconds)
        self._processes, self._device = processes, device

    def read(self, kept: Sequence[KeptStep]) -> list[tuple[float, float]]:
        # One transfer from the device for all of them.
        local = torch.stack([torch.stack((item.loss, item.grad_norm.float())) for item in kept]).cpu()
        losses = self._processes.total(local[:, 0].clone()).tolist()
        return list(zip(losses, local[:, 1].tolist(), strict=True))

    def peak_memory_bytes(self) -> int:
        return devices.peak_memory_bytes(self._device)
