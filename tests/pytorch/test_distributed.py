"""torchrun with two processes: the same losses as one, one voice, and a reason when any of them fails."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from engines.pytorch import PyTorchEngine
from engines.pytorch.pretrain import pretrain
from tests.pytorch.conftest import Listener, Workspace
from workbench.contract import CheckpointSaved, Failed, Finished, Job, Started, Stopped, parse_event


def torchrun(job: Job, **environment: str) -> tuple[int, Listener]:
    job_file = job.directory / "job.json"
    job.write(job_file)
    done = subprocess.run(
        PyTorchEngine().command(job, job_file),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    (job.directory / "log.txt").write_text(done.stdout + done.stderr)
    lines = (job.directory / "events.jsonl").read_text().splitlines()
    return done.returncode, Listener([parse_event(line) for line in lines])


@pytest.mark.parametrize("accumulation", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_two_processes_train_as_one(workspace: Workspace, accumulation: int) -> None:
    settings = {"precision__dtype": "float32", "batch__gradient_accumulation_steps": accumulation}
    alone, one = workspace.job("one", **settings), Listener()
    pretrain(alone, one)
    both = workspace.job("two", launch__kind="torchrun", launch__processes=2, **settings)
    status, two = torchrun(both)

    assert status == 0, (both.directory / "log.txt").read_text()
    assert len(two.all(Started)) == len(two.all(Finished)) == 1
    assert two.losses().keys() == one.losses().keys()
    difference = max(abs(loss - one.losses()[step]) for step, loss in two.losses().items())
    assert difference < 1e-5
    assert two.all(Finished)[0].report["eval_loss"] == pytest.approx(one.all(Finished)[0].report["eval_loss"], abs=1e-5)
    last = both.directory / two.all(CheckpointSaved)[-1].path
    assert sorted(path.name for path in (last / "resume").glob("rank-*")) == ["rank-00000.json", "rank-00001.json"]


def test_a_stop_reaches_both_and_they_resume(workspace: Workspace) -> None:
    settings = {"precision__dtype": "float32", "schedule__max_steps": 60, "checkpoints__save_steps": 4}
    alone, one = workspace.job("one", **settings), Listener()
    pretrain(alone, one)
    job = workspace.job("two", launch__kind="torchrun", launch__processes=2, **settings)
    (job.directory / "control").mkdir()
    threading.Thread(target=stop_after_a_checkpoint, args=(job,), daemon=True).start()
    status, first = torchrun(job)
    assert status == 0, (job.directory / "log.txt").read_text()
    stopped = first.all(Stopped)
    assert len(stopped) == 1
    assert 4 <= stopped[0].step < 60
    (job.directory / "control" / "stop").unlink()
    status, both = torchrun(job)  # the events of both attempts
    assert status == 0, (job.directory / "log.txt").read_text()
    assert both.all(Started)[1].step == stopped[0].step
    assert both.losses().keys() == one.losses().keys()
    assert max(abs(loss - one.losses()[step]) for step, loss in both.losses().items()) < 1e-4


def stop_after_a_checkpoint(job: Job) -> None:
    while not (job.directory / "checkpoints" / "step-00000004").exists():
        time.sleep(0.02)
    (job.directory / "control" / "stop").touch()


def test_a_failure_leaves_its_reason_once(workspace: Workspace) -> None:
    job = workspace.job(launch__kind="torchrun", launch__processes=2)
    plain = json.loads(json.dumps(dict(job.recipe)))
    shards: Path = workspace.folder / "empty"
    shards.mkdir()
    broken = Job(
        run=job.run, stage=job.stage, recipe=plain, inputs={**job.inputs, "shards": shards}, output=job.output,
        directory=job.directory,
    )  # fmt: skip
    status, listener = torchrun(broken)
    assert status != 0
    failures = listener.all(Failed)
    assert failures
    assert {failure.reason for failure in failures} == {failures[0].reason}
    assert "shards.json" in failures[0].reason
