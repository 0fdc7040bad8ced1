"""From windows of tokens to what the model reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engines.pytorch.attention import Boundaries, boundaries
from workbench.corpus.packing import document_positions, training_targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """How windows are read: where they go, and whether attention stops at documents."""

    device: torch.device
    bos: int
    pack_documents: bool
    varlen: bool  # flash attention over documents works on this device

    def inputs(self, windows_BL1: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, Boundaries]:
        """Tokens and targets, int64 [batch, length] on the device, and the documents' boundaries."""
        tokens_BL = windows_BL1[:, :-1]
        limits = Boundaries()
        if self.pack_documents:
            limits = boundaries(document_positions(tokens_BL, self.bos), self.device, varlen=self.varlen)
        return self._to_device(tokens_BL), self._to_device(training_targets(windows_BL1, self.bos)), limits

    def trained_targets(self, windows_BL1: np.ndarray) -> int:
        """How many targets count in the loss."""
        return int((windows_BL1[:, 1:] != self.bos).sum())

    def _to_device(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        # Pinned memory lets the copy run beside the computation of the step before.
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor
