"""What is said of a training in one line, whatever its method reports."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from workbench.cli import cli
from workbench.cli.summary import outcome, summary
from workbench.contract import Metrics
from workbench.recipes.load import recipe_from
from workbench.store import artifacts, events, runs
from workbench.store.catalog import open_catalog
from workbench.store.project import create

KEYS = {"ppo": ("stage", "base", "reward", "prompts"), "sft": ("stage", "base", "data")}


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        ({"eval_loss": 4.63, "eval_bits_per_byte": 1.9012}, "1.901 bits per byte"),
        ({"eval_loss": 3.42, "eval_loss_before": 5.4}, "held-out loss 5.400 → 3.420"),
        ({"eval_reward_accuracy": 0.928, "length_only_accuracy": 0.5},
         "92.8% of held-out pairs right (by length alone 50.0%)"),
        ({"eval_loss": 0.5, "eval_reward_accuracy": 0.8, "eval_reward_margin": 0.55}, "80.0% of held-out pairs right"),
        ({"eval_loss": -11.0, "eval_reward_mean": 10.99, "eval_reward_mean_before": 2.57, "eval_kl": 5.07},
         "held-out reward 2.57 → 10.99, 5.07 nats from the base"),
        ({"eval_reward_mean": 9.73, "eval_reward_mean_before": -2.26, "eval_kl": 5.0, "held_out_prompts": 1},
         "held-out reward -2.26 → 9.73 on 1 prompt, 5.00 nats from the base"),
        ({"eval_reward_mean": 10.13, "eval_reward_mean_before": 11.55, "eval_kl": -0.03},
         "held-out reward 11.55 → 10.13, about 0 nats from the base"),
        ({"eval_loss": 0.49, "eval_kl": 0.1, "eval_reward_margin": 0.2}, "held-out loss 0.490"),
        ({"parameters": 5}, ""),
    ],
)  # fmt: skip
def test_the_outcome_is_what_the_method_is_after(report: dict[str, float], sentence: str) -> None:
    assert outcome(report) == sentence


def test_a_mixture_says_what_its_weights_came_to() -> None:
    report = {"parameters": 985_000, "eval_loss": 1.25, "mixture": {"turns": 0.62, "more": 0.38}}
    made = artifacts.Artifact(
        kind="model", id="m", name="m", version=1, identity="", digest="", stage="sft", run=None, created=0.0, bytes=0,
        recipe={}, inputs={}, report=report,
    )  # fmt: skip
    assert summary(made) == "985k parameters, held-out loss 1.250; trained tokens: turns 62%, more 38%"


def test_scores_are_written_as_in_tables() -> None:
    scores = {
        "arc": {"metric": "acc_norm", "value": 1 / 3, "low": 0.1, "high": 0.625},
        "text:a.txt": {"metric": "bits_per_byte", "value": 1.2345, "low": None, "high": None},
    }
    made = artifacts.Artifact(
        kind="benchmark", id="b", name="b", version=1, identity="", digest="", stage="benchmark", run=None, created=0.0,
        bytes=0, recipe={}, inputs={}, report={"scores": scores},
    )  # fmt: skip
    assert summary(made) == "arc 33.3% (10.0 to 62.5), text:a.txt 1.234"


def test_the_list_of_runs_shows_the_reward_where_that_is_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = create(tmp_path / "project")
    with open_catalog(project) as catalog:
        for stage, figures in (("ppo", {"reward_mean": 1.25, "kl": 0.5}), ("sft", {})):
            values = {"stage": stage, "base": "base", "reward": "judge", "prompts": "prompts", "data": ["chats"]}
            recipe = recipe_from({key: values[key] for key in KEYS[stage]}).resolved()
            run = runs.create(
                project, catalog, recipe, name=stage, engine="pytorch", produces="model", identity="0" * 64, inputs={},
                after=(), accelerator=True,
            )  # fmt: skip
            events.add_event(project, catalog, run.id, Metrics(step=3, tokens=10, loss=0.125, more=figures))
    monkeypatch.chdir(project.root)
    shown = CliRunner().invoke(cli, ["runs"]).output
    assert "reward 1.25" in next(line for line in shown.splitlines() if "model/ppo" in line)
    assert "0.125" not in next(line for line in shown.splitlines() if "model/ppo" in line)
    assert "0.125" in next(line for line in shown.splitlines() if "model/sft" in line)
