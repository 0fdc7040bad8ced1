"""The trial of repacked weights, and its memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.llamacpp import extra_buffers

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp")


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state" / "llamacpp.json"


def test_the_trial_runs_without_repacking_everywhere() -> None:
    assert extra_buffers._try(extra=False)


def test_the_answer_is_the_machines_and_is_remembered(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = extra_buffers.work_here()
    assert answer == extra_buffers._try(extra=True)
    assert list(json.loads(memory.read_text()).values()) == [answer]
    monkeypatch.setattr(extra_buffers, "_try", lambda *, extra: pytest.fail("tried again"))
    assert extra_buffers.work_here() == answer


def test_another_build_is_tried_anew(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.parent.mkdir()
    memory.write_text(json.dumps({"another CPU": True}))
    answer = extra_buffers.work_here()
    assert json.loads(memory.read_text()) == {"another CPU": True, extra_buffers._machine(): answer}


def test_what_fails_either_way_is_not_remembered(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra_buffers, "_try", lambda *, extra: False)
    assert extra_buffers.work_here() is False
    assert not memory.exists()


def test_a_damaged_memory_is_replaced(memory: Path) -> None:
    memory.parent.mkdir()
    memory.write_text("{not json")
    answer = extra_buffers.work_here()
    assert list(json.loads(memory.read_text()).values()) == [answer]
