"""Checkpoints: whole model folders that can also be resumed from, written so that no kill harms one.

    checkpoints/step-00000200/
        config.json  model.safetensors  generation_config.json  tokenizer files   (or an adapter's)
        resume/state.json  resume/optimizer.safetensors  ...   what an engine needs besides
        complete.json       every file with its size and hash; written last

A folder is written as `step-….partial`, flushed, and renamed. Resuming takes the newest one whose files
are as `complete.json` says.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError, safe_open

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
    eval_step: int = 0
    best_eval_loss: float | None = None
    best_step: int = 0
    figures: dict[str, float] = field(default_factory=dict)  # the newest evaluation's, by name
    more: dict[str, Any] = field(default_factory=dict)  # what a method keeps beside its weights


class CheckpointFolder:
    """The checkpoints of one run, in `folder`."""

    def __init__(self, folder: Path, *, keep_last: int, keep_best: bool):
        self.folder = folder
        self._keep_last, self._keep_best = keep_last, keep_best

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def begin(self, step: int, needed_bytes: int) -> Path:
        """An empty folder for the checkpoint of `step`, with `resume/` in it.

        Raises `WorkbenchError` if the disk has no room; earlier checkpoints stay as they were.
        """
        self.folder.mkdir(exist_ok=True)
        self._require_room(needed_bytes)
        final = self.path(step)
        if final.exists():  # it was found broken, and the one before it resumed from
            _remove(final)
        partial = self.partial(step)
        durable.fresh_directory(partial)
        (partial / "resume").mkdir()
        return partial

    def partial(self, step: int) -> Path:
        """The folder that `begin` makes."""
        final = self.path(step)
        return final.with_name(final.name + PARTIAL)

    def publish(self, progress: Progress) -> Path:
        """Make what lies in the folder of `begin` a checkpoint, then delete those that need not be kept."""
        partial, final = self.partial(progress.step), self.path(progress.step)
        durable.write_json(partial / "resume" / "state.json", asdict(progress))
        durable.fsync_tree(partial)
        durable.write_json(partial / MANIFEST, {"step": progress.step, "files": _files(partial)})
        durable.publish_directory(partial, final)
        self._forget(progress)
        return final

    @contextmanager
    def swept(self, step: int, needed_bytes: int) -> Iterator[None]:
        """Around `begin`, the writing and `publish`: a full disk leaves nothing behind but its sentence."""
        try:
            yield
        except (OSError, SafetensorError, RuntimeError) as error:
            shutil.rmtree(self.partial(step), ignore_errors=True)
            if not _disk_full(error):
                raise
            raise self._no_room(needed_bytes) from error

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

    def _require_room(self, needed: int) -> None:
        if shutil.disk_usage(self.folder).free < needed:
            raise self._no_room(needed)

    def _no_room(self, needed: int) -> WorkbenchError:
        free = shutil.disk_usage(self.folder).free / 2**20
        earlier = any(self.folder.glob(f"step-*/{MANIFEST}"))
        resume = "earlier checkpoints are whole" if earlier else "it has no checkpoint yet and begins anew"
        return WorkbenchError(
            f"The disk is full: a checkpoint needs {needed / 2**20:,.0f} MiB, and {self.folder} has {free:,.0f} MiB "
            "free.",
            f"Free some space, then resume the run: {resume}.",
        )


def progress_of(resumed: Path | None, identity: dict[str, Any]) -> Progress:
    """Where a training stands that goes on from the checkpoint `resumed`, or begins.

    Raises `WorkbenchError` if the checkpoint is another recipe's.
    """
    progress = read_progress(resumed) if resumed else Progress(identity=identity)
    if progress.identity != identity:
        raise WorkbenchError(
            f"The checkpoint {resumed} belongs to another recipe.", "Start a new run instead of resuming this one."
        )
    return progress


def read_progress(folder: Path) -> Progress:
    """What the checkpoint in `folder` says of itself."""
    plain = json.loads((folder / "resume" / "state.json").read_text(encoding="utf-8"))
    known = {item.name for item in fields(Progress)}
    return Progress(**{key: value for key, value in plain.items() if key in known})


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
            with safe_open(folder / name, "np"):
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
