"""The verbs around ranking: who may open the Arena, what was judged as rows for others, and what it has come to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.preferences.arena import SCALE, Arena
from workbench.preferences.candidates import Answer, Prompt
from workbench.preferences.judgements import Book
from workbench.preferences.sets import CandidateSet, candidate_set
from workbench.store import artifacts
from workbench.store.catalog import Catalog
from workbench.store.project import Project

LONG, SHORT = "A fairly long answer to it.", "A short one."


def run(project: Project, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench.cli", *map(str, words), "--project", str(project.root)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def rows(project: Project, *words: str) -> list[dict[str, Any]]:
    done = run(project, "preferences", "export", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def mine(project: Project, catalog: Catalog) -> CandidateSet:
    """Six prompts; ann preferred the longer answer four times, tied once and rewrote one; bob judged one."""
    folder = project.folder("candidates") / "made.partial"
    folder.mkdir()
    with open(folder / "candidates.jsonl", "w") as file:
        for number in range(6):
            answers = [
                Answer(id=f"{number}-{n}", model=f"m{n}", kind="model", temperature=1, seed=0, text=text, finish="stop")
                for n, text in enumerate((LONG, SHORT))
            ]
            messages = [{"role": "user", "content": f"Question {number}?"}]
            file.write(Prompt(id=str(number), messages=messages, answers=answers).line())
    artifacts.seal(
        project, catalog, folder, kind="candidates", name="mine", identity="ab" * 32, stage="candidates", run=None,
        recipe={}, inputs={}, report={}, versions={},
    )  # fmt: skip
    item = candidate_set(project, catalog, "mine")
    arena = Arena(item.candidates, item.judgements, "ann", repeat=0, overlap=0, seed=1)
    for count in range(5):
        pair = arena.next()
        assert pair is not None
        arena.judge(*SCALE[3 if count == 4 else 1 if pair.left.endswith("-0") else 5], tags=["clear"])
    assert arena.pair is not None
    arena.edit(arena.pair.prompt, arena.pair.left, "What a person wrote.")
    arena.close()
    other = Arena(item.candidates, item.judgements, "bob", repeat=0, overlap=0, seed=1)
    pair = other.next()
    assert pair is not None
    other.judge("left" if pair.left.endswith("-1") else "right", 1)
    other.close()
    return item


def test_trl_rows_are_what_was_judged(project: Project, mine: CandidateSet) -> None:
    found = rows(project, "mine")
    assert len(found) == 6  # four by ann, one by bob, and the rewritten answer against what it was
    row = next(item for item in found if item["rater"] == "ann" and item["margin"])
    assert row["chosen"] == [{"role": "assistant", "content": LONG}]
    assert row["rejected"] == [{"role": "assistant", "content": SHORT}]
    assert row["prompt"][0]["role"] == "user"
    assert (row["margin"], row["tags"]) == (1.0, ["clear"])
    assert row["time"] > 1e9
    assert [item["rater"] for item in rows(project, "mine", "--rater", "bob")] == ["bob"]


def test_the_other_formats(project: Project, mine: CandidateSet) -> None:
    implicit = rows(project, "mine", "--format", "trl-implicit", "--rater", "bob")[0]
    assert [turn["role"] for turn in implicit["chosen"]] == ["user", "assistant"]
    assert implicit["chosen"][0] == implicit["rejected"][0]
    both = rows(project, "mine", "--format", "hh-rlhf", "--rater", "bob")[0]
    assert both["chosen"].startswith("\n\nHuman: Question ")
    assert both["chosen"].endswith(f"\n\nAssistant: {SHORT}")
    marked = rows(project, "mine", "--format", "kto")
    assert sum(item["label"] for item in marked) == len(marked) / 2 == 5
    (written,) = rows(project, "mine", "--format", "messages")
    assert written["messages"][-1] == {"role": "assistant", "content": "What a person wrote."}


def test_what_was_exported_comes_in_again(project: Project, mine: CandidateSet, tmp_path: Path) -> None:
    for form in ("trl", "trl-implicit", "kto", "hh-rlhf"):
        file = tmp_path / f"{form}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows(project, "mine", "--format", form)))
        done = run(project, "import-preferences", file, "--name", form, "--json")
        assert done.returncode == 0, done.stderr
        metrics = json.loads(done.stdout)["metrics"]
        assert metrics["marks" if form == "kto" else "pairs"] == len(file.read_text().splitlines())
    again = rows(project, "preferences/trl")
    first = rows(project, "mine")
    assert [(row["prompt"], row["chosen"], row["rejected"], row["rater"], row["tags"]) for row in again] == [
        (row["prompt"], row["chosen"], row["rejected"], row["rater"], row["tags"]) for row in first
    ]


def test_a_folder_of_datasets(project: Project, mine: CandidateSet, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "rows"
    done = run(project, "preferences", "export", "mine", "--output", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 6
    loaded = datasets.load_from_disk(str(folder))
    assert loaded.column_names[:3] == ["prompt", "chosen", "rejected"]
    assert loaded[0]["chosen"][0]["role"] == "assistant"
    assert "is there already" in run(project, "preferences", "export", "mine", "--output", folder).stderr


def test_stats_and_list(project: Project, mine: CandidateSet) -> None:
    found = json.loads(run(project, "preferences", "stats", "mine", "--json").stdout)
    assert found["judged"] == 6
    assert found["by_rater"] == {"ann": 5, "bob": 1}
    assert (found["left_over"], found["edits"]) == (0, 1)
    assert found["longer_won"] == pytest.approx({"share": 0.8, "low": 0.376, "high": 0.964, "of": 5}, abs=0.001)
    assert [model["name"] for model in found["models"]] == ["m0", "m1"]
    assert "Cohen" not in run(project, "preferences", "stats", "mine").stdout  # nothing was repeated
    (listed,) = json.loads(run(project, "preferences", "list", "--json").stdout)
    assert (listed["id"], listed["pairs"], listed["judged"], listed["raters"]) == ("mine", 6, 6, ["ann", "bob"])
    assert "ann, bob" in run(project, "preferences", "list").stdout


def test_ranking_line_by_line(project: Project, mine: CandidateSet) -> None:
    """Of six prompts ann judged five: bob's is asked of her, taken back, and asked again."""
    command = [sys.executable, "-m", "workbench.cli", "rank", "mine", "--rater", "ann", "--overlap", "1", "--repeat"]
    lines = "nonsense\na\nu\n5\n"
    done = subprocess.run(
        [*command, "0", "--project", str(project.root)], capture_output=True, text=True, input=lines, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"[A] {LONG}" in done.stdout or f"[B] {LONG}" in done.stdout
    assert done.stdout.count("A was by m") == 2
    assert "1 pair judged by ann." in done.stderr
    history = Book(mine.judgements).history
    assert [item.kind for item in history[-3:]] == ["pair", "retract", "pair"]
    assert (history[-1].verdict, history[-1].strength, history[-1].rater) == ("right", 2, "ann")


def test_stats_of_preferences(project: Project, tmp_path: Path) -> None:
    def row(question: str, chosen: str, rejected: str, **more: object) -> str:
        return json.dumps({"prompt": question, "chosen": chosen, "rejected": rejected, **more}) + "\n"

    file = tmp_path / "pairs.jsonl"
    file.write_text(
        row("q", "long answer", "short", rater="ann", tags=["clear"])
        + row("q", "short", "long answer", rater="bob", margin=1.0)
        + row("q", "middling", "tiny", rater="ann")
        + row("other", "four", "fore")
    )
    assert run(project, "import-preferences", file, "--name", "pairs").returncode == 0
    found = json.loads(run(project, "preferences", "stats", "pairs", "--json").stdout)
    assert (found["pairs"], found["prompts"], found["most_of_a_prompt"], found["marks"]) == (4, 2, 3, 0)
    assert found["by_rater"] == {"ann": 2, "bob": 1, "": 1}
    assert (found["longer_chosen"]["share"], found["longer_chosen"]["of"]) == (pytest.approx(2 / 3), 3)
    assert (found["with_margin"], found["contradicted"], found["tags"]) == (1, 1, {"clear": 1})
    shown = run(project, "preferences", "stats", "preferences/pairs").stdout
    assert "4 of 2 prompts, up to 3 of one" in shown
    assert "67% (21% to 94%) of 3" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("rank", "mine"), "Nothing was judged: the input ended before the first line."),
        (("rank", "mine", "--whole-sets"), "--whole-sets needs a terminal that can do more than print lines."),
        (("rank", "mien"), "Did you mean mine?"),
        (("rank", "mine", "--reward", "judge"), "There is no reward called 'judge' in this project."),
        (("rank", "mine", "--overlap", "2"), "--overlap"),
        (("preferences", "export", "mine", "--rater", "eve"), "Nothing was judged in mine by eve."),
        (("preferences", "export", "mine", "--format", "dpo"), "--format cannot be 'dpo'."),
        (("preferences", "export", "theirs"), "There are no candidates called 'theirs'."),
        (("preferences", "exprot", "mine"), "There is no verb 'preferences exprot'."),
        (("judge", "mine", "--rule", "regex"), "The rule regex needs a pattern."),
        (("candidates", "--model", "base"), "There are no prompts to answer."),
    ],
)
def test_what_cannot_be_is_told(project: Project, mine: CandidateSet, words: tuple[str, ...], sentence: str) -> None:
    done = run(project, *words)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_line_is_told(project: Project, mine: CandidateSet) -> None:
    with open(mine.judgements, "a") as file:
        file.write("rubbish\n")
    done = run(project, "preferences", "stats", "mine")
    assert done.returncode == 1
    assert "is damaged in line 8" in done.stderr
    assert "remove that line" in done.stderr
