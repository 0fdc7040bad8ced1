"""The verb benchmark on a tiny model: what it makes, and what it says of what it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import road
from tests.benchmarks import tiny
from workbench.benchmarks import results, task_data
from workbench.benchmarks.answered import FOLDER, file_of
from workbench.contract import Warned
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.runs.plan import plan
from workbench.store import artifacts, events, runs
from workbench.store.catalog import Catalog, open_catalog
from workbench.store.project import Project, create

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Catalog]]:
    """A base model with a context of 44 tokens, and data of two tasks."""
    project = create(tmp_path_factory.mktemp("ready") / "my-llm")
    with open_catalog(project) as catalog:
        tiny.add_model(project, catalog, template=False, context=44)
        tiny.add_data(project.root, "hellaswag", "arc_easy")
        patterns = project.root.parent / "patterns.jsonl"
        patterns.write_text(json.dumps({"prompt": "Two and two are", "regex": "4|four"}) + "\n")
        task_data.add(project.root, "my-rx", [patterns])
        (project.root / "empty.txt").write_text("\n")
        (project.root / "panels").mkdir()
        (project.root / "panels" / "mine.yaml").write_text("tasks: [hellaswg]\n")
        (project.root / "panels" / "chat.yaml").write_text("tasks: [{task: arc_easy, chat_template: true}]\n")
        yield project, catalog


def cli(project: Project, *words: str | Path, hide: str = "") -> subprocess.CompletedProcess[str]:
    """`workbench`, perhaps without a library."""
    without = f"import sys; sys.modules[{hide!r}] = None; " if hide else ""
    code = f"{without}from workbench.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, words), "--project", str(project.root)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_what_does_not_fit_into_the_context_is_cut_counted_and_shown(ready: tuple[Project, Catalog]) -> None:
    project, catalog = ready
    model = artifacts.resolve(project, catalog, "model", "tiny")
    (project.root / FOLDER).mkdir()
    damaged = file_of(project, model.identity, "pytorch", None)
    damaged.write_bytes(b'\xff\x00 rubbish\n{"answers": {"a')
    done = cli(project, "benchmark", "tiny", "--tasks", "hellaswag,arc_easy", "--limit", "5", "--name", "cut", "--json")
    assert done.returncode == 0, done.stderr
    found = results.read(project.folder("benchmark") / "cut")
    assert found.tasks["hellaswag"].truncated == 5
    assert found.tasks["arc_easy"].truncated == 0
    assert found.computed > 20
    (run,) = [run.id for run, _ in runs.all_runs(project)]
    told, _ = events.read_events(runs.folder_of(project, run) / "events.jsonl")
    warned = [event.message for _, event in told if isinstance(event, Warned)]
    assert warned == ["hellaswag: the beginning of 5 of 5 items did not fit into the model's context."]
    shown = cli(project, "benchmarks", "show", "cut").stdout
    (head,) = [line for line in shown.splitlines() if line.startswith("task")]
    (row,) = [line for line in shown.splitlines() if line.startswith("hellaswag")]
    assert row[head.index("truncated") : head.index("truncated") + len("truncated")].strip() == "5"


@pytest.mark.parametrize(
    ("words", "status", "sentence", "remedy"),
    [
        (("--tasks", "arc_easy", "--chat-template"), 1, "arc_easy is to be put as a chat", "--no-chat-template"),
        (("--panel", "chat"), 1, "this model has no chat template", "taught to chat"),
        (("--panel", "mine"), 1, "mine.yaml, task 1: There is no task called 'hellaswg'.", "hellaswag?"),
        (("--panel", "nine"), 1, "There is no panel called 'nine'.", "mine"),
        (("--tasks", "arc_easy", "--limit", "0"), 2, "limit", "1"),
        (("--tasks", ""), 2, "--tasks names no task.", "panel"),
        (("--tasks", "text:empty.txt"), 1, "empty.txt is empty.", "text"),
        (("--tasks", "arc_easy", "--shots", "90"), 1, "arc_easy is to show 90 worked examples", "--few-shot FILE"),
        (("--tasks", "my-rx", "--shots", "1"), 1, "my-rx is to show 1 worked example, and has none", "leave --shots"),
        (("--tasks", "arc_easy", "--checkpoints", "7"), 1, "No checkpoint of tiny at step 7 is kept.", "--checkpoints"),
        (("--tasks", "arc_easy", "--checkpoints", "all"), 1, "was not trained here", "--checkpoints out"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_runs(
    ready: tuple[Project, Catalog], words: tuple[str, ...], status: int, sentence: str, remedy: str
) -> None:
    project, _ = ready
    before = len(list(runs.all_runs(project)))
    given = [word.replace("text:", f"text:{project.root}/") for word in words]
    done = cli(project, "benchmark", "tiny", *given)
    assert (done.returncode, sentence in done.stderr, remedy in done.stderr) == (status, True, True), done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(runs.all_runs(project))) == before


def test_a_chat_task_is_put_as_text_where_that_is_asked_for(ready: tuple[Project, Catalog]) -> None:
    project, catalog = ready
    plain: dict[str, Any] = {"stage": "benchmark", "model": "tiny", "panel": "chat"}
    (step,) = plan(project, catalog, [recipe_from(plain | {"chat_template": False})])
    assert step.action == "new"
    with pytest.raises(WorkbenchError, match="no chat template"):
        plan(project, catalog, [recipe_from(plain)])


def test_an_empty_task_file_is_told(ready: tuple[Project, Catalog], tmp_path: Path) -> None:
    project, _ = ready
    (tmp_path / "empty.jsonl").write_text("")
    done = cli(project, "benchmark-data", "add", "quiz", tmp_path / "empty.jsonl")
    assert done.returncode == 1
    assert "empty.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_harness_is_told_with_the_line_that_mends_it(ready: tuple[Project, Catalog]) -> None:
    project, _ = ready
    done = cli(project, "benchmark", "tiny", "--tasks", "arc_easy", hide="lm_eval")
    assert done.returncode == 1
    assert "lm-eval, which is not installed." in done.stderr
    assert "pip install 'llm-workbench[benchmarks]'" in done.stderr


@pytest.mark.slow
def test_a_model_that_chats_is_asked_in_turns(project: Project, catalog: Catalog) -> None:
    tiny.add_model(project, catalog)
    tiny.add_data(project.root, "arc_easy")
    recipe = recipe_from(
        {"stage": "benchmark", "model": "tiny", "tasks": ["arc_easy"], "chat_template": True, "shots": 1, "name": "c"}
    )
    (state,) = road.make(project, catalog, recipe)
    assert state.state == "finished", state
    folder = project.folder("benchmark") / "c"
    setting = results.read(folder).tasks["arc_easy"].setting
    assert (setting.chat_template, setting.shots) == (True, 1)
    prompt = results.read_items(folder)[0].prompt
    assert prompt.count("<|im_start|>user") == 2  # the example is a turn of its own
    assert json.loads((folder / results.FIGURES).read_text())["model"]["bytes"] > 100_000
