"""PPO as a method of the loop of post-training on PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import nn

from engines.pytorch.method import write_sample
from engines.pytorch.ppo.answers import waiting
from engines.pytorch.ppo.iteration import Learner
from engines.reinforcement.ppo import Ppo
from engines.reinforcement.prompts import Prompts


class PpoMethod(Ppo):
    """Satisfies `engines.pytorch.method.Method`."""

    def __init__(self, learner: Learner, prompts: Prompts):
        super().__init__(learner, prompts)
        self.models = learner.models
        self.policy, self.optimizer = learner.models.policy, learner.optimizer
        self.trained_module: nn.Module = learner.models.trained()
        self._wait = waiting(self.policy.device)

    def wait(self) -> None:
        self._wait()

    def replicate(self) -> None:
        """Nothing: the learner adds gradients up over the processes by itself."""

    def samples(self) -> Iterator[tuple[str, str]]:
        section = self.recipe.evaluation
        for prompt in section.sample_prompts if section.sample_tokens else []:
            yield prompt, write_sample(self.policy, prompt, section.sample_tokens)

    def write(self, folder: Path) -> None:
        self.policy.save(folder)

    def write_checkpoint(self, folder: Path) -> None:
        """The policy, and the value model beside it."""
        self.models.save(folder)

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        self.models.restore(folder)
