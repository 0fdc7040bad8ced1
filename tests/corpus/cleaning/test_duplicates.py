"""Exact and paragraph duplicates over several parts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.corpus.cleaning.whole_corpus import clean, write_keys
from workbench.corpus.cleaning.exact_duplicates import ExactDuplicates
from workbench.corpus.cleaning.paragraph_duplicates import ParagraphDuplicates

LICENCE = "Permission is granted to copy, distribute and modify this document under the terms of the licence."


def test_the_first_of_the_same_texts_is_kept_wherever_the_others_lie(tmp_path: Path) -> None:
    texts = ["one", "two", "one", "three", "one", "two ", "four", "two"]
    verdicts, decisions = clean(ExactDuplicates(), texts, tmp_path)
    assert [verdict.outcome for verdict in verdicts] == [
        "kept", "kept", "rejected", "kept", "rejected", "kept", "kept", "rejected"
    ]  # fmt: skip
    assert {n: (decision.kept, decision.cluster) for n, decision in decisions.items()} == {
        2: (False, 0), 4: (False, 0), 7: (False, 1)
    }  # fmt: skip
    assert {verdict.reason for verdict in verdicts} == {"", "duplicate"}


def test_more_documents_than_are_sorted_at_once_and_a_copy_of_each(tmp_path: Path) -> None:
    """Groups that go over the edges of batches and of parts have one first, too."""
    draw = random.Random(0)
    texts = [str(draw.randrange(60_000)) for _ in range(150_000)]
    verdicts, decisions = clean(ExactDuplicates(), texts, tmp_path, a_part=20_000)
    first: dict[str, int] = {}
    for n, text in enumerate(texts):
        first.setdefault(text, n)
    assert [verdict.outcome == "kept" for verdict in verdicts] == [first[text] == n for n, text in enumerate(texts)]
    assert all(
        decision.cluster == (first[texts[n]] // 20_000) << 24 | first[texts[n]] % 20_000
        for n, decision in decisions.items()
    )


def test_the_same_keys_give_the_same_bytes_whatever_was_there(tmp_path: Path) -> None:
    texts = [str(n % 700) for n in range(2000)]
    keys = write_keys(ExactDuplicates(), texts, tmp_path, 300)
    again = tmp_path / "again"
    again.mkdir()
    (again / "00001.parquet").write_bytes(b"half a file")
    ExactDuplicates().decide(keys, tmp_path / "once", 64 << 20)
    ExactDuplicates().decide(keys, again, 1 << 30)
    once = {path.name: path.read_bytes() for path in (tmp_path / "once").iterdir()}
    assert once == {path.name: path.read_bytes() for path in again.iterdir()}
    assert sorted(once) == [f"{part:05d}.parquet" for part in range(2, 7)]


def test_nothing_to_decide_writes_nothing(tmp_path: Path) -> None:
    for step in (ExactDuplicates(), ParagraphDuplicates()):
        verdicts, decisions = clean(step, ["a", "b"], tmp_path / step.name)
        assert [verdict.outcome for verdict in verdicts] == ["kept", "kept"]
        assert decisions == {}
        assert list((tmp_path / step.name / "decisions").iterdir()) == []


def test_a_paragraph_goes_from_all_documents_but_the_first(tmp_path: Path) -> None:
    own = [f"This is the text of page {word}, which no other page has in these same words." for word in "abc"]
    texts = [
        f"{own[0]}\n\n{LICENCE}\n\nThe end.",
        f"{LICENCE}\n\n{own[1]}\n\nThe end.",
        f"{own[2]}\n\n  {LICENCE.replace(' ', '  ').upper()}\n",
        f"{LICENCE}\n\n\n{LICENCE}",
    ]
    verdicts, _ = clean(ParagraphDuplicates(), texts, tmp_path, a_part=2)
    assert [verdict.outcome for verdict in verdicts] == ["kept", "changed", "changed", "rejected"]
    # "The end." stands in two documents, and is too short to count.
    assert [verdict.text for verdict in verdicts] == [None, f"{own[1]}\n\nThe end.", own[2], None]
    assert verdicts[3].reason == "nothing but duplicate paragraphs"
    assert verdicts[3].value == 1
    ((start, stop),) = verdicts[1].spans
    assert texts[1][start:stop] == f"{LICENCE}\n\n"


def test_lines_are_compared_where_asked(tmp_path: Path) -> None:
    texts = [f"first of its kind\n{LICENCE}\n中文中文", f"{LICENCE}\nsecond of its kind\n{LICENCE}\n中文中文"]
    verdicts, _ = clean(ParagraphDuplicates(unit="line", min_characters=20), texts, tmp_path)
    assert verdicts[0].outcome == "kept"
    assert verdicts[1].text == "second of its kind\n中文中文"
    verdicts, _ = clean(ParagraphDuplicates(unit="line", min_characters=4), texts, tmp_path / "short")
    assert verdicts[1].text == "second of its kind"


@pytest.mark.parametrize("text", ["", "\n\n\n", "\n\na\n\n\n\n\nb\n", "a" * 200])
def test_what_is_kept_is_not_touched(text: str, tmp_path: Path) -> None:
    verdicts, _ = clean(ParagraphDuplicates(), [text], tmp_path)
    assert verdicts[0].outcome == "kept"
