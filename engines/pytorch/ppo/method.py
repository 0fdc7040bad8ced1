"""PPO as a method of the loop of post-training on PyTorch."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from engines.pytorch.method import PolicyMethod
from engines.pytorch.ppo.answers import waiting
from engines.pytorch.ppo.iteration import Learner
from engines.reinforcement.ppo import Ppo
from engines.reinforcement.prompts import Prompts
from workbench.recipes.reinforcement import PpoRecipe


class PpoMethod(Ppo, PolicyMethod):
    """Satisfies `engines.pytorch.method.Method`."""

    recipe: PpoRecipe

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

    def write_checkpoint(self, folder: Path) -> None:
        """The policy, and the value model beside it."""
        self.models.save(folder)

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        self.models.restore(folder)
