"""What every engine that trains a model further promises, stage by stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="trl is not installed: pip install 'llm-workbench[tuning]'")

from tests.pytorch.conftest import Listener
from tests.pytorch.letter_e import write_prompts
from tests.pytorch.tuning_workspace import (
    RECIPES,
    TuningWorkspace,
    write_chats,
    write_model,
    write_preferences,
)
from workbench.contract import (
    CheckpointSaved,
    Engine,
    Estimated,
    Finished,
    Job,
    Metrics,
    RewardEngine,
    Sample,
    Started,
    Stopped,
)
from workbench.corpus.documents import CorpusWriter
from workbench.errors import WorkbenchError
from workbench.recipes.reinforcement import GrpoRecipe, PpoRecipe

JUDGED = {"base": "models/base", "preferences": "preferences/pairs"}
STAGES: dict[str, dict[str, str]] = {
    "sft": {"base": "models/base", "data.0": "chats/turns"},
    "continue": {"base": "models/base", "corpus": "corpora/stories"},
    "reward": JUDGED,
    "dpo": JUDGED,
    "orpo": JUDGED,
    "kto": JUDGED,
    "ppo": {"base": "models/chat", "reward": "rewards/judge", "prompts": "chats/prompts"},
    "grpo": {"base": "models/chat", "prompts": "chats/prompts"},
}
SETTINGS = {
    "max_length": 96, "schedule__max_steps": 4, "checkpoints__save_steps": 2, "evaluation__eval_steps": 2,
    "batch__per_device_batch_size": 2, "evaluation__sample_tokens": 4,
}  # fmt: skip
OWN_ANSWERS: dict[str, Any] = {"generation__max_completion_length": 8}
OWN: dict[str, dict[str, Any]] = {
    "ppo": OWN_ANSWERS,
    "grpo": OWN_ANSWERS | {"reward_pattern": "e", "num_generations": 2},
}
FIGURES = {
    "sft": {"token_accuracy", "entropy"}, "continue": {"token_accuracy", "entropy"},
    "reward": {"reward_accuracy", "reward_margin", "reward_mean"}, "dpo": {"reward_accuracy", "reward_margin"},
    "orpo": {"reward_accuracy", "reward_margin"}, "kto": {"kl"},
    "ppo": {"reward_mean", "kl", "value_loss", "clip_fraction"}, "grpo": {"reward_mean", "kl", "clip_fraction"},
}  # fmt: skip


@pytest.fixture(scope="session")
def further(tmp_path_factory: pytest.TempPathFactory) -> TuningWorkspace:
    """A base, a chat model on it that PyTorch trained, its reward model, and data for every stage."""
    from engines.pytorch import PyTorchEngine

    folder = tmp_path_factory.mktemp("further")
    write_model(folder / "models" / "base", width=32)
    write_chats(folder / "chats" / "turns", rows=20)
    write_preferences(folder / "preferences" / "pairs", pairs=20)
    (folder / "corpora" / "stories").mkdir(parents=True)
    with CorpusWriter(folder / "corpora" / "stories") as writer:
        for number in range(12):
            writer.add(f"Story {number}. " + "The cat sees the moon. " * 6, f"{number}.txt")
    write_prompts(folder / "chats" / "prompts", [f"Repeat: The cat sees dog {number}." for number in range(12)])
    workspace = TuningWorkspace(folder)
    few = {"max_length": 96, "schedule__max_steps": 2, "evaluation__sample_tokens": 0}
    PyTorchEngine().run(workspace.job("sft", "chat", STAGES["sft"], **few), Listener())
    PyTorchEngine().run(workspace.job("reward", "judge", JUDGED | {"base": "models/chat"}, **few), Listener())
    return workspace


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, engine: Engine) -> str:
    if request.param not in engine.capabilities().stages:
        pytest.skip(f"{engine.name} does not run {request.param}")
    return request.param


@pytest.fixture
def job_of(engine: Engine, stage: str, further: TuningWorkspace, monkeypatch: Any) -> Callable[..., Job]:
    """Jobs of the stage, by name."""
    monkeypatch.setitem(RECIPES, "ppo", PpoRecipe)
    monkeypatch.setitem(RECIPES, "grpo", GrpoRecipe)

    def made(name: str, **settings: Any) -> Job:
        values = SETTINGS | OWN.get(stage, {}) | {"engine": engine.name} | settings
        return further.job(stage, f"{engine.name}-{stage}-{name}", STAGES[stage], **values)

    return made


def test_a_run_says_what_happens_and_leaves_a_whole_folder(
    engine: Engine, stage: str, job_of: Callable[..., Job]
) -> None:
    job, listener = job_of("run"), Listener()
    (job.output / "left-over.txt").write_text("of an earlier attempt")
    engine.run(job, listener)
    events = listener.events
    assert isinstance(events[-1], Finished)
    [started], [estimated] = listener.all(Started), listener.all(Estimated)
    assert (started.step, started.total_steps) == (0, 4)
    assert estimated.seconds > 0
    assert estimated.parameters > 1000
    steps = [event for event in listener.all(Metrics) if event.loss is not None]
    assert [event.step for event in steps] == [1, 2, 3, 4]
    assert all(event.grad_norm is not None and event.learning_rate is not None for event in steps)
    assert FIGURES[stage] <= steps[-1].more.keys()
    measured = [event for event in listener.all(Metrics) if "eval_loss" in event.more]
    assert [event.step for event in measured] == [0, 2, 4]
    assert {event.step for event in listener.all(Sample)} == (set() if stage == "reward" else {0, 2, 4})
    assert [event.step for event in listener.all(CheckpointSaved)] == [2, 4]
    report = events[-1].report
    assert report["steps"] == 4
    assert report["eval_loss"] == measured[-1].more["eval_loss"]
    assert report["eval_loss_before"] == measured[0].more["eval_loss"]
    names = {path.name for path in job.output.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert "left-over.txt" not in names
    assert ("chat_template.jinja" in names) == (stage != "continue")
    kind = json.loads((job.output / "config.json").read_text())["architectures"][0]
    if stage == "reward":
        assert kind.endswith("ForSequenceClassification")
        assert isinstance(engine, RewardEngine)
        model = engine.open_reward(job.output)
        assert len(model.score([([{"role": "user", "content": "Who?"}], "The cat.")])) == 1
        with pytest.raises(WorkbenchError, match="is no reward model"):
            engine.open_reward(job.inputs["base"])
    else:
        assert kind.endswith("ForCausalLM")
        model = engine.load(job.output)
        assert model.context_length == 128
    model.close()


def test_stopped_and_resumed_is_never_stopped(engine: Engine, stage: str, job_of: Callable[..., Job]) -> None:
    adapter = {"adapter__lora_rank": 4}
    whole_job, job = job_of("whole", **adapter), job_of("stopped", **adapter)
    whole, first, second = Listener(), Listener(stop_after=4), Listener()
    engine.run(whole_job, whole)
    engine.run(job, first)
    assert isinstance(first.events[-1], Stopped)
    engine.run(job, second)
    assert 0 < second.all(Started)[0].step == first.events[-1].step < 4
    assert first.losses() | second.losses() == whole.losses()
    assert digest(job) == digest(whole_job)
    report, expected = (dict(item.all(Finished)[0].report) for item in (second, whole))
    for name in list(report):
        if "second" in name:
            del report[name], expected[name]
    assert report == expected


def digest(job: Job) -> str:
    [path] = job.output.glob("adapter_model.safetensors")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
