"""Listed words: whole ones, in any script, rejected by count or share, or masked."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from workbench.corpus.cleaning.step import Document
from workbench.corpus.cleaning.words import MASK, Words
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate

LIST = ("ass", "hell", "Bloody Mary", "赌博", "süß", "กัญชา", "c++")


def found(text: str, words: tuple[str, ...] = LIST) -> list[str]:
    verdict = Words(words=words).apply(Document(text, "s"))
    return [text[start:stop] for start, stop in verdict.spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The classic assassin passed Shell.", []),
        ("What the HELL, you Ass!", ["HELL", "Ass"]),
        ("hell_x x_hell hell2 2hell hell", ["hell"]),
        ("(hell) “hell” hell's hell-bent", ["hell", "hell", "hell", "hell"]),
        ("a bloody mary; a bloody  maryland", ["bloody mary"]),
        ("他在网上赌博输了钱", ["赌博"]),
        ("ห้ามกัญชาในที่นี้", ["กัญชา"]),
        ("SÜSS süß Süß", ["süß", "Süß"]),
        ("İstanbul'da hell İİ hell", ["hell", "hell"]),  # lower case of İ is two characters
        ("I write C++ here", ["C++"]),
        ("", []),
    ],
)
def test_whole_words_alone(text: str, expected: list[str]) -> None:
    assert found(text) == expected


def test_overlapping_entries_are_one_place() -> None:
    assert found("in new york city", ("new york", "york city", "new york city", "york")) == ["new york city"]
    assert found("赌博机", ("赌博", "博机")) == ["赌博"]


def test_too_many_reject_with_the_number_and_the_limit() -> None:
    document = Document("hell and hell and hell", "s")
    verdict = Words(words=LIST, max_count=2).apply(document)
    assert (verdict.outcome, verdict.value, verdict.limit, verdict.parameter) == ("rejected", 3, 2, "max_count")
    assert verdict.spans == ((0, 4), (9, 13), (18, 22))
    assert Words(words=LIST, max_count=3).apply(document).outcome == "kept"


def test_too_large_a_share_rejects() -> None:
    step = Words(words=LIST, max_count=None, max_share=0.1)
    verdict = step.apply(Document("hell " + "fine words " * 3, "s"))
    assert (verdict.outcome, verdict.parameter, verdict.limit) == ("rejected", "max_share", 0.1)
    assert verdict.value == pytest.approx(4 / 38)
    assert step.apply(Document("hell " + "fine words " * 10, "s")).outcome == "kept"


def test_words_are_masked() -> None:
    verdict = Words(words=LIST, max_count=5, mask=True).apply(Document("Go to hell, 赌博者!", "s"))
    assert verdict.outcome == "changed"
    assert verdict.text == f"Go to {MASK}, {MASK}者!"
    assert verdict.value == 2


def test_the_list_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\ufeffhell\n\n  Damn  \n", encoding="utf-8")
    step = pickle.loads(pickle.dumps(Words(file=str(file))))
    assert step.apply(Document("damn", "s")).outcome == "rejected"
    assert step.apply(Document("helmet", "s")).outcome == "kept"
    assert step == Words(**step.model_dump(mode="json"))


def test_lists_that_cannot_be(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text("\n \n")
    binary.write_bytes(b"\xff\xfe\x00\xd8")
    for file, said in ((empty, "has no word"), (binary, "cannot be read"), (tmp_path / "none.txt", "cannot be read")):
        with pytest.raises(WorkbenchError, match=said):
            Words(file=str(file)).apply(Document("text", "s"))
    with pytest.raises(WorkbenchError, match="no list"):
        validate(Words, {})
    with pytest.raises(WorkbenchError, match="nothing is done"):
        validate(Words, {"words": ["a"], "max_count": None})
    with pytest.raises(WorkbenchError, match="nothing is left to mask"):
        validate(Words, {"words": ["a"], "mask": True})
