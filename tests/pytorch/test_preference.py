"""A rule is learned from preferences: of two answers, the one with the higher share of the letter e is better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engines.pytorch import PyTorchEngine
from engines.pytorch.reward_model import TransformersReward
from tests.pytorch.conftest import Listener
from tests.pytorch.tuning_workspace import TuningWorkspace, share_of_e, write_model, write_preferences
from workbench.cli import cli
from workbench.contract import Finished, Job, Metrics, RewardEngine
from workbench.errors import WorkbenchError

PAIRS = {"base": "models/base", "preferences": "preferences/pairs"}
BATCH = {
    "batch__batch_size": 16, "evaluation__sample_tokens": 4, "validation_fraction": 0.2,
    "evaluation__eval_steps": 1000, "checkpoints__save_steps": 1000,
}  # fmt: skip
QUESTION = [{"role": "user", "content": "Say 3: The cat sees the dog."}]
MANY_E, FEW_E = (
    "The teacher sees the teacher. The teacher sees the teacher.",
    "The moon paints a dog. A dog follows a moon.",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> TuningWorkspace:
    folder = tmp_path_factory.mktemp("preference")
    write_model(folder / "models" / "base")
    write_preferences(folder / "preferences" / "pairs", pairs=400)
    return TuningWorkspace(folder)


def run(job: Job) -> tuple[dict[str, Any], Listener]:
    listener = Listener()
    PyTorchEngine().run(job, listener)
    return dict(listener.all(Finished)[0].report), listener


@pytest.fixture(scope="module")
def judge(workspace: TuningWorkspace) -> tuple[Path, dict[str, Any]]:
    settings = {"schedule__max_steps": 120, "optimizer__learning_rate": 5e-3, **BATCH}
    job = workspace.job("reward", "judge", PAIRS, **settings)
    return job.output, run(job)[0]


def test_a_reward_model_learns_the_rule(judge: tuple[Path, dict[str, Any]]) -> None:
    report = judge[1]
    assert report["eval_reward_accuracy"] > 0.9
    assert report["eval_reward_margin"] > 1.0
    assert report["eval_rows"] == report["held_out_rows"] > 50
    assert report["eval_reward_accuracy"] * report["eval_rows"] == pytest.approx(
        round(report["eval_reward_accuracy"] * report["eval_rows"]), abs=1e-6
    )
    assert report["eval_prompts"] == report["held_out_prompts"]
    assert report["p_value"] < 1e-9
    assert 0.2 < report["length_only_accuracy"] < 0.8


def test_it_scores_any_answer(judge: tuple[Path, dict[str, Any]]) -> None:
    assert share_of_e(MANY_E) > share_of_e(FEW_E)
    engine = PyTorchEngine()
    assert isinstance(engine, RewardEngine)
    model = engine.open_reward(judge[0])
    together = model.score([(QUESTION, MANY_E), (QUESTION, FEW_E)])
    assert together[0] > together[1] + 0.5
    alone = [model.score([(QUESTION, text)])[0] for text in (MANY_E, FEW_E)]
    assert together == pytest.approx(alone, abs=1e-5)
    with pytest.raises(WorkbenchError, match="context is 128"):
        model.score([(QUESTION, MANY_E * 20)])


def test_the_verb_score(judge: tuple[Path, dict[str, Any]]) -> None:
    said = ["score", str(judge[0]), "--prompt", QUESTION[0]["content"], "--answer", MANY_E, "--answer", FEW_E]
    found = json.loads(CliRunner().invoke(cli, [*said, "--json"], catch_exceptions=False).stdout)
    first, second = (item["score"] for item in found["answers"])
    assert found["score"] == first > second
    plain = CliRunner().invoke(cli, said, catch_exceptions=False).stdout.split()
    assert plain == [f"{first:.4f}", f"{second:.4f}"]


def test_a_language_model_is_no_reward_model(workspace: TuningWorkspace) -> None:
    with pytest.raises(WorkbenchError, match="is no reward model: it is a LlamaForCausalLM"):
        PyTorchEngine().open_reward(workspace.folder / "models" / "base")


def test_an_adapter_with_margins_judges_too(workspace: TuningWorkspace) -> None:
    write_preferences(workspace.folder / "preferences" / "strong", pairs=200, margins=True)
    inputs = {**PAIRS, "preferences": "preferences/strong"}
    settings = {"schedule__max_steps": 100, "optimizer__learning_rate": 1e-2, "adapter__lora_rank": 8, **BATCH}
    job = workspace.job("reward", "small-judge", inputs, **settings)
    report, listener = run(job)
    assert report["adapter"]
    assert report["eval_reward_accuracy"] > 0.8
    names = {name for event in listener.all(Metrics) for name in event.more}
    assert {"reward_accuracy", "reward_margin", "reward_mean", "eval_reward_margin"} <= names
    many, few = TransformersReward(job.output).score([(QUESTION, MANY_E), (QUESTION, FEW_E)])
    assert many > few


@pytest.mark.parametrize("adapted", [False, True], ids=["whole", "adapter"])
def test_dpo_raises_the_margin_and_the_accuracy(workspace: TuningWorkspace, adapted: bool) -> None:
    settings = {"schedule__max_steps": 50, "optimizer__learning_rate": 5e-3 if adapted else 3e-3, **BATCH}
    if adapted:
        settings["adapter__lora_rank"] = 8
    report, _ = run(workspace.job("dpo", f"dpo-{adapted}", PAIRS, **settings))
    assert report["eval_reward_margin_before"] == pytest.approx(0.0, abs=1e-6)
    assert "eval_reward_accuracy_before" not in report  # all ties: no pair was right, and none was wrong
    assert report["eval_reward_margin"] > 0.1
    assert report["eval_reward_accuracy"] > 0.65  # of 80 pairs: by chance in 1 of 200 tries


@pytest.mark.parametrize("stage", ["orpo", "kto", "simpo"])
def test_the_others_learn_it(workspace: TuningWorkspace, stage: str) -> None:
    settings: dict[str, Any] = {"schedule__max_steps": 60, "optimizer__learning_rate": 3e-3, **BATCH}
    if stage == "simpo":
        settings |= {"loss_type": "simpo", "beta": 2.0}
    report, _ = run(workspace.job("dpo" if stage == "simpo" else stage, stage, PAIRS, **settings))
    assert report["eval_loss"] < report["eval_loss_before"]
    assert report["eval_reward_margin"] > report["eval_reward_margin_before"]
    if stage != "kto":  # these have no reference: the base itself prefers one of the two
        assert 0 < report["eval_reward_accuracy_before"] < 1


def test_kto_needs_two_answers_a_pass(workspace: TuningWorkspace) -> None:
    with pytest.raises(WorkbenchError, match="KTO estimates a divergence"):
        run(workspace.job("kto", "single", PAIRS, batch__batch_size=4, batch__per_device_batch_size=1))
