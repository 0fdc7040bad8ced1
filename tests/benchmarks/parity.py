"""The same tasks through our bridge and through lm-eval's own HF backend and evaluator, told apart item by item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.benchmarks.answered import Answered
from workbench.benchmarks.panels import TaskChoice
from workbench.benchmarks.results import Item, TaskFigures
from workbench.benchmarks.tasks import LoadedTask, load_tasks
from workbench.contract import LanguageModel

BOOTSTRAPPED = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "mcc")  # their stderr is drawn
FEW_DRAWS = 20


@dataclass(kw_only=True)
class Parity:
    """How one task came out on both sides."""

    task: str
    items: int = 0
    requests: int = 0
    apart: float = 0.0  # nats, the largest difference of log-likelihoods of one request
    texts_apart: float = 0.0  # of rolling texts, as a share of their nats
    outcomes: list[str] = field(default_factory=list)  # items whose metrics differ
    answers: list[str] = field(default_factory=list)  # items whose answers differ
    figures: list[str] = field(default_factory=list)  # aggregated metrics that differ
    compared: int = 0  # aggregated metrics and standard errors

    def __str__(self) -> str:
        return (
            f"{self.task}: {self.items} items, {self.requests} requests, outcomes that differ {len(self.outcomes)}, "
            f"answers that differ {len(self.answers)}, figures that differ {len(self.figures)} of {self.compared}, "
            f"log-likelihoods within {self.apart:.1e} nats, texts within {self.texts_apart:.1e} of theirs"
        )


def ours(
    model: LanguageModel, root: Path, chosen: Sequence[TaskChoice], answered: Path, **given: Any
) -> dict[str, tuple[TaskFigures, list[Item], LoadedTask]]:
    """Every task through the bridge."""
    from workbench.benchmarks.bridge import Bridge
    from workbench.benchmarks.evaluate import build, evaluate

    kept = Answered(answered)
    bridge = Bridge(model, kept, **given)
    found = {}
    for name, loaded in load_tasks(chosen, root).items():
        build(loaded, bridge)
        found[name] = (*evaluate(loaded, bridge, "lm-eval"), loaded)
    kept.close()
    return found


def harness_model(folder: Path, batch_size: int = 1) -> Any:
    """lm-eval's HF backend in float32, as `--model hf --model_args dtype=float32` opens it."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=batch_size)


def theirs(harness: Any, root: Path, choice: TaskChoice) -> Any:
    """The harness's own results of the same task, with its samples."""
    from lm_eval.evaluator import evaluate

    (loaded,) = load_tasks([choice], root).values()
    return evaluate(
        harness, {loaded.name: loaded.task}, limit=loaded.limit, bootstrap_iters=FEW_DRAWS,
        apply_chat_template=loaded.chat_template, fewshot_as_multiturn=loaded.chat_template, log_samples=True,
    )  # fmt: skip


def compare(task: LoadedTask, figures: TaskFigures, items: Sequence[Item], expected: Any) -> Parity:
    """Item by item, metric by metric."""
    found = Parity(task=task.name, items=len(items))
    by_doc: dict[int, list[Any]] = {}
    for sample in expected["samples"][task.name]:
        by_doc.setdefault(sample["doc_id"], []).append(sample)
    assert sorted(by_doc) == [int(item.item) for item in items]
    for item in items:
        for sample in by_doc[int(item.item)]:
            _compare_item(found, task, item, sample)
    _compare_figures(found, task, figures, expected["results"][task.name])
    return found


def _compare_item(found: Parity, task: LoadedTask, item: Item, sample: Any) -> None:
    responses = [response[0] for response in sample["resps"]]
    if task.kind == "generate_until":
        if item.answer != responses[0]:
            found.answers.append(item.item)
    elif task.kind == "loglikelihood_rolling":
        own = item.log_likelihoods[0]
        found.apart = max(found.apart, abs(own - responses[0]))
        found.texts_apart = max(found.texts_apart, abs(own / responses[0] - 1))
    else:
        nats = [value for value, _ in responses][: len(item.log_likelihoods)]
        found.apart = max(found.apart, *(abs(a - b) for a, b in zip(item.log_likelihoods, nats, strict=True)))
        best = max(range(len(nats)), key=nats.__getitem__)
        if task.kind == "multiple_choice" and item.answer != item.choices[best]:
            found.answers.append(item.item)
        if task.kind == "loglikelihood" and item.more["greedy"] != responses[0][1]:
            found.answers.append(item.item)
    found.requests += len(responses)
    for metric in sample["metrics"]:
        value = sample[metric]
        label = metric if sample["filter"] == "none" else f"{metric},{sample['filter']}"
        if isinstance(value, tuple | list):
            continue  # of a metric over all items
        if not math.isclose(
            item.metrics[label], float(value), rel_tol=1e-4, abs_tol=1e-3 if metric == "perplexity" else 1e-9
        ):
            found.outcomes.append(f"{item.item} {label}: {item.metrics[label]} instead of {value}")


def _compare_figures(found: Parity, task: LoadedTask, figures: TaskFigures, expected: Any) -> None:
    for label, value in expected.items():
        metric, _, name = label.partition(",")
        if not name or metric in ("alias", "sample_len"):
            continue
        error = metric.endswith("_stderr")
        bare = metric.removesuffix("_stderr")
        figure = figures.figures[bare if name == "none" else f"{bare},{name}"]
        if error and (bare in BOOTSTRAPPED or not isinstance(value, float)):
            continue
        own = figure.stderr if error else figure.value
        found.compared += 1
        if own is None or not math.isclose(own, value, rel_tol=1e-4, abs_tol=1e-9):
            found.figures.append(f"{label}: {own} instead of {value}")


def run(model: LanguageModel, harness: Any, root: Path, chosen: Sequence[TaskChoice], answered: Path) -> list[Parity]:
    """Every task on both sides."""
    mine = ours(model, root, chosen, answered)
    return [
        compare(loaded, figures, items, theirs(harness, root, choice))
        for choice, (figures, items, loaded) in zip(chosen, mine.values(), strict=True)
    ]
