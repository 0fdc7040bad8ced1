"""A classifier from marks: what it learns, what it says of itself, and the step that uses it."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from workbench.corpus import marks
from workbench.corpus.classifier import BITS, Classifier, features, train
from workbench.corpus.cleaning.quality_classifier import QualityClassifier
from workbench.corpus.cleaning.step import Document
from workbench.corpus.marks import Mark
from workbench.errors import WorkbenchError

PROSE = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "they",
    "at",
    "be",
    "had",
)
SPAM = (
    "buy",
    "cheap",
    "now",
    "click",
    "here",
    "free",
    "offer",
    "best",
    "price",
    "sale",
    "deal",
    "win",
    "cash",
    "bonus",
)


def examples(count: int, seed: int, noise: float = 0.5) -> tuple[list[str], list[bool]]:
    """Texts of words that both kinds have, with more or less of their own."""
    draw = random.Random(seed)
    shared = [f"topic{n}" for n in range(300)]
    texts, good = [], []
    for number in range(2 * count):
        own = PROSE if number % 2 == 0 else SPAM
        texts.append(" ".join(draw.choice(shared if draw.random() < noise else own) for _ in range(60)))
        good.append(number % 2 == 0)
    return texts, good


@pytest.fixture(scope="module")
def learnt() -> Classifier:
    return train(*examples(40, seed=1))


def test_it_tells_new_texts_and_says_how_well(learnt: Classifier) -> None:
    texts, good = examples(200, seed=2)
    scores = np.array([learnt.score(text) for text in texts])
    right = ((scores >= 0.5) == np.array(good)).mean()
    assert right >= 0.97
    level = next(level for level in learnt.measured.levels if level.threshold == 0.5)
    assert (learnt.measured.good, learnt.measured.bad) == (40, 40)
    assert learnt.measured.auc >= 0.97
    assert level.precision is not None
    assert abs(level.precision - right) < 0.06  # what it says of itself is true of new texts
    assert [level.recall for level in learnt.measured.levels] == sorted(
        (level.recall for level in learnt.measured.levels), reverse=True
    )


def test_what_cannot_be_learnt_is_said_to_be_unknown() -> None:
    """Labels by chance: measured on what it had not seen, it tells no better than chance; seen, it knows them all."""
    texts, _ = examples(50, seed=3)
    draw = random.Random(4)
    good = [draw.random() < 0.5 for _ in texts]
    found = train(texts, good)
    assert 0.3 < found.measured.auc < 0.7
    seen = np.mean([(found.score(text) >= 0.5) == label for text, label in zip(texts, good, strict=True)])
    assert seen > 0.95


def test_few_bad_ones_weigh_as_much_as_many_good_ones() -> None:
    texts, good = examples(300, seed=5)
    chosen = [n for n, label in enumerate(good) if label or n % 30 == 1]
    found = train([texts[n] for n in chosen], [good[n] for n in chosen])
    assert found.measured.bad == 20
    new, labels = examples(200, seed=6)
    wrong = [found.score(text) >= 0.5 for text, label in zip(new, labels, strict=True) if not label]
    assert np.mean(wrong) < 0.05


def test_the_same_marks_give_the_same_file(tmp_path: Path, learnt: Classifier) -> None:
    learnt.save(tmp_path / "a.safetensors")
    train(*examples(40, seed=1)).save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded = Classifier.load(tmp_path / "a.safetensors")
    assert loaded.measured == learnt.measured
    assert loaded.score("click here, win cash") == learnt.score("click here, win cash") < 0.5


def test_real_text_is_told_apart(shared: Path) -> None:
    """Fifty pieces of an encyclopedia, fifty of Shakespeare."""
    wiki = (shared / "text" / "wikitext2_valid.txt").read_text(encoding="utf-8")
    plays = (shared / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    texts = [text[n * 2000 : n * 2000 + 1000] for n in range(50) for text in (wiki, plays)]
    found = train(texts, [True, False] * 50)
    assert found.measured.auc > 0.99
    assert found.score(wiki[200_000:201_000]) > 0.5 > found.score(plays[200_000:201_000])


def test_features_are_words_and_pairs() -> None:
    buckets, values = features("one two three two one")
    assert len(buckets) == 3 + 4  # one, two, three; one two, two three, three two, two one
    assert buckets.max() < 1 << BITS
    assert np.linalg.norm(values) == pytest.approx(1)
    assert features("...")[1].tolist() == [0]
    assert len(features("今天天气")[0]) == 3 + 3


def test_the_step_rejects_with_score_and_threshold(tmp_path: Path, learnt: Classifier) -> None:
    learnt.save(tmp_path / "q.safetensors")
    step = QualityClassifier(classifier=str(tmp_path / "q.safetensors"), threshold=0.4)
    step = pickle.loads(pickle.dumps(step))
    bad = step.apply(Document("buy cheap pills now best price " * 5, "s"))
    assert (bad.outcome, bad.reason, bad.limit, bad.parameter) == ("rejected", "low quality", 0.4, "threshold")
    assert bad.value is not None
    assert bad.value < 0.4
    assert step.apply(Document("it was one of the things that they had for this " * 3, "s")).outcome == "kept"
    with pytest.raises(WorkbenchError, match="cannot be read"):
        QualityClassifier(classifier=str(tmp_path / "none.safetensors")).apply(Document("text", "s"))
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    with pytest.raises(WorkbenchError, match="cannot be read"):
        QualityClassifier(classifier=str(tmp_path / "junk.safetensors")).apply(Document("text", "s"))


def test_too_few_marks_are_told() -> None:
    texts, good = examples(9, seed=7)
    with pytest.raises(WorkbenchError, match="9 documents are marked good and 9 bad"):
        train(texts, good)


def test_the_last_mark_on_a_document_counts(tmp_path: Path) -> None:
    file = tmp_path / "marks" / "quality.jsonl"
    assert marks.read(file) == []
    marks.append(file, Mark("good", "first\nline \ud800", "web-1", 3))
    marks.append(file, Mark("bad", "other", "web-1", 4))
    before = file.read_bytes()
    marks.append(file, Mark("bad", "first", "web-1", 3))
    marks.append(file, Mark("good", "third", "books-1", 3))
    assert file.read_bytes().startswith(before)
    assert [(mark.label, mark.text, mark.corpus, mark.row) for mark in marks.read(file)] == [
        ("bad", "first", "web-1", 3), ("bad", "other", "web-1", 4), ("good", "third", "books-1", 3)
    ]  # fmt: skip
    marks.append(file, Mark("none", "other", "web-1", 4))
    assert [mark.row for mark in marks.read(file)] == [3, 3]


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "quality.jsonl"
    marks.append(file, Mark("good", "whole", "web-1", 1))
    with open(file, "ab") as out:
        out.write(b'{"label": "bad", "te')
    marks.append(file, Mark("bad", "next", "web-1", 2))
    assert [mark.text for mark in marks.read(file)] == ["whole", "next"]
