"""What the recipes of all trainings share: batch, optimizer, checkpoints, launcher."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from workbench.errors import WorkbenchError
from workbench.recipes.base import NOT_IDENTITY, Section

MAX_BATCH_SIZE = 1 << 20  # sequences; a typing error must not become a search through a billion divisors


class BatchSection(Section):
    """How many sequences go through at once. Global batch = per device · accumulation · processes."""

    batch_size: int | None = Field(
        None, ge=1, le=MAX_BATCH_SIZE,
        description="Sequences an optimizer step, over all processes. Derived from size.",
        json_schema_extra={"unit": "sequences"},
    )  # fmt: skip
    per_device_batch_size: int | None = Field(
        None, ge=1, le=MAX_BATCH_SIZE,
        description="Sequences that a device holds at once. Derived; lower it when memory runs out.",
        json_schema_extra={"unit": "sequences", **NOT_IDENTITY},
    )  # fmt: skip
    gradient_accumulation_steps: int | None = Field(
        None,
        ge=1,
        le=MAX_BATCH_SIZE,
        description="Micro-batches an optimizer step. Derived from the two batch sizes.",
        json_schema_extra=NOT_IDENTITY,
    )


class OptimizerSection(Section):
    """AdamW (Loshchilov & Hutter 2019)."""

    learning_rate: float | None = Field(None, gt=0, description="Peak learning rate. Derived from size.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled decay of matrices; norms and biases have none.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the gradient's running mean.")
    beta2: float = Field(0.95, ge=0, lt=1, description="Decay of the squared gradient's running mean.")
    max_grad_norm: float = Field(1.0, ge=0, description="Clip the gradient's norm to this; 0 does not clip.")


class CheckpointSection(Section):
    """What is kept of a run."""

    save_steps: int | None = Field(
        None, ge=1, description="Write a checkpoint every this many steps. Derived: five times a run.",
        json_schema_extra={"unit": "steps", **NOT_IDENTITY},
    )  # fmt: skip
    keep_last: int = Field(
        2, ge=1, description="How many of the newest checkpoints to keep.", json_schema_extra=NOT_IDENTITY
    )
    keep_best: bool = Field(
        True, description="Keep the checkpoint of the lowest validation loss too.", json_schema_extra=NOT_IDENTITY
    )


class LaunchSection(Section):
    """On how many processes it runs."""

    kind: Literal["local", "torchrun"] = Field(
        "local",
        description="local: one process. torchrun: data-parallel processes (DDP).",
        json_schema_extra={"flag": "--launch", **NOT_IDENTITY},
    )
    processes: int = Field(
        1, ge=1, le=4096, description="Processes of torchrun, one a GPU.", json_schema_extra=NOT_IDENTITY
    )

    def check(self) -> None:
        """Raises `WorkbenchError` for several processes without a launcher."""
        if self.kind == "local" and self.processes > 1:
            raise WorkbenchError(
                f"launch.processes is {self.processes}, but launch.kind is local.",
                "Set launch.kind to torchrun, or launch.processes to 1.",
            )


def derive(section: Section, **values: Any) -> None:
    """Set those fields of `section` that are None."""
    for name, value in values.items():
        if getattr(section, name) is None:
            setattr(section, name, value)


def resolve_batch(batch: BatchSection, default: int, *, processes: int, most: int) -> BatchSection:
    """All three numbers, from whichever are set; the product rule holds in the end.

    `default` is the batch of a step if nothing says one; a derived per_device_batch_size is at most `most`.
    Raises `WorkbenchError` if the numbers cannot be multiplied to each other.
    """
    total, device, accumulation = batch.batch_size, batch.per_device_batch_size, batch.gradient_accumulation_steps
    if total is None and device is not None:
        total = device * (accumulation or 1) * processes
    elif total is None:
        total = default
        if accumulation is not None and total % (accumulation * processes):
            total = -(-total // (accumulation * processes)) * accumulation * processes
    assert total is not None
    if total % processes:
        raise WorkbenchError(
            f"batch_size {total} cannot be shared evenly by {processes} processes.",
            f"Set it to {-(-total // processes) * processes}.",
        )
    share = total // processes
    if device is None and accumulation is not None and share % accumulation == 0:
        device = share // accumulation
    if device is None:
        device = max(n for n in range(1, min(share, max(1, most)) + 1) if share % n == 0)
    if accumulation is None and share % device:
        raise WorkbenchError(
            f"batch_size {total} is not a multiple of per_device_batch_size {device}"
            f"{f' on {processes} processes' if processes > 1 else ''}.",
            f"Set batch_size to {-(-share // device) * device * processes}, or leave one of the two out.",
        )
    accumulation = accumulation or share // device
    if device * accumulation * processes != total:
        raise WorkbenchError(
            f"batch_size {total} is not per_device_batch_size {device} · gradient_accumulation_steps {accumulation} · "
            f"{processes} process{'es' if processes > 1 else ''}.",
            "Leave one of the three out, and it follows from the others.",
        )
    if total > MAX_BATCH_SIZE:
        raise WorkbenchError(
            f"batch_size would be {total:,} sequences, but can be {MAX_BATCH_SIZE:,} at most.",
            "Lower per_device_batch_size or gradient_accumulation_steps.",
        )
    return BatchSection(batch_size=total, per_device_batch_size=device, gradient_accumulation_steps=accumulation)
