"""Tasks of one's own from rows alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.measured import text_item
from workbench.benchmarks import statistics, task_data, texts
from workbench.benchmarks.panels import choices
from workbench.benchmarks.tasks import LoadedTask, load_tasks
from workbench.errors import WorkbenchError

pytest.importorskip("lm_eval", reason="the harness lm-eval is not installed")


def made(
    root: Path, rows: list[dict[str, Any]], examples: list[dict[str, Any]] | None = None, **given: Any
) -> LoadedTask:
    shown = [write(root / "shown.jsonl", examples)] if examples else []
    task_data.add(root, "my-quiz", [write(root / "quiz.jsonl", rows)], shown)
    return load_tasks(choices(["my-quiz"]), root, **given)["my-quiz"]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_multiple_choice(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "Is ice cold?", "choices": ["no", "yes, it is"], "answer": 1},
        {"question": "Which is red?", "choices": ["a sky", "blood", "A"], "answer": "blood"},
        {"question": "Which is wet?", "choices": ["water", "sand"], "answer": "a"},
        {"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": "4"},  # the choice, not the number
    ]
    loaded = made(tmp_path, rows)
    task = loaded.task
    task.build_all_requests()
    assert (loaded.kind, loaded.metric, loaded.group) == ("multiple_choice", "acc", "")
    assert [instance.args for instance in task.instances[:2]] == [
        ("Question: Is ice cold?\nAnswer:", " no"),
        ("Question: Is ice cold?\nAnswer:", " yes, it is"),
    ]
    assert task.instances[-1].args == ("2 + 2 =", " 4")
    assert [task.doc_to_target(doc) for doc in task.eval_docs] == [1, 1, 0, 1]
    # The longer choice wins by its mean over characters alone.
    assert task.process_results(task.eval_docs[0], [(-4.0, False), (-5.0, False)]) == {"acc": 0.0, "acc_norm": 1.0}


def test_examples_are_shown(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "choices": ["no", "yes"], "answer": "yes"} for n in range(3)]
    loaded = made(tmp_path, rows, [{"question": "Shown?", "choices": ["no", "yes"], "answer": 0}], shots=1)
    loaded.task.build_all_requests()
    assert loaded.task.instances[0].args[0] == "Question: Shown?\nAnswer: no\n\nQuestion: 0?\nAnswer:"
    with pytest.raises(WorkbenchError, match="to show 2 worked examples, and has 1 example beside"):
        load_tasks(choices(["my-quiz"]), tmp_path, shots=2)


def test_answers_are_compared(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "Capital of France?", "answer": ["Paris", "City of Light"]},
        {"prompt": "2+2=", "answer": 4},
    ]
    loaded = made(tmp_path, rows)
    task = loaded.task
    task.build_all_requests()
    assert (loaded.kind, loaded.metric) == ("generate_until", "exact_match")
    assert task.instances[0].args[0] == "Question: Capital of France?\nAnswer:"
    assert task.instances[0].args[1]["until"] == ["\n"]
    first, second = task.eval_docs
    scored = [
        task.process_results(first, [answer])["exact_match"] for answer in (" paris.", "city of  light", "Lyon", "")
    ]
    assert scored == [1.0, 1.0, 0.0, 0.0]
    assert task.process_results(second, [" 4"]) == {"exact_match": 1.0}
    assert task.aggregation()["exact_match"]([1.0, 0.0]) == 0.5


def test_answers_that_look_like_choices_are_doubted(tmp_path: Path) -> None:
    """A number below 10 or a letter in every row: the choices may have been forgotten."""
    doubts: list[str] = []
    for answers in ((0, "1"), (1, 12), ("Paris", "b"), ("b", "C")):
        rows = [{"question": f"{n}?", "answer": answer} for n, answer in enumerate(answers)]
        task_data.add(tmp_path, "quiz", [write(tmp_path / "quiz.jsonl", rows)], warn=doubts.append)
    task_data.add(
        tmp_path, "quiz", [write(tmp_path / "b.jsonl", rows)], [write(tmp_path / "c.jsonl", rows[:1])], doubts.append
    )
    assert doubts.pop().startswith("1 row is both among the items and among the worked examples")
    doubts.pop()
    assert [text.partition(",")[0] for text in doubts] == [
        "The answer of row 1 of quiz.jsonl is 0",
        "The answer of row 1 of quiz.jsonl is b",
    ]


def test_answers_are_matched(tmp_path: Path) -> None:
    loaded = made(tmp_path, [{"prompt": "Name a colour:", "regex": r"\b(red|blue)\b"}])
    task = loaded.task
    task.build_all_requests()
    assert loaded.metric == "match"
    assert task.instances[0].args == (
        "Name a colour:", {"until": [], "max_gen_toks": 256, "do_sample": False, "temperature": 0.0},
    )  # fmt: skip
    doc = task.eval_docs[0]
    assert [task.process_results(doc, [answer])["match"] for answer in ("It is\nred.", "reddish")] == [1.0, 0.0]


def test_rows_of_text(tmp_path: Path) -> None:
    loaded = made(tmp_path, [{"text": "One passage.\n"}, {"text": "Two é"}])
    assert (loaded.kind, loaded.metric) == ("loglikelihood_rolling", "bits_per_byte")
    measured = [loaded.task.process_results(doc, [-7.0]) for doc in loaded.task.eval_docs]
    assert [item["bits_per_byte"] for item in measured] == [(-7.0, 13), (-7.0, 6)]  # bytes, not characters
    # 14 nats over 19 bytes
    value = loaded.task.aggregation()["bits_per_byte"]([item["bits_per_byte"] for item in measured])
    assert value == pytest.approx(14 / 19 / 0.6931471805599453)


def test_a_text_file_is_cut_and_loses_nothing(tmp_path: Path) -> None:
    text = "".join(f"line {n}\n" for n in range(36_000))  # 0.4 MB
    (tmp_path / "a.txt").write_text(text)
    data = task_data.add(tmp_path, "mine", [tmp_path / "a.txt"])
    passages = [row["text"] for row in task_data.rows(tmp_path, data)[0]]
    assert "".join(passages) == text
    assert len(passages) == 23
    assert min(len(passage) for passage in passages) >= 16 << 10


def test_a_short_text_has_an_interval() -> None:
    """One document of 12 KB, in lines or in one: passages of 2 KiB, of which 5 are enough."""
    for text in ("".join(f"line {n}\n" for n in range(1200)), "word " * 2400 + " \n"):
        passages = texts.passages(text)
        assert "".join(passages) == text
        assert len(passages) == 5
        items = [text_item("mine", number, 1000.0 + number, len(passage)) for number, passage in enumerate(passages)]
        found = statistics.figure("bits_per_byte", items, higher_is_better=False)
        assert found is not None
        assert (found.low or 0) < found.value < (found.high or 0)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"question": "a?", "choices": ["x", "y"]}], "makes no question: it has 'question', 'choices'."),
        (
            [{"question": "a?", "choices": ["x", "y"], "answer": 0}, {"question": "b?", "answer": 0}],
            "Row 2 of quiz.jsonl has no field 'choices'; it has 'question', 'answer'.",
        ),
        ([{"question": "a?", "choices": ["x"], "answer": 0}], "'choices' of row 1 of quiz.jsonl has 1 entry where 2"),
        ([{"question": "a?", "choices": ["x", "y", "x "], "answer": 0}], "an entry twice, the second time as number 3"),
        (
            [{"question": "a?", "answer": 0}, {"question": "b?", "choices": ["x", "y"], "answer": 0}],
            "Row 1 of quiz.jsonl has no field 'choices', which row 2 of quiz.jsonl has.",
        ),
        ([{"question": "a?", "choices": ["x", " "], "answer": 0}], "has an empty entry, number 2"),
        ([{"question": "a?", "choices": ["x", "y"], "answer": 2}], "neither one of the 2 choices nor its letter"),
        ([{"question": "a?", "choices": ["x", "y"], "answer": "z"}], "'answer' of row 1 of quiz.jsonl is neither"),
        ([{"question": "a?", "choices": ["x", "y"], "answer": True}], "'answer' of row 1 of quiz.jsonl is neither"),
        ([{"prompt": "a", "regex": "("}], "'regex' of row 1 of quiz.jsonl is no regular expression"),
        ([{"prompt": "a", "answer": " . "}], "'answer' of row 1 of quiz.jsonl is empty"),
        ([{"prompt": "a", "answer": "x"}, {"answer": "x"}], "Row 2 of quiz.jsonl has no field 'question'"),
        ([{"name": "a"}], "Row 1 of quiz.jsonl makes no question: it has 'name'."),
        ([{"turns": ["a?", "b?"]}], "holds questions of several turns"),
    ],
)
def test_rows_that_make_no_question_are_refused(tmp_path: Path, rows: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        made(tmp_path, rows)
    assert sentence in str(caught.value)
    assert task_data.names(tmp_path) == []
