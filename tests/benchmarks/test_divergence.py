"""What quantisation changed, against the F16 export of the same model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests import road
from tests.benchmarks import tiny
from workbench.benchmarks import distributions, divergence, results
from workbench.benchmarks.panels import Panel
from workbench.benchmarks.report import export
from workbench.benchmarks.results import Results
from workbench.contract import LanguageModel
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.store.catalog import Catalog
from workbench.store.project import Project

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")


@pytest.fixture(scope="module")
def exported(module_project: tuple[Project, Catalog]) -> tuple[Project, Catalog]:
    """A model with an F16 and a Q4_0 export."""
    tiny.add_model(*module_project)
    for kind in ("f16", "q4_0"):
        road.made(*module_project, _export(kind))
    return module_project


def _export(kind: str) -> Any:
    return recipe_from({"stage": "export", "model": "tiny", "quantization": kind, "name": f"tiny-{kind}"})


def measure(project: Project, catalog: Catalog, model: str, **given: Any) -> tuple[Results, Path]:
    recipe = recipe_from(
        {"stage": "benchmark", "model": model, "tasks": ["divergence"], "name": f"{model}-{len(given)}", **given}
    )
    folder = road.made(project, catalog, recipe)
    return results.read(folder), folder


@pytest.mark.slow
def test_a_quantised_model_against_f16(exported: tuple[Project, Catalog]) -> None:
    project, catalog = exported
    found, folder = measure(project, catalog, "tiny-q4_0")
    task = found.tasks["divergence"]
    assert task.setting.against == "export tiny-f16"
    # The export's own check has compared it with the checkpoint on the same text, in one window too.
    check = json.loads((project.folder("export") / "tiny-q4_0" / "check.json").read_text())["check"]
    assert task.figures["kl_divergence"].value == pytest.approx(check["mean_kl"], rel=0.05)
    assert task.figures["kl_divergence"].value > 1e-3
    assert task.figures["top1_agreement"].value == pytest.approx(check["top1_agreement"], abs=0.02)
    (item,) = results.read_items(folder)
    assert item.more["tokens"] == check["tokens"]
    nats = check["bits_per_byte"] * math.log(2) * len(tiny.TEXT[-1000:].encode())
    assert task.figures["token_perplexity"].value == pytest.approx(math.exp(nats / check["tokens"]), rel=0.01)
    median, most = task.figures["kl_median"].value, task.figures["kl_99"].value
    assert 0 < median < most
    assert found.model["bytes"] == (project.folder("export") / "tiny-q4_0" / "model.gguf").stat().st_size
    assert found.model["tokens_per_second"] > 0


@pytest.mark.slow
def test_the_reference_differs_from_itself_by_nothing(exported: tuple[Project, Catalog]) -> None:
    project, catalog = exported
    found, _ = measure(project, catalog, "tiny-f16")
    figures = found.tasks["divergence"].figures
    assert figures["kl_divergence"].value == figures["kl_99"].value == 0.0
    assert figures["top1_agreement"].value == 1.0
    assert figures["token_perplexity"].value > 10


def test_a_checkpoint_is_near_its_export_and_windows_are_asked_once(exported: tuple[Project, Catalog]) -> None:
    project, catalog = exported
    file = project.root / "text.txt"
    file.write_text(tiny.TEXT[:9000])
    found, folder = measure(project, catalog, "tiny", tasks=[f"divergence:{file}"])
    task = found.tasks["divergence:text.txt"]
    assert 0 < task.figures["kl_divergence"].value < 1e-4  # PyTorch in float32 against F16 in llama.cpp
    assert task.figures["top1_agreement"].value > 0.99
    assert task.n == len(results.read_items(folder)) > 3
    low, high = task.figures["token_perplexity"].low, task.figures["token_perplexity"].high
    assert low is not None
    assert high is not None
    assert low < task.figures["token_perplexity"].value < high
    assert (found.computed, found.known) == (task.n, 0)
    again, _ = measure(project, catalog, "tiny", tasks=[f"divergence:{file}"], limit=2)
    assert (again.computed, again.known) == (0, 2)
    assert again.tasks["divergence:text.txt"].setting.limit == 2


def test_the_speed_is_measured_where_text_has_more_tokens_than_the_context_holds() -> None:
    class Letters:
        context_length = 48
        tokenize = staticmethod(list)

    apart = object.__new__(divergence.Divergence)
    apart._text, apart._model = "a" * 999, cast(LanguageModel, Letters())
    assert 0 < len(apart.prompt(64)) <= 24


@pytest.mark.slow
def test_without_an_f16_export_the_checkpoint_is_the_reference(project: Project, catalog: Catalog) -> None:
    tiny.add_model(project, catalog)
    road.made(project, catalog, _export("q8_0"))
    found, folder = measure(project, catalog, "tiny-q8_0")
    assert found.tasks["divergence"].setting.against == "model tiny"
    assert 1e-6 < found.tasks["divergence"].figures["kl_divergence"].value < 0.05
    markdown = export([_opened(folder)], "markdown")
    assert "against model tiny" in markdown
    assert "tokens/s" in markdown


def _opened(folder: Path) -> Any:
    from workbench.benchmarks.lookup import opened

    return opened(folder)


def test_what_cannot_be_compared_is_told_before_it_runs(project: Project, catalog: Catalog) -> None:
    tiny.add_model(project, catalog, held_out="")
    with pytest.raises(WorkbenchError, match="tiny has no held-out text to compare on") as raised:
        measure(project, catalog, "tiny")
    assert "divergence:FILE" in raised.value.remedy
    with pytest.raises(WorkbenchError, match="cannot be read: No such file"):
        measure(project, catalog, "tiny", tasks=["divergence:/nowhere.txt"])
    (project.root / "empty.txt").write_text(" \n")
    with pytest.raises(WorkbenchError, match="is empty"):
        measure(project, catalog, "tiny", tasks=["divergence:empty.txt"])


def test_the_built_in_panel_begins_with_it(project: Project) -> None:
    assert Panel.read(project.root, "quantisation").tasks[0].task == "divergence"


def test_the_numbers_are_those_of_the_formulas() -> None:
    draw = np.random.default_rng(0)
    ours, theirs = draw.normal(size=(2, 7, 11)).astype(np.float32) * 3
    tokens = draw.integers(11, size=7).tolist()
    found = distributions.compared([ours[:4], ours[4:]], [theirs[:4], theirs[4:]], tokens)
    p = np.exp(theirs.astype(float)) / np.exp(theirs.astype(float)).sum(1, keepdims=True)
    q = np.exp(ours.astype(float)) / np.exp(ours.astype(float)).sum(1, keepdims=True)
    assert found["kl"] == pytest.approx((p * np.log(p / q)).sum(1), rel=1e-6)
    assert found["agreed"] == (p.argmax(1) == q.argmax(1)).sum()
    assert found["nats"] == pytest.approx(np.log(q[range(7), tokens]).sum(), rel=1e-6)
    assert distributions.nats([ours], tokens) == pytest.approx(found["nats"], rel=1e-12)
