"""What is asked of a training from outside, heard by one process and told to all."""

from __future__ import annotations

from engines.pytorch.distributed import Processes
from engines.step_metrics import StepMetrics
from engines.training_loop import Requests
from workbench.contract import Reporter


def requests(reporter: Reporter, metrics: StepMetrics, processes: Processes) -> Requests:
    """The same on every rank, which all have to ask."""
    answers = [reporter.should_stop(), reporter.checkpoint_requested(), metrics.due()]
    return Requests(*(bool(answer) for answer in processes.agree([int(answer) for answer in answers])))


def stop_asked(reporter: Reporter, processes: Processes) -> bool:
    """Only whether to stop; every rank has to ask."""
    return bool(processes.agree([int(reporter.should_stop())])[0])
