"""Checkpoints: whole Hugging Face folders that can also be resumed from, written so that no kill harms one.

    checkpoints/step-00000200/
        config.json  model.safetensors  generation_config.json  tokenizer files   (or an adapter's)
        resume/optimizer.safetensors  resume/state.json  resume/rank-00000.json
        complete.json       every file with its size and hash; written last

A folder is written as `step-….partial`, flushed, and renamed. Resuming takes the newest one whose files
are as `complete.json` says.
"""

from __future__ import annotations

import base64
import errno
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from engines.pytorch.distributed import Processes
from engines.pytorch.optimizer import load_state_tensors, state_tensors
from workbench import durable
from workbench.errors import WorkbenchError

MANIFEST = "complete.json"
PARTIAL = ".partial"


@dataclass(kw_only=True)
class Progress:
    """Where a training stands, besides weights, optimizer and random numbers.

    The place in the data and the learning rate follow from `step`.
    """

    identity: dict[str, Any]  # of the recipe: another recipe must not continue from here
    step: int = 0  # optimizer steps made
    tokens: int = 0  # trained on
    seconds: float = 0.0  # of training, over all attempts
    compiled: bool = False
    eval_loss: float | None = None  # the newest
    eval_bits_per_byte: float | None = None
    eval_step: int = 0
    best_eval_loss: float | None = None
    best_step: int = 0
    figures: dict[str, float] = field(default_factory=dict)  # the newest evaluation's, by name
    more: dict[str, Any] = field(default_factory=dict)  # what a method keeps beside its weights


class Checkpoints:
    """The checkpoints of one run, in `folder`."""

    def __init__(self, folder: Path, *, keep_last: int, keep_best: bool):
        self.folder = folder
        self._keep_last, self._keep_best = keep_last, keep_best

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

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
        final = self.path(progress.step)
        partial = final.with_name(final.name + PARTIAL)
        needed = _needed_bytes(model)
        try:
            if processes.first:
                self.folder.mkdir(exist_ok=True)
                _check_room(self.folder, needed)
                if final.exists():  # it was found broken, and the one before it resumed from
                    _remove(final)
                durable.fresh_directory(partial)
                (partial / "resume").mkdir()
            processes.wait()
            durable.write_json(partial / "resume" / f"rank-{processes.rank:05d}.json", random_state())
            processes.wait()
            if processes.first:
                write(partial)
                save_file(state_tensors(model, optimizer), partial / "resume" / "optimizer.safetensors")
                durable.write_json(partial / "resume" / "state.json", asdict(progress))
                durable.fsync_tree(partial)
                durable.write_json(partial / MANIFEST, {"step": progress.step, "files": _files(partial)})
                durable.publish_directory(partial, final)
                self._forget(progress)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not _disk_full(error):
                raise
            raise _no_room(self.folder, needed) from error
        processes.wait()
        return final

    def newest_valid(self, warn: Callable[[str], None]) -> Path | None:
        """The newest checkpoint that is whole; each newer one that is not is named to `warn`."""
        for path in sorted(self.folder.glob("step-*"), reverse=True):
            if path.name.endswith(PARTIAL):
                shutil.rmtree(path, ignore_errors=True)
                continue
            fault = _fault(path)
            if fault is None:
                return path
            warn(f"The checkpoint {path.name} cannot be used ({fault}); the one before it is taken.")
        return None

    def _forget(self, progress: Progress) -> None:
        steps = sorted((path for path in self.folder.glob("step-*") if not path.name.endswith(PARTIAL)), reverse=True)
        best = self.path(progress.best_step) if self._keep_best else None
        for path in steps[self._keep_last :]:
            if path != best:
                _remove(path)


def read_progress(folder: Path) -> Progress:
    """What the checkpoint in `folder` says of itself."""
    plain = json.loads((folder / "resume" / "state.json").read_text(encoding="utf-8"))
    known = {item.name for item in fields(Progress)}
    return Progress(**{key: value for key, value in plain.items() if key in known})


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


def _check_room(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise _no_room(folder, needed)


def _no_room(folder: Path, needed: int) -> WorkbenchError:
    free = shutil.disk_usage(folder).free / 2**20
    earlier = any(folder.glob(f"step-*/{MANIFEST}"))
    resume = "earlier checkpoints are whole" if earlier else "it has no checkpoint yet and begins anew"
    return WorkbenchError(
        f"The disk is full: a checkpoint needs {needed / 2**20:,.0f} MiB, and {folder} has {free:,.0f} MiB free.",
        f"Free some space, then resume the run: {resume}.",
    )


def _disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "os error 28" in str(error) or "No space left" in str(error)  # safetensors keeps no number


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "xxh3_128": _hash(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _hash(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, entry in manifest["files"].items():
            path = folder / name
            size = path.stat().st_size
            if size != entry["bytes"]:
                return f"{name} has {size:,} of {entry['bytes']:,} bytes"
            if _hash(path) != entry["xxh3_128"]:
                return f"{name} is not as it was written"
        for name in (name for name in manifest["files"] if name.endswith(".safetensors")):
            with safe_open(folder / name, "pt"):
                pass
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        return str(error)
    return None


def _remove(path: Path) -> None:
    """Delete a checkpoint; what a kill leaves of it is swept away later, for its name says what it is."""
    doomed = path.with_name(path.name + PARTIAL)
    path.rename(doomed)
    shutil.rmtree(doomed)
