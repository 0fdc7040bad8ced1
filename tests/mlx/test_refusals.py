"""What cannot work is told in a sentence before work starts: before the event that it has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.mlx import MlxEngine, device
from tests.mlx.tuning import linked
from tests.pytorch.conftest import Listener
from tests.pytorch.tuning_workspace import TuningWorkspace, write_chats, write_model, write_preferences
from workbench.contract import Job
from workbench.errors import WorkbenchError

INPUTS = {
    "sft": {"base": "models/base", "data.0": "chats/turns"},
    "reward": {"base": "models/base", "preferences": "preferences/pairs"},
    "dpo": {"base": "models/base", "preferences": "preferences/pairs"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refusals")
    write_model(folder / "models" / "base", width=32)
    write_chats(folder / "chats" / "turns", rows=10)
    write_preferences(folder / "preferences" / "pairs", pairs=10)
    return folder


@pytest.fixture
def tuning(tmp_path: Path, made: Path) -> TuningWorkspace:
    workspace = linked(made, tmp_path)
    base = tmp_path / "models" / "base"
    whole = base.resolve()
    base.unlink()
    shutil.copytree(whole, base)  # to be spoilt
    return workspace


def refused(job: Job, match: str) -> None:
    listener = Listener()
    with pytest.raises(WorkbenchError, match=match) as caught:
        MlxEngine().run(job, listener)
    assert caught.value.remedy
    assert listener.events == []


def spoil(tuning: TuningWorkspace, **values: Any) -> Path:
    folder = tuning.folder / "models" / "base"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


@pytest.mark.parametrize("stage", INPUTS)
def test_an_architecture_that_mlx_lm_does_not_know(tuning: TuningWorkspace, stage: str) -> None:
    folder = spoil(tuning, model_type="marvin")
    refused(tuning.job(stage, "run", INPUTS[stage]), "of the architecture 'marvin', which mlx-lm does not know")
    with pytest.raises(WorkbenchError, match="of the architecture 'marvin', which mlx-lm does not know"):
        MlxEngine().load(folder)


def test_a_config_that_belongs_to_another_architecture(tuning: TuningWorkspace) -> None:
    with pytest.raises(
        WorkbenchError, match=r"opened as a model: config.json lacks 'state_size', .*'time_step_rank'\. Is it"
    ):
        MlxEngine().load(spoil(tuning, model_type="mamba"))
    with pytest.raises(WorkbenchError, match=r"opened as a model: Received \d+ parameters not in model: \w.*\. Is it"):
        MlxEngine().load(spoil(tuning, model_type="phi"))


@pytest.mark.parametrize("stage", INPUTS)
def test_an_architecture_that_it_does_not_train(tuning: TuningWorkspace, stage: str) -> None:
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=340, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=128, final_logit_softcapping=5.0,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight *= 30  # so that its logits are bent as those of a trained one
    model.save_pretrained(tuning.folder / "models" / "base")
    refused(tuning.job(stage, "run", INPUTS[stage]), "does not train models of the architecture gemma2")


@pytest.mark.parametrize("stage", INPUTS)
def test_a_checkpoint_that_was_quantised(tuning: TuningWorkspace, stage: str) -> None:
    folder = spoil(tuning, quantization_config={"quant_method": "gptq", "bits": 4})
    refused(
        tuning.job(stage, "run", INPUTS[stage]), "was quantised by gptq, whose weights the mlx engine does not read"
    )
    with pytest.raises(WorkbenchError, match="was quantised by gptq"):
        MlxEngine().load(folder)


def test_a_checkpoint_in_mlxs_own_bits(tuning: TuningWorkspace) -> None:
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    folder = tuning.folder / "models" / "base"
    model, config = load_model(folder)
    model, config = quantize_model(model, config, group_size=32, bits=4)
    save_model(folder, model)
    save_config(config, folder / "config.json")
    refused(tuning.job("sft", "run", INPUTS["sft"]), "holds its weights in 4 bits, and cannot be trained further")


@pytest.mark.parametrize("stage", INPUTS)
def test_sequences_longer_than_the_models(tuning: TuningWorkspace, stage: str) -> None:
    refused(
        tuning.job(stage, "run", INPUTS[stage], max_length=4096), "max_length is 4,096 tokens, and the context is 128"
    )


@pytest.mark.parametrize("stage", INPUTS)
def test_memory_that_does_not_suffice(
    tuning: TuningWorkspace, small_job: Callable[..., Job], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "free_memory_bytes", lambda: -(1 << 30))
    refused(tuning.job(stage, "run", INPUTS[stage]), r"needs about \d+\.\d GiB of memory")
    with pytest.raises(WorkbenchError, match=r"take \d+\.\d GiB of memory; cpu has"):
        MlxEngine().load(tuning.folder / "models" / "base")
    with pytest.raises(WorkbenchError, match=r"take \d+\.\d GiB of memory; cpu has"):
        MlxEngine().open_reward(_as_reward(tuning))


def _as_reward(tuning: TuningWorkspace) -> Path:
    return spoil(tuning, architectures=["LlamaForSequenceClassification"], id2label={"0": "LABEL_0"})
