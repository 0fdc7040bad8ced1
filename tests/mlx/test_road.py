"""From one engine to the next: what MLX began, PyTorch goes on with, and llama.cpp answers from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.road import import_recipe, make, pretrain_recipe, tokenizer_recipe, write_texts
from workbench import registry
from workbench.contract import Sampling
from workbench.recipes.fields import nested
from workbench.recipes.load import recipe_from
from workbench.store import artifacts
from workbench.store.catalog import Catalog
from workbench.store.project import Project


@pytest.mark.slow
def test_fifty_steps_here_fifty_there_then_an_export(project: Project, catalog: Catalog, tmp_path: Path) -> None:
    for library in ("trl", "llama_cpp", "gguf"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    further = {
        "stage": "continue", "name": "further", "base": "base", "corpus": "books", "max_length": 64,
        "schedule.max_steps": 50, "batch.batch_size": 8, "evaluation.sample_tokens": 0,
        "optimizer.learning_rate": 1e-3, "precision.dtype": "float32",
    }  # fmt: skip
    states = make(
        project,
        catalog,
        import_recipe(write_texts(tmp_path / "texts")),
        tokenizer_recipe(),
        pretrain_recipe(steps=50, engine="mlx"),
        recipe_from(nested(further)),
        recipe_from({"stage": "export", "name": "small", "model": "further", "quantization": "q8_0"}),
    )
    assert [state.state for state in states] == ["finished"] * len(states)
    base, made = (artifacts.resolve(project, catalog, "model", name) for name in ("base", "further"))
    assert base.report["eval_loss"] < 4.5  # ln 512 is 6.2
    # PyTorch begins where MLX ended (on other held-out documents), and gets further.
    assert made.report["eval_loss_before"] == pytest.approx(base.report["eval_loss"], abs=0.3)
    assert made.report["eval_loss"] < made.report["eval_loss_before"] - 0.03
    export = artifacts.folder_of(project, artifacts.resolve(project, catalog, "export", "small"))
    model = registry.engine("llamacpp").load(export)
    try:
        pieces = list(model.generate(["Story 3. the cat"], Sampling(temperature=0, max_tokens=12)))
    finally:
        model.close()
    assert len("".join(piece.text for piece in pieces).split()) >= 3
