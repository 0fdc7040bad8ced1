"""Marks and a classifier as typed, and an import through a preset of the project's own with steps that read files."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.cli.test_cli import answer, workbench
from tests.corpus.cleaning.test_quality_classifier import examples
from workbench.corpus import marks
from workbench.corpus.marks import Mark

PAGE = "A page about the river and its mills, written by someone who lived there for a long and quiet life. "
ITEM = "Which of these rivers carries the most water to the sea in a year: the Amazon, the Nile or the Congo?"
PRESET = """\
- step: words
  file: ../listed.txt
- step: pii
- step: quality-classifier
  classifier: ../classifiers/fine.safetensors
- step: decontaminate
  items: [../benchmark-data]
- step: exact-duplicates
- step: paragraph-duplicates
- step: near-duplicates
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a corpus of good and bad texts."""
    folder = tmp_path_factory.mktemp("classifier")
    texts, _ = examples(30, seed=1)
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_STATE_DIR", str(folder / "state"))
        workbench("new", "my-llm", cwd=folder)
        workbench("import", "../texts.jsonl", "--name", "raw", cwd=folder / "my-llm")
    return folder / "my-llm"


def test_marked_learnt_shown_and_used(made: Path) -> None:
    assert answer("corpus", "mark", "raw", "1", "good", cwd=made)["good"] == 1
    assert answer("corpus", "mark", "raw", "1", "bad", cwd=made) == {
        "corpus": "raw", "row": 1, "label": "bad", "good": 0, "bad": 1
    }  # fmt: skip
    refused = workbench("classifier", "train", "--name", "fine", cwd=made, check=False)
    assert "0 documents are marked good and 1 bad." in refused.stderr
    texts, good = examples(30, seed=1)
    for row, (text, label) in enumerate(zip(texts, good, strict=True)):
        marks.append(marks.file_of(made), Mark("good" if label else "bad", text, "raw", row))
    trained = answer("classifier", "train", "--name", "fine", cwd=made)
    assert (trained["good"], trained["bad"]) == (30, 30)
    assert trained["auc"] > 0.95
    shown = workbench("classifier", "show", "fine", cwd=made)
    assert "30 good, 30 bad" in shown.stdout
    assert "quality-classifier" in shown.stderr
    assert "fine" in workbench("classifier", "show", "fin", cwd=made, check=False).stderr

    (made / "listed.txt").write_text("gambling\n")
    data = made / "benchmark-data" / "rivers"
    data.mkdir(parents=True)
    (data / "items.jsonl").write_text(json.dumps({"question": ITEM, "answer": "the Amazon"}) + "\n")
    (made / "cleaning").mkdir(exist_ok=True)
    (made / "cleaning" / "mine.yaml").write_text(PRESET)
    fresh, _ = examples(60, seed=2)
    draw = random.Random(3)
    own = [" ".join(draw.sample(fresh[n].split(), 60)) for n in range(0, 120, 2)]  # the good ones
    changed = own[7].split()
    changed[30] = "elsewhere"
    documents = [
        *own, own[3], " ".join([own[5], *changed]), " ".join([own[5], *own[7].split()]),
        f"{PAGE}\n\n{own[11]} first", f"{PAGE}\n\n{own[12]} second", f"{own[20]} and that is gambling for the people",
        f"{own[21]} that was to be had at jane.doe@river-mail.org for it", f"{own[22]} {ITEM} {own[23]}", fresh[1],
    ]  # fmt: skip
    lines = "".join(json.dumps({"text": text}) + "\n" for text in documents)
    (made.parent / "more.jsonl").write_text(lines)
    workbench("import", "../more.jsonl", "--clean", "mine", "--name", "clean", cwd=made)
    report = answer("corpus", "show", "clean", cwd=made)
    funnel = {step["step"]: step for step in report["funnel"]}
    assert funnel["words"]["reasons"] == {"listed words": 1}
    assert funnel["pii"]["changed"] == 1
    assert funnel["quality-classifier"]["reasons"] == {"low quality": funnel["quality-classifier"]["rejected"]}
    assert funnel["quality-classifier"]["rejected"] >= 1
    assert funnel["decontaminate"]["reasons"] == {"benchmark items": 1}
    assert funnel["exact-duplicates"]["reasons"] == {"duplicate": 1}
    assert funnel["paragraph-duplicates"]["changed"] == 1
    # One word of 120 is another; one more behind 60, when the paragraph before them is gone; ten more behind 60.
    assert funnel["near-duplicates"]["reasons"] == {"near duplicate": 3}
    texts_kept = " ".join(found["excerpt"] for found in answer("corpus", "documents", "clean", cwd=made)["documents"])
    assert "jane.doe" not in texts_kept


def test_what_the_steps_read_is_part_of_what_is_made(made: Path) -> None:
    """Another list of words is another corpus; the same one is made already."""
    (made / "list.txt").write_text("bonus\n")
    (made / "cleaning").mkdir(exist_ok=True)
    (made / "cleaning" / "listed.yaml").write_text("- step: words\n  file: ../list.txt\n")
    words = ("import", "../texts.jsonl", "--clean", "listed", "--name", "listed")
    workbench(*words, cwd=made)
    workbench(*words, cwd=made)
    (made / "list.txt").write_text("bonus\ncash\n")
    workbench(*words, cwd=made)
    rejected = [answer("corpus", "show", name, cwd=made)["dropped"] for name in ("listed-1", "listed-2")]
    assert 0 < rejected[0]["listed words"] < rejected[1]["listed words"]
    missing = workbench("corpus", "show", "listed-3", cwd=made, check=False)
    assert missing.returncode != 0
