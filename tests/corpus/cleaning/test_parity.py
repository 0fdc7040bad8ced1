"""Our rules of quality against datatrove's, document by document.

Same words: datatrove's filters are given our words and sentences, and must answer the same. Own words: its filters use
spaCy's, and the agreement says how near our words are.
"""

from __future__ import annotations

import importlib
import random

import pytest

from tests.corpus.cleaning.real_texts import python_documentation, shared_text
from workbench.corpus.cleaning.c4_quality import C4Quality, count_sentences
from workbench.corpus.cleaning.fineweb_quality import FineWebQuality
from workbench.corpus.cleaning.gopher_quality import GopherQuality
from workbench.corpus.cleaning.gopher_repetition import GopherRepetition
from workbench.corpus.cleaning.step import Document, Step, Verdict
from workbench.corpus.cleaning.word_splitting import split_words

FILTERS = "datatrove.pipeline.filters"
pytest.importorskip(FILTERS)

# Our step and parameters, datatrove's class and parameters: the same rule on both sides.
RULES: dict[str, tuple[Step, str, dict[str, object]]] = {
    "gopher-repetition": (GopherRepetition(), "gopher_repetition_filter.GopherRepetitionFilter", {}),
    "gopher-quality": (GopherQuality(), "gopher_quality_filter.GopherQualityFilter", {}),
    "gopher-quality, half of the words": (
        GopherQuality(min_lettered_words=0.5), "gopher_quality_filter.GopherQualityFilter",
        {"max_non_alpha_words_ratio": 0.5},
    ),
    "fineweb-quality": (FineWebQuality(max_repeated=0.01), "fineweb_quality_filter.FineWebQualityFilter", {}),
    "c4-quality": (
        C4Quality(end_marks=".?!\"'", min_words=3, min_sentences=5), "c4_filters.C4QualityFilter", {},
    ),
    "c4-quality, any end": (
        C4Quality(end_marks="", min_words=3, min_sentences=5), "c4_filters.C4QualityFilter",
        {"filter_no_terminal_punct": False},
    ),
}  # fmt: skip
REASONS = {
    "empty": "empty",
    "dup_para_frac": "repeated paragraphs",
    "dup_para_char_frac": "characters in repeated paragraphs",
    "dup_line_frac": "repeated lines",
    "dup_line_char_frac": "characters in repeated lines",
    **{f"top_{n}_gram": f"one {n}-gram again and again" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"repeated {n}-grams" for n in range(5, 11)},
    "gopher_short_doc": "few words",
    "gopher_long_doc": "many words",
    "gopher_below_avg_threshold": "short words",
    "gopher_above_avg_threshold": "long words",
    "gopher_too_many_hashes": "hashes",
    "gopher_too_many_ellipsis": "ellipses",
    "gopher_too_many_bullets": "bullet lines",
    "gopher_too_many_end_ellipsis": "lines with an ellipsis",
    "gopher_below_alpha_threshold": "words without letters",
    "gopher_enough_stop_words": "few required words",
    "line_punct_ratio": "lines without an end mark",
    "short_line_ratio": "short lines",
    "char_dup_ratio": "characters in repeated lines",
    "list_ratio": "line feeds",
    "curly_bracket": "curly bracket",
    "lorem_ipsum": "lorem ipsum",
    "too_few_sentences": "few sentences",
}


def spoilt(texts: list[str], count: int) -> list[str]:
    """Texts made worse in the ways that the rules look for, each by a random amount."""
    draw = random.Random(5)
    found = []
    for n in range(count):
        lines = draw.choice(texts)[:6000].split("\n")
        share = draw.choice([0.2, 0.6, 1.0])
        for place in [place for place in range(len(lines)) if draw.random() < share]:
            match n % 10:
                case 0:
                    lines.insert(place, draw.choice(lines))
                case 1:
                    lines[place] = f"- {lines[place]}"
                case 2:
                    lines[place] += "..."
                case 3:
                    lines[place] += " ## # #"
                case 4:
                    lines[place] = lines[place][:20]
                case 5:
                    lines[place] = f"{lines[place]} again and again and again."
                case 6:
                    lines[place] += draw.choice(
                        [" lorem ipsum dolor.", " Javascript is off.", " a { b.", " Terms of use."]
                    )
                case 7:
                    lines[place] = "".join(lines[place].split())
                case 8:
                    lines.insert(place, "")
                case _:
                    lines[place] = f"{lines[place]}[{place}] 1 2 3 4 5 a b c."
        found.append("\n".join(lines).strip())
    return [text for text in found if text]


def ours(text: str, language: str | None = None) -> list[str]:
    words = split_words(text)
    return [text[start:stop] for start, stop in zip(words.starts.tolist(), words.stops.tolist(), strict=True)]


def reference(name: str, parameters: dict[str, object]):  # type: ignore[no-untyped-def]
    module, _, kind = name.partition(".")
    return getattr(importlib.import_module(f"{FILTERS}.{module}"), kind)(**parameters)


def answers(rule: str, texts: list[str]) -> list[tuple[str, Verdict, object, str]]:
    from datatrove.data import Document as TheirDocument

    step, name, parameters = RULES[rule]
    their_filter = reference(name, parameters)
    found = []
    for text in texts:
        theirs = TheirDocument(text, "id")
        found.append((text, step.apply(Document(text, "s")), their_filter.filter(theirs), theirs.text))
    return found


@pytest.fixture(scope="module")
def texts() -> list[str]:
    real = python_documentation(110)
    real += shared_text("wikitext2_valid.txt", 5000, 40) + shared_text("tinyshakespeare.txt", 3000, 20)
    assert len(real) >= 110
    return real + spoilt(real, 150)


@pytest.mark.parametrize("rule", RULES)
def test_with_the_same_words_the_answers_are_the_same(
    rule: str, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("gopher_repetition_filter", "gopher_quality_filter", "fineweb_quality_filter"):
        monkeypatch.setattr(f"{FILTERS}.{module}.split_into_words", ours)
    monkeypatch.setattr(f"{FILTERS}.c4_filters.split_into_sentences", lambda line, _: range(count_sentences(line)))
    agreed = kept = 0
    for text, verdict, theirs, their_text in answers(rule, texts):
        if theirs is True:
            kept += 1
            agreed += verdict.outcome != "rejected" and (verdict.text or text) == their_text
        else:
            assert isinstance(theirs, tuple)
            agreed += verdict.outcome == "rejected" and verdict.reason == REASONS[theirs[1]]
    assert agreed / len(texts) >= 0.99
    assert 0.1 < kept / len(texts) < 0.9, "both answers are tried"


@pytest.mark.parametrize("rule", RULES)
def test_with_spacys_words_nearly_all_answers_are_the_same(rule: str, texts: list[str]) -> None:
    pytest.importorskip("spacy")
    some = texts[::7]
    agreed = sum((theirs is True) == (verdict.outcome != "rejected") for _, verdict, theirs, _ in answers(rule, some))
    assert agreed / len(some) >= 0.95
