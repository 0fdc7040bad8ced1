"""A method of post-training on both engines, from the same weights and on the same rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from engines.mlx import MlxEngine
from engines.mlx.folders import LORA_PREFIX
from engines.mlx.lora import trained
from engines.mlx.policy import Policy, open_policy
from engines.mlx.post_training import Workplace
from engines.pytorch.distributed import Processes
from engines.pytorch.post_training import Workplace as TorchWorkplace
from engines.schedule import tuning_learning_rate
from tests.pytorch.conftest import Listener
from tests.pytorch.tuning_workspace import TuningWorkspace
from workbench.contract import Finished, Job, Started, Stopped


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
        figures = self.torch.figures()
        [micro], own_tokens = self.mlx.micro_batches(0)
        _, noted = self.mlx.loss(*micro)
        for name, value in self.mlx.figures({name: float(item) for name, item in noted.items()}).items():
            assert abs(value - figures.pop(name)) <= 1e-4 * max(1e-2, abs(value)), name
        assert not figures  # all that PyTorch reports of a step
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
            own = self.mlx.optimize(step, rate)
            assert own.tokens == theirs.tokens
            assert abs(float(own.loss) - theirs.loss.item()) < 1e-3
            assert abs(float(own.grad_norm) - theirs.grad_norm.item()) < 1e-3 * theirs.grad_norm.item()
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
            part = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector.weight"}.get(kind)
            own = f"{place}.{part}" if part else "score.modules_to_save.weight"
            found[LORA_PREFIX + own] = np.array(item).T if part else np.array(item)
        return found


def open_both(
    job: Job, recipe: Any, folder: Path, *, reward: bool = False
) -> tuple[TorchWorkplace, Any, Workplace, Policy]:
    """(place, policy) of PyTorch and of MLX; what is trained is moved away from the base, alike in both."""
    theirs = TorchWorkplace(job, recipe, Listener(), Processes())
    policy = theirs.policy(reward=reward)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trained():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    folder.mkdir()
    policy.save(folder)
    place = Workplace(job, recipe, Listener())
    own = open_policy(job.inputs["base"], recipe.adapter, seed=0, dtype=place.dtype, reward=reward)
    own.restore(folder)
    return theirs, policy, place, own


def linked(made: Path, folder: Path) -> TuningWorkspace:
    """A workspace in `folder` with the artifacts in `made`, and room for more models."""
    for kind in made.iterdir():
        (folder / kind.name).mkdir()
        for artifact in kind.iterdir():
            (folder / kind.name / artifact.name).symlink_to(artifact)
    return TuningWorkspace(folder)


def check_resuming(job_of: Callable[[str], Job], *, stop_after: int = 5) -> tuple[Listener, Job]:
    """A run that was stopped and went on made the losses, the weights and the report of one that never stopped.

    Gives what that one said, and its job.
    """
    whole_job, job = job_of("whole"), job_of("stopped")
    whole, first, second = Listener(), Listener(stop_after=stop_after), Listener()
    MlxEngine().run(whole_job, whole)
    MlxEngine().run(job, first)
    assert isinstance(first.events[-1], Stopped)
    MlxEngine().run(job, second)
    [started] = second.all(Started)
    assert 0 < started.step == first.events[-1].step < started.total_steps
    assert first.losses() | second.losses() == whole.losses()
    assert digest(job) == digest(whole_job)
    report = whole.all(Finished)[0].report
    seconds = {name: report[name] for name in report if "second" in name}
    assert second.all(Finished)[0].report | seconds == report
    return whole, whole_job


def check_compiled(job_of: Callable[[str], Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled steps give the losses of steps that are not.

    MLX has a C++ compiler build the kernels on a CPU: that takes half a minute or more.
    """
    losses = {}
    for compiled in (False, True):
        monkeypatch.setattr("engines.mlx.device.compiles", lambda _, answer=compiled: answer)
        listener = Listener()
        MlxEngine().run(job_of(f"compiled-{compiled}"), listener)
        losses[compiled] = listener.losses()
        assert listener.all(Finished)[0].report["compiled"] == compiled
    # PPO's loss is near 0, a difference of numbers near 1: fused kernels round them otherwise.
    assert losses[True] == pytest.approx(losses[False], rel=1e-5, abs=1e-6)


def digest(job: Job) -> str:
    """Of the weights that came of it."""
    [path] = job.output.glob("*model.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()
