"""`workbench assess` and `verdicts` for real: tiny models answer, servers and a tiny model judge, runs die and go on;
and judgements that only compare models, apart from all that trains."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.endpoint import Reply, Server, completion
from tests.road import import_recipe, make, pretrain_recipe, tokenizer_recipe, write_texts
from workbench.benchmarks.judging.answers import read_answers
from workbench.benchmarks.judging.verdicts import read_verdicts
from workbench.preferences.arena import Arena
from workbench.preferences.sets import candidate_set, progress
from workbench.recipes.load import recipe_from
from workbench.runs.plan import plan
from workbench.runs.submit import submit, wait
from workbench.store import artifacts, runs
from workbench.store.catalog import Catalog, open_catalog
from workbench.store.project import Project, create

Serve = Callable[[Callable[[dict], Reply | None]], Server]


def run(project: Project, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench.cli", *map(str, words), "--project", str(project.root)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def answered(project: Project, *words: str | Path) -> dict[str, Any]:
    done = run(project, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Catalog, Path]]:
    """Two tiny models, one trained longer, and ten questions of two turns."""
    root = tmp_path_factory.mktemp("road")
    project = create(root / "my-llm")
    asked = root / "asked.jsonl"
    rows = [
        {"question_id": n, "category": "even" if n % 2 == 0 else "odd", "turns": [f"Story {n}.", " And then?"]}
        for n in range(10)
    ]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with open_catalog(project) as catalog:
        recipes = [import_recipe(write_texts(root / "texts", 40)), tokenizer_recipe(), pretrain_recipe()]
        states = make(project, catalog, *recipes, pretrain_recipe("early", steps=15))
        assert {state.state for state in states} == {"finished"}
        yield project, catalog, asked


def shown(body: dict) -> list[str]:
    return re.findall(r"\[Beginning of .*?\]\n(.*?)\n\[End of", body["messages"][0]["content"], re.DOTALL)


def longer_wins(body: dict) -> Reply:
    first, second = map(len, shown(body))
    return completion(f"By length. [[{'A' if first > second else 'B' if second > first else 'C'}]]")


def test_answers_of_models_are_judged_by_a_server(road: tuple[Project, Catalog, Path], serve: Serve) -> None:
    project, catalog, asked = road
    server = serve(longer_wins)
    words = ("assess", "base", "early", "--prompts", asked, "--endpoint", server.address, "--max-tokens", "12")
    done = answered(project, *words, "--name", "by-length")
    assert (done["state"], done["verdicts"]) == ("finished", "by-length")
    metrics = done["metrics"]
    assert (metrics["questions"], metrics["turns"], metrics["comparisons"]) == (10, 20, 20)
    assert metrics["longer_won"]["share"] in (1.0, None)
    assert set(metrics["by_category"]) == {"even", "odd"}
    folder = artifacts.folder_of(project, artifacts.resolve(project, catalog, "verdicts", "by-length"))
    answers, verdicts = read_answers(folder), read_verdicts(folder)
    assert (len(answers), len(verdicts)) == (20, 40)
    assert all(len(item.texts) == 2 for item in answers)
    assert len(server.requests) == sum(bool(item.said) for item in verdicts) == metrics["replies"]
    second = next(item for item in verdicts if item.turn == 2)
    assert second.asked == (" And then?",)
    assert [len(texts) for texts in second.answers] == [2, 2]
    asked_before = len(server.requests)
    again = answered(project, *words, "--name", "by-length")
    assert again["skipped"]
    assert len(server.requests) == asked_before
    stated = answered(project, "verdicts", "by-length", "--items")
    assert stated["win_rate"] == metrics["win_rate"]
    assert len(stated["items"]) == 40
    (listed,) = answered(project, "verdicts")
    assert (listed["verdicts"], listed["models"]) == ("by-length", ["base", "early"])
    assert "base and early" in run(project, "verdicts").stdout
    figures = run(project, "verdicts", "by-length", "--items").stdout
    assert "base wins" in figures
    assert "By length." in figures
    one = run(project, "verdicts", "by-length", "--question", "3").stdout
    assert "user: Story 3." in one
    assert one.index("And then?") < one.index("── turn 2: base against early")
    assert "turn 2: early against base" in one
    assert "has no question '99'" in run(project, "verdicts", "by-length", "--question", "99").stderr


@pytest.mark.slow
def test_a_tiny_model_judges_by_likelihood(road: tuple[Project, Catalog, Path]) -> None:
    project, catalog, asked = road
    words = (
        "assess",
        "base",
        "early",
        "--prompts",
        asked,
        "--judge",
        "base",
        "--max-tokens",
        "8",
        "--max-prompts",
        "4",
    )
    done = answered(project, *words, "--verdict", "likelihood", "--name", "by-base")
    metrics = done["metrics"]
    assert metrics["no_verdict"] == 0
    folder = artifacts.folder_of(project, artifacts.resolve(project, catalog, "verdicts", "by-base"))
    odds = [item.log_odds for item in read_verdicts(folder) if item.log_odds is not None]
    assert len(odds) == metrics["replies"] > 0
    assert len(set(odds)) > 1
    assert metrics["truncated"] == metrics["replies"]  # its context is 64 tokens
    assert metrics["win_rate_by_log_odds"]["n"] == metrics["replies"] / 2
    single = answered(project, *words[:2], *words[3:], "--verdict", "likelihood", "--name", "graded")["metrics"]
    assert 1 < single["grades"]["base"]["grade"]["value"] < 10
    assert len(single["grades"]["base"]["by_turn"]) == 2


@pytest.mark.slow
def test_a_model_that_cannot_write_a_verdict_is_told(road: tuple[Project, Catalog, Path]) -> None:
    project, _, asked = road
    done = run(project, "assess", "base", "--prompts", asked, "--judge", "early", "--max-tokens", "8", "--name", "mute")
    assert done.returncode == 1
    assert "replies of the judge hold no verdict" in done.stderr
    assert "--verdict likelihood" in done.stderr


def test_a_killed_run_goes_on_and_pays_nothing_twice(road: tuple[Project, Catalog, Path], serve: Serve) -> None:
    project, catalog, asked = road

    def slow(body: dict) -> Reply:
        time.sleep(0.15)
        return longer_wins(body)

    server = serve(slow)
    values = {
        "stage": "assess", "name": "killed", "models": ["base", "early"], "prompts": str(asked),
        "endpoint": server.address, "max_tokens": 12, "parallel": 1,
    }  # fmt: skip
    recipe = recipe_from(values)
    (run_id,) = submit(project, catalog, plan(project, catalog, [recipe]))
    assert run_id is not None
    kept = project.runs / run_id / "verdicts.jsonl"
    until(lambda: kept.exists() and sum(bool(json.loads(row)["said"]) for row in whole_lines(kept)) >= 4)
    for child in engine_processes(run_id):
        os.kill(child, signal.SIGKILL)
    assert wait(project, run_id).state == "failed"
    before = [json.loads(row) for row in whole_lines(kept)]
    until(lambda: plan(project, catalog, [recipe])[0].action == "resume")  # the catalog hears of it after the files
    (again,) = plan(project, catalog, [recipe])
    assert again.run == run_id  # the same command goes on
    submit(project, catalog, [again])
    assert wait(project, run_id).state == "finished"
    folder = artifacts.folder_of(project, artifacts.resolve(project, catalog, "verdicts", "killed"))
    after = read_verdicts(folder)
    said = [item for item in after if item.said]
    assert len(server.requests) <= len(said) + 1  # the one that was on its way
    assert {(row["question"], row["turn"], *row["models"]) for row in before} <= {
        (item.question, item.turn, *item.models) for item in after
    }


@pytest.mark.slow
def test_a_judge_that_is_gone_fails_in_words(road: tuple[Project, Catalog, Path], serve: Serve) -> None:
    project, _, asked = road
    server = serve(lambda _: (401, "no such key"))
    words = ("assess", "base", "--prompts", asked, "--endpoint", server.address, "--max-tokens", "8", "--name", "gone")
    done = run(project, *words)
    assert done.returncode == 1
    assert "refused with status 401: no such key" in done.stderr
    assert "0 of 20 verdicts are kept; go on with them: workbench runs resume" in done.stderr
    assert "Traceback" not in done.stderr
    (failed,) = [state for found, state in runs.all_runs(project) if found.name == "gone"]
    assert failed.state == "failed"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("assess", "base", "--prompts", "nowhere.jsonl", "--judge", "base"), "There is no file nowhere.jsonl."),
        (("assess", "base", "--prompts", "asked.jsonl"), "neither is given"),
        (("assess", "base", "early", "base", "--prompts", "p", "--judge", "base"), "'base' is given twice."),
        (("assess", "bsae", "--prompts", "mine", "--judge", "base"), "bsae"),
        (("verdicts", "--items"), "Of which verdicts is not said."),
        (("verdicts", "nothing"), "There are no verdicts called 'nothing'"),
    ],
)
def test_what_cannot_be_is_told(road: tuple[Project, Catalog, Path], words: tuple[str, ...], sentence: str) -> None:
    done = run(road[0], *words)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


# --------------------------------------------------------------------------- people who only compare


def test_evaluations_are_apart_from_what_trains(road: tuple[Project, Catalog, Path], serve: Serve) -> None:
    project, catalog, _ = road
    written = answered(
        project, "candidates", "--model", "base", "--model", "early", "--per-prompt", "2", "--max-tokens", "12",
        "--temperature", "0.9", "--prompt", "Story 1.", "--prompt", "Story 2.", "--prompt", "the cat sees",
        "--prompt", "a dog", "--name", "mine",
    )  # fmt: skip
    assert written["state"] == "finished"
    item = candidate_set(project, catalog, "mine")
    arena = Arena(item.candidates, item.evaluations, "ann", repeat=0, overlap=0, between_models=True, seed=1)
    judged = 0
    while (pair := arena.next()) is not None:
        base_left = pair.prompt.answer(pair.left).model == "base"
        arena.judge("tie" if judged == 0 else "left" if base_left else "right", 1)
        judged += 1
    arena.close()
    assert judged == 4
    assert progress(item).judged == 0  # nothing of it counts where preferences are collected
    assert run(project, "preferences", "export", "mine").stderr.startswith("error: Nothing was judged in mine")
    trained = run(project, "reward", "--base", "base", "--preferences", "mine")
    assert "have not been ranked yet" in trained.stderr
    found = answered(project, "preferences", "stats", "mine")
    assert found["judged"] == 0
    (rate,) = found["evaluation"]["win_rates"]
    assert (rate["first"], rate["second"]) == ("base", "early")
    assert (rate["wins"], rate["ties"], rate["losses"]) == (3, 1, 0)
    assert rate["share"]["value"] == pytest.approx(3.5 / 4)
    assert rate["share"]["low"] < 3.5 / 4 < rate["share"]["high"]
    assert "Judged only to compare models" in run(project, "preferences", "stats", "mine").stdout
    # A judge reads the same answers, which are not written anew, and is held against ann.
    server = serve(longer_wins)
    words = ("assess", "base", "early", "--prompts", "mine", "--endpoint", server.address, "--name", "mine-judged")
    metrics = answered(project, *words)["metrics"]
    assert metrics["agreement"]["judgements"] == 4
    texts = {answer.text for prompt in arena.candidates.prompts.values() for answer in prompt.answers}
    folder = artifacts.folder_of(project, artifacts.resolve(project, catalog, "verdicts", "mine-judged"))
    assert {item.texts[0] for item in read_answers(folder)} == texts


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def whole_lines(path: Path) -> list[str]:
    content = path.read_text()
    return content[: content.rfind("\n") + 1].splitlines()


def engine_processes(run_id: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if "workbench.benchmarks" in command and any(run_id in word for word in command):
                found.append(int(folder.name))
    assert found
    return found
