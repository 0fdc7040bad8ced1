"""A benchmark that is killed goes on where it was, and comes to what an uninterrupted one comes to, to the last bit."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.benchmarks import tiny
from workbench.benchmarks import results, task_data
from workbench.recipes.base import Recipe
from workbench.recipes.load import recipe_from
from workbench.runs.plan import plan
from workbench.runs.submit import resume, submit, wait
from workbench.store import artifacts, runs
from workbench.store.catalog import open_catalog
from workbench.store.project import Project, create, open_project

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")

NAME = "whole"
OF_THE_RUN = ("seconds", "computed", "known")  # of results.json: how it was come by


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tiny model and tasks of every kind of request."""
    folder = tmp_path_factory.mktemp("prepared")
    project = create(folder / "project")
    with open_catalog(project) as catalog:
        tiny.add_model(project, catalog)
    draw = random.Random(0)
    words = tiny.TEXT.split()

    def rows(name: str, found: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in found))
        task_data.add(project.root, name.removesuffix(".jsonl"), [folder / name])

    def some(count: int) -> str:
        return " ".join(draw.choice(words) for _ in range(count))

    rows(
        "quiz.jsonl",
        [
            {"question": some(30), "choices": [some(3) for _ in range(4)], "answer": draw.randrange(4)}
            for _ in range(120)
        ],
    )
    rows(
        "recite.jsonl", [{"prompt": some(12), "regex": some(1)[:2].strip("[](){}*+?.^$|\\") or "a"} for _ in range(40)]
    )
    (project.root / "text.txt").write_text(tiny.TEXT[:60_000])
    return project.root


def recipe() -> Recipe:
    return recipe_from(
        {"stage": "benchmark", "model": "tiny", "name": NAME, "tasks": ["quiz", "recite", "text:text.txt"]}
    )


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def outcome(project: Project) -> tuple[dict[str, Any], list[results.Item]]:
    with open_catalog(project) as catalog:
        folder = artifacts.folder_of(project, artifacts.resolve(project, catalog, "benchmark", NAME))
    plain = json.loads((folder / results.FIGURES).read_text())
    return {key: value for key, value in plain.items() if key not in OF_THE_RUN}, results.read_items(folder)


def answered(project: Project) -> int:
    return sum(file.stat().st_size for file in (project.root / "answered").glob("*"))


def at_work(project: Project, run: str, size: float) -> int:
    """The supervisor's process once its engine runs and so many bytes of answers are kept; 0 before."""
    state = runs.read(project, run)[1]
    if state.state != "running" or not state.pid or answered(project) < size:
        return 0
    return state.pid if psutil.Process(state.pid).children() else 0


def ended(project: Project, run: str) -> bool:
    return runs.read(project, run)[1].state in runs.ENDED


def interrupted(project: Project, whole: int, kills: int, draw: random.Random) -> int:
    """Kill the run's engine, and once its supervisor, at random points; how often it was still at work."""
    hit = 0
    with open_catalog(project) as catalog:
        (run,) = submit(project, catalog, plan(project, catalog, [recipe()]))
        assert run is not None
        for number, share in enumerate(sorted(draw.uniform(0.02, 0.98) for _ in range(kills))):
            until(lambda share=share: at_work(project, run, share * whole) or ended(project, run))
            if ended(project, run):
                break
            supervisor = psutil.Process(at_work(project, run, 0))
            if number == kills // 2:
                supervisor.kill()
                until(lambda: runs.find_lost(project, catalog) == [run])
            else:
                for engine in supervisor.children():
                    engine.kill()
                wait(project, run)
            if runs.read(project, run)[1].state == "finished":
                break
            hit += 1
            resume(project, catalog, run)
        assert wait(project, run).state == "finished"
    return hit


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_a_killed_benchmark_comes_to_the_same(prepared: Path, tmp_path: Path, kills: int) -> None:
    shutil.copytree(prepared, tmp_path / "one")
    shutil.copytree(prepared, tmp_path / "other")
    one, other = open_project(tmp_path / "one"), open_project(tmp_path / "other")
    with open_catalog(one) as catalog:
        (run,) = submit(one, catalog, plan(one, catalog, [recipe()]))
        assert run is not None
        assert wait(one, run).state == "finished"
    expected, items = outcome(one)
    hit = interrupted(other, answered(one), kills, random.Random(kills))
    assert hit >= kills - 1
    found, found_items = outcome(other)
    assert found == expected
    assert found_items == items
    assert len(items) > 160
