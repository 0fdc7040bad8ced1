"""What `workbench.contract.Engine` promises: capabilities, commands, and how a run goes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pytorch.conftest import Listener, Workspace
from workbench import registry
from workbench.contract import (
    Capabilities,
    CheckpointSaved,
    Engine,
    Estimated,
    Finished,
    Job,
    Metrics,
    Sample,
    Started,
    Stopped,
    Warned,
)
from workbench.errors import WorkbenchError

BARE = """
import importlib.util, json, sys
missing = {"torch", "mlx", "mlx_lm", "llama_cpp", "gguf", "transformers"}
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.split(".")[0] in missing else real(name, package)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Finder())
from workbench import registry
able = registry.engine(sys.argv[1]).capabilities()
print(json.dumps([able.available, able.reason, able.install]))
"""
SETTINGS = {"schedule__max_steps": 6, "evaluation__eval_steps": 3, "checkpoints__save_steps": 3}


def test_capabilities(engine_name: str) -> None:
    found = registry.engine(engine_name)
    assert isinstance(found, Engine)
    assert found.name == engine_name
    able = found.capabilities()
    assert isinstance(able, Capabilities)
    assert able.available or (able.reason and able.install)
    if able.available:
        assert able.stages
        assert able.devices
        assert able.dtypes
        assert able.versions


def test_without_its_libraries_it_says_what_is_missing(engine_name: str) -> None:
    done = subprocess.run([sys.executable, "-c", BARE, engine_name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    available, reason, install = json.loads(done.stdout.splitlines()[-1])
    assert not available
    assert reason.endswith((".", "!"))
    assert "pip install" in install


def test_its_command_is_given_the_job(engine: Engine, workspace: Workspace) -> None:
    command = engine.command(workspace.job(), Path("job.json"))
    assert all(isinstance(part, str) for part in command)
    assert "job.json" in command


def test_a_stage_that_it_does_not_run_is_refused(engine: Engine, workspace: Workspace) -> None:
    listener = Listener()
    with pytest.raises(WorkbenchError, match="cannot run the stage 'juggle'"):
        engine.run(replace(workspace.job(), stage="juggle"), listener)
    assert not listener.events


def test_a_folder_without_a_model_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError):
        engine.load(tmp_path)


def test_a_run_says_what_happens(engine: Engine, pretraining: Callable[..., Job]) -> None:
    job, listener = pretraining(**SETTINGS), Listener(checkpoint_after=2)
    (job.output / "left-over.txt").write_text("of an earlier attempt")
    engine.run(job, listener)
    events = listener.events
    assert isinstance(events[0], Started)
    assert (events[0].step, events[0].total_steps) == (0, 6)
    assert isinstance(events[-1], Finished)
    [estimated] = listener.all(Estimated)
    assert estimated.seconds > 0
    assert estimated.tokens == 6 * 4 * 32
    steps = [event for event in listener.all(Metrics) if event.loss is not None]
    assert [event.step for event in steps] == [1, 2, 3, 4, 5, 6]
    assert [event.tokens for event in steps] == [4 * 32 * number for number in range(1, 7)]
    assert all(event.grad_norm and event.learning_rate and event.tokens_per_second for event in steps)
    measured = [event for event in listener.all(Metrics) if "eval_loss" in event.more]
    assert [event.step for event in measured] == [3, 6]
    assert all(event.more["eval_bits_per_byte"] > 0 for event in measured)
    assert [event.step for event in listener.all(Sample)] == [3, 6]
    saved = listener.all(CheckpointSaved)
    assert len(saved) == 3  # one was asked for
    assert [event.step for event in saved][1:] == [3, 6]
    assert (job.directory / saved[-1].path / "complete.json").is_file()

    report = events[-1].report
    assert report["steps"] == 6
    assert report["eval_loss"] == measured[-1].more["eval_loss"]
    names = {path.name for path in job.output.iterdir()}
    assert {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json", "held_out.txt"} <= names
    assert not {"left-over.txt", "chat_template.jinja"} & names
    opened = engine.load(job.output)
    assert opened.context_length == 32
    opened.close()


def test_stopped_and_resumed_is_never_stopped(engine: Engine, pretraining: Callable[..., Job]) -> None:
    whole_job, whole = pretraining("whole", **SETTINGS), Listener()
    engine.run(whole_job, whole)
    job, first, second = pretraining("stopped", **SETTINGS), Listener(stop_after=3), Listener()
    engine.run(job, first)
    assert isinstance(first.events[-1], Stopped)
    assert isinstance(first.events[-2], CheckpointSaved)
    engine.run(job, second)
    assert second.all(Started)[0].step == first.events[-1].step
    assert first.losses() | second.losses() == whole.losses()
    assert weights(job) == weights(whole_job)
    third = Listener()  # all is done: only the files are written anew
    engine.run(job, third)
    assert third.losses() == {}
    assert weights(job) == weights(whole_job)


def test_a_broken_checkpoint_falls_to_the_one_before(engine: Engine, pretraining: Callable[..., Job]) -> None:
    job = pretraining(**SETTINGS)
    engine.run(job, Listener())
    newest = sorted((job.directory / "checkpoints").iterdir())[-1]
    with open(newest / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    listener = Listener()
    engine.run(job, listener)
    assert "model.safetensors has 1,000 of" in listener.all(Warned)[0].message
    assert listener.all(Started)[0].step == 3


def test_what_goes_wrong_has_its_sentence(engine: Engine, pretraining: Callable[..., Job]) -> None:
    with pytest.raises(WorkbenchError, match=r"no longer finite at step \d+"):
        engine.run(pretraining("diverges", optimizer__learning_rate=1e8, schedule__max_steps=30), Listener())
    huge = {"model__hidden_size": 8192, "model__num_hidden_layers": 400, "model__num_attention_heads": 64}
    with pytest.raises(WorkbenchError, match=r"needs about [\d,]+\.\d GiB of memory"):
        engine.run(pretraining("huge", **huge), Listener())
    job = pretraining("other", **SETTINGS)
    engine.run(job, Listener())
    with pytest.raises(WorkbenchError, match="belongs to another recipe"):
        engine.run(pretraining("other", optimizer__learning_rate=1e-5, **SETTINGS), Listener())


def weights(job: Job) -> str:
    return hashlib.sha256((job.output / "model.safetensors").read_bytes()).hexdigest()
