"""Wherever a model answers in the project, MLX may open it, and it answers as it does in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import road
from tests.benchmarks import tiny
from workbench.benchmarks import results, task_data
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.runs.plan import plan
from workbench.runs.submit import submit
from workbench.store.catalog import Catalog
from workbench.store.project import Project

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")


@pytest.fixture(scope="module")
def ready(module_project: tuple[Project, Catalog]) -> tuple[Project, Catalog]:
    """A model that chats, and data of two tasks."""
    project, catalog = module_project
    tiny.add_model(project, catalog, context=256)
    tiny.add_data(project.root, "arc_easy", items={"arc_easy": 8})
    patterns = project.root.parent / "patterns.jsonl"
    patterns.write_text(
        "".join(json.dumps({"prompt": f"{number} and two are", "regex": "[0-9]"}) + "\n" for number in range(3))
    )
    task_data.add(project.root, "my-rx", [patterns])
    return module_project


def make(ready: tuple[Project, Catalog], **values: Any) -> Path:
    return road.made(*ready, recipe_from(values))


def test_a_benchmark_on_mlx_is_that_on_pytorch(ready: tuple[Project, Catalog]) -> None:
    wanted = {"stage": "benchmark", "model": "tiny", "tasks": ["arc_easy", "my-rx", "divergence"]}
    folders = {name: make(ready, name=f"on-{name}", engine=name, **wanted) for name in ("pytorch", "mlx")}
    ours, theirs = results.read(folders["mlx"]), results.read(folders["pytorch"])
    assert (ours.model["engine"], theirs.model["engine"]) == ("mlx", "pytorch")
    assert ours.computed == theirs.computed > 0  # neither took the other's answers for its own
    for mine, other in zip(results.read_items(folders["mlx"]), results.read_items(folders["pytorch"]), strict=True):
        assert (mine.task, mine.hash, mine.answer) == (other.task, other.hash, other.answer)
        assert mine.log_likelihoods == pytest.approx(other.log_likelihoods, rel=1e-4)
    for task in ("arc_easy", "my-rx"):
        assert ours.tasks[task].setting == theirs.tasks[task].setting
        for metric, figure in theirs.tasks[task].figures.items():
            assert ours.tasks[task].figures[metric].value == pytest.approx(figure.value, rel=1e-4)
    # Against the model itself, in PyTorch.
    assert 0 <= ours.tasks["divergence"].figures["kl_divergence"].value < 1e-6


@pytest.mark.slow
def test_an_export_of_mlx_is_measured_against_its_model(ready: tuple[Project, Catalog]) -> None:
    export = make(ready, stage="export", model="tiny", quantization="mlx-8bit", name="tiny-8")
    found = results.read(make(ready, stage="benchmark", model="tiny-8", tasks=["divergence"], name="eight"))
    assert found.model["engine"] == "mlx"
    check = json.loads((export / "check.json").read_text())["check"]
    assert found.tasks["divergence"].figures["kl_divergence"].value == pytest.approx(check["mean_kl"], rel=0.05)
    assert found.model["bytes"] == (export / "model.safetensors").stat().st_size


@pytest.mark.slow
def test_candidates_and_judgements_are_the_same(ready: tuple[Project, Catalog]) -> None:
    made = {}
    for engine in ("pytorch", "mlx"):
        wanted = {"stage": "candidates", "models": ["tiny"], "typed": ["Who are you?", "What is a name?"]}
        drawn = {"temperatures": [0.0], "per_prompt": 2, "max_tokens": 12, "engine": engine}
        rows = (make(ready, name=f"by-{engine}", **wanted, **drawn) / "candidates.jsonl").read_text().splitlines()
        made[engine] = [[answer["text"] for answer in json.loads(row)["answers"]] for row in rows]
    assert made["mlx"] == made["pytorch"]
    verdicts = []
    for engine in ("pytorch", "mlx"):
        folder = make(
            ready, stage="assess", models=["tiny"], prompts="by-mlx", judge="tiny", verdict="likelihood",
            max_no_verdict=1.0, engine=engine, name=f"assessed-{engine}",
        )  # fmt: skip
        verdicts.append((folder / "artifact.json").read_text())
    first, second = (json.loads(text)["report"]["grades"]["tiny"]["grade"] for text in verdicts)
    assert first["n"] == 4
    assert first == pytest.approx(second, abs=1e-4)


def test_an_engine_that_does_not_open_the_model_is_refused_before_the_run(ready: tuple[Project, Catalog]) -> None:
    project, catalog = ready
    asked = {"stage": "benchmark", "model": "tiny", "tasks": ["arc_easy"]}
    for engine, message in (
        ("llamacpp", "The engine llamacpp does not open tiny, which is a whole model"),
        ("corpus", "The engine corpus opens no model"),
        ("mlxx", "There is no engine called 'mlxx'"),
    ):
        with pytest.raises(WorkbenchError, match=message):
            submit(project, catalog, plan(project, catalog, [recipe_from(asked | {"engine": engine})]))
