"""Two models on the same items: what differs, how sure it is, what flipped; and which benchmark a name means."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.measured import SETTING, add_benchmark, add_model, choice, measured, text_item
from workbench.benchmarks import lookup
from workbench.benchmarks.compare import BETTER, NOISE, WORSE, answered, compare, flips, groups, paired
from workbench.benchmarks.results import Item
from workbench.errors import WorkbenchError
from workbench.store.catalog import Catalog
from workbench.store.project import Project

scipy_stats = pytest.importorskip("scipy.stats")


def outcomes(task: str, right: range | set[int], n: int = 100) -> list[Item]:
    return [choice(task, number, number in right) for number in range(n)]


def run(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench.cli", *words, "--project", str(project.root)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_a_task_by_hand(tmp_path: Path) -> None:
    """40 of 100 against 52: 15 gained and 3 lost, so McNemar's p is that of 3 heads in 18 tosses, twice."""
    before = measured(tmp_path / "a", {"arc": outcomes("arc", range(40))})
    after = measured(tmp_path / "b", {"arc": outcomes("arc", range(3, 55))})
    (row,) = compare(before, after).tasks
    assert (row.baseline.value, row.other.value) == (0.40, 0.52)
    assert row.difference == pytest.approx(0.12)
    assert (row.gained, row.lost, row.n) == (15, 3, 100)
    assert row.p == pytest.approx(scipy_stats.binomtest(3, 18).pvalue)
    assert row.test == "McNemar's exact test"
    assert 0.03 < row.low < 0.12 < row.high < 0.21  # ± 1.96 sqrt((15 + 3) / 100 - 0.12^2) / 10 is 0.041 to 0.199
    assert row.verdict == BETTER
    assert compare(after, before).tasks[0].verdict == WORSE
    (same,) = compare(before, before).tasks
    assert (same.difference, same.p, same.verdict) == (0.0, 1.0, NOISE)


def test_flips_show_both_answers(tmp_path: Path) -> None:
    before = measured(tmp_path / "a", {"arc": outcomes("arc", range(40)), "rte": outcomes("rte", range(5), 10)})
    after = measured(tmp_path / "b", {"arc": outcomes("arc", range(3, 55)), "rte": outcomes("rte", range(5), 10)})
    found = flips(before, after, "arc")
    assert [(flip.baseline.item, flip.gained) for flip in found[:4]] == [
        ("0", False),
        ("1", False),
        ("2", False),
        ("40", True),
    ]
    assert (len(found), sum(flip.gained for flip in found)) == (18, 15)
    assert (found[3].baseline_answer, found[3].other_answer) == (" no", " yes")
    assert flips(before, after, "rte") == []
    with pytest.raises(WorkbenchError, match="Did you mean arc"):
        flips(before, after, "acr")


def test_the_answer_is_that_of_the_metric() -> None:
    """By characters a long choice of -3 nats is likelier than a short one of -2."""
    item = replace(
        choice("arc", 1, True), choices=(" a long answer", " no"), log_likelihoods=(-3.0, -2.0), answer=" no"
    )
    assert answered(item, "acc") == " no"
    assert answered(item, "acc_norm") == " a long answer"


def test_items_are_paired_by_their_question(tmp_path: Path) -> None:
    """Other limits, another order, a question that stands twice: what both were asked is compared, the rest counted."""
    first = [choice("arc", 7, True), choice("arc", 1, False), choice("arc", 7, False), choice("arc", 3, True)]
    second = [choice("arc", 9, True), choice("arc", 1, True), choice("arc", 7, True), choice("arc", 7, False)]
    pairs = paired(first, second)
    assert [(a.item, a.metrics["acc"], b.metrics["acc"]) for a, b in pairs] == [("7", 1, 1), ("1", 0, 1), ("7", 0, 0)]
    (row,) = compare(measured(tmp_path / "a", {"arc": first}), measured(tmp_path / "b", {"arc": second})).tasks
    assert (row.n, row.only_baseline, row.only_other) == (3, 1, 1)
    assert row.baseline.value == pytest.approx(1 / 3)  # of what was paired, so that the difference is theirs
    assert row.difference == pytest.approx(1 / 3)


def test_less_is_better_for_bits_per_byte(tmp_path: Path) -> None:
    before = measured(tmp_path / "a", {"text": [text_item("text", n, 80 + n % 7) for n in range(40)]})
    after = measured(tmp_path / "b", {"text": [text_item("text", n, 78 + n % 5) for n in range(40)]})
    (row,) = compare(before, after).tasks
    assert row.test == "paired bootstrap"
    assert row.difference < 0
    assert row.high < 0
    assert row.verdict == BETTER
    assert (row.gained, row.lost) == (0, 0)
    assert flips(before, after, "text") == []


def test_unlike_settings_are_named(tmp_path: Path) -> None:
    tasks = {"arc": outcomes("arc", range(40)), "rte": outcomes("rte", range(40))}
    other = replace(SETTING, shots=5, chat_template=True, data="ab" * 32)
    before = measured(tmp_path / "a", tasks)
    after = measured(tmp_path / "b", tasks, settings={"arc": other, "rte": replace(SETTING, shots=5)})
    found = compare(before, after)
    assert [(str(one), one.tasks) for one in found.unlike] == [
        ("shots: 0 against 5", ("arc", "rte")),
        ("chat template: off against on", ("arc",)),
        ("data: from the hub against abababababab…", ("arc",)),
    ]
    assert compare(before, before).unlike == ()
    limits = {task: replace(SETTING, limit=100) for task in tasks}  # more than there are items
    assert compare(before, measured(tmp_path / "c", tasks, settings=limits)).unlike == ()


def test_the_length_of_answers_is_told(tmp_path: Path) -> None:
    written = [replace(item, metrics={"exact_match": item.metrics["acc"]}) for item in outcomes("gsm8k", range(4), 8)]
    before = [replace(item, tokens=10 + number) for number, item in enumerate(written)]
    after = [replace(item, tokens=100) for item in written]
    (row,) = compare(measured(tmp_path / "a", {"gsm8k": before}), measured(tmp_path / "b", {"gsm8k": after})).tasks
    assert row.answer_tokens == (13.5, 100.0)
    (row,) = compare(measured(tmp_path / "c", {"gsm8k": written}), measured(tmp_path / "d", {"gsm8k": after})).tasks
    assert row.answer_tokens is None


def test_tasks_of_one_alone_are_told(tmp_path: Path) -> None:
    before = measured(tmp_path / "a", {"arc": outcomes("arc", range(9)), "rte": outcomes("rte", range(9))})
    after = measured(tmp_path / "b", {"arc": outcomes("arc", range(9)), "cola": outcomes("cola", range(9))})
    found = compare(before, after)
    assert [row.task for row in found.tasks] == ["arc"]
    assert found.missing == {"rte": "b was not asked", "cola": "a was not asked"}


def test_many_tasks_make_one_careful(tmp_path: Path) -> None:
    """A p of 0.022 (10 gained, 2 lost is 0.039) is telling alone, and nothing among ten tasks."""
    names = [f"task{number}" for number in range(10)]
    before = {name: outcomes(name, range(40)) for name in names}
    after = {name: outcomes(name, range(40)) for name in names} | {"task3": outcomes("task3", range(2, 50))}
    alone = compare(
        measured(tmp_path / "a1", {"task3": before["task3"]}), measured(tmp_path / "b1", {"task3": after["task3"]})
    ).tasks[0]
    assert alone.p == pytest.approx(scipy_stats.binomtest(2, 12).pvalue)
    assert alone.verdict == BETTER
    among = compare(measured(tmp_path / "a", before), measured(tmp_path / "b", after)).tasks[3]
    assert among.p == alone.p
    assert among.p_holm == pytest.approx(10 * among.p)
    assert among.verdict == NOISE


def test_a_group_pools_its_items(tmp_path: Path) -> None:
    tasks = {"mmlu_law": (range(10), 40), "mmlu_art": (range(30), 60), "truthfulqa_mc1": (range(5), 10)}
    before = {name: outcomes(name, right, n) for name, (right, n) in tasks.items()}
    after = {name: outcomes(name, set(right) | {35, 36, 37}, n) for name, (right, n) in tasks.items()}
    grouped = {"mmlu_law": "mmlu", "mmlu_art": "mmlu", "truthfulqa_mc1": "truthfulqa"}
    first, second = measured(tmp_path / "a", before, grouped=grouped), measured(tmp_path / "b", after, grouped=grouped)
    found = compare(first, second)
    assert [row.task for row in found.tasks] == ["mmlu", "mmlu_law", "mmlu_art", "truthfulqa_mc1"]
    assert [row.task for row in found.top()] == ["mmlu", "truthfulqa_mc1"]
    assert [row.task for row in found.chosen("mmlu")] == ["mmlu", "mmlu_law", "mmlu_art"]
    pooled = found.tasks[0]
    assert (pooled.baseline.value, pooled.other.value, pooled.n) == (
        0.40,
        0.46,
        100,
    )  # 40 of 100, not the mean of 25%, 50%
    assert (pooled.gained, pooled.lost, pooled.members) == (6, 0, ("mmlu_law", "mmlu_art"))
    assert pooled.p == pytest.approx(2 / 2**6)
    assert pooled.p_holm == pytest.approx(2 * pooled.p)  # two at the top: mmlu and truthfulqa_mc1
    (group,) = groups(first).values()
    assert (group.figures["acc"].value, group.n) == (0.40, 100)
    assert group.figures["acc"].low == pytest.approx(pooled.baseline.low)
    assert len(flips(first, second, "mmlu")) == 6


@pytest.fixture
def measured_project(project: Project, catalog: Catalog) -> Project:
    """`base` with two benchmarks and one of a checkpoint, `tuned` with one, and `new` without."""
    base, tuned = add_model(project, catalog, "base"), add_model(project, catalog, "tuned")
    add_model(project, catalog, "new")
    add_benchmark(project, catalog, base, {"arc": outcomes("arc", range(10))}, name="first")
    add_benchmark(project, catalog, base, {"arc": outcomes("arc", range(40))})
    add_benchmark(project, catalog, base, {"code": outcomes("code", range(4))}, panel="code")
    add_benchmark(project, catalog, base, {"arc": outcomes("arc", range(20))}, name="early", checkpoint=200)
    add_benchmark(project, catalog, tuned, {"arc": outcomes("arc", range(3, 55)), "rte": outcomes("rte", range(9))})
    return project


def test_a_name_means_the_newest_benchmark(measured_project: Project, catalog: Catalog) -> None:
    def ids(*references: str, panel: str | None = None) -> list[str]:
        return [one.id for one in lookup.resolve_all(measured_project, catalog, list(references), panel)]

    assert ids("base") == ["base-code"]
    assert ids("base", "tuned") == ["base-quick", "tuned-quick"]  # the newest panel that both have
    assert ids("base", panel="quick") == ["base-quick"]
    add_benchmark(
        measured_project,
        catalog,
        add_model(measured_project, catalog, "asked"),
        {"arc": outcomes("arc", range(9))},
        panel="",
    )
    assert ids("base", "asked", "tuned") == ["base-quick", "asked-", "tuned-quick"]  # they share the task arc
    with pytest.raises(WorkbenchError, match="workbench benchmark asked --panel code"):
        ids("benchmark/base-code", "asked")
    assert ids("base@200", "model/base", "benchmark/first") == ["early", "base-quick", "first"]
    assert ids("first", str(measured_project.root / "benchmarks" / "early")) == ["first", "early"]
    newest = lookup.newest_per_model(lookup.of_project(measured_project, catalog, "quick"))
    assert [one.model for one in newest] == ["tuned", "base@200", "base"]
    assert newest[2].id == "base-quick"


def test_a_model_of_which_only_checkpoints_were_measured_names_them(project: Project, catalog: Catalog) -> None:
    model = add_model(project, catalog, "hist")
    for step in (40, 20):
        add_benchmark(project, catalog, model, {"arc": outcomes("arc", range(4))}, name=f"at-{step}", checkpoint=step)
    with pytest.raises(WorkbenchError, match="Of its checkpoints these have one: hist@20, hist@40"):
        lookup.resolve(project, catalog, "hist")


def test_a_checkpoint_without_a_benchmark_has_a_remedy_that_works(project: Project, catalog: Catalog) -> None:
    """The step itself where it is kept, another that was measured or is kept where it is not."""
    for step in (30, 60):
        folder = project.root / "runs" / "pretrain-1" / "checkpoints" / f"step-{step:08}"
        folder.mkdir(parents=True)
        (folder / "complete.json").write_text("{}")
    base = add_model(project, catalog, "base", run="pretrain-1")
    tuned = add_model(project, catalog, "tuned")
    add_benchmark(
        project, catalog, tuned, {"arc": outcomes("arc", range(4)), "rte": outcomes("rte", range(4))}, panel=""
    )

    def remedy(reference: str) -> str:
        with pytest.raises(WorkbenchError) as caught:
            lookup.resolve_all(project, catalog, [reference, "tuned"])
        return str(caught.value)

    made = "Run it: workbench benchmark base --checkpoints {} --tasks arc,rte"
    assert remedy("base@60") == f"base@60 has no benchmark. {made.format(60)}"
    not_kept = "has no benchmark, and that step is not kept: the steps 30, 60 are."
    assert remedy("base@20") == f"base@20 {not_kept} {made.format(30)}"
    assert (
        remedy("tuned@20")
        == "tuned@20 has no benchmark, and that step is not kept. Name tuned itself, the finished model."
    )
    add_benchmark(project, catalog, base, {"arc": outcomes("arc", range(4))}, checkpoint=60)
    assert remedy("base@20") == f"base@20 {not_kept} Of its checkpoints these have one: base@60."


def test_versions_of_one_name_are_models_of_their_own(tmp_path: Path) -> None:
    item = {"arc": outcomes("arc", range(3))}
    weights: dict[str, dict[str, Any]] = {
        "new": {"name": "base", "id": "base-2", "identity": "b" * 64},
        "again": {"name": "base", "id": "base", "identity": "a" * 64},
        "early": {"name": "base", "id": "base", "identity": "a" * 64, "checkpoint": 20},
        "first": {"name": "base", "id": "base", "identity": "a" * 64},
    }
    found = [measured(tmp_path / name, item, model=model) for name, model in weights.items()]
    newest = lookup.newest_per_model(found)
    assert [(one.id, one.model, one.name) for one in newest] == [
        ("new", "base-2", "base"),
        ("again", "base", "base"),
        ("early", "base@20", "base@20"),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("compare", "base", "tund"), "Did you mean tuned?"),
        (("compare", "base", "new"), "Run it: workbench benchmark new --panel code"),  # as base
        (("compare", "base", "tuned", "--panel", "code"), "tuned has no benchmark of the panel code."),
        (("benchmarks", "show", "new"), "Run it: workbench benchmark new --panel quick"),
        (("compare", "base@300", "tuned"), "Of its checkpoints these have one: base@200."),
        (("compare", "base"), "One model alone cannot be compared."),
        (("compare", "base", "tuned", "--task", "acr"), "Did you mean arc?"),
        (("compare", "base", "tuned", "--task", "rte"), "The task rte cannot be compared: base was not asked."),
        (("compare", "base", "benchmark/frist"), "Did you mean first?"),
        (("benchmarks", "exprot"), "There is no verb 'benchmarks exprot'."),
        (("benchmarks", "export", "--panel", "base"), "There is no benchmark of the panel base in this project."),
    ],
)
def test_what_cannot_be_is_told(measured_project: Project, words: tuple[str, ...], sentence: str) -> None:
    done = run(measured_project, *words)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_the_verb(measured_project: Project) -> None:
    done = run(measured_project, "compare", "base", "tuned", "--flips")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("arc"))
    assert line.split() == [
        "arc", "acc", "40.0%", "52.0%", "▲", "+12.0", *line.split()[6:9], "0.008", "+15", "−3", "100",
    ]  # fmt: skip
    assert "adjusted" not in done.stdout  # one task
    assert "rte is not compared: base was not asked." in done.stderr
    assert "18 items flipped: 15 gained by tuned, 3 lost." in done.stderr
    assert sum(line.startswith("+") for line in done.stdout.splitlines()) == 15
    found = json.loads(run(measured_project, "compare", "base", "tuned", "--flips", "--json").stdout)
    (one,) = found["comparisons"]
    assert (found["baseline"]["benchmark"], one["benchmark"]) == ("base-quick", "tuned-quick")
    assert (one["tasks"][0]["gained"], len(one["flips"]), one["missing"]) == (15, 18, {"rte": "base was not asked"})


def test_an_interval_stands_beside_the_p_of_the_same_task_alone(project: Project, catalog: Catalog) -> None:
    """p is 0.035 of one task, whose interval leaves 0 out, and 0.105 of three: inside the noise."""
    names = ("arc", "piqa", "rte")
    for model, right in (("base", range(40)), ("tuned", range(6, 57))):
        tasks = {task: outcomes(task, right if task == "arc" else range(50)) for task in names}
        add_benchmark(project, catalog, add_model(project, catalog, model), tasks)
    done = run(project, "compare", "base", "tuned")
    head = done.stdout.splitlines()[0].split()
    assert head[-4:] == ["p", "adjusted", "flipped", "items"]
    line = next(line for line in done.stdout.splitlines() if line.startswith("arc")).split()
    assert line[4:] == ["≈", "+11.0", *line[6:9], "0.035", "0.104", "+17", "−6", "100"]
    assert line[6].startswith("+")
    assert "Adjusted: p by Holm, for all tasks together; the signs go by it." in done.stderr


def test_two_benchmarks_of_one_model_stand_under_their_own_names(project: Project, catalog: Catalog) -> None:
    base = add_model(project, catalog, "base")
    for name, right in (("killed", range(40)), ("whole", range(3, 55))):
        alone = f"of-{name}"
        add_benchmark(project, catalog, base, {"arc": outcomes("arc", right), alone: outcomes(alone, right)}, name=name)
    done = run(project, "compare", "killed", "whole", "--flips")
    assert "of-killed is not compared: whole was not asked." in done.stderr
    assert done.stdout.split()[:4] == ["task", "metric", "killed", "whole"]
    assert "15 gained by whole, 3 lost." in done.stderr


def test_the_verb_with_several_models(measured_project: Project) -> None:
    done = run(measured_project, "compare", "base", "tuned", "base@200", "benchmark/base-quick")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("arc"))
    words = line.split()
    assert words == ["arc", "acc", "40.0%", "52.0%", "▲", "+12.0", "20.0%", "▼", "−20.0", "40.0%", "≈", "±0.0", "100"]
