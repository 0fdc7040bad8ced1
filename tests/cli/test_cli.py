"""The command line as typed: the whole road, its answers as JSON, its errors as sentences."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.road import VERBS, pretrain_recipe, write_texts

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--size", "nano", "--hidden-size", "64", "--num-hidden-layers", "2", "--max-length", "64", "--batch-size", "8",
    "--dtype", "float32", "--eval-tokens", "2048", "--sample-tokens", "8",
]  # fmt: skip


def workbench(*words: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "workbench.cli", *words], cwd=cwd, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if check:
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def answer(*words: str, cwd: Path) -> Any:
    return json.loads(workbench(*words, "--json", cwd=cwd).stdout)


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that the verbs make, as the README types them."""
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_STATE_DIR", str(folder / "state"))
        patch.setenv("OMP_NUM_THREADS", "1")
        write_texts(folder / "texts")
        workbench("new", "my-llm", cwd=folder)
        project = folder / "my-llm"
        workbench("import", "../texts", "--name", "books", cwd=project)
        workbench("tokenizer", "--corpus", "books", "--vocab-size", "512", "--name", "bpe", cwd=project)
        made = answer(
            "pretrain",
            "--corpus",
            "books",
            "--tokenizer",
            "bpe",
            *SMALL,
            "--max-steps",
            "100",
            "--name",
            "base",
            cwd=project,
        )
        assert made["state"] == "finished"
        assert made["model"] == "base"
        assert made["metrics"]["eval_loss"] < 3.5  # ln(512) = 6.2 before training
        workbench("export", "base", "--quantization", "q8_0", "--name", "base-q8", cwd=project)
    return project


def test_chat_prints_the_answer_alone(road: Path) -> None:
    words = ["chat", "base-q8", "--prompt", "the cat", "--max-tokens", "24", "--temperature", "0.8", "--seed", "1"]
    one, again = (workbench(*words, cwd=road).stdout for _ in range(2))
    assert one == again
    assert any(verb in one for verb in VERBS)  # it has learned the words of its texts
    told = answer(*words, cwd=road)
    assert told["answer"].strip() == one.strip()


def test_what_is_made_is_skipped_and_said_so(road: Path) -> None:
    done = workbench("import", "../texts", "--name", "books", "--json", cwd=road)
    assert "skipped, corpus/books is made already" in done.stderr
    assert json.loads(done.stdout)["skipped"] is True


def test_lineage_reaches_the_raw_text(road: Path) -> None:
    tree = answer("lineage", "base-q8", cwd=road)
    kinds = []
    while True:
        kinds.append(tree["kind"])
        if not tree["inputs"]:
            break
        tree = tree["inputs"][0]
    assert kinds[0] == "export"
    assert kinds[-1] == "corpus"
    assert tree["recipe"]["sources"][0].endswith("texts")


def test_lists_and_verify(road: Path) -> None:
    assert [item["id"] for item in answer("models", cwd=road)] == ["base", "base-q8"]
    assert {run["state"] for run in answer("runs", cwd=road)} == {"finished"}
    assert answer("runs", "show", "base", cwd=road)["metrics"]["loss"] < 6
    verified = answer("verify", cwd=road)
    assert verified["damaged"] == 0
    assert len(verified["artifacts"]) == 5
    assert workbench("runs", "log", "base", cwd=road).returncode == 0


def test_an_exports_check_is_shown(road: Path) -> None:
    shown = workbench("models", "base-q8", cwd=road).stdout
    check = json.loads((road / "exports" / "base-q8" / "check.json").read_text())["check"]
    assert f"the same on {check['strings']} awkward strings" in shown
    assert f"{check['top1_agreement']:.1%} of them" in shown
    assert answer("artifacts", "base-q8", cwd=road)["report"]["check"] == check


def test_the_same_under_another_name_is_said_to_be_skipped(road: Path) -> None:
    done = workbench("import", "../texts", "--name", "novels", "--json", cwd=road)
    assert "Nothing was computed: corpus/novels is corpus/books under another name." in done.stderr
    assert json.loads(done.stdout)["skipped"] is True
    assert answer("runs", "show", "novels", cwd=road)["skipped"] is True


def test_finished_runs_show_all_of_it(road: Path) -> None:
    rows = workbench("runs", cwd=road).stdout.splitlines()[1:]
    progress = {row.split()[0].split("-")[0]: row.split()[3] for row in rows if "model/" not in row}
    assert set(progress.values()) == {"100%"}
    assert {"import", "tokenizer", "shards", "export"} <= set(progress)


def test_repair_changes_nothing_that_is_shown(road: Path) -> None:
    before = [answer(*words, cwd=road) for words in (["runs"], ["artifacts"], ["lineage", "base-q8"])]
    (road / "catalog.sqlite").write_bytes(b"junk" * 5000)
    broken = workbench("runs", cwd=road, check=False)
    assert broken.returncode == 1
    assert "workbench repair" in broken.stderr
    workbench("repair", cwd=road)
    assert [answer(*words, cwd=road) for words in (["runs"], ["artifacts"], ["lineage", "base-q8"])] == before


def test_a_pipeline_runs_what_is_missing(road: Path) -> None:
    recipe = yaml.safe_load(pretrain_recipe("second", 10).to_yaml())
    stages = [{"stage": "import", "sources": ["../texts"], "name": "books"}, recipe]
    (road / "pipeline.yaml").write_text(yaml.safe_dump(stages))
    done = workbench("run", "pipeline.yaml", "--set", "second.schedule.max_steps=12", "--json", cwd=road)
    results = json.loads(done.stdout)
    assert [(item["stage"], item["skipped"]) for item in results] == [
        ("import", True), ("shards", True), ("pretrain", False),
    ]  # fmt: skip
    assert results[-1]["metrics"]["steps"] == 12


@pytest.mark.slow
def test_detach_answers_at_once_and_stop_and_resume_work(road: Path) -> None:
    begun = time.monotonic()
    run = workbench(
        "pretrain", "--corpus", "books", "--tokenizer", "bpe", *SMALL, "--max-steps", "100000", "--name", "long",
        "--detach", cwd=road,
    ).stdout.strip()  # fmt: skip
    assert time.monotonic() - begun < 30  # and not the hour that the run would take
    until(lambda: any(item["id"] == run and item["loss"] for item in answer("runs", cwd=road)))
    assert answer("runs", "stop", run, cwd=road)["state"] == "stopped"
    before = answer("runs", "show", run, cwd=road)
    resumed = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "runs", "resume", run],
        cwd=road, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: answer("runs", "show", run, cwd=road)["step"] > before["step"])
        going = answer("runs", "show", run, cwd=road)
        assert going["seconds_left"] > 0
        assert going["attempts"] == 2
        assert going["seconds"] > before["seconds"] > 0  # of both attempts
    finally:  # else it would train on beside all further tests
        resumed.send_signal(signal.SIGINT)
        _, said = resumed.communicate(timeout=60)
    assert f"resumed at step {before['step']}" in said, said  # and nothing that the first attempt had said
    assert "step 1/" not in said
    workbench("runs", "resume", run, "--detach", cwd=road)
    until(lambda: answer("runs", "show", run, cwd=road)["attempts"] == 3)
    assert answer("runs", "stop", run, cwd=road)["state"] == "stopped"


def test_interrupting_a_verb_stops_its_run_with_a_checkpoint(road: Path) -> None:
    verb = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "pretrain", "--corpus", "books", "--tokenizer", "bpe", *SMALL,
         "--max-steps", "100000", "--name", "interrupted"],
        cwd=road, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: any(item["name"] == "interrupted" and item["loss"] for item in answer("runs", cwd=road)))
    verb.send_signal(signal.SIGINT)
    _, said = verb.communicate(timeout=60)
    assert verb.returncode == 130
    run = answer("runs", "show", "interrupted", cwd=road)["id"]
    assert said.strip().endswith(f"Go on: workbench runs resume {run}")
    assert said.count("resume") == 1
    assert "Interrupted" not in said
    shown = answer("runs", "show", "interrupted", cwd=road)
    assert shown["state"] == "stopped"
    assert shown["checkpoints"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pretran"], "Did you mean pretrain"),
        (["pretrain", "--corpus", "boks", "--tokenizer", "bpe"], "no corpus called 'boks'. *\n? *Did you mean books"),
        (["pretrain", "--corpus", "books", "--tokenizer", "bpe", "--size", "huge"], "huge"),
        (["pretrain", "--corpus", "books", "--tokenizer", "bpe", "--num-attention-heads", "3"], "nearest that does is"),
        (["export", "bse"], "Did you mean base"),
        (["chat", "nothing"], "no export or model called 'nothing'"),
        (["import", "nowhere", "--name", "x"], "nowhere"),
        (["runs", "stop", "pretrain-99"], "no run called 'pretrain-99'"),
        (["run", "none.yaml"], "no file 'none.yaml'"),
        (["lineage", "bas"], "Did you mean base"),
    ],
)  # fmt: skip
def test_bad_input_is_a_sentence_with_a_remedy(road: Path, words: list[str], sentence: str) -> None:
    done = workbench(*words, cwd=road, check=False)
    assert done.returncode in (1, 2)
    import re

    assert re.search(sentence, done.stderr), done.stderr


def test_help_has_examples() -> None:
    from workbench.cli import VERBS as ALL

    for verb in ALL:
        done = workbench(verb, "--help", cwd=ROOT)
        assert "Example" in done.stdout, verb


def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
