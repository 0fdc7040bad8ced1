"""Any text goes through the steps that judge one document: nothing fails, and every number and place makes sense."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.corpus.cleaning.c4_quality import C4Quality
from workbench.corpus.cleaning.fineweb_quality import FineWebQuality
from workbench.corpus.cleaning.gopher_quality import GopherQuality
from workbench.corpus.cleaning.gopher_repetition import GopherRepetition
from workbench.corpus.cleaning.html_text import HtmlText
from workbench.corpus.cleaning.language import Language
from workbench.corpus.cleaning.normalise import Normalise
from workbench.corpus.cleaning.step import Document, Step

STRICT: list[Step] = [
    Normalise(ftfy=True, fold_case=True, fold_width=True),
    HtmlText(),
    Language(languages=("en",)),
    GopherRepetition(),
    GopherQuality(min_words=0, min_word_length=2),
    C4Quality(min_sentences=1, min_words=1),
    FineWebQuality(),
]
# Nothing that a document has is too much for these.
LAX: list[Step] = [
    GopherQuality(
        min_words=0, max_words=10**9, min_word_length=0, max_word_length=10**9, max_symbols=10**9, max_bullet_lines=1,
        max_ellipsis_lines=1, min_lettered_words=0, min_stop_words=0,
    ),
    C4Quality(
        end_marks="", min_words=0, max_word_length=10**9, min_sentences=0, citations=True, javascript=True,
        policies=True, lorem_ipsum=True, curly_brackets=True,
    ),
]  # fmt: skip
PIECES = st.sampled_from(
    ["\n", "\n\n", " ", "...", "…", "#", "- ", "• ", "the", "that", "lorem ipsum", "Javascript", "{", "[edit]", "don't",
     "e.g.", "我", "。", "ｶﾞ", "<div>", "</p>", "&amp;", "İ", "\u0301", "\ud800", "\x00", "\u2028", "😀", "of the old"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=60).map("".join)


@pytest.mark.parametrize("step", STRICT, ids=lambda step: step.name)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS, markup=st.sampled_from(["", "html"]))
def test_verdicts_of_any_text(step: Step, text: str, markup: str) -> None:
    document = Document(text, "s", markup=markup)
    verdict = step.apply(document)
    assert verdict == step.apply(Document(text, "s", markup=markup))
    assert (verdict.text is not None) == (verdict.outcome == "changed")
    assert (verdict.reason == "") == (verdict.outcome == "kept")
    assert all(0 <= start < stop <= len(text) for start, stop in verdict.spans)
    assert [start for start, _ in verdict.spans] == sorted(start for start, _ in verdict.spans)
    if verdict.parameter and verdict.limit is not None:
        assert verdict.limit == getattr(step, verdict.parameter)
        assert verdict.value is not None
        below = verdict.parameter.startswith("min_")
        assert verdict.value < verdict.limit if below else verdict.value > verdict.limit


@pytest.mark.parametrize("step", LAX, ids=lambda step: step.name)
@given(text=TEXTS)
def test_rules_can_be_switched_off(step: Step, text: str) -> None:
    assert step.apply(Document(text, "s")).outcome != "rejected"
