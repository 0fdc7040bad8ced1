"""The tiny corpus of the PyTorch engine's tests, and models of random weights that both engines open."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.mlx.blas import use_torch_blas
from tests.pytorch.conftest import VOCAB_SIZE, Workspace, artifacts, documents, workspace  # noqa: F401
from workbench.contract import Job


class Skipped(pytest.Module):
    """A module whose imports would fail."""

    def collect(self) -> list[pytest.Item]:
        pytest.skip("mlx is not installed: pip install 'llm-workbench[mlx]'", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if all(importlib.util.find_spec(name) for name in ("mlx", "mlx_lm")):
        use_torch_blas()  # as the engine does
        return None
    return Skipped.from_parent(parent, path=module_path)


# Without torch's BLAS, MLX multiplies matrices on a Linux CPU thirty times as slowly as PyTorch.
SMALL = {
    "model__hidden_size": 32,
    "model__max_length": 32,
    "batch__batch_size": 4,
    "evaluation__eval_tokens": 256,
    "evaluation__eval_steps": 100,
    "precision__dtype": "float32",
}


@pytest.fixture
def small_job(workspace: Workspace) -> Callable[..., Job]:  # noqa: F811
    """A pretraining of some 50,000 parameters; takes what `Workspace.job` takes."""
    return lambda name="run", **settings: workspace.job(name, **SMALL | settings)


def model_folder(folder: Path, tokenizer: Path, **settings: Any) -> Path:
    """A model whose random weights are large enough to give every token another probability."""
    import torch

    from engines.pytorch.model import new_model, save_model
    from workbench.recipes.base import validate
    from workbench.recipes.pretrain import PretrainRecipe

    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    model_section = {"size": "nano", "max_length": 64, "rope_theta": 50_000.0, **shape, **settings}
    plain = {"stage": "pretrain", "corpus": "c", "tokenizer": "t", "model": model_section}
    recipe: Any = validate(PretrainRecipe, plain).resolved()
    model = new_model(recipe, vocab_size=VOCAB_SIZE, bos=0, eos=1, pad=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, folder / name)
    return folder
