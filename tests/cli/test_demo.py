"""The demo on MLX: its recipes, and a machine without MLX. The whole road is walked by tests/mlx/test_road.py."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import pytest

from engines.mlx import engine as mlx_engine
from workbench.cli import cli, demo
from workbench.errors import WorkbenchError
from workbench.recipes.load import read_recipes


def test_on_mlx_it_trains_and_exports_there() -> None:
    with as_file(files("workbench") / "demo.yaml") as pipeline:
        usual, on_mlx = (
            {recipe.stage: recipe.resolved() for recipe in read_recipes(pipeline, settings)}
            for settings in ((), demo.ON["mlx"])
        )
    assert {stage for stage, recipe in on_mlx.items() if recipe.engine_name() == "mlx"} == {"pretrain", "export"}
    assert {recipe.engine_name() for recipe in usual.values()} == {"corpus", "pytorch", "llamacpp"}
    assert [name for name in usual if usual[name].identity() != on_mlx[name].identity()] == ["pretrain", "export"]


def test_without_mlx_it_gives_the_line_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlx_engine, "find_spec", lambda name: None)
    with pytest.raises(WorkbenchError) as error:
        cli.main(["demo", str(tmp_path / "demo"), "--engine", "mlx", "--headless"], standalone_mode=False)
    assert str(error.value) == ("mlx and mlx-lm cannot be found. Install it: pip install 'llm-workbench[mlx]'")
    assert not (tmp_path / "demo").exists()
