"""Programs of HumanEval and MBPP: the given solutions pass, altered ones fail, and each is built as by the harness."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import random
import re
import sys
from pathlib import Path
from typing import Any, Union

import pytest

from workbench.benchmarks import code, sandbox
from workbench.benchmarks.sandbox import Outcome
from workbench.errors import WorkbenchError

linux = pytest.mark.skipif(sys.platform != "linux", reason="generated code runs on Linux only")
ADD = {"task_id": "Own/0", "prompt": "def add(a, b):\n", "entry_point": "add", "suffix": "    return None\n"}
ADD["test"] = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n"
DOUBLE = {
    "task_id": 1,
    "test_list": ["assert d(1) == 2", "assert d(0) == 0", "assert d(-2) == -4"],
    "test_setup_code": "",
}


def rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        pytest.skip(f"{path} is missing")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def words(outcomes: list[tuple[Outcome, ...]]) -> list[str]:
    return [one.word for each in outcomes for one in each]


@linux
def test_every_solution_of_humaneval_passes(shared: Path) -> None:
    items = rows(shared / "tasks" / "human_eval.jsonl")
    outcomes = list(code.score_code("humaneval", items, [[item["canonical_solution"]] for item in items]))
    assert words(outcomes) == ["passed"] * 164
    assert code.mean_pass_at_k(outcomes, 1) == 1.0


@linux
def test_altered_solutions_of_humaneval_fail(shared: Path) -> None:
    items = rows(shared / "tasks" / "human_eval.jsonl")
    outcomes = list(code.score_code("humaneval", items, [["    return None\n"]] * len(items)))
    assert words(outcomes) == ["failed"] * 164
    assert all(one.message for (one,) in outcomes)


@linux
def test_solutions_of_mbpp_pass_and_those_of_the_next_item_fail(shared: Path) -> None:
    items = rows(shared / "tasks" / "mbpp.jsonl")[:40]
    answers = [[item["code"], after["code"]] for item, after in zip(items, items[1:] + items[:1], strict=True)]
    outcomes = list(code.score_code("mbpp", items, answers))
    assert words(outcomes) == ["passed", "failed"] * 40
    assert code.mean_pass_at_k(outcomes, 1) == 0.5
    assert code.mean_pass_at_k(outcomes, 2) == 1.0


@linux
@pytest.mark.slow
def test_every_solution_of_mbpp_passes_but_two(shared: Path) -> None:
    """Two need `test_setup_code`, which the harness does not run."""
    items = rows(shared / "tasks" / "mbpp.jsonl")
    outcomes = code.score_code("mbpp", items, [[item["code"]] for item in items])
    failed = [item["task_id"] for item, (one,) in zip(items, outcomes, strict=True) if not one.passed]
    assert failed == [367, 927]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every program that really runs."""
    programs: list[str] = []
    real = sandbox.run

    def counted(program: str, **limits: Any) -> Outcome:
        programs.append(program)
        return real(program, **limits)

    monkeypatch.setattr(sandbox, "run", counted)
    return programs


@linux
def test_each_sample_of_an_item_is_scored_and_equal_ones_once(ran: list[str]) -> None:
    right, wrong, broken = "    return a + b\n", "    return a - b\n", "    return (\n"
    (outcomes,) = code.score_code("humaneval", [ADD], [[right, wrong, right, broken, right]])
    assert [one.word for one in outcomes] == ["passed", "failed", "passed", "failed", "passed"]
    assert "assert candidate(1, 2) == 3" in outcomes[1].message
    assert "SyntaxError" in outcomes[3].message
    assert len(ran) == 3
    assert code.mean_pass_at_k([outcomes], 2) == pytest.approx(1 - 1 / 10)  # one pair of ten has no right one


@linux
def test_answers_that_end_the_program_or_never_end_do_not_pass() -> None:
    answers = ["    raise SystemExit(0)\n", "    import os; os._exit(0)\n", "    while True: pass\n", "    exit()\n"]
    (outcomes,) = code.score_code("humaneval", [ADD], [answers], seconds=1)
    assert [one.word for one in outcomes] == ["failed", "failed", "timeout", "failed"]


@linux
def test_whoever_stops_reading_does_not_wait_for_what_is_left(ran: list[str]) -> None:
    answers = [["    return a + b\n"]] + [["    while True: pass\n"]] * 49
    scored = code.score_code("humaneval", [ADD] * 50, answers, seconds=1)
    assert next(scored)[0].passed
    scored.close()
    assert len(ran) < 10


def test_pass_at_k_is_the_share_of_the_draws_with_a_right_one() -> None:
    """Against its meaning: draws of k of n answers, counted."""
    draw = random.Random(1)
    for n, c, k in [(1, 0, 1), (1, 1, 1), (5, 2, 1), (5, 2, 3), (10, 3, 5), (20, 1, 10), (64, 5, 8)]:
        answers = [True] * c + [False] * (n - c)
        share = sum(any(draw.sample(answers, k)) for _ in range(20_000)) / 20_000
        assert code.pass_at_k(n, c, k) == pytest.approx(share, abs=0.015)
    product = 1 - math.prod(1 - 8 / i for i in range(60, 65))  # the form in the paper's figure 3
    assert code.pass_at_k(64, 5, 8) == pytest.approx(product, rel=1e-12)
    assert code.pass_at_k(4, 2, 3) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 5), (0, 0, 1), (3, 4, 1), (3, 1, 0)])
def test_pass_at_k_of_too_few_answers_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(WorkbenchError, match=f"pass@{k} cannot be had from {n} answers"):
        code.pass_at_k(n, c, k)


def test_code_is_refused_without_leave() -> None:
    with pytest.raises(WorkbenchError, match=r"humaneval and mbpp would run programs .* on this machine.*--allow-code"):
        code.require_allowed(False, ["humaneval", "mbpp"])
    code.require_allowed(False, [])
    with pytest.raises(WorkbenchError, match=r"cruxeval runs programs in a way that is not known here.*humaneval"):
        code.require_allowed(True, ["cruxeval"])
    assert code.code_tasks(["arc_easy", "mbpp_instruct"]) == ["mbpp_instruct"]


def test_leave_does_not_help_where_there_is_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "available", lambda: "this kernel has no seccomp")
    with pytest.raises(WorkbenchError, match="cannot be run safely here: this kernel has no seccomp"):
        code.require_allowed(True, ["humaneval"])
    with pytest.raises(WorkbenchError, match="cannot be run safely here"):
        next(code.score_code("humaneval", [ADD], [["    return a + b"]]))
    code.require_allowed(True, [])


@pytest.mark.parametrize(
    ("task", "document"), [("humaneval", {"task_id": "Own/1", "prompt": ""}), ("mbpp", {"task_id": 9, "test_list": []})]
)
def test_an_item_without_checks_is_refused(task: str, document: dict[str, Any]) -> None:
    """With none, whatever the model wrote would pass."""
    with pytest.raises(WorkbenchError, match=rf"{document['task_id']} lacks 'test"):
        code.program(task, document, "pass")


# As the harness builds them: its own templates and functions, read from its files, whose import would ask the hub.


def harness(file: str) -> Path:
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        pytest.skip("lm-eval is not installed")
    return Path(found.submodule_search_locations[0], "tasks", file)


def functions(path: Path) -> dict[str, Any]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names: dict[str, Any] = {"re": re, "Union": Union}
    exec(compile(tree, str(path), "exec"), names)
    return names


def template(path: Path) -> Any:
    import jinja2

    written = re.search(r'^doc_to_target: (".*")$', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert written is not None
    return jinja2.Environment(keep_trailing_newline=True).from_string(ast.literal_eval(written[1]))


ANSWERS = [
    "    return a + b\n",
    "    return a + b\n```\nThis adds.",
    "```python\ndef d(x):\n    return 2 * x\n```\nand so on ```x```",
    "def d(x):\n    return 2 * x\n```",
    "def d(x): return 2 * x",
    "",
    "Here:\n```\nx\n```\n```python\ny\n```",
]


@pytest.mark.parametrize(
    "task",
    [
        "humaneval",
        "humaneval_instruct",
        "humaneval_multi_line_infilling",
        "mbpp",
        "mbpp_instruct",
        "mbpp_plus_instruct",
    ],
)
def test_programs_are_the_harness_own(task: str) -> None:
    document = ADD if task.startswith("humaneval") else DOUBLE
    file = {
        "humaneval_instruct": "humaneval/humaneval.yaml",
        "humaneval_multi_line_infilling": "humaneval_infilling/multi_line_infilling.yaml",
    }.get(task, f"{task.partition('_')[0]}/{task}.yaml")
    path = harness(file)
    checks = template(path).render(**document)
    names = functions(path.parent / "utils.py")
    builder = {"humaneval_instruct": "build_predictions_instruct", "mbpp": None}.get(task, "build_predictions")
    for answer in ANSWERS:
        built = names[builder]([[answer]], [document])[0][0] if builder else answer
        assert code.program(task, document, answer) == f"{built}\n{checks}"
