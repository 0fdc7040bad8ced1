"""The verbs benchmark-data and panels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.store.project import Project

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")


def run(project: Project, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench.cli", *map(str, words), "--project", str(project.root)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_data_go_in_and_out(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "lambada.jsonl"
    file.write_text('{"text": "one two three"}\n{"text": "four five six"}\n')
    added = run(project, "benchmark-data", "add", "lambada", file)
    assert added.stdout == "Added lambada_openai: 2 items (the harness's).\n", added.stderr
    of_panel = {
        item["name"]: (item["here"], item["of"]) for item in json.loads(run(project, "panels", "--json").stdout)
    }
    assert of_panel["base"] == (1, 12)
    one_of_blimp = tmp_path / "blimp.jsonl"
    one_of_blimp.write_text('{"sentence_good": "A b.", "sentence_bad": "B a."}\n')
    assert "wh_island: 1 item (" in run(project, "benchmark-data", "add", "blimp_wh_island", one_of_blimp).stdout
    base = run(project, "panels", "show", "base")
    assert "Data of 2 of 12 tasks are here." in base.stdout  # a group counts once, whatever of it is here
    assert "Of blimp the data of 1 of 67 tasks are here: only these are asked." in base.stderr
    assert run(project, "benchmark-data", "remove", "blimp_wh_island").returncode == 0
    again = json.loads(run(project, "benchmark-data", "add", "lambada", file, "--json").stdout)
    assert (again["task"], again["items"], again["replaced"]) == ("lambada_openai", 2, True)
    (listed,) = json.loads(run(project, "benchmark-data", "list", "--json").stdout)
    assert listed["sha256"] == again["sha256"]
    assert "lambada.jsonl" in run(project, "benchmark-data", "list").stdout
    (quick,) = [item for item in json.loads(run(project, "panels", "--json").stdout) if item["name"] == "quick"]
    assert (quick["here"], quick["of"], quick["own"]) == (1, 5, False)
    shown = run(project, "panels", "show", "quick")
    assert "Data of 1 of 5 tasks are here." in shown.stdout
    assert "hellaswag" in shown.stderr
    assert run(project, "benchmark-data", "remove", "lambada").stdout == "Removed lambada_openai: 2 items.\n"
    assert json.loads(run(project, "benchmark-data", "list", "--json").stdout) == []


def test_a_panel_of_ones_own(project: Project, tmp_path: Path) -> None:
    (tmp_path / "quiz.jsonl").write_text('{"question": "Is ice cold?", "choices": ["no", "yes"], "answer": "yes"}\n')
    assert "own, multiple choice" in run(project, "benchmark-data", "add", "quiz", tmp_path / "quiz.jsonl").stdout
    copied = json.loads(run(project, "panels", "copy", "quick", "mine", "--json").stdout)
    Path(copied["file"]).write_text("tasks: [quiz]\n")
    shown = json.loads(run(project, "panels", "show", "mine", "--json").stdout)
    assert shown["needs"] == [{"task": "quiz", "data": "local", "items": 1, "here": 1, "of": 1, "lacks": ""}]
    Path(copied["file"]).write_text("tasks: [quizz]\n")
    assert "Did you mean quiz?" in run(project, "panels").stdout  # the others are listed all the same


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("benchmark-data", "add", "gsm8k"), 2, "lacks FILES"),
        (("benchmark-data", "add", "gsm8k", "gone.jsonl"), 1, "There is no file gone.jsonl."),
        (("benchmark-data", "remove", "gsm8k"), 1, "There are no local data of 'gsm8k'."),
        (("benchmark-data", "lst"), 2, "There is no verb 'benchmark-data lst'."),
        (("panels", "show", "quik"), 1, "Did you mean quick?"),
        (("panels", "copy", "nothing"), 1, "There is no panel called 'nothing'."),
    ],
)
def test_what_cannot_be_is_told(project: Project, words: tuple[str, ...], status: int, sentence: str) -> None:
    done = run(project, *words)
    assert (done.returncode, sentence in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr
