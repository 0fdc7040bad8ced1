"""Exports in MLX's number formats: checked against the checkpoint, loaded by mlx-lm, and told from whole models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx_lm.utils import load
from safetensors.numpy import load_file, save_file

from engines.export_check import CheckFailed
from engines.mlx import MlxEngine, folders
from engines.pytorch import PyTorchEngine
from engines.pytorch.folders import open_causal_lm
from tests.mlx.conftest import model_folder
from tests.pytorch.conftest import Listener
from workbench import registry
from workbench.cli import cli
from workbench.contract import Finished, Job, Progress, Sampling, Stopped, Warned
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.runs.plan import require_engine
from workbench.safe_text import strip_controls

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, artifacts: Path) -> Path:
    folder = model_folder(tmp_path_factory.mktemp("export") / "base", artifacts / "tokenizer")
    # Smaller weights: a model that turns to another token at a thousandth of a logit cannot be quantised.
    weights = {name: item / (2 if item.ndim > 1 else 3) for name, item in load_file(folder / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / "held_out.txt").write_text("The value of a name is what it was given. " * 40, encoding="utf-8")
    return folder


def export(checkpoint: Path, folder: Path, quantization: str, listener: Listener | None = None) -> Path:
    output = folder / "exported"
    output.mkdir(parents=True)
    recipe = {"stage": "export", "model": checkpoint.name, "quantization": quantization, "check_tokens": 200}
    job = Job(
        run="r", stage="export", recipe=recipe, inputs={"model": checkpoint}, output=output, directory=folder
    )  # fmt: skip
    MlxEngine().run(job, listener or Listener())
    return output


@pytest.fixture(scope="module")
def exports(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Listener]]:
    """Folder of the export, and what was said meanwhile, by format."""
    found = {}
    for quantization in ("mlx-8bit", "mlx-4bit"):
        listener = Listener()
        found[quantization] = (
            export(checkpoint, tmp_path_factory.mktemp(quantization), quantization, listener),
            listener,
        )
    return found


@pytest.mark.parametrize(("quantization", "bits", "most"), [("mlx-8bit", 8.5, 0.001), ("mlx-4bit", 4.5, 0.3)])
def test_what_is_written_is_the_checkpoint_in_fewer_bits(
    checkpoint: Path, exports: dict[str, tuple[Path, Listener]], quantization: str, bits: float, most: float
) -> None:
    folder, listener = exports[quantization]
    report = listener.all(Finished)[0].report
    assert json.loads((folder / "check.json").read_text()) == report
    assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not (folder / "held_out.txt").exists()
    assert report["bytes"] == (folder / "model.safetensors").stat().st_size
    # The norms and the file's header are a large part of a model of this size.
    assert bits < report["bits_per_weight"] < bits + 0.6
    assert report["tensor_types"] == {quantization: 15, "float16": 9}
    assert not report["fallbacks"]
    check = report["check"]
    assert check["strings"] > 30
    assert check["tokens"] == 200
    assert 0 < check["mean_kl"] < most * check["uniform_kl"] < check["largest_kl_share"] * check["uniform_kl"]
    assert check["conversion_kl_share"] < 1e-10
    # mlx-lm's own loader, against the checkpoint in PyTorch.
    model, tokenizer = load(str(folder))[:2]
    ids = tokenizer.encode("The value of a name", add_special_tokens=False)
    found = np.array(model(mx.array([ids]))[0].astype(mx.float32))
    expected = open_causal_lm(checkpoint)(torch.tensor([ids])).logits[0].detach().numpy()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 1 - most


def test_an_export_is_chatted_with_on_mlx_without_being_told(
    checkpoint: Path, exports: dict[str, tuple[Path, Listener]], capsys: Any
) -> None:
    folder, _ = exports["mlx-8bit"]
    assert registry.opener(folder) == "mlx"
    assert registry.opener(checkpoint) == "pytorch"
    cli.main(["chat", str(folder), "--prompt", "The value", "--temperature", "0"], standalone_mode=False)
    said = capsys.readouterr().out.strip()
    model = MlxEngine().load(folder)
    pieces = model.generate(["The value"], Sampling(temperature=0))
    assert said == strip_controls("".join(token.text for token in pieces)).strip()
    assert said
    model.close()


def test_such_a_folder_is_not_taken_for_a_whole_model(
    exports: dict[str, tuple[Path, Listener]], tmp_path: Path
) -> None:
    folder, _ = exports["mlx-4bit"]
    with pytest.raises(WorkbenchError, match="does not open exported, which is a model in MLX's number formats"):
        registry.opener(folder, "pytorch")
    with pytest.raises(WorkbenchError, match="a number format of MLX, which the pytorch engine does not read"):
        PyTorchEngine().load(folder)
    source = {"stage": "import-model", "source": str(folder)}
    (tmp_path / "imported").mkdir()
    job = Job(
        run="r", stage="import-model", recipe=source, inputs={}, output=tmp_path / "imported", directory=tmp_path
    )  # fmt: skip
    with pytest.raises(WorkbenchError, match="a number format of MLX, which the pytorch engine does not read"):
        PyTorchEngine().run(job, Listener())
    with pytest.raises(WorkbenchError, match="exported is quantised already"):
        export(folder, tmp_path / "again", "mlx-4bit")


def test_a_slip_in_the_conversion_is_caught_before_quantising(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_rotation", lambda config: {"rope_theta": 10_000.0})  # for 50,000
    with pytest.raises(CheckFailed, match="its logits in float32 are not the checkpoint's"):
        export(checkpoint, tmp_path, "mlx-4bit")


def test_what_mlx_cannot_quantise_is_said(checkpoint: Path, tmp_path: Path) -> None:
    listener = Listener()
    partly = model_folder(tmp_path / "partly", checkpoint, hidden_size=48, num_attention_heads=4)
    folder = export(partly, tmp_path / "a", "mlx-8bit", listener)
    [warning] = [event.message for event in listener.all(Warned) if "stay in 16 bits" in event.message]
    assert "of 48 weights are no multiple of 64" in warning
    assert json.loads((folder / "check.json").read_text())["fallbacks"]["model.embed_tokens"] == "float16"
    none = model_folder(tmp_path / "none", checkpoint, hidden_size=24, num_attention_heads=4, intermediate_size=40)
    with pytest.raises(WorkbenchError, match="has no layer that MLX can quantise"):
        export(none, tmp_path / "b", "mlx-8bit")


def test_a_stop_is_heard_while_checking(checkpoint: Path, tmp_path: Path) -> None:
    class Stops(Listener):
        def should_stop(self) -> bool:
            return bool(self.all(Progress))

    listener = Stops()
    export(checkpoint, tmp_path, "mlx-4bit", listener)
    assert isinstance(listener.events[-1], Stopped)


def test_the_format_says_which_engine_writes_it() -> None:
    recipe = recipe_from({"stage": "export", "model": "m", "quantization": "mlx-4bit"}).resolved()
    assert recipe.engine_name() == "mlx"
    require_engine(recipe)
    assert recipe_from({"stage": "export", "model": "m"}).resolved().engine_name() == "llamacpp"
    with pytest.raises(WorkbenchError, match="The engine mlx writes no weights in q8_0"):
        require_engine(recipe_from({"stage": "export", "model": "m", "engine": "mlx"}))
