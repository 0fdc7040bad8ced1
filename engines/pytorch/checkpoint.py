"""Checkpoints of a training in PyTorch: what `engines.checkpoints` keeps, written by several processes together.

Beside the folder's own files there are `resume/optimizer.safetensors` and the random numbers of each process in
`resume/rank-00000.json`.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engines.checkpoints import CheckpointFolder, Progress
from engines.pytorch.distributed import Processes
from engines.pytorch.optimizer import load_state_tensors, state_tensors
from workbench import durable


class Checkpoints(CheckpointFolder):
    """The checkpoints of one run, in `folder`."""

    def save(
        self,
        write: Callable[[Path], None],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        processes: Processes,
    ) -> Path:
        """Write the checkpoint of `progress.step`, then delete those that need not be kept; called on every rank.

        `write` puts weights and tokenizer into a folder; `model` has the names of the optimizer's parameters.
        Raises `WorkbenchError` if the disk has no room; earlier checkpoints stay as they were.
        """
        needed = _needed_bytes(model)
        partial = self.partial(progress.step)
        with self.swept(progress.step, needed):
            if processes.first:
                self.begin(progress.step, needed)
            processes.wait()
            durable.write_json(partial / "resume" / f"rank-{processes.rank:05d}.json", random_state())
            processes.wait()
            if processes.first:
                write(partial)
                save_file(state_tensors(model, optimizer), partial / "resume" / "optimizer.safetensors")
                self.publish(progress)
        processes.wait()
        return self.path(progress.step)


def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, rank: int) -> None:
    """Optimizer state and random numbers as they were; the weights are restored by what wrote them."""
    load_state_tensors(model, optimizer, load_file(folder / "resume" / "optimizer.safetensors"))
    path = folder / "resume" / f"rank-{rank:05d}.json"
    if path.is_file():  # more processes than before: the new ones begin with fresh numbers
        restore_random_state(json.loads(path.read_text(encoding="utf-8")))


def random_state() -> dict[str, Any]:
    """The states of all random number generators, as JSON."""
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "torch": _text(torch.get_rng_state()),
        "cuda": _text(torch.cuda.get_rng_state()) if torch.cuda.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """The inverse of `random_state`."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(_tensor(state["torch"]))
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(_tensor(state["cuda"]))


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _needed_bytes(model: nn.Module) -> int:
    """The trained weights and the optimizer's two moments, and room for the small files."""
    weights = sum(item.numel() * item.element_size() for item in model.parameters() if item.requires_grad)
    return weights * 3 + (1 << 20)
