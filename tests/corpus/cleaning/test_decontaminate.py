"""Documents that hold benchmark items: rejected, or freed of them; and the words that both are told by."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path

import pytest

from workbench.corpus.cleaning.decontaminate import Decontaminate
from workbench.corpus.cleaning.step import Document
from workbench.corpus.shingles import PIECE, word_hashes, word_places
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate

QUESTION = (
    "A juggler throws sixteen balls, half of them golf balls, and half of the golf balls are blue; how many blue golf "
    "balls does the juggler throw?"
)
CHINESE = "下列关于细胞膜结构与功能的叙述中正确的是哪一项请选择最佳答案并说明理由"


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """The layout of a project's data of tasks."""
    draw = random.Random(1)
    rows = [{"question": " ".join(f"word{draw.randrange(9999)}" for _ in range(25)), "answer": "4"} for _ in range(50)]
    rows.append({"question": QUESTION, "choices": {"text": ["four", "eight"], "label": ["A", "B"]}, "answer": 0})
    rows.append({"question": "Sum: 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0", "answer": "0"})
    folders = {"quiz": rows, "c-quiz": [{"question": CHINESE}]}
    for name, own in folders.items():
        folder = tmp_path / "benchmark-data" / name
        folder.mkdir(parents=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in own)
        (folder / "items.jsonl").write_text(lines, encoding="utf-8")
        (folder / "few_shot.jsonl").write_text(json.dumps({"question": "shown " * 3 + "unlike any other " * 6}) + "\n")
    return tmp_path / "benchmark-data"


def words(text: str, first: int, last: int) -> str:
    return " ".join(text.split()[first:last])


def test_thirteen_words_reject_and_twelve_do_not(items: Path) -> None:
    step = Decontaminate(items=(str(items),))
    before, after = "As someone once asked: ", " — and nobody knew."
    held = words(QUESTION, 3, 16).upper().replace(" ", "  ").replace(";", " ...")
    verdict = step.apply(Document(before + held + after, "s"))
    assert (verdict.outcome, verdict.reason, verdict.limit) == ("rejected", "benchmark items", 0)
    ((start, stop),) = verdict.spans
    assert (before + held + after)[start:stop] == held.rstrip(".; ")
    assert step.apply(Document(before + words(QUESTION, 3, 15) + after, "s")).outcome == "kept"


def test_worked_examples_and_rows_of_numbers_are_no_items(items: Path) -> None:
    step = Decontaminate(items=(str(items),))
    assert step.apply(Document("shown " * 3 + "unlike any other " * 6, "s")).outcome == "kept"
    assert step.apply(Document("matrix: " + "0, " * 40, "s")).outcome == "kept"


def test_chinese_items_are_told_by_their_characters(items: Path) -> None:
    step = Decontaminate(items=(str(items / "c-quiz" / "items.jsonl"),))
    text = "😀𠀀题目：" + CHINESE[4:20] + "。完"
    verdict = step.apply(Document(text, "s"))
    assert [text[start:stop] for start, stop in verdict.spans] == [CHINESE[4:20]]
    assert step.apply(Document(CHINESE[:12] + "，" + CHINESE[20:30], "s")).outcome == "kept"


def test_cutting_takes_the_item_and_what_is_around(items: Path) -> None:
    step = Decontaminate(items=(str(items),), action="cut", around=50)
    left, right = "Fine sentences about jugglers. " * 10, "More of them, of other sizes. " * 10
    verdict = step.apply(Document(f"{left}{QUESTION} {right}{QUESTION} {left}", "s"))
    assert verdict.outcome == "changed"
    assert verdict.value == len(verdict.spans) == 2
    assert verdict.text is not None
    pieces = verdict.text.split("\n\n")
    assert len(pieces) == 3
    assert left.startswith(pieces[0])
    assert pieces[1] in right
    assert left.rstrip().endswith(pieces[2])
    assert len(left) - 65 <= len(pieces[0]) <= len(left) - 50
    assert step.apply(Document(verdict.text, "s")).outcome == "kept"
    nothing = step.apply(Document(f"So: {QUESTION} Indeed.", "s"))
    assert (nothing.outcome, nothing.parameter) == ("rejected", "around")


def test_items_that_stand_in_real_text(shared: Path) -> None:
    """Real items between real text: each is found, and wikitext by itself has next to none."""
    tasks = [str(shared / "tasks" / name) for name in ("arc_easy.jsonl", "hellaswag.jsonl", "gsm8k_test.jsonl")]
    step = Decontaminate(items=tuple(tasks))
    draw = random.Random(2)
    text = (shared / "text" / "wikitext2_train_part.txt").read_text(encoding="utf-8")
    pieces = [text[start : start + 3000] for start in range(0, 600_000, 3000)]
    assert sum(step.apply(Document(piece, "s")).outcome != "kept" for piece in pieces) <= 1
    rows = [json.loads(line) for line in (shared / "tasks" / "gsm8k_test.jsonl").read_text().splitlines()]
    for row in draw.sample(rows, 100):
        question = row["question"]
        verdict = step.apply(Document(f"{draw.choice(pieces)}\n{question.upper()}\n{draw.choice(pieces)}", "s"))
        assert verdict.outcome == "rejected"
        assert sum(stop - start for start, stop in verdict.spans) > 0.8 * len(question)


def test_words_are_where_their_hashes_come_from() -> None:
    """Each place, cut out and hashed alone, has the hash of the word in the text."""
    long = " ".join(f"w{n}é" for n in range(PIECE // 4))
    for text in ("The dog's tail, 3.14!", "Ünïcode naïve — слово", "今天 ok天气😀x𠀀y", "İstanbul İx", "", "...", long):
        hashes, places = word_hashes(text), word_places(text)
        assert places.shape == (len(hashes), 2) or not len(hashes)
        for (start, stop), value in list(zip(places.tolist(), hashes.tolist(), strict=True))[-300:]:
            if ord(text[start]) < 0x10000:  # beyond, a character is two units, and each is a word
                assert word_hashes(text[start:stop]).tolist() == [value]
    text = "The dog's tail: 今天"
    assert [text[start:stop] for start, stop in word_places(text)] == ["The", "dog", "s", "tail", "今", "天"]


def test_items_that_cannot_be_read(tmp_path: Path) -> None:
    broken, binary = tmp_path / "broken.jsonl", tmp_path / "binary.jsonl"
    broken.write_text('{"a": "b"}\n{"a": \n')
    binary.write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").mkdir()
    for path, said in (
        (broken, "Line 2 of"), (binary, "is not UTF-8"), (tmp_path / "none.jsonl", "cannot be read"),
        (tmp_path / "empty", "no items"),
    ):  # fmt: skip
        with pytest.raises(WorkbenchError, match=said):
            Decontaminate(items=(str(path),)).apply(Document("text", "s"))
    with pytest.raises(WorkbenchError):
        validate(Decontaminate, {"items": []})


def test_it_is_picklable(items: Path) -> None:
    step = pickle.loads(pickle.dumps(Decontaminate(items=(str(items),))))
    assert step == Decontaminate(**step.model_dump(mode="json"))
    assert step.apply(Document(QUESTION, "s")).outcome == "rejected"
