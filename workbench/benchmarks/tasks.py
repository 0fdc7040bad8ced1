"""From names of tasks to tasks of the harness, with local data where there are any.

Heavy libraries are imported inside the functions: they run in the engine's process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.benchmarks.panels import TaskChoice


@dataclass(frozen=True, kw_only=True)
class LoadedTask:
    """One task, ready to build its requests: `task.build_all_requests(limit=limit, ...)`."""

    name: str
    task: Any  # lm-eval's ConfigurableTask; few-shot seed and number of shots are set
    kind: str  # its output type: "multiple_choice", "generate_until", "loglikelihood", "loglikelihood_rolling"
    code: bool  # whether answers are programs to run; `task.process_results` then refuses: score them in the sandbox
    group: str  # "mmlu" of "mmlu_anatomy"; empty where it is part of none
    shots: int
    limit: int | None
    chat_template: bool
    metric: str  # the one that stands for the task
    version: str  # of the task, the harness's own
    data: str  # SHA-256 of local data; empty where the data came from the hub


def load_tasks(
    chosen: Sequence[TaskChoice],
    project_root: Path,
    *,
    shots: int | None = None,
    limit: int | None = None,
    chat_template: bool | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> dict[str, LoadedTask]:
    """The tasks by name, in order. What the keywords set wins over the choices' own settings.

    Local data (`workbench benchmark-data add`) come before the hub. Of a group with local data only the tasks that
    have some are taken, which `warn` hears of.

    Raises `WorkbenchError` for an unknown name, for data that are neither here nor to be had, and where worked
    examples are wanted and none are here.
    """
    raise NotImplementedError  # being written


def item_hash(task: Any, doc: Any) -> str:
    """What pairs an item over models: SHA-256, 16 hexadecimal digits, of the question, its choices and its answer.

    The same for every model, limit, number of shots and chat template, and whether the data are local or the hub's.
    """
    raise NotImplementedError  # being written
