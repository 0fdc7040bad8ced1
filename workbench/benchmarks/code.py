"""Scores of programs that a model wrote (HumanEval, MBPP): built and checked as the harness does, in the sandbox.

The harness (lm-eval's `humaneval` and `mbpp` with Hugging Face's `code_eval`) runs answer, newline, checks in an empty
namespace, with 3 seconds for each. The seconds are CPU time here, so that a busy machine changes no score.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from workbench.benchmarks import sandbox
from workbench.benchmarks.sandbox import Outcome
from workbench.errors import WorkbenchError

SECONDS = 3.0  # `code_eval`'s own
MEMORY_BYTES = 1 << 30

Document = Mapping[str, Any]  # one row of a task's data


@dataclass(frozen=True, slots=True)
class CodeTask:
    """How a code task makes a program of an item and an answer."""

    code: Callable[[Document, str], str]
    checks: Callable[[Document], str]


def program(task: str, document: Document, answer: str) -> str:
    """The whole program: the answer as code, then the checks.

    Raises `WorkbenchError` if the task is not one of code, or the item lacks a field.
    """
    how = _how(task)
    try:
        return f"{how.code(document, answer)}\n{how.checks(document)}"
    except KeyError as error:
        raise WorkbenchError(
            f"An item of {task} cannot be checked: {document.get('task_id', 'one')} lacks {error}.",
            "Give it the fields of the standard data.",
        ) from None


def score_code(
    task: str,
    documents: Sequence[Document],
    answers: Sequence[Sequence[str]],
    *,
    workers: int = 2,
    seconds: float = SECONDS,
) -> Iterator[tuple[Outcome, ...]]:
    """The outcomes of each item's answers, item by item in their order, as they become known.

    Equal answers to one item are run once. Raises `WorkbenchError` where programs cannot be confined, or if an item
    lacks a field.
    """
    sandbox.refuse_unless_available()
    pairs = zip(documents, answers, strict=True)
    programs = [[program(task, document, answer) for answer in each] for document, each in pairs]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="generated code")
    try:
        runs: list[dict[str, Future[Outcome]]] = [
            {text: pool.submit(sandbox.run, text, seconds=seconds, memory_bytes=MEMORY_BYTES) for text in set(each)}
            for each in programs
        ]
        for each, running in zip(programs, runs, strict=True):
            yield tuple(running[text].result() for text in each)
    finally:  # also where the reader stops early
        pool.shutdown(cancel_futures=True)


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that one of `k` answers is right, from `n` answers of which `c` are: 1 - C(n-c, k) / C(n, k), without
    bias (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1).

    Raises `WorkbenchError` if there are fewer than `k` answers.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise WorkbenchError(
            f"pass@{k} cannot be had from {n} answers of which {c} passed.", "Let the model write at least k answers."
        )
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def mean_pass_at_k(outcomes: Iterable[Sequence[Outcome]], k: int) -> float:
    """The mean over items. Raises `WorkbenchError` if an item has fewer than `k` answers."""
    return fmean(pass_at_k(len(each), sum(one.passed for one in each), k) for each in outcomes)


def code_tasks(names: Iterable[str]) -> list[str]:
    """Those of the tasks that run what the model writes."""
    return [name for name in names if name in TASKS]


def require_allowed(allow: bool, running: Collection[str]) -> None:
    """Of the tasks that run what the model writes: raises `WorkbenchError` if that is not allowed, not known how to be
    done, or not possible here."""
    if not running:
        return
    for task in running:
        _how(task)
    if not allow:
        raise WorkbenchError(
            f"{' and '.join(running)} would run programs that the model writes, on this machine, each in a sandbox "
            "without network and with a scratch folder of its own.",
            "Say --allow-code to have that, or leave these tasks out.",
        )
    sandbox.refuse_unless_available()


def _how(task: str) -> CodeTask:
    if task not in TASKS:
        raise WorkbenchError(
            f"{task} runs programs in a way that is not known here.", f"Take one of {', '.join(TASKS)}."
        )
    return TASKS[task]


def _prompt_and_answer(document: Document, answer: str) -> str:
    return str(document["prompt"]) + answer


def _between(document: Document, answer: str) -> str:
    return f"{document['prompt']}{answer}{document['suffix']}"


def _prompt_and_block(document: Document, answer: str) -> str:
    return str(document["prompt"]) + answer.partition("```")[0]


def _as_written(_: Document, answer: str) -> str:
    return answer


def _first_block(_: Document, answer: str) -> str:
    """The first fenced block; the prompt has opened one already. Empty if none is ever closed."""
    fenced = re.compile(r"```(?:\w+)?\n?(.*?)\n?```", re.DOTALL)
    found = fenced.search("```" + answer) or fenced.search("```" + answer.replace("```python", "```"))
    return found[1] if found else ""


def _call_of_check(document: Document) -> str:
    return f"{document['test']}\ncheck({document['entry_point']})"


def _three_asserts(document: Document) -> str:
    return _asserts(document, 3)  # the harness takes three, and no `test_setup_code`


def _one_assert(document: Document) -> str:
    return _asserts(document, 1)


def _asserts(document: Document, most: int) -> str:
    asserts = document["test_list"][:most]
    if not asserts:  # whatever the model wrote would pass
        raise KeyError("test_list")
    return "\n".join(asserts)


_HUMANEVAL = CodeTask(_prompt_and_answer, _call_of_check)
_HUMANEVAL_INSTRUCT = CodeTask(_prompt_and_block, _call_of_check)
_INFILLING = CodeTask(_between, _call_of_check)
_MBPP = CodeTask(_as_written, _three_asserts)

TASKS: Mapping[str, CodeTask] = {
    "humaneval": _HUMANEVAL,
    "humaneval_64": _HUMANEVAL,
    "humaneval_plus": _HUMANEVAL,
    "humaneval_instruct": _HUMANEVAL_INSTRUCT,
    "humaneval_64_instruct": _HUMANEVAL_INSTRUCT,
    "humaneval_single_line_infilling": _INFILLING,
    "humaneval_multi_line_infilling": _INFILLING,
    "humaneval_random_span_infilling": _INFILLING,
    "humaneval_random_span_infilling_light": _INFILLING,
    "mbpp": _MBPP,
    "mbpp_plus": _MBPP,
    "mbpp_instruct": CodeTask(_first_block, _three_asserts),
    "mbpp_plus_instruct": CodeTask(_first_block, _one_assert),
}
