"""Panels: built-in ones hold tasks of the harness, a project's own win over them, bad ones are told in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.benchmarks import harness, panels
from workbench.benchmarks.panels import Panel
from workbench.benchmarks.tasks import expand, needs
from workbench.errors import WorkbenchError

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")

BUILT_IN = ["base", "code", "instruct", "quantisation", "quick"]


def test_the_built_in_ones(tmp_path: Path) -> None:
    assert sorted(panels.names(tmp_path)) == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_panels_hold_tasks_of_the_harness(name: str, tmp_path: Path) -> None:
    panel = Panel.read(tmp_path, name)
    assert panel.description
    for choice in panel.tasks:
        single = expand(choice, tmp_path, pytest.fail)
        assert all(item.task in harness.tasks() or item.task == "divergence" for item in single)
    # An empty project; held-out text comes with the model.
    lacking = {item.lacks for item in needs(panel.tasks, tmp_path) if item.task != "divergence"}
    assert lacking == {"data"}


def test_a_project_has_its_own(tmp_path: Path) -> None:
    file = panels.copy(tmp_path, "quick")
    assert file == tmp_path / "panels" / "quick.yaml"
    file.write_text(
        "description: Mine.\ntasks:\n  - piqa\n  - {task: gsm8k, shots: 2, limit: 9, chat_template: true}\n"
    )
    mine = Panel.read(tmp_path, "quick")
    assert mine.description == "Mine."
    assert [choice.task for choice in mine.tasks] == ["piqa", "gsm8k"]
    assert mine.tasks[1].model_dump() == {
        "task": "gsm8k", "shots": 2, "limit": 9, "chat_template": True, "metric": None,
    }  # fmt: skip
    assert sorted(panels.names(tmp_path)) == BUILT_IN
    with pytest.raises(WorkbenchError, match="is there already"):
        panels.copy(tmp_path, "base", "quick")
    assert panels.copy(tmp_path, "base", "other").name == "other.yaml"
    assert Panel.read(tmp_path, "other") == Panel.read(tmp_path, "base")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("description: x\ntasks: [", "is not valid YAML at line 2."),
        ("- piqa", "holds no panel"),
        ("description: x", "holds no panel. Give it a list `tasks`"),
        ("tasks: []", "`tasks` is empty, but should be a list of tasks. Write each as its name"),
        ("tasks: piqa", "`tasks` is 'piqa', but should be a list of tasks."),
        ("tasks: [piqa, 5]", "mine.yaml, task 2: It is 5, which names no task. Write each as its name, or as {task:"),
        ("tasks: [{shots: 2}]", "mine.yaml, task 1: The entry lacks 'task'. Add it."),
        (
            "tasks: [piqa, {task: gsm8k, shot: 5}]",
            "task 2 (gsm8k): Unknown key 'shot' in the entry. Did you mean shots?",
        ),
        ("tasks: [{task: gsm8k, shots: -1}]", "shots is -1, but should be at least 0"),
        ("tasks: [{task: gsm8k, limit: 0}]", "limit is 0, but should be at least 1"),
        ("title: x\ntasks: [piqa]", "mine.yaml: Unknown key 'title' in the panel. There are: description, tasks."),
    ],
)
def test_a_bad_panel_is_told(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "panels").mkdir()
    (tmp_path / "panels" / "mine.yaml").write_text(text)
    with pytest.raises(WorkbenchError) as caught:
        Panel.read(tmp_path, "mine")
    assert sentence in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="Did you mean quick"):
        Panel.read(tmp_path, "quik")
    with pytest.raises(WorkbenchError, match="cannot be a panel's name"):
        panels.copy(tmp_path, "quick", "../quick")
