"""What a training method gives to the loop of `tuning`: steps, evaluations, samples, files.

`GradientMethod` is the usual one: micro-batches, a loss, one update of the weights a step. A method that makes
several updates of one batch (PPO) satisfies `Method` by itself.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from engines.pytorch.distributed import Processes
from engines.pytorch.generation import generate_ids
from engines.pytorch.policy import Policy
from engines.tokenizer import TextTokenizer
from engines.training_loop import Step, TrainingMethod
from workbench.contract import Sampling
from workbench.recipes.tuning import TuningRecipe

Inputs = dict[str, Any]


class Method(TrainingMethod, Protocol):
    """What is trained, and how."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    trained_module: nn.Module  # names the optimizer's parameters in checkpoints

    def replicate(self) -> None:
        """Train one replica a process from here on."""


class PolicyMethod:
    """On a model that was trained before."""

    policy: Policy
    recipe: TuningRecipe
    chats = True  # its samples are answers; else they go on from the prompt

    def samples(self) -> Iterator[tuple[str, str]]:
        section = self.recipe.evaluation
        for prompt in section.sample_prompts if section.sample_tokens else []:
            yield prompt, write_sample(self.policy, prompt, section.sample_tokens, chat=self.chats)

    def write(self, folder: Path) -> None:
        self.policy.save(folder)


class GradientMethod(PolicyMethod, ABC):
    """One update of the weights a step, over the micro-batches of this rank."""

    step_tokens: int
    held_out_tokens: int

    def __init__(self, policy: Policy, optimizer: torch.optim.Optimizer, recipe: TuningRecipe, processes: Processes):
        self.policy, self.optimizer, self.recipe, self.processes = policy, optimizer, recipe, processes
        self.trained_module: nn.Module = policy.model
        self.network: nn.Module = policy.model  # or what wraps it for several processes

    @abstractmethod
    def micro_batches(self, step: int) -> tuple[Sequence[Inputs], int]:
        """(this rank's inputs of each forward pass on the device, tokens over all ranks)."""

    @abstractmethod
    def evaluate(self, most_tokens: int | None, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """As `Method.evaluate`."""

    @abstractmethod
    def loss(self, inputs: Inputs) -> torch.Tensor:
        """A part of this rank's loss: the mean over the ranks of the sums is the loss of the step."""

    def figures(self) -> dict[str, float]:
        """Of the step just made; the same on every rank."""
        return {}

    def measured_seconds(self) -> float:
        """Of a step, from forward and backward of one micro-batch of the first and an empty update."""
        device = self.policy.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            micro, _ = self.micro_batches(0)
            self.policy.model.train()
            seconds = _timed(lambda: self.backward(micro[0]).item()) * len(micro)
            self.figures()
        seconds += _timed(self.optimizer.step)  # at a rate of 0
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        return seconds

    def replicate(self) -> None:
        """Train one replica a process, with gradients averaged."""
        if self.processes.size > 1:
            index = self.policy.device.index
            here = [index] if self.policy.device.type == "cuda" else None
            self.network = DistributedDataParallel(self.policy.model, device_ids=here, gradient_as_bucket_view=True)

    def optimize(self, step: int, learning_rate: float) -> Step:
        micro, tokens = self.micro_batches(step)
        self.policy.model.train()
        loss = torch.zeros((), device=self.policy.device)
        for number, inputs in enumerate(micro):
            waits = number + 1 < len(micro) and isinstance(self.network, DistributedDataParallel)
            with self.network.no_sync() if waits else nullcontext():  # type: ignore[operator]
                loss += self.backward(inputs)
        most = self.recipe.optimizer.max_grad_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.policy.trained(), most)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Step(loss=loss / self.processes.size, grad_norm=norm, tokens=tokens, figures=self.figures())

    def backward(self, inputs: Inputs) -> torch.Tensor:
        """Forward and backward of one micro-batch; its part of the loss."""
        with self.policy.autocast():
            part = self.loss(inputs)
        part.backward()
        return part.detach()

    def write_checkpoint(self, folder: Path) -> None:
        self.write(folder)

    def restore(self, folder: Path) -> None:
        self.policy.restore(folder)

    def state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        assert not state

    def report(self) -> dict[str, Any]:
        return {}


def write_sample(policy: Policy, prompt: str, max_tokens: int, *, chat: bool) -> str:
    """The model's answer to `prompt` (or, without `chat`, its continuation); the same draws each time."""
    tokenizer, texts = policy.tokenizer, TextTokenizer(policy.base)
    if chat:
        ids = tokenizer.prompt([{"role": "user", "content": prompt}]).tolist()
    else:
        begin = [tokenizer.bos_id] if tokenizer.bos_id is not None else []
        ids = begin + texts.encode(prompt, special=False)
    ids = ids[-(policy.context_length - 1) :]
    sampling = Sampling(max_tokens=min(max_tokens, policy.context_length - len(ids)), seed=0)
    written = []
    with policy.evaluating():
        for token in generate_ids(policy.plain, ids, sampling):
            if token in tokenizer.end_ids:
                break
            written.append(token)
    return texts.decode(written)


def _timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin
