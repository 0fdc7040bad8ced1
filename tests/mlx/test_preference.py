"""DPO, its relatives and ORPO on MLX: PyTorch's losses, gradients and steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is not installed: pip install 'llm-workbench[tuning]'")

from engines.mlx import preference
from engines.pytorch.preference_stage import preference_losses
from tests.mlx.tuning import Both, check_compiled, check_resuming, linked, open_both
from tests.pytorch.tuning_workspace import RECIPES, TuningWorkspace, write_model, write_preferences
from workbench.contract import Finished, Job
from workbench.corpus.chats.training_data import mark_rows, pair_rows
from workbench.recipes.base import validate

PAIRS = {"base": "models/base", "preferences": "preferences/pairs"}
SMALL = {"max_length": 96, "engine": "mlx", "evaluation__eval_steps": 1000, "evaluation__sample_tokens": 0}
LORA = {"adapter__lora_rank": 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preferences")
    write_model(folder / "models" / "base", width=32)
    write_preferences(folder / "preferences" / "pairs", pairs=30)
    return folder


@pytest.fixture
def tuning(tmp_path: Path, made: Path) -> TuningWorkspace:
    return linked(made, tmp_path)


def both(job: Job, tmp_path: Path) -> Both:
    recipe: Any = validate(RECIPES[job.stage], job.recipe).resolved()
    theirs, policy, place, own = open_both(job, recipe, tmp_path / "begin")
    read = mark_rows if job.stage == "kto" else pair_rows
    rows = read(recipe, job.inputs["preferences"], policy.tokenizer, max_length=96)
    kind, trainer, _ = preference_losses(policy, recipe, job.directory)
    method = kind(policy, recipe, rows, optimizer=theirs.optimizer(policy), processes=theirs.processes, trainer=trainer)
    ours = preference.Kto if job.stage == "kto" else preference.Preferring
    return Both(recipe, method, ours(own, recipe, place, rows))


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm", "simpo"])
def test_every_loss_of_dpo_is_that_of_pytorch(tuning: TuningWorkspace, tmp_path: Path, loss_type: str) -> None:
    noise = {"label_smoothing": 0.1} if loss_type == "robust" else {}
    pair = both(tuning.job("dpo", "own", PAIRS, loss_type=loss_type, **SMALL | noise), tmp_path)
    pair.check_gradients()
    pair.check_evaluation()


@pytest.mark.parametrize("stage", ["kto", "orpo"])
def test_the_other_losses_are_those_of_pytorch(tuning: TuningWorkspace, tmp_path: Path, stage: str) -> None:
    settings = {"desirable_weight": 1.3, "undesirable_weight": 0.7} if stage == "kto" else {}
    pair = both(tuning.job(stage, "own", PAIRS, beta=0.3, **SMALL | settings), tmp_path)
    pair.check_gradients()
    pair.check_evaluation()


SLOW = pytest.mark.slow  # the road of every one of them through AdamW is the same


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        pytest.param("dpo", LORA, id="dpo lora"),
        pytest.param("dpo", LORA | {"adapter__use_dora": True}, id="dpo dora"),
        pytest.param("dpo", {}, id="dpo", marks=SLOW),
        pytest.param("orpo", {}, id="orpo", marks=SLOW),
        pytest.param("kto", {}, id="kto", marks=SLOW),
    ],
)
def test_twenty_steps_are_those_of_pytorch(
    tuning: TuningWorkspace, tmp_path: Path, stage: str, settings: dict[str, Any]
) -> None:
    steps = {"schedule__max_steps": 20, "batch__per_device_batch_size": 2}
    pair = both(tuning.job(stage, "own", PAIRS, **SMALL | settings | steps), tmp_path)
    pair.check_steps(20, peak=2e-3)
    pair.check_evaluation()


@pytest.mark.parametrize("settings", [{}, LORA | {"adapter__lora_dropout": 0.2}], ids=["full", "lora"])
def test_a_run_learns_and_stopped_and_resumed_is_never_stopped(
    tuning: TuningWorkspace, settings: dict[str, Any]
) -> None:
    steps = {"schedule__max_steps": 6, "checkpoints__save_steps": 3, "optimizer__learning_rate": 5e-3}
    whole, _ = check_resuming(lambda name: tuning.job("dpo", name, PAIRS, **SMALL | settings | steps))
    report = whole.all(Finished)[0].report
    assert report["eval_loss_before"] == pytest.approx(0.6931, abs=1e-3)  # the base is its own reference
    assert report["eval_loss"] != report["eval_loss_before"]
    if not settings:  # six steps move an adapter little
        assert report["eval_reward_margin"] > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["reward", "dpo", "orpo", "kto"])
def test_a_compiled_step_gives_the_same_losses(
    tuning: TuningWorkspace, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    steps = {"schedule__max_steps": 2, "batch__per_device_batch_size": 4}
    check_compiled(lambda name: tuning.job(stage, name, PAIRS, **SMALL | steps), monkeypatch)
