"""Pretraining on MLX: the gradients and steps of PyTorch's, the files of a Hugging Face folder, stopped and resumed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.mlx import MlxEngine
from engines.mlx import pretrain as mlx_pretrain
from engines.mlx.folders import open_causal_lm, weight_names
from engines.pytorch import pretrain as torch_pretrain
from engines.pytorch.distributed import Processes
from engines.pytorch.model import save_model
from engines.schedule import learning_rate
from tests.pytorch.conftest import Listener
from workbench.contract import CheckpointSaved, Estimated, Finished, Job, Sample, Started, Stopped
from workbench.recipes.base import validate
from workbench.recipes.pretrain import PretrainRecipe

Jobs = Callable[..., Job]


def both(job: Job, folder: Path) -> tuple[Any, Any]:
    """PyTorch's training and MLX's method, of the same recipe, from the same weights."""
    recipe: Any = validate(PretrainRecipe, job.recipe).resolved()
    training = torch_pretrain.prepare(recipe, job, Listener(), Processes())
    method, _ = mlx_pretrain.prepare(recipe, job, Listener())
    folder.mkdir()
    save_model(training.model.causal_lm, folder)
    method.restore(folder)
    return training, method


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("packing", ["documents", "plain"])
def test_loss_and_gradients_are_those_of_pytorch(
    small_job: Jobs, tmp_path: Path, architecture: str, packing: str
) -> None:
    settings = {"model__num_key_value_heads": 1, "model__tie_word_embeddings": architecture == "qwen3"}
    job = small_job(model__architecture=architecture, data__packing=packing, **settings)
    training, method = both(job, tmp_path / "begin")
    windows_BL1 = training.data.batches.global_batch(0)
    scale = 1 / training.sequences.trained_targets(windows_BL1)
    expected = training.model(*training.sequences.inputs(windows_BL1), scale)
    expected.backward()
    micro, tokens = method.micro_batches(0)
    loss, gradients = method.trainer.gradients(*micro[0])

    assert tokens == windows_BL1.shape[0] * (windows_BL1.shape[1] - 1)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-5)
    found = {name: np.array(item) for name, item in flat(gradients).items()}
    reference = {name: parameter.grad.numpy() for name, parameter in training.model.causal_lm.named_parameters()}
    assert found.keys() == reference.keys()
    for name, gradient in reference.items():
        assert np.abs(found[name] - gradient).max() < 1e-4 * np.abs(gradient).max(), name


def test_twenty_steps_of_adamw_are_those_of_pytorch(small_job: Jobs, tmp_path: Path) -> None:
    job = small_job(schedule__max_steps=20, batch__per_device_batch_size=2, optimizer__max_grad_norm=0.5)
    training, method = both(job, tmp_path / "begin")
    recipe = training.recipe
    for step in range(20):
        training._step()
        rate = learning_rate(step, peak=recipe.optimizer.learning_rate, schedule=recipe.schedule)
        loss, norm, _ = method.trainer.step(step, method.micro_batches(step)[0], rate)
        kept = training.metrics._kept[-1]
        assert float(loss) == pytest.approx(float(kept.loss), abs=1e-3)
        assert float(norm) == pytest.approx(float(kept.grad_norm), rel=1e-3)
    assert float(norm) > 0.5  # the clipping was at work
    weights = weight_names(method.model)
    for name, parameter in training.model.causal_lm.named_parameters():
        difference = np.abs(np.array(weights[name]) - parameter.detach().numpy()).max()
        assert difference < 1e-3 * parameter.abs().max(), name


def test_a_run_stopped_and_resumed_is_one_that_never_stopped(small_job: Jobs) -> None:
    settings = {"checkpoints__save_steps": 3, "schedule__max_steps": 8, "evaluation__eval_steps": 3}
    whole_job, whole = small_job("whole", **settings), Listener()
    MlxEngine().run(whole_job, whole)
    job, first, second = small_job("stopped", **settings), Listener(stop_after=6), Listener()
    MlxEngine().run(job, first)
    assert isinstance(first.events[-1], Stopped)
    MlxEngine().run(job, second)

    stopped_at = first.events[-1].step
    assert second.all(Started)[0].step == stopped_at < 8
    assert first.losses() | second.losses() == whole.losses()
    assert weights_of(job) == weights_of(whole_job)
    assert whole.all(Finished)[0].report["eval_loss"] == second.all(Finished)[0].report["eval_loss"]
    assert [event.step for event in whole.all(CheckpointSaved)] == [3, 6, 8]
    assert {event.step for event in whole.all(Sample)} == {3, 6, 8}


def test_a_run_tells_what_pytorchs_does_and_leaves_the_same_files(small_job: Jobs) -> None:
    settings = {"schedule__max_steps": 4, "evaluation__eval_steps": 4}
    jobs = {name: small_job(name, **settings) for name in ("mlx", "torch")}
    listeners = {name: Listener() for name in jobs}
    MlxEngine().run(jobs["mlx"], listeners["mlx"])
    torch_pretrain.pretrain(jobs["torch"], listeners["torch"])

    kinds = [[type(event).__name__ for event in listener.events] for listener in listeners.values()]
    assert [kind for kind in kinds[0] if kind != "Metrics"] == [kind for kind in kinds[1] if kind != "Metrics"]
    found, expected = (listener.all(Estimated)[0] for listener in listeners.values())
    assert (found.parameters, found.tokens, found.flops) == (expected.parameters, expected.tokens, expected.flops)
    found, expected = (listener.all(Finished)[0].report for listener in listeners.values())
    assert found.keys() == expected.keys()
    assert found["parameters"] == expected["parameters"]
    one, other = (job.output for job in jobs.values())
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    assert json.loads((one / "config.json").read_text()) == json.loads((other / "config.json").read_text())
    generation = [json.loads((folder / "generation_config.json").read_text()) for folder in (one, other)]
    assert generation[0] == generation[1]
    from safetensors import safe_open

    with safe_open(one / "model.safetensors", "pt") as found, safe_open(other / "model.safetensors", "pt") as expected:
        assert set(found.keys()) == set(expected.keys())
        for name in set(expected.keys()):
            first, second = found.get_tensor(name), expected.get_tensor(name)
            assert (first.shape, first.dtype) == (second.shape, second.dtype)
            # Drawn from another generator, with the same spread.
            if first.dim() == 2 and first.numel() > 1000:
                assert float(first.std()) == pytest.approx(float(second.std()), rel=0.1)
    assert (one / "held_out.txt").read_text() == (other / "held_out.txt").read_text()


def test_products_in_bfloat16_leave_weights_in_float32(small_job: Jobs) -> None:
    losses, dtypes = {}, {}
    for dtype in ("float32", "bfloat16"):
        listener, job = Listener(), small_job(dtype, precision__dtype=dtype, schedule__max_steps=3)
        MlxEngine().run(job, listener)
        losses[dtype] = listener.losses()
        dtypes[dtype] = listener.all(Finished)[0].report["dtype"]
        weights = weight_names(open_causal_lm(job.output)[0])
        header = (job.output / "model.safetensors").read_bytes()[8:400].decode(errors="ignore")
        assert '"F32"' in header
        assert all(np.isfinite(np.array(item)).all() for item in weights.values())
    assert dtypes == {"float32": "float32", "bfloat16": "bfloat16"}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=5e-3)


@pytest.mark.slow
def test_a_compiled_step_gives_the_same_losses(small_job: Jobs) -> None:
    """MLX has a C++ compiler build the kernels on a CPU: that takes a minute or more."""
    losses = {}
    for setting in ("never", "always"):
        listener = Listener()
        MlxEngine().run(small_job(setting, precision__compile=setting, schedule__max_steps=4), listener)
        losses[setting] = listener.losses()
    assert losses["always"] == pytest.approx(losses["never"], rel=1e-5)


def flat(tree: Any) -> dict[str, Any]:
    from mlx.utils import tree_flatten

    return dict(tree_flatten(tree))


def weights_of(job: Job) -> str:
    return hashlib.sha256((job.output / "model.safetensors").read_bytes()).hexdigest()


def test_a_mixture_is_drawn_and_measured_as_pytorch_does(small_job: Jobs) -> None:
    settings = {"corpus": ["docs=0.5", "again=0.5"], "phases": ["0.5: docs"], "schedule__max_steps": 4}
    found = {}
    for name, run in (("mlx", MlxEngine().run), ("torch", torch_pretrain.pretrain)):
        job, listener = small_job(name, **settings), Listener()
        shards = job.inputs["shards"]
        run(dataclasses.replace(job, inputs={**job.inputs, "shards.0": shards, "shards.1": shards}), listener)
        found[name] = listener.all(Finished)[0].report, listener.all(Estimated)[0].epochs
    (one, epochs), (other, expected) = found.values()
    assert one["sources"] == other["sources"]
    assert epochs == expected
    assert one["sources"]["docs"]["share"] == 0.75
    figures = {"eval_loss", "eval_bits_per_byte", "eval_loss_docs", "eval_loss_again"}
    assert figures <= one.keys() & other.keys()
    for name in figures - {"eval_bits_per_byte"}:
        assert one[name] == pytest.approx(other[name], abs=0.1)  # other initial weights, ln(600) each
