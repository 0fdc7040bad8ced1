"""Reward models on MLX: PyTorch's losses, gradients and steps; folders that both engines open; what they learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("trl", reason="trl is not installed: pip install 'llm-workbench[tuning]'")

from engines.mlx import MlxEngine, preference
from engines.pytorch import PyTorchEngine
from engines.pytorch import engine as torch_engine
from engines.pytorch.preference_stage import preference_losses
from tests.mlx.tuning import Both, check_resuming, linked, open_both
from tests.pytorch.conftest import Listener
from tests.pytorch.tuning_workspace import TuningWorkspace, share_of_e, write_model, write_preferences
from workbench import registry
from workbench.cli import cli
from workbench.contract import Finished, Job, Metrics, RewardEngine, Sample
from workbench.corpus.chats.training_data import pair_rows
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.preference import RewardRecipe

PAIRS = {"base": "models/base", "preferences": "preferences/pairs"}
STRONG = PAIRS | {"preferences": "preferences/strong"}
SMALL = {"max_length": 96, "engine": "mlx", "evaluation__eval_steps": 1000}
LORA = {"adapter__lora_rank": 4}
DORA = LORA | {"adapter__use_dora": True}
QUESTION = [{"role": "user", "content": "Say 3: The cat sees the dog."}]
ANSWERS = (
    "The teacher sees the teacher. The teacher sees the teacher.",
    "The moon paints a dog. A dog follows a moon.",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rewards")
    write_model(folder / "models" / "base", width=32)
    write_preferences(folder / "preferences" / "pairs", pairs=300)
    write_preferences(folder / "preferences" / "strong", pairs=30, margins=True)
    (folder / "rewards").mkdir()
    return folder


@pytest.fixture
def tuning(tmp_path: Path, made: Path) -> TuningWorkspace:
    return linked(made, tmp_path)


def both(job: Job, folder: Path) -> Both:
    recipe: Any = validate(RewardRecipe, job.recipe).resolved()
    theirs, policy, place, own = open_both(job, recipe, folder, reward=True)
    rows = pair_rows(recipe, job.inputs["preferences"], policy.tokenizer, max_length=96)
    kind, trainer, _ = preference_losses(policy, recipe, job.directory)
    method = kind(policy, recipe, rows, optimizer=theirs.optimizer(policy), processes=theirs.processes, trainer=trainer)
    return Both(recipe, method, preference.Reward(own, recipe, place, rows))


@pytest.mark.parametrize("settings", [{}, LORA, DORA], ids=["full", "lora", "dora"])
def test_losses_gradients_and_steps_are_those_of_pytorch(tuning: TuningWorkspace, settings: dict[str, Any]) -> None:
    centred = {"center_rewards_coefficient": 0.01, "schedule__max_steps": 20}
    pair = both(tuning.job("reward", "own", STRONG, **SMALL | settings | centred), tuning.folder / "begin")
    pair.check_gradients()
    pair.torch.optimizer.zero_grad(set_to_none=True)
    pair.check_steps(20, peak=2e-3)
    pair.torch.figures()
    pair.check_evaluation()


@pytest.mark.parametrize("settings", [{}, LORA | {"adapter__lora_dropout": 0.2}], ids=["full", "lora"])
def test_stopped_and_resumed_is_never_stopped(tuning: TuningWorkspace, settings: dict[str, Any]) -> None:
    steps = {"schedule__max_steps": 6, "checkpoints__save_steps": 3, "optimizer__learning_rate": 5e-3}
    whole, _ = check_resuming(lambda name: tuning.job("reward", name, STRONG, **SMALL | settings | steps))
    assert not whole.all(Sample)
    steps_made = [event for event in whole.all(Metrics) if event.loss is not None]
    names = {"reward_margin", "reward_accuracy", "reward_mean", "reward_min", "reward_max"}
    assert names == steps_made[-1].more.keys()


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="full"),
        pytest.param(
            {"adapter__lora_rank": 8, "optimizer__learning_rate": 1e-2, "schedule__max_steps": 100},
            id="lora",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_it_learns_the_rule_and_both_engines_read_it(
    tuning: TuningWorkspace, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two answers it prefers that with the higher share of the letter e."""
    steps = {"schedule__max_steps": 60, "optimizer__learning_rate": 5e-3, "batch__batch_size": 16}
    job, listener = tuning.job("reward", "judge", PAIRS, **SMALL | steps | settings), Listener()
    MlxEngine().run(job, listener)
    report = listener.all(Finished)[0].report
    assert report["eval_reward_accuracy"] > 0.85
    assert report["eval_reward_margin"] > 0.5
    assert report["p_value"] < 1e-4
    assert report["eval_rows"] == report["held_out_rows"]

    assert share_of_e(ANSWERS[0]) > share_of_e(ANSWERS[1])
    pairs = [(QUESTION, text) for text in ANSWERS]
    engine = MlxEngine()
    assert isinstance(engine, RewardEngine)
    model = engine.open_reward(job.output)
    found = model.score(pairs)
    assert found[0] > found[1]
    assert found == pytest.approx([model.score([pair])[0] for pair in pairs], abs=1e-5)
    with pytest.raises(WorkbenchError, match="context is 128"):
        model.score([(QUESTION, ANSWERS[0] * 20)])
    model.close()
    assert PyTorchEngine().open_reward(job.output).score(pairs) == pytest.approx(found, abs=1e-4)
    said = ["score", str(job.output), "--prompt", QUESTION[0]["content"], "--answer", ANSWERS[0], "--json"]
    shown = CliRunner().invoke(cli, [*said, "--engine", "mlx"], catch_exceptions=False).stdout
    assert json.loads(shown)["score"] == pytest.approx(found[0], abs=1e-5)

    assert registry.reward_opener(job.output).name == "pytorch"
    with pytest.raises(WorkbenchError, match="The engine llamacpp opens no reward models"):
        registry.reward_opener(job.output, "llamacpp")
    monkeypatch.setattr(torch_engine, "find_spec", lambda name: None)
    assert registry.reward_opener(job.output).open_reward(job.output).score(pairs) == pytest.approx(found, abs=1e-5)
    with pytest.raises(WorkbenchError, match=r"torch and .* cannot be found\. Install it: pip install 'torch"):
        registry.reward_opener(job.output, "pytorch")


@pytest.mark.parametrize("settings", [{}, LORA, DORA], ids=["full", "lora", "dora"])
def test_mlx_reads_pytorchs(tuning: TuningWorkspace, settings: dict[str, Any]) -> None:
    job = tuning.job("reward", "theirs", STRONG, **settings, schedule__max_steps=4, optimizer__learning_rate=1e-2)
    PyTorchEngine().run(job, Listener())
    pairs = [(QUESTION, text) for text in ANSWERS]
    expected = PyTorchEngine().open_reward(job.output).score(pairs)
    assert MlxEngine().open_reward(job.output).score(pairs) == pytest.approx(expected, abs=1e-4)


def test_a_language_model_is_no_reward_model(tuning: TuningWorkspace) -> None:
    with pytest.raises(WorkbenchError, match="is no reward model: it is a LlamaForCausalLM"):
        MlxEngine().open_reward(tuning.folder / "models" / "base")
