"""Any text goes through the steps that find or compare: nothing fails, and all places lie in the text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.corpus.cleaning.decontaminate import Decontaminate
from workbench.corpus.cleaning.exact_duplicates import ExactDuplicates
from workbench.corpus.cleaning.near_duplicates import NearDuplicates
from workbench.corpus.cleaning.paragraph_duplicates import ParagraphDuplicates
from workbench.corpus.cleaning.pii import Pii
from workbench.corpus.cleaning.step import Decision, Document, Step
from workbench.corpus.cleaning.words import Words
from workbench.corpus.scripts import lower
from workbench.corpus.shingles import shingles, word_hashes, word_places

# What the patterns look for, between anything else: numbers, addresses, keys, scripts, halves of characters.
PIECES = st.sampled_from(
    ["4111 1111 1111 1111", "a.b@c.org", "@", "+44 20 7946 0958", "212-09-4471", "DE89 3704 0044 0532 0130 00",
     "91.198.174.192", "password=", "g7Hq2LpX9vRt4Kw1", "-----BEGIN PRIVATE KEY-----", "密码：", "İ", "ß", "１２３",
     "٣", "2a00:1450::", "\ud800", "𠀀", "😀", "กัญชา", "hell", "bloody mary", "\n\n", " ", "\u00a0", "-", ".", "0"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=6), st.integers().map(str)), max_size=40).map("".join)
ITEM = "hell 0 bloody mary 4111 a b c org 91 198 174 192 hell hell 12"


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("items") / "items.jsonl"
    file.write_text(json.dumps({"question": ITEM}) + "\n")
    return file


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_places_lie_in_the_text_in_order_and_apart(items: Path, text: str) -> None:
    steps: list[Step] = [
        Pii(phone_regions=("US", "CN", "DE")),
        Words(words=("hell", "bloody mary", "กัญชา", "ß", "İ"), max_count=1000, mask=True),
        Decontaminate(items=(str(items),), action="cut", around=3),
    ]
    for step in steps:
        verdict = step.apply(Document(text, "s"))
        places = [0, *(place for span in verdict.spans for place in span), len(text)]
        assert places == sorted(places)
        assert all(start < stop for start, stop in verdict.spans)
        assert (verdict.outcome == "kept") == (not verdict.spans)
        assert (verdict.text is not None) == (verdict.outcome == "changed")


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_words_and_keys_of_any_text(text: str) -> None:
    document = Document(text, "s")
    assert len(lower(text)) == len(text)
    places, hashes = word_places(text).tolist(), word_hashes(text)
    assert len(places) == len(hashes)
    assert places == sorted(places)
    assert all(0 <= start < stop <= len(text) for start, stop in places)
    assert len(shingles(text, 3)) == (max(1, len(hashes) - 2) if len(hashes) else 0)
    assert len(ExactDuplicates().keys(document)) == 2
    assert len(NearDuplicates().keys(document)) in (0, 18 + 64)
    step = ParagraphDuplicates(min_characters=1)
    parts = tuple(range(len(step.keys(document))))
    for chosen in (parts[::2], parts):
        verdict = step.apply(document, Decision(True, 0, parts=chosen))
        assert len(verdict.spans) == len(chosen)
        assert verdict.outcome == ("kept" if not chosen else "changed" if verdict.text else "rejected")
