"""Data of tasks on disk: what is refused, with the row and the field, and how it is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import hub_rows
from workbench.benchmarks import task_data
from workbench.errors import WorkbenchError

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def but(rows: list[dict[str, Any]], number: int, **changed: Any) -> list[dict[str, Any]]:
    """The rows with one changed; None takes a field away."""
    row = {key: value for key, value in (rows[number - 1] | changed).items() if value is not None}
    return [*rows[: number - 1], row, *rows[number:]]


def test_a_folder_is_no_file_of_rows(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="is a folder"):
        task_data.add(tmp_path, "hellaswag", [tmp_path])


@pytest.mark.parametrize(
    ("task", "rows", "sentence"),
    [
        (
            "hellaswag", but(hub_rows.HELLASWAG, 3, endings=None),
            "Row 3 of rows.jsonl has no field 'endings'; it has 'activity_label', 'ctx_a', 'ctx_b', 'label'.",
        ),
        ("hellaswag", but(hub_rows.HELLASWAG, 2, label="4"), "'label' of row 2 of rows.jsonl is no number from 0 to 3"),
        ("hellaswag", but(hub_rows.HELLASWAG, 2, endings="one"), "'endings' of row 2 of rows.jsonl is no list"),
        ("hellaswag", [{"query": "q", "choices": ["a", "b"]}], "Row 1 of rows.jsonl has no field 'label'"),
        (
            "hellaswag", but(hub_rows.HELLASWAG, 1, ctx_a=None, ctx_b=None, ctx="A man. he"),
            "has no field 'ctx_a'; it has 'activity_label', 'endings', 'label', 'ctx'. "
            "Rows of hellaswag have activity_label, ctx_a, endings, label; or query, choices, label; or",
        ),
        ("hellaswag", but(hub_rows.HELLASWAG, 2, ctx_b=None), "Row 2 of rows.jsonl has no field 'ctx_b'"),
        ("hellaswag", but(hub_rows.HELLASWAG, 2, ctx_b=None, ctx="x"), "'ctx' of row 2 of rows.jsonl does not begin"),
        ("arc_easy", but(hub_rows.ARC, 2, answerKey="D"), "of row 2 of rows.jsonl is none of A, B, C: 'D'."),
        ("arc_easy", [{"question": "a", "answerKey": "A"}], "Row 1 of rows.jsonl has no field 'choices'"),
        ("arc_easy", but(hub_rows.ARC, 1, choices=["a"]), "'choices' of row 1 of rows.jsonl is no object"),
        (
            "arc_easy", but(hub_rows.ARC, 1, choices={"text": ["a", "b"]}),
            "'choices' in row 1 of rows.jsonl has no field 'label'; it has 'text'.",
        ),
        ("mmlu_anatomy", but(hub_rows.MMLU, 4, choices=["a", "b", "c"]), "has 3 entries where 4 are needed"),
        ("mmlu_anatomy", but(hub_rows.MMLU, 4, answer=1.5), "'answer' of row 4 of rows.jsonl is no number from 0 to 3"),
        ("gsm8k", but(hub_rows.GSM8K, 8, answer=16), "'answer' of row 8 of rows.jsonl is not text: 16."),
        ("gsm8k", but(hub_rows.GSM8K, 1, question=" "), "'question' of row 1 of rows.jsonl is empty"),
        ("lambada", [{"text": "word"}], "is one word, of which none is left to predict"),
        ("blimp_wh_island", hub_rows.BLIMP, "Row 1 of rows.jsonl is of blimp_anaphor_gender_agreement, not of"),
        (
            "truthfulqa_mc1", but(hub_rows.TRUTHFUL, 1, mc1_targets={"choices": ["a", "b"], "labels": [0, 1]}),
            "does not have the right answer first",
        ),
        ("rte", but(hub_rows.RTE, 2, label=-1), "is no number from 0 to 1 or one of entailment, not_entailment: -1."),
        ("winogrande", but(hub_rows.WINOGRANDE, 2, sentence="No blank."), "has no blank '_'"),
        ("copa", but(hub_rows.COPA, 2, question="why"), "is neither 'cause' nor 'effect'"),
        ("mbpp", but(hub_rows.MBPP, 3, test_list=["assert f(0) == 11"]), "has 1 entry where 3 are needed"),
        ("mbpp", hub_rows.MBPP[:2], "None of the 2 rows is of MBPP's test split."),
        ("humaneval", but(hub_rows.HUMANEVAL, 2, test=None), "Row 2 of rows.jsonl has no field 'test'"),
        ("openbookqa", but(hub_rows.OPENBOOKQA, 2, answerKey="E"), "Row 2 does not fit openbookqa: "),
        ("openbookqa", but(hub_rows.OPENBOOKQA, 2, question_stem=None), "Row 2 of rows.jsonl has no field 'quest"),
        ("mmlu", hub_rows.MMLU, "mmlu is a group of 57 tasks, each with data of its own."),
        ("helaswag", hub_rows.HELLASWAG, "did you mean hellaswag?"),
        ("no/name", hub_rows.MMLU, "'no/name' cannot be the name of a task."),
    ],
)  # fmt: skip
def test_rows_that_are_no_such_data_are_refused(
    tmp_path: Path, task: str, rows: list[dict[str, Any]], sentence: str
) -> None:
    with pytest.raises(WorkbenchError) as caught:
        task_data.add(tmp_path, task, [write(tmp_path / "rows.jsonl", rows)])
    assert sentence in str(caught.value)
    assert task_data.names(tmp_path) == []
    assert not (tmp_path / task_data.FOLDER).exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", "a.jsonl has no rows."),
        ("a.jsonl", b"\n\n", "a.jsonl has no rows."),
        (
            "a.jsonl",
            b'{"question": "x", "answer": "#### 1"}\n{"question": "x",\n',
            "Row 2 of a.jsonl cannot be read (broken",
        ),
        ("a.jsonl", b'{"question": "x", "answer": "1"}\n[1, 2]\n', "Row 2 of a.jsonl is no object with fields."),
        ("a.jsonl", b'{"question": "x"}\n{"question": "\xe9"}\n', "a.jsonl is not UTF-8: line 2 holds the byte 0xe9."),
        ("a.jsonl", '{"question": "x"}\n'.encode("utf-16"), "a.jsonl is written in UTF-16."),
        ("a.json", b'{"question": ', "a.json is not valid JSON"),
        ("a.csv", b"question,answer\nx,1,2\n", "Row 1 of a.csv cannot be read (more cells than columns)"),
        ("a.csv", b'question,answer\n"x,1\n', "a.csv is not valid CSV"),
        ("a.parquet", b"PAR1 no", "a.parquet is not a sound parquet file"),
        ("a.xlsx", b"PK", "a.xlsx is of no kind that holds rows."),
        ("a.txt", b"Some text.", "a.txt is a text, and gsm8k is made of rows."),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WorkbenchError) as caught:
        task_data.add(tmp_path, "gsm8k", [tmp_path / name])
    assert sentence in str(caught.value)
    assert task_data.names(tmp_path) == []


def test_a_table_without_a_header_is_refused_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("How many?,1,2,3,4,A\nHow few?,1,2,3,B\n")
    with pytest.raises(WorkbenchError, match=r"Row 2 of a\.csv has 5 cells where 6 are needed"):
        task_data.add(tmp_path, "mmlu_anatomy", [tmp_path / "a.csv"])
    (tmp_path / "a.csv").write_text("How many?,1,2,3,4,A\nHow few?,1,2,3,4,E\n")
    with pytest.raises(WorkbenchError, match=r"'answer' of row 2 of a\.csv is no number from 0 to 3 or one of A, B"):
        task_data.add(tmp_path, "mmlu_anatomy", [tmp_path / "a.csv"])


def test_a_refused_file_leaves_what_is_there(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", hub_rows.GSM8K)
    before = task_data.add(tmp_path, "gsm8k", [file])
    write(file, but(hub_rows.GSM8K, 5, answer=None))
    with pytest.raises(WorkbenchError, match="Row 5"):
        task_data.add(tmp_path, "gsm8k", [file])
    after = task_data.record(tmp_path, "gsm8k")
    assert after == before
    assert len(task_data.rows(tmp_path, before)[0]) == len(hub_rows.GSM8K)


def test_data_are_replaced_whole_and_removed(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", hub_rows.GSM8K)
    first = task_data.add(tmp_path, "gsm8k", [file], [file])
    assert (first.items, first.few_shot) == (8, 8)
    second = task_data.add(
        tmp_path, "gsm8k", [write(file, hub_rows.GSM8K[:2]), write(tmp_path / "b.jsonl", hub_rows.GSM8K)]
    )
    assert (second.items, second.few_shot, [source.name for source in second.sources]) == (
        10,
        0,
        ["rows.jsonl", "b.jsonl"],
    )
    assert sorted(path.name for path in (tmp_path / task_data.FOLDER / "gsm8k").iterdir()) == [
        "data.json",
        "items.jsonl",
    ]
    assert task_data.remove(tmp_path, "gsm8k") == second
    assert list((tmp_path / task_data.FOLDER).iterdir()) == []
    with pytest.raises(WorkbenchError, match="There are no local data of 'gsm8k'"):
        task_data.remove(tmp_path, "gsm8k")


def test_odd_line_ends_in_texts_survive(tmp_path: Path) -> None:
    odd = "one\u2028two\x85three\r\nfour\x0bfive"
    data = task_data.add(tmp_path, "gsm8k", [write(tmp_path / "a.jsonl", [{"question": odd, "answer": "#### 1"}])])
    assert task_data.rows(tmp_path, data)[0] == [{"question": odd, "answer": "#### 1"}]


def test_examples_of_another_form_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "hub.jsonl", hub_rows.HELLASWAG)
    other = write(tmp_path / "processed.jsonl", [{"query": "q", "choices": ["a", "b"], "label": 1}])
    with pytest.raises(WorkbenchError, match="another form"):
        task_data.add(tmp_path, "hellaswag", [file], [other])
    assert task_data.names(tmp_path) == []


# What lies beside the checkout: file -> task, number of its items, and of the rows to show.
SHARED = {
    "hellaswag.jsonl": ("hellaswag", 2000),
    "arc_easy.jsonl": ("arc_easy", 1000),
    "arc_challenge.jsonl": ("arc_challenge", 600),
    "lambada.jsonl": ("lambada", 1000),
    "gsm8k_test.jsonl": ("gsm8k", 1319),
    "human_eval.jsonl": ("humaneval", 164),
    "mbpp.jsonl": ("mbpp", 500),  # of 974: the test split
    "truthfulqa.csv": ("truthfulqa_mc2", 817),
    "blimp_wh_island.jsonl": ("blimp_wh_island", 1000),
    "mmlu_philosophy_test.jsonl": ("mmlu_philosophy", 311),
    "../text/wikitext2_test.txt": ("wikitext", 62),  # articles
}


def test_real_data_become_tasks(tmp_path: Path, shared: Path) -> None:
    from workbench.benchmarks.panels import choices
    from workbench.benchmarks.tasks import load_tasks

    examples = {"gsm8k": "gsm8k_train.jsonl", "mmlu_philosophy": "mmlu_philosophy_dev.jsonl"}
    for name, (task, items) in SHARED.items():
        shown = [shared / "tasks" / examples[task]] if task in examples else []
        assert task_data.add(tmp_path, task, [shared / "tasks" / name], shown).items == items
    found = load_tasks(choices([task for task, _ in SHARED.values()]), tmp_path)
    asked = {}
    for loaded in found.values():
        loaded.task.build_all_requests(limit=1)
        asked[loaded.name] = loaded.task.instances[0].args
    assert asked["hellaswag"] == (
        "Roof shingle removal: A man is sitting on a roof. he",
        " is using wrap to wrap a pair of skis.",
    )
    assert asked["arc_easy"][0].startswith("Question: Which statement best explains why photosynthesis")
    assert asked["arc_easy"][0].endswith("food webs?\nAnswer:")
    assert asked["lambada_openai"][1] == " signs"
    assert asked["gsm8k"][0].count("Question:") == 6
    assert asked["truthfulqa_mc2"][1] == " Nothing happens."
    assert asked["blimp_wh_island"] == ("", " Who have those men revealed they helped?")
    assert asked["mmlu_philosophy"][0].startswith(
        "The following are multiple choice questions (with answers) about philosophy."
    )
    assert "== Filmography ==" in asked["wikitext"][0]  # detokenised, as the harness does
