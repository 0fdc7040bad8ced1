"""What a person gets to read when a training cannot go on, and what is left of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines import checkpoints
from engines.pretraining import refuse_what_cannot_fit
from engines.pytorch import checkpoint
from engines.pytorch.pretrain import pretrain
from tests.pytorch.conftest import VOCAB_SIZE, Listener, Workspace
from workbench.contract import Job, Metrics, Started, Warned
from workbench.corpus.shards import ShardWriter
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.recipes.pretrain import PretrainRecipe


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB: a checkpoint of the tests' model takes about 2."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here: it takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def on(disk: Path, job: Job) -> Job:
    return Job(
        run=job.run, stage=job.stage, recipe=job.recipe, inputs=job.inputs, output=job.output, directory=disk,
    )  # fmt: skip


@pytest.mark.parametrize("foreseen", [True, False])
def test_a_full_disk_harms_no_earlier_checkpoint(
    workspace: Workspace, small_disk: Path, foreseen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not foreseen:  # something else fills the disk after the look at what is free
        monkeypatch.setattr(checkpoints.CheckpointFolder, "_require_room", lambda *_: None)
    settings = {"checkpoints__save_steps": 2, "checkpoints__keep_last": 9}
    whole_job, whole = workspace.job("whole", **settings), Listener()
    pretrain(whole_job, whole)
    job, first = on(small_disk, workspace.job("full", **settings)), Listener()
    with pytest.raises(WorkbenchError, match=r"The disk is full: a checkpoint needs 3 MiB, and .* MiB free") as error:
        pretrain(job, first)
    assert "Free some space" in error.value.remedy
    left = sorted(path.name for path in (small_disk / "checkpoints").iterdir())
    assert left
    assert not any(name.endswith(".partial") for name in left)
    shutil.rmtree(small_disk / "checkpoints" / left[0])  # some space is freed
    roomier = on(small_disk, workspace.job("full", **settings | {"checkpoints__keep_last": 1}))
    second = Listener()
    pretrain(roomier, second)
    assert second.all(Started)[0].step == int(left[-1].removeprefix("step-"))
    assert second.losses() == {step: loss for step, loss in whole.losses().items() if step in second.losses()}


def test_a_loss_that_is_not_finite_says_where_and_what_to_lower(workspace: Workspace) -> None:
    job, listener = (
        workspace.job(optimizer__learning_rate=1e4, schedule__max_steps=40, checkpoints__save_steps=1),
        Listener(),
    )
    with pytest.raises(WorkbenchError, match=r"no longer finite at step \d+ \(learning rate \d.\d\de\+\d\d\)") as error:
        pretrain(job, listener)
    assert "Lower --learning-rate" in error.value.remedy
    kept = checkpoint.Checkpoints(job.directory / "checkpoints", keep_last=2, keep_best=True)
    newest = kept.newest_valid(pytest.fail)
    assert newest is not None
    broken_at = max(event.step for event in listener.all(Metrics))
    assert checkpoints.read_progress(newest).step < broken_at


def test_what_cannot_fit_is_refused_with_what_to_lower(workspace: Workspace) -> None:
    huge = {"model__hidden_size": 8192, "model__num_hidden_layers": 400, "model__num_attention_heads": 64}
    with pytest.raises(WorkbenchError, match=r"needs about [\d,]+\.\d GiB of memory; cpu has") as error:
        pretrain(workspace.job(**huge), Listener())
    assert "--hidden-size" in error.value.remedy
    wide = {"batch__batch_size": 1 << 20, "batch__per_device_batch_size": 1 << 20}
    with pytest.raises(WorkbenchError, match="GiB of memory") as error:
        pretrain(workspace.job(**wide), Listener())
    assert "Lower --per-device-batch-size to" in error.value.remedy


def shards_of(workspace: Workspace, lengths: list[int]) -> None:
    (workspace.folder / "shards").unlink()
    (workspace.folder / "shards").mkdir()
    with ShardWriter(workspace.folder / "shards", vocab_size=VOCAB_SIZE, shard_tokens=10**6) as writer:
        writer.extend(np.full(sum(lengths), 20), np.array(lengths), np.arange(len(lengths)))
        writer.finish()


def test_a_corpus_smaller_than_a_batch_warns_and_one_smaller_than_a_sequence_fails(workspace: Workspace) -> None:
    shards_of(workspace, [300])
    listener = Listener()
    pretrain(workspace.job("small", data__validation_fraction=0.3, schedule__max_steps=2), listener)
    assert "makes 2 sequences of 64 tokens, fewer than a batch of 8" in listener.all(Warned)[0].message
    job = workspace.job("tiny", data__validation_fraction=0.33, model__max_length=256)
    with pytest.raises(WorkbenchError, match="leaves 201 tokens to train on, fewer than one sequence of 256"):
        pretrain(job, Listener())


def test_shards_of_another_tokenizer_are_refused(workspace: Workspace) -> None:
    (workspace.folder / "shards").unlink()
    (workspace.folder / "shards").mkdir()
    with ShardWriter(workspace.folder / "shards", vocab_size=999, shard_tokens=10**6) as writer:
        writer.extend(np.full(5000, 20), np.array([5000]), np.array([0]))
        writer.finish()
    with pytest.raises(WorkbenchError, match="vocabulary of 999 tokens, the tokenizer has 600"):
        pretrain(workspace.job(), Listener())


def test_a_checkpoint_of_another_recipe_is_not_continued(workspace: Workspace) -> None:
    pretrain(workspace.job(), Listener())
    with pytest.raises(WorkbenchError, match="belongs to another recipe"):
        pretrain(workspace.job(optimizer__learning_rate=1e-5), Listener())


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"size": "large"}, "Choose a smaller --size, or lower --max-length."),
        ({"size": "nano", "hidden_size": 65_536}, "Lower --hidden-size, set above what --size nano has, or --max-l"),
    ],
)
def test_what_cannot_fit_says_what_to_lower(given: dict[str, object], remedy: str) -> None:
    recipe = recipe_from({"stage": "pretrain", "corpus": "c", "tokenizer": "t", "model": given}).resolved()
    assert isinstance(recipe, PretrainRecipe)
    with pytest.raises(WorkbenchError, match="GiB of memory") as caught:
        refuse_what_cannot_fit(recipe, 512, 1 << 30, "cpu")
    assert caught.value.remedy.startswith(remedy)
