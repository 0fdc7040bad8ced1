"""The processes of one run. One process alone is the case of size 1; nothing else asks which it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True, slots=True)
class Processes:
    """Where this process stands among all of the run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those on this machine
    local_size: int = 1
    # Decisions and counts go over the CPU in a group of their own, so that a step never waits for the GPU.
    control: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which reports and writes."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """This rank's part of `rows` rows; parts differ by one row at most."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def agree(self, numbers: list[int]) -> list[int]:
        """Rank 0's numbers, on every rank."""
        if self.size == 1:
            return numbers
        tensor = torch.tensor(numbers, dtype=torch.int64)
        dist.broadcast(tensor, src=0, group=self.control)
        return tensor.tolist()

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks of a tensor on the CPU."""
        if self.size > 1:
            dist.all_reduce(values, group=self.control)
        return values

    def wait(self) -> None:
        """Return once every rank has come here."""
        if self.size > 1:
            dist.barrier(group=self.control)


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, connected; or this one alone."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Processes()
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        dist.init_process_group("nccl", device_id=torch.device("cuda", local_rank))
    else:
        dist.init_process_group("gloo")
    try:
        yield Processes(rank, size, local_rank, local_size, dist.new_group(backend="gloo"))
    finally:
        # Not `barrier` first: after an error the others may be gone already.
        dist.destroy_process_group()
