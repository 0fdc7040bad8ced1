"""The plug-in's face: light to import, honest about what there is, refused before the start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.mlx import MlxEngine, engine
from tests.mlx.conftest import model_folder
from tests.pytorch.conftest import Listener
from workbench import registry
from workbench.cli import cli
from workbench.contract import Engine, Job
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.runs.plan import require_engine


def test_importing_it_loads_no_mlx() -> None:
    code = "import sys, workbench.registry as r; r.engine('mlx'); sys.exit('mlx.core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the loader's own account is glibc's")
def test_matrices_are_multiplied_by_torchs_library() -> None:
    """MLX's wheel for Linux has the reference BLAS, which does a thirtieth as many operations a second."""
    code = """if True:
        import sys
        from engines.mlx.blas import use_torch_blas
        offered = use_torch_blas()
        import mlx.core as mx
        import numpy as np
        left, right = np.random.default_rng(0).normal(size=(2, 65, 65)).astype(np.float32)
        assert np.abs(np.array(mx.array(left) @ mx.array(right)) - left @ right).max() < 1e-4
        sys.exit(0 if offered else 3)
    """
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"LD_DEBUG": "bindings"}, capture_output=True, text=True
    )
    if told.returncode == 3:
        pytest.skip("torch's library on this machine offers no sgemm_")
    assert told.returncode == 0
    bindings = [line for line in told.stderr.splitlines() if "mlx" in line and "`sgemm_'" in line]
    assert bindings
    assert all("libtorch_cpu.so" in line for line in bindings)


def test_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(MlxEngine(), Engine)
    offered = MlxEngine().capabilities()
    assert offered.available
    assert "pretrain" in offered.stages
    assert offered.devices[0].startswith(("cpu", "metal"))
    assert {"mlx", "mlx-lm"} <= offered.versions.keys()
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    missing = MlxEngine().capabilities()
    assert not missing.available
    assert (missing.reason, missing.install) == (
        "mlx and mlx-lm cannot be found.",
        "pip install 'llm-workbench[mlx]'",
    )


def test_without_it_an_export_is_refused_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    for values in (
        {"stage": "export", "model": "m", "quantization": "mlx-4bit"},
        {"stage": "benchmark", "model": "m", "engine": "mlx"},
    ):
        with pytest.raises(WorkbenchError) as error:
            require_engine(recipe_from(values))
        assert str(error.value) == "mlx and mlx-lm cannot be found. Install it: pip install 'llm-workbench[mlx]'"


def test_what_it_does_not_run_is_refused_before_the_start(small_job: Callable[..., Job]) -> None:
    require_engine(recipe_from({"stage": "pretrain", "corpus": "c", "tokenizer": "t", "engine": "mlx"}))
    require_engine(recipe_from({"stage": "ppo", "base": "m", "prompts": "p", "reward": "r", "engine": "mlx"}))
    with pytest.raises(WorkbenchError, match="The engine mlx does not run merge-adapter"):
        require_engine(recipe_from({"stage": "merge-adapter", "model": "m", "engine": "mlx"}))
    lora = {"stage": "sft", "base": "m", "data": ["c"], "adapter": {"lora_rank": 4, "quantize_base": "nf4"}}
    require_engine(recipe_from(lora))
    with pytest.raises(WorkbenchError, match="The engine mlx holds no weights in nf4"):
        require_engine(recipe_from(lora | {"engine": "mlx"}))
    lora["adapter"] = {"lora_rank": 4, "quantize_base": "mlx-8bit"}
    require_engine(recipe_from(lora | {"engine": "mlx"}))
    with pytest.raises(WorkbenchError, match="The engine pytorch holds no weights in mlx-8bit"):
        require_engine(recipe_from(lora))
    with pytest.raises(WorkbenchError, match="cannot run the stage 'import-model'"):
        MlxEngine().run(replace(small_job(), stage="import-model"), Listener())
    several = {"stage": "sft", "base": "m", "data": ["c"], "launch": {"kind": "torchrun", "processes": 2}}
    require_engine(recipe_from(several))
    with pytest.raises(WorkbenchError, match="mlx does not start by torchrun: it trains in one process"):
        require_engine(recipe_from(several | {"engine": "mlx"}))


def test_chat_asks_which_engine(tmp_path: Path, artifacts: Path, capsys: Any) -> None:
    folder = model_folder(tmp_path / "model", artifacts / "tokenizer")
    said = ["chat", str(folder), "--prompt", "The value", "--temperature", "0", "--max-tokens", "5"]
    answers = []
    for name in ("pytorch", "mlx"):
        cli.main([*said, "--engine", name], standalone_mode=False)
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    assert answers[0].strip()
    with pytest.raises(WorkbenchError, match="The engine llamacpp does not open model, which is a whole model"):
        registry.opener(folder, "llamacpp")
    with pytest.raises(WorkbenchError, match="There is no engine called 'mlxx'"):
        registry.opener(folder, "mlxx")
    with pytest.raises(WorkbenchError, match="The engine corpus opens no model"):
        registry.opener(folder, "corpus")
