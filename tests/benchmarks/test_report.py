"""Benchmarks as tables for others: every score with its interval and its setting."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.measured import SETTING, add_benchmark, add_model, choice, measured, text_item
from workbench.benchmarks import report
from workbench.benchmarks.lookup import Benchmark
from workbench.benchmarks.results import Item
from workbench.store.catalog import Catalog
from workbench.store.project import Project


def outcomes(task: str, right: int, n: int) -> list[Item]:
    return [choice(task, number, number < right) for number in range(n)]


@pytest.fixture
def two(tmp_path: Path) -> list[Benchmark]:
    """40% against 52% in `arc`; `base` alone has `text`; `mmlu` of two tasks; `tuned` had five examples in `arc`."""
    grouped = {"mmlu_law": "mmlu", "mmlu_art": "mmlu"}
    group = {"mmlu_law": outcomes("mmlu_law", 5, 20), "mmlu_art": outcomes("mmlu_art", 35, 80)}
    texts = [text_item("text", number, 70 + number % 9) for number in range(30)]
    base = measured(tmp_path / "base", {"arc": outcomes("arc", 40, 100), **group, "text": texts}, grouped=grouped)
    shots = {"arc": replace(SETTING, shots=5)}
    tuned = measured(
        tmp_path / "tuned|x", {"arc": outcomes("arc", 52, 100), **group}, grouped=grouped, settings=shots,
        model={"checkpoint": 300},
    )  # fmt: skip
    return [base, tuned]


def test_markdown(two: list[Benchmark]) -> None:
    lines = report.export(two, "markdown").splitlines()
    assert lines[0] == "| task | metric | items | setting | base | tuned\\|x@300 |"
    assert lines[2] == (
        "| arc | acc %↑ | 100 | 0-shot, no chat template | 40.0 (30.9 to 49.8) | 52.0 (42.3 to 61.5) \\* |"
    )
    assert lines[3] == "| mmlu | acc %↑ | 100 | 0-shot, no chat template | 40.0 (30.9 to 49.8) | 40.0 (30.9 to 49.8) |"
    text = [cell.strip() for cell in lines[4].strip("|").split("|")]
    assert text[:3] == ["text", "bits_per_byte ↓", "30"]
    assert text[4].startswith("1.06")  # 73.7 nats of 100 bytes are 1.063 bits a byte
    assert text[5] == "–"
    assert lines[6] == "Panel quick; lm-eval 0.4.13. In brackets: 95% intervals."
    assert lines[7] == "\\* tuned|x@300 on arc: shots 5 instead of 0."
    assert len(lines) == 8
    every = report.export(two, "markdown", every_task=True)
    assert "| mmlu_law | acc %↑ | 20 | 0-shot, no chat template | 25.0 (" in every


def test_csv(two: list[Benchmark]) -> None:
    rows = list(csv.DictReader(io.StringIO(report.export(two, "csv"))))
    assert [(row["model"], row["task"]) for row in rows] == [
        *(("base", task) for task in ("arc", "mmlu", "mmlu_law", "mmlu_art", "text")),
        *(("tuned|x@300", task) for task in ("arc", "mmlu", "mmlu_law", "mmlu_art")),
    ]
    arc = rows[5]
    expected = {
        "metric": "acc", "main": "True", "value": "0.52", "n": "100", "shots": "5", "chat_template": "False",
        "checkpoint": "300", "panel": "quick",
    }  # fmt: skip
    assert {key: arc[key] for key in expected} == expected
    assert float(arc["low"]) == pytest.approx(0.4232, abs=1e-4)
    assert float(arc["high"]) == pytest.approx(0.6154, abs=1e-4)
    assert rows[2]["group"] == "mmlu"


def test_json_is_what_was_measured(two: list[Benchmark]) -> None:
    base, tuned = json.loads(report.export(two, "json"))
    assert base["tasks"]["arc"]["figures"]["acc"]["value"] == 0.40
    assert tuned["tasks"]["arc"]["setting"]["shots"] == 5
    assert base["tasks"]["mmlu"]["figures"]["acc"]["n"] == 100
    assert (base["benchmark"], tuned["model"]["checkpoint"]) == ("base", 300)


@pytest.mark.parametrize(
    ("metric", "value", "shown", "change", "sign"),
    [
        ("acc", 0.4567, "45.7", 0.0321, "+3.2"),
        ("exact_match,strict-match", 1.0, "100.0", -1.0, "−100.0"),
        ("acc_norm", 0.0, "0.0", 0.00001, "±0.0"),
        ("bits_per_byte", 1.2345, "1.234", -0.0316, "−0.032"),
        ("word_perplexity", 79321.42, "79,321.4", 0.0, "±0.000"),
    ],
)
def test_scores_are_written_in_one_way(metric: str, value: float, shown: str, change: float, sign: str) -> None:
    assert report.score(metric, value) == shown
    assert report.signed(metric, change) == sign


@pytest.fixture
def benchmarked(project: Project, catalog: Catalog) -> Project:
    for name, right in (("base", 40), ("tuned", 52)):
        add_benchmark(project, catalog, add_model(project, catalog, name), {"arc": outcomes("arc", right, 100)})
    return project


def test_the_verbs(benchmarked: Project, tmp_path: Path) -> None:
    table = run(benchmarked, "benchmarks", "export").stdout
    assert table.splitlines()[0] == "| task | metric | items | setting | tuned | base |"  # newest first
    assert run(benchmarked, "benchmarks", "export", "base", "tuned").stdout.startswith(
        "| task | metric | items | setting | base | tuned |"
    )
    target = tmp_path / "scores.csv"
    done = run(benchmarked, "benchmarks", "export", "base", "--format", "csv", "--output", str(target))
    assert done.stdout == ""
    assert len(target.read_text().splitlines()) == 2
    listed = json.loads(run(benchmarked, "benchmarks", "list", "--json").stdout)
    assert [item["benchmark"] for item in listed] == ["tuned-quick", "base-quick"]
    shown = run(benchmarked, "benchmarks", "show", "base").stdout
    assert "40.0%  30.9 to 49.8" in shown
    assert shown.startswith("base on the panel quick, ")
    assert "arc 52.0" in run(benchmarked, "benchmarks", "list").stdout
    bad = run(benchmarked, "benchmarks", "export", "--format", "html")
    assert (bad.returncode, "--format cannot be 'html'." in bad.stderr) == (2, True)
    bad = run(benchmarked, "benchmarks", "export", "--output", "/proc/none/scores.md")
    assert (bad.returncode, "/proc/none/scores.md cannot be written" in bad.stderr) == (1, True)


def run(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench.cli", *words, "--project", str(project.root)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
