"""What is asked of a training from outside, heard by one process and told to all."""

from __future__ import annotations

from dataclasses import dataclass

from engines.pytorch.distributed import Processes
from engines.training_loop import Requests, TrainingLoop


@dataclass(kw_only=True)
class SharedLoop(TrainingLoop):
    """The same loop on every rank."""

    processes: Processes

    def requests(self) -> Requests:
        """The same on every rank, which all have to ask."""
        asked = [int(answer) for answer in super().requests()]
        return Requests(*map(bool, self.processes.agree(asked)))

    def stop_asked(self) -> bool:
        """Only whether to stop; every rank has to ask."""
        return bool(self.processes.agree([int(super().stop_asked())])[0])
