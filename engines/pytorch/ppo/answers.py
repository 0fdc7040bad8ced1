"""Answers of a policy to prompts, shared out over the processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from engines.pytorch.distributed import Processes
from engines.pytorch.policy import Policy
from engines.pytorch.ppo.generation import write_answers
from engines.reinforcement.answers import Drawing, Written, uniform_numbers, written_of
from engines.reinforcement.prompts import Prompt


def write_share(
    policy: Policy, prompts: Sequence[Prompt], drawing: Drawing, processes: Processes, key: tuple[int, ...]
) -> list[Written]:
    """This process's part of the answers to `prompts`. The draws are a function of `key` and the prompt's place."""
    share = processes.share(len(prompts))
    uniform_RT = torch.from_numpy(uniform_numbers(len(prompts), drawing.max_tokens, *key)[share])
    own = [prompt.ids_L for prompt in prompts[share]]
    with policy.evaluating():
        answers = write_answers(policy.model, own, uniform_RT, drawing)
    return written_of(own, answers, drawing)


def total_of(processes: Processes) -> Callable[[np.ndarray], np.ndarray]:
    """The sum of an array over the processes."""
    return lambda values: processes.total(torch.from_numpy(values)).numpy()


def waiting(device: torch.device) -> Callable[[], None]:
    """Waits until `device` has done what it was told."""
    return lambda: torch.cuda.synchronize(device) if device.type == "cuda" else None
