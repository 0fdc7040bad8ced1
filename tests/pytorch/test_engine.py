"""The plug-in's face: light to import, honest about what there is, started by the right command."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engines.pytorch import PyTorchEngine
from tests.pytorch.conftest import Listener, Workspace
from workbench.contract import Engine
from workbench.errors import WorkbenchError
from workbench.recipes.pretrain import PretrainRecipe


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, workbench.registry as r; r.engine('pytorch'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_capabilities() -> None:
    engine = PyTorchEngine()
    assert isinstance(engine, Engine)
    offered = engine.capabilities()
    assert offered.available
    assert {"pretrain", "import-model", "sft", "reward", "dpo", "merge-adapter"} <= set(offered.stages)
    assert offered.devices[-1] == "cpu"
    assert {"torch", "transformers"} <= offered.versions.keys()


def test_commands(workspace: Workspace) -> None:
    alone = PyTorchEngine().command(workspace.job(), Path("job.json"))
    assert alone == [sys.executable, "-m", "engines.pytorch", "job.json"]
    job = workspace.job(launch__kind="torchrun", launch__processes=2)
    several = PyTorchEngine().command(job, Path("job.json"))
    assert several[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    assert several[5:] == ["-m", "engines.pytorch", "job.json"]


def test_an_unknown_stage_is_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkbenchError, match="cannot run the stage 'export'"):
        PyTorchEngine().run(replace(workspace.job(), stage="export"), Listener())


def test_every_field_of_the_recipe_is_read_somewhere() -> None:
    """The loop reads the resolved recipe by attribute: a field that no module names is dead."""
    root = Path(__file__).resolve().parents[2]
    modules = [*(root / "engines").glob("*.py"), *(root / "engines" / "pytorch").glob("*.py")]
    modules.append(root / "workbench" / "corpus" / "pretraining_data.py")
    sources = "".join(path.read_text() for path in modules)
    reached = {"stage", "name", "engine", "corpus", "phases", "size"}  # read by the application, or turned into others
    for section, info in PretrainRecipe.model_fields.items():
        fields = getattr(info.annotation, "model_fields", {section: info})
        for field in fields:
            assert field in reached or f".{field}" in sources or f'"{field}"' in sources, f"{section}.{field}"
