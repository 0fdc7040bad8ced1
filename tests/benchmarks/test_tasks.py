"""Tasks on local rows are the harness's own: the same prompts, choices and targets, item by item."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import hub_rows
from workbench.benchmarks import building, harness, task_data
from workbench.benchmarks.panels import TaskChoice, choices
from workbench.benchmarks.tasks import LoadedTask, item_hash, load_tasks, needs
from workbench.errors import WorkbenchError

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def add(root: Path, task: str, rows: list[dict[str, Any]], examples: list[dict[str, Any]] | None = None) -> None:
    shown = [write(root / "shown.jsonl", examples)] if examples else []
    task_data.add(root, task, [write(root / "rows.jsonl", rows)], shown)


def load(root: Path, *names: str, **given: Any) -> dict[str, LoadedTask]:
    return load_tasks(choices(names), root, **given)


def requests(task: Any) -> list[tuple[Any, ...]]:
    task.build_all_requests()
    return [(instance.request_type, instance.doc_id, instance.idx, *instance.args) for instance in task.instances]


def theirs(folder: Path, name: str) -> Any:
    """The harness's own task by the harness's own means: its file, with the data set of the hub replaced by JSON."""
    from lm_eval.tasks import TaskManager

    rows, asked, examples, shown, shots = hub_rows.TASKS[name]
    files = {asked: str(write(folder / "asked.jsonl", rows))}
    for split in {"train", "validation", "test", "dev"} - {asked}:  # some are opened though nothing is drawn from them
        files[split] = str(write(folder / f"{split}.jsonl", examples if split == shown else rows))
    plain = {
        "include": str(harness.tasks()[name]),
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
    }
    (folder / "yaml").mkdir()
    (folder / "yaml" / "task.yaml").write_text(json.dumps(plain))  # JSON is YAML
    task = TaskManager(include_defaults=False, include_path=str(folder / "yaml")).load([name])["tasks"][name]
    task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(1234)
    return task


@pytest.mark.parametrize("name", hub_rows.TASKS)
def test_requests_are_those_of_the_harness(name: str, tmp_path: Path) -> None:
    rows, _, examples, _, shots = hub_rows.TASKS[name]
    add(tmp_path, name, rows, examples)
    (loaded,) = load(tmp_path, name, shots=shots).values()
    (tmp_path / "theirs").mkdir()
    reference = theirs(tmp_path / "theirs", name)
    assert requests(loaded.task) == requests(reference)
    assert loaded.shots == shots
    assert (loaded.kind, loaded.version) == (reference.OUTPUT_TYPE, str(reference.VERSION))
    assert loaded.task.aggregation() == reference.aggregation()
    assert [item_hash(loaded.task, doc) for doc in loaded.task.eval_docs] == [
        item_hash(reference, doc) for doc in reference.eval_docs
    ]


def test_processed_hellaswag_asks_the_same(tmp_path: Path) -> None:
    add(tmp_path, "hellaswag", hub_rows.HELLASWAG, hub_rows.HELLASWAG[2:])
    (hub,) = load(tmp_path, "hellaswag", shots=2).values()
    expected = requests(hub.task)
    assert expected[0][3].endswith("Making tea: A person boils 0 cups of water. The person")
    processed = [{key: doc[key] for key in ("query", "choices", "label")} for doc in hub.task.eval_docs]
    processed = [doc | {"label": int(doc["label"])} for doc in processed]
    add(tmp_path, "hellaswag", processed, processed[2:])
    (local,) = load(tmp_path, "hellaswag", shots=2).values()
    assert requests(local.task) == expected
    docs = zip(local.task.eval_docs, hub.task.eval_docs, strict=True)
    assert all(item_hash(local.task, mine) == item_hash(hub.task, their) for mine, their in docs)


def test_processed_arc_asks_the_same(tmp_path: Path) -> None:
    add(tmp_path, "arc_easy", hub_rows.ARC)
    (hub,) = load(tmp_path, "arc_easy").values()
    expected = requests(hub.task)
    processed = [
        {
            "query": f"Question: {row['question']}",
            "choices": row["choices"]["text"],
            "gold": row["choices"]["label"].index(row["answerKey"]),
        }
        for row in hub_rows.ARC
    ]
    add(tmp_path, "arc_easy", processed)
    (local,) = load(tmp_path, "arc_easy").values()
    assert requests(local.task) == expected
    assert [local.task.doc_to_target(doc) for doc in local.task.eval_docs] == [row["gold"] for row in processed]


def test_arc_as_its_authors_wrote_it_asks_the_same(tmp_path: Path) -> None:
    add(tmp_path, "arc_challenge", hub_rows.ARC)
    (hub,) = load(tmp_path, "arc_challenge").values()
    expected = requests(hub.task)
    published = []
    for row in hub_rows.ARC:
        pairs = zip(row["choices"]["text"], row["choices"]["label"], strict=True)
        listed = [{"text": text, "label": label} for text, label in pairs]
        published.append(
            {"id": row["id"], "question": {"stem": row["question"], "choices": listed}, "answerKey": row["answerKey"]}
        )
    add(tmp_path, "arc_challenge", published)
    (local,) = load(tmp_path, "arc_challenge").values()
    assert requests(local.task) == expected


def test_the_table_of_truthfulqa_asks_the_same(tmp_path: Path) -> None:
    add(tmp_path, "truthfulqa_mc1", hub_rows.TRUTHFUL)
    expected = {
        name: requests(loaded.task) for name, loaded in load(tmp_path, "truthfulqa_mc1", "truthfulqa_mc2").items()
    }
    with open(tmp_path / "table.csv", "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["Type", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"])
        for row in hub_rows.TRUTHFUL:
            writer.writerow(["", row["question"], "Nobody did", "Nobody did; It rotted.", "A horse did; Ann did"])
    task_data.add(tmp_path, "truthfulqa_mc1", [tmp_path / "table.csv"])
    found = load(tmp_path, "truthfulqa_mc1", "truthfulqa_mc2")  # both from the data of the first
    assert {name: requests(loaded.task) for name, loaded in found.items()} == expected
    assert found["truthfulqa_mc2"].group == "truthfulqa"


def test_csv_and_parquet_become_what_jsonl_does(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    add(tmp_path, "mmlu_anatomy", hub_rows.MMLU)
    first = task_data.record(tmp_path, "mmlu_anatomy")
    pq.write_table(pa.Table.from_pylist(hub_rows.MMLU), tmp_path / "rows.parquet")
    cells = [[row["question"], *row["choices"], "ABCD"[row["answer"]]] for row in hub_rows.MMLU]
    for name, header in (("rows.csv", [["question", "A", "B", "C", "D", "answer"]]), ("bare.csv", [])):
        with open(tmp_path / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(header + cells)
    assert first is not None
    for name in ("rows.parquet", "rows.csv", "bare.csv"):
        assert task_data.add(tmp_path, "mmlu_anatomy", [tmp_path / name]).sha256 == first.sha256


def test_code_tasks_load_without_the_hub_and_leave_scoring_to_the_sandbox(tmp_path: Path) -> None:
    add(tmp_path, "humaneval", hub_rows.HUMANEVAL)
    add(tmp_path, "mbpp", hub_rows.MBPP)
    data = task_data.record(tmp_path, "mbpp")
    assert data is not None
    assert (data.items, data.left_out) == (3, 4)  # of the test split alone
    found = load(tmp_path, "humaneval", "mbpp", "humaneval_instruct")
    assert [loaded.code for loaded in found.values()] == [True] * 3
    assert {loaded.metric for loaded in found.values()} == {"pass@1"}
    human, mbpp = requests(found["humaneval"].task), requests(found["mbpp"].task)
    assert human[0][3] == "def add0(a, b):\n    "
    assert human[0][4]["max_gen_toks"] == 1024
    assert "\nclass" in human[0][4]["until"]
    assert found["mbpp"].shots == 3
    assert mbpp[0][3].count("[BEGIN]") == 4  # three worked examples, the harness's own
    assert mbpp[0][3].endswith("assert f(2) == 13\n[BEGIN]\n")
    with pytest.raises(WorkbenchError, match="not run here"):
        found["humaneval"].task.process_results(hub_rows.HUMANEVAL[0], ["pass"])
    import evaluate

    assert hasattr(evaluate, "EvaluationModule")  # the stand-in is gone


def test_settings(tmp_path: Path) -> None:
    add(tmp_path, "gsm8k", hub_rows.GSM8K, hub_rows.GSM8K)
    add(tmp_path, "blimp_anaphor_gender_agreement", hub_rows.BLIMP)
    heard: list[str] = []
    panel = [
        TaskChoice(task="gsm8k", shots=3, limit=7, chat_template=True),  # type: ignore[call-arg]
        TaskChoice(task="blimp", metric="acc"),  # type: ignore[call-arg]
    ]
    found = load_tasks(panel, tmp_path, warn=heard.append)
    gsm8k, blimp = found.values()
    assert (gsm8k.shots, gsm8k.limit, gsm8k.chat_template, gsm8k.metric) == (3, 7, True, "exact_match")
    assert (blimp.name, blimp.group, blimp.shots) == ("blimp_anaphor_gender_agreement", "blimp", 0)
    assert heard == ["Of blimp only the tasks with local data are taken: 1 of 67."]
    over = load_tasks(panel, tmp_path, shots=2, limit=1, chat_template=False, warn=heard.append)
    assert (over["gsm8k"].shots, over["gsm8k"].limit, over["gsm8k"].chat_template) == (2, 1, False)
    assert heard[-1] == "The harness fixes the number of worked examples of blimp_anaphor_gender_agreement at 0."
    assert load(tmp_path, "gsm8k")["gsm8k"].shots == 5  # the harness's own
    assert over["gsm8k"].data != load(tmp_path, "gsm8k", shots=0)["gsm8k"].data == _digest(tmp_path, "gsm8k")


def _digest(root: Path, task: str) -> str:
    data = task_data.record(root, task)
    assert data is not None
    return data.sha256


def test_a_hash_is_of_the_question_alone(tmp_path: Path) -> None:
    add(tmp_path, "gsm8k", hub_rows.GSM8K, hub_rows.GSM8K)
    zero, five = (load(tmp_path, "gsm8k", shots=shots)["gsm8k"].task for shots in (0, 5))
    hashes = [item_hash(zero, doc) for doc in zero.eval_docs]
    assert hashes == [item_hash(five, doc) for doc in five.eval_docs]
    assert len(set(hashes)) == len(hub_rows.GSM8K)
    changed = dict(hub_rows.GSM8K[0], answer="#### 1")
    assert item_hash(zero, changed) != hashes[0]


def test_a_text_is_a_task(tmp_path: Path) -> None:
    text = "".join(f"Line {n} of a long text.\r\n" for n in range(2000))
    (tmp_path / "long.txt").write_bytes(text.encode())
    (loaded,) = load(tmp_path, "text:long.txt", shots=5).values()
    assert (loaded.name, loaded.kind, loaded.metric, loaded.shots) == (
        "text:long.txt", "loglikelihood_rolling", "bits_per_byte", 0,
    )  # fmt: skip
    asked = requests(loaded.task)
    assert len(asked) == 19  # of about a twentieth of 53 KB, so that the score has an interval
    assert "".join(item[3] for item in asked) == text
    measured = [loaded.task.process_results(doc, [-10.0]) for doc in loaded.task.eval_docs]
    assert sum(item["bits_per_byte"][1] for item in measured) == len(text.encode())


@pytest.mark.parametrize(
    ("names", "given", "sentence"),
    [
        (["helaswag"], {}, "Did you mean hellaswag?"),
        (["piqa"], {}, "workbench benchmark-data add piqa FILE"),
        (["piqa", "winogrande", "boolq"], {}, "So it is with winogrande, boolq."),
        (["gsm8k"], {}, "gsm8k is to show 5 worked examples, and has none beside its items."),
        (["arc_easy"], {"shots": 1}, "Add some, or set --shots 0"),
        (["text:gone.txt"], {}, "There is no file"),
        (["../../etc"], {}, "There is no task called '../../etc'."),
    ],
)
def test_what_cannot_be_loaded_is_told(tmp_path: Path, names: list[str], given: dict[str, Any], sentence: str) -> None:
    add(tmp_path, "gsm8k", hub_rows.GSM8K)
    add(tmp_path, "arc_easy", hub_rows.ARC)
    with pytest.raises(WorkbenchError) as caught:
        load(tmp_path, *names, **given)
    assert sentence in str(caught.value)


def test_an_unknown_metric_is_told(tmp_path: Path) -> None:
    add(tmp_path, "arc_easy", hub_rows.ARC)
    with pytest.raises(WorkbenchError, match=r"no metric 'acc_nrom'\. Did you mean acc_norm"):
        load_tasks([TaskChoice(task="arc_easy", metric="acc_nrom")], tmp_path)  # type: ignore[call-arg]


def test_a_hub_that_is_away_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    building.reachable.cache_clear()
    try:
        with pytest.raises(WorkbenchError, match="the hub cannot be reached"):
            load(tmp_path, "piqa")
    finally:
        building.reachable.cache_clear()


def test_what_was_fetched_before_needs_no_hub(tmp_path: Path) -> None:
    import datasets

    rows, asked, examples, shown, _ = hub_rows.TASKS["piqa"]
    building.prepare(tmp_path)
    files = {asked: str(write(tmp_path / "a.jsonl", rows)), shown: str(write(tmp_path / "b.jsonl", examples))}
    datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "made"))
    (info,) = (tmp_path / "made").rglob("dataset_info.json")
    # As the library lays out what it fetched of baber/piqa.
    target = Path(datasets.config.HF_DATASETS_CACHE) / "baber___piqa" / "default" / "0.0.0" / ("a" * 40)
    shutil.copytree(info.parent, target)
    for file in target.glob("json-*.arrow"):
        file.rename(target / file.name.replace("json-", "piqa-"))
    plain = json.loads(info.read_text()) | {"dataset_name": "piqa", "builder_name": "parquet"}
    (target / "dataset_info.json").write_text(json.dumps(plain))
    assert [item.data for item in needs(choices(["piqa"]), tmp_path)] == ["fetched"]
    (loaded,) = load(tmp_path, "piqa", shots=1).values()
    assert loaded.data == ""
    fetched = requests(loaded.task)
    add(tmp_path, "piqa", rows, examples)
    (local,) = load(tmp_path, "piqa", shots=1).values()
    assert requests(local.task) == fetched


def test_changed_data_are_noticed(tmp_path: Path) -> None:
    add(tmp_path, "arc_easy", hub_rows.ARC)
    file = tmp_path / task_data.FOLDER / "arc_easy" / task_data.ITEMS
    file.write_text(file.read_text().replace("river", "rivers", 1))
    with pytest.raises(WorkbenchError, match="its SHA-256 differs"):
        load(tmp_path, "arc_easy")


def test_what_a_panel_needs(tmp_path: Path) -> None:
    add(tmp_path, "gsm8k", hub_rows.GSM8K)
    add(tmp_path, "lambada", hub_rows.LAMBADA)
    (tmp_path / "here.txt").write_text("text")
    found = {item.task: item for item in needs(choices(["gsm8k", "lambada", "piqa", "text:here.txt"]), tmp_path)}
    assert {name: item.lacks for name, item in found.items()} == {
        "gsm8k": "examples", "lambada_openai": "", "piqa": "data", "text:here.txt": "",
    }  # fmt: skip
    assert found["lambada_openai"].items == len(hub_rows.LAMBADA)


def test_nothing_is_written_outside_the_project(tmp_path: Path) -> None:
    """A process of its own, as an engine has: with a home that must stay empty."""
    add(tmp_path, "hellaswag", hub_rows.HELLASWAG)
    add(tmp_path, "humaneval", hub_rows.HUMANEVAL)
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "from pathlib import Path\n"
        "from workbench.benchmarks.panels import choices\n"
        "from workbench.benchmarks.tasks import load_tasks\n"
        f"found = load_tasks(choices(['hellaswag', 'humaneval']), Path({str(tmp_path)!r}))\n"
        "for loaded in found.values():\n    loaded.task.build_all_requests()\n"
        "print(sum(len(loaded.task.instances) for loaded in found.values()))\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "XDG_"))}
    environment |= {"HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == str(4 * len(hub_rows.HELLASWAG) + len(hub_rows.HUMANEVAL))
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []
