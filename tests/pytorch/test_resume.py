"""Stopped, killed or never interrupted: the same losses and the same weights, bit for bit."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines.pytorch.pretrain import pretrain
from tests.pytorch.conftest import Listener, Workspace
from workbench.contract import CheckpointSaved, Finished, Job, Started, Stopped, Warned, parse_event

SETTINGS = {
    "plain": {"data__packing": "plain"},
    "documents": {"data__packing": "documents"},
    "documents, accumulated": {"data__packing": "documents", "batch__gradient_accumulation_steps": 4},
    "float32": {"precision__dtype": "float32"},
}


def weights(job: Job) -> str:
    return hashlib.sha256((job.output / "model.safetensors").read_bytes()).hexdigest()


def never_stopped(workspace: Workspace, **settings: object) -> tuple[Job, Listener]:
    job, listener = workspace.job("whole", checkpoints__save_steps=5, **settings), Listener()
    pretrain(job, listener)
    return job, listener


@pytest.mark.parametrize("name", SETTINGS)
def test_stop_and_resume(workspace: Workspace, name: str) -> None:
    whole_job, whole = never_stopped(workspace, **SETTINGS[name])
    job = workspace.job("stopped", checkpoints__save_steps=5, **SETTINGS[name])
    first, second = Listener(stop_after=10), Listener()
    pretrain(job, first)
    stopped = first.all(Stopped)
    assert len(stopped) == 1
    assert not first.all(Finished)
    assert 0 < stopped[0].step < 12
    pretrain(job, second)

    assert second.all(Started)[0].step == stopped[0].step
    assert first.losses().keys() | second.losses().keys() == set(range(1, 13))
    assert not first.losses().keys() & second.losses().keys()
    assert first.losses() | second.losses() == whole.losses()
    assert weights(job) == weights(whole_job)
    assert second.all(Finished)[0].report["eval_loss"] == whole.all(Finished)[0].report["eval_loss"]


def test_killed_and_resumed(workspace: Workspace) -> None:
    settings = {"schedule__max_steps": 60, "evaluation__eval_tokens": 256}
    whole_job, whole = never_stopped(workspace, **settings)
    job = workspace.job("killed", checkpoints__save_steps=5, **settings)
    job.write(job.directory / "job.json")
    log = open(job.directory / "log.txt", "wb")  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-m", "engines.pytorch", str(job.directory / "job.json")], stdout=log, stderr=log
    )
    deadline = time.monotonic() + 120
    while not (job.directory / "checkpoints" / "step-00000015").exists():
        assert process.poll() is None, (job.directory / "log.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    log.close()
    lines = (job.directory / "events.jsonl").read_text().splitlines()
    before = Listener([parse_event(line) for line in lines]).losses()
    second = Listener()
    pretrain(job, second)

    resumed_at = second.all(Started)[0].step
    assert 15 <= resumed_at < 60
    assert resumed_at % 5 == 0
    assert before | second.losses() == whole.losses()
    assert weights(job) == weights(whole_job)


def test_a_broken_checkpoint_falls_to_the_one_before(workspace: Workspace) -> None:
    whole_job, whole = never_stopped(workspace)
    job = workspace.job("broken", checkpoints__save_steps=3, checkpoints__keep_last=5)
    pretrain(job, Listener(stop_after=20))
    folder = job.directory / "checkpoints"
    steps = sorted(path.name for path in folder.iterdir())
    assert len(steps) >= 3
    with open(folder / steps[-1] / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    (folder / steps[-2] / "complete.json").unlink()
    (folder / "step-00000099.partial").mkdir()
    second = Listener()
    pretrain(job, second)

    warnings = [event.message for event in second.all(Warned)]
    assert len(warnings) == 2
    assert "model.safetensors has 1,000 of" in warnings[0]
    assert "complete.json is missing" in warnings[1]
    assert second.all(Started)[0].step == int(steps[-3].removeprefix("step-"))
    assert not (folder / "step-00000099.partial").exists()
    resumed = second.losses()
    assert resumed == {step: loss for step, loss in whole.losses().items() if step in resumed}
    assert weights(job) == weights(whole_job)


def test_checkpoint_now_and_rotation(workspace: Workspace) -> None:
    job = workspace.job(checkpoints__save_steps=4, checkpoints__keep_last=1, evaluation__eval_steps=12)
    listener = Listener(checkpoint_after=3)
    pretrain(job, listener)
    saved = listener.all(CheckpointSaved)
    assert [event.step for event in saved] == [2, 4, 8, 12]
    assert saved[0].eval_loss is None
    assert all(event.eval_loss for event in saved[1:])
    kept = {path.name for path in (job.directory / "checkpoints").iterdir()}
    best = min(saved[1:], key=lambda event: event.eval_loss).step
    assert kept == {f"step-{best:08d}", "step-00000012"}
    assert Path(saved[-1].path) == Path("checkpoints/step-00000012")
