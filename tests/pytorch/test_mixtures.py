"""Pretraining on a mixture of two corpora with a phase: shares, figures of each, and resuming, exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.pytorch.pretrain import pretrain
from tests.pytorch.conftest import VOCAB_SIZE, Listener, Workspace
from tests.pytorch.test_resume import weights
from workbench.contract import Estimated, Finished, Job, Metrics, Started, Stopped, Warned
from workbench.corpus.chats.inspection import inspector
from workbench.corpus.pretraining_data import pretraining_data
from workbench.corpus.shards import ShardWriter, document_key
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.pretrain import PretrainRecipe

COUNTING = 20  # the id that counting begins at: 300 documents of 100 tokens, easily learnt


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    folder = tmp_path / "counting"
    folder.mkdir()
    with ShardWriter(folder, vocab_size=VOCAB_SIZE, shard_tokens=10**6) as writer:
        for number in range(300):
            ids = np.array([0, *(np.arange(number, number + 98) % 50 + COUNTING), 1])
            writer.extend(ids, np.array([100]), np.array([document_key(b"%d" % number)], np.uint64))
        writer.finish()
    return folder


@pytest.fixture
def job(workspace: Workspace, counting: Path) -> Callable[..., Job]:
    """A job on the documents and on counting."""

    def make(name: str = "run", **settings: Any) -> Job:
        values = {"corpus": ["docs=0.75", "counting=0.25"], "phases": ["0.5: counting"], **settings}
        made = workspace.job(name, **values)
        inputs = {"tokenizer": made.inputs["tokenizer"], "shards.0": made.inputs["shards"], "shards.1": counting}
        return dataclasses.replace(made, inputs=inputs)

    return make


def recipe_of(job: Job) -> PretrainRecipe:
    recipe: PretrainRecipe = validate(PretrainRecipe, job.recipe)
    return recipe


def test_both_are_learnt_and_measured(job: Callable[..., Job]) -> None:
    made, listener = job(schedule__max_steps=120, optimizer__learning_rate=1e-2, evaluation__eval_steps=60), Listener()
    pretrain(made, listener)
    report = listener.all(Finished)[0].report
    sources = report["sources"]
    assert sources["docs"]["share"] == pytest.approx(0.375, abs=0.01)
    assert sources["counting"]["share"] == pytest.approx(0.625, abs=0.01)
    assert {name: item["validation_split"] for name, item in sources.items()} == {
        "docs": "tail",
        "counting": "documents",
    }
    assert sources["counting"]["epochs"] == pytest.approx(
        0.625 * 120 * 8 * 64 / sources["counting"]["train_tokens"], rel=0.05
    )
    [estimated] = listener.all(Estimated)
    assert estimated.epochs == {name: item["epochs"] for name, item in sources.items()}
    evaluated = [event.more for event in listener.all(Metrics) if "eval_loss" in event.more]
    for figures in evaluated:
        parts = [sources[name]["share"] * figures[f"eval_loss_{name}"] for name in sources]
        assert figures["eval_loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert evaluated[-1]["eval_loss_counting"] < 0.3 < 3 < evaluated[-1]["eval_loss_docs"]
    assert report["eval_loss_counting"] == evaluated[-1]["eval_loss_counting"]
    held_out = (made.output / "held_out.txt").read_text()
    assert len(held_out) > 1000


def test_stopped_in_front_of_a_phase_and_resumed(job: Callable[..., Job]) -> None:
    whole_job, whole = job("whole"), Listener()
    pretrain(whole_job, whole)
    stopped_job, first, second = job("stopped"), Listener(stop_after=5), Listener()
    pretrain(stopped_job, first)
    assert 0 < first.all(Stopped)[0].step < 6  # where the phase begins
    pretrain(stopped_job, second)
    assert second.all(Started)[0].step == first.all(Stopped)[0].step
    assert first.losses() | second.losses() == whole.losses()
    assert weights(stopped_job) == weights(whole_job)


def test_the_inspector_shows_where_rows_are_from(job: Callable[..., Job]) -> None:
    made = job()
    looked_at = inspector(recipe_of(made), made.inputs)
    batches = pretraining_data(recipe_of(made), made.inputs).batches
    for step in (0, 3, 6, 11):
        view = looked_at.batch(step)
        for row, ids in zip(view.sequences, batches.global_batch(step), strict=True):
            assert [token.id for token in row.tokens] == ids.tolist()
            counts = all(token.id < 3 or COUNTING <= token.id < COUNTING + 50 for token in row.tokens)
            assert {document.source for document in row.documents} == {"counting" if counts else "docs"}
    assert {document.source for row in looked_at.batch(6).sequences for document in row.documents} == {"counting"}


def test_a_source_that_is_repeated_often_warns_with_the_figure(job: Callable[..., Job]) -> None:
    made, listener = job(schedule__max_steps=2, phases=[], corpus=["docs=0.001", "counting"]), Listener()
    pretrain(made, listener)
    assert not listener.all(Warned)
    many = {"batch__batch_size": 2048, "batch__per_device_batch_size": 8, "evaluation__eval_tokens": 256}
    data = pretraining_data(recipe_of(job("many", schedule__max_steps=3, phases=[], **many)), made.inputs)
    epochs = data.sources[1].epochs
    assert epochs == pytest.approx(0.25 * 3 * 2048 * 64 / data.sources[1].train_tokens, rel=0.05)
    assert epochs > 3
    listener = Listener(stop_after=0)
    pretrain(job("often", schedule__max_steps=6, phases=[], **many), listener)
    [warned] = [event.message for event in listener.all(Warned) if "of counting" in event.message]
    assert f"goes {2 * epochs:.1f} times through" in warned
    assert "lower its weight" in warned


def test_what_does_not_fit_is_said_of_the_source(job: Callable[..., Job], counting: Path) -> None:
    with pytest.raises(WorkbenchError, match=r"counting: The corpus leaves 28,.* fewer than one sequence of 65,536"):
        pretrain(job(model__max_length=65_536), Listener())
    made = job()
    other = counting.with_name("other")
    other.mkdir()
    with ShardWriter(other, vocab_size=999, shard_tokens=10**6) as writer:
        writer.extend(np.full(5000, 20), np.array([5000]), np.array([0]))
        writer.finish()
    with pytest.raises(WorkbenchError, match="vocabularies of 600 and 999 tokens"):
        pretraining_data(recipe_of(made), {**made.inputs, "shards.1": other})
