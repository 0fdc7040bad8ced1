"""A method of post-training on both engines, from the same weights and on the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlx.utils import tree_flatten

from engines.mlx.folders import LORA_PREFIX
from engines.mlx.lora import trained
from engines.mlx.policy import Policy, open_policy
from engines.mlx.post_training import Workplace
from engines.pytorch.distributed import Processes
from engines.pytorch.post_training import Workplace as TorchWorkplace
from engines.schedule import tuning_learning_rate
from tests.pytorch.conftest import Listener
from workbench.contract import Job


@dataclass
class Both:
    """A method of each engine."""

    recipe: Any
    torch: Any
    mlx: Any

    def check_gradients(self) -> None:
        """The loss and every gradient of the first batch agree."""
        [inputs], tokens = self.torch.micro_batches(0)
        self.torch.policy.model.train()
        expected = self.torch.backward(inputs)
        self.torch.figures()  # else the evaluation counts this batch, too
        [micro], own_tokens = self.mlx.micro_batches(0)
        loss, gradients = self.mlx.trainer.gradients(*micro)
        assert own_tokens == tokens
        assert abs(float(loss) - expected.item()) <= 1e-5 * abs(expected.item())
        found = self._by_torch_names(dict(tree_flatten(gradients)))
        reference = {name: parameter.grad.numpy() for name, parameter in self._torch_weights()}
        assert found.keys() == reference.keys()
        for name, gradient in reference.items():
            assert np.abs(found[name] - gradient).max() <= 1e-4 * np.abs(gradient).max(), name

    def check_steps(self, steps: int, peak: float) -> None:
        """So many steps of AdamW give the same losses, norms and weights."""
        for step in range(steps):
            rate = tuning_learning_rate(step, total=steps, peak=peak, schedule=self.recipe.schedule)
            theirs = self.torch.optimize(step, rate)
            loss, norm, _ = self.mlx.trainer.step(step, self.mlx.micro_batches(step)[0], rate)
            assert abs(float(loss) - theirs.loss.item()) < 1e-3
            assert abs(float(norm) - theirs.grad_norm.item()) < 1e-3 * theirs.grad_norm.item()
        found = self._by_torch_names(trained(self.mlx.policy.model))
        for name, parameter in self._torch_weights():
            assert np.abs(found[name] - parameter.detach().numpy()).max() < 2e-3 * parameter.abs().max(), name

    def check_evaluation(self) -> None:
        """All that is held out measures the same."""
        theirs = self.torch.evaluate(None, lambda: False)
        with self.mlx.trainer.evaluating():
            found = self.mlx.evaluate(None, lambda: False)
        assert found.keys() == theirs.keys()
        for name, value in theirs.items():
            assert abs(found[name] - value) <= 1e-4 * abs(value) + 1e-6, name

    def _torch_weights(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for name, parameter in self.torch.policy.model.named_parameters():
            if parameter.requires_grad:
                yield name.replace(".default", ""), parameter

    def _by_torch_names(self, flat: dict[str, Any]) -> dict[str, np.ndarray]:
        """Of trained weights of MLX, or their gradients."""
        if not self.mlx.policy.adapted:
            return {name: np.array(item) for name, item in flat.items()}
        found = {}
        for name, item in flat.items():
            place, _, kind = name.rpartition(".")
            part = {"lora_a": "lora_A", "lora_b": "lora_B", "m": "lora_magnitude_vector"}[kind]
            found[f"{LORA_PREFIX}{place}.{part}.weight"] = np.array(item).T
        return found


def open_both(job: Job, recipe: Any, folder: Path) -> tuple[TorchWorkplace, Any, Workplace, Policy]:
    """(place, policy) of PyTorch and of MLX; what is trained is moved away from the base, alike in both."""
    theirs = TorchWorkplace(job, recipe, Listener(), Processes())
    policy = theirs.policy()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trained():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    folder.mkdir()
    policy.save(folder)
    place = Workplace(job, recipe, Listener())
    own = open_policy(job.inputs["base"], recipe.adapter, seed=0, dtype=place.dtype)
    own.restore(folder)
    return theirs, policy, place, own
