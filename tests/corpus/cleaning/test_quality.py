"""Each rule of quality: what it measures, against what, and where the text offends."""

from __future__ import annotations

import pickle

import pytest

from workbench.corpus.cleaning.c4_quality import C4Quality
from workbench.corpus.cleaning.fineweb_quality import FineWebQuality
from workbench.corpus.cleaning.gopher_quality import GopherQuality
from workbench.corpus.cleaning.gopher_repetition import GopherRepetition
from workbench.corpus.cleaning.step import Document, Step, Verdict

PROSE = """The harbour lies at the end of a long valley, and on most mornings it is covered with mist until ten.
Fishermen have kept their boats here for centuries; some families can name every owner of a hull that still floats.
When the railway came, merchants built tall houses along the quay, which were painted white to be seen from the sea.
Nothing of that trade is left today except a customs shed with broken windows. Children play football against its
northern wall, while visitors ask each other whether there might be somewhere open for lunch. In winter only two
shops sell bread, one of them run by a retired captain who tells stories that nobody quite believes."""


def judge(step: Step, text: str) -> tuple[Verdict, list[str]]:
    """The verdict, and the offending places."""
    verdict = step.apply(Document(text, "s"))
    assert pickle.loads(pickle.dumps(step)).apply(Document(text, "s")) == verdict
    assert all(0 <= start < stop <= len(text) for start, stop in verdict.spans)
    return verdict, [text[start:stop] for start, stop in verdict.spans]


def rejection(verdict: Verdict) -> tuple[str, float | None, float | None, str]:
    assert verdict.outcome == "rejected"
    value = verdict.value if verdict.value is None else round(verdict.value, 4)
    return verdict.reason, value, verdict.limit, verdict.parameter


@pytest.mark.parametrize("step", [GopherRepetition(), GopherQuality(), FineWebQuality()])
def test_prose_is_kept(step: Step) -> None:
    assert step.apply(Document(PROSE, "s")).outcome == "kept"


def test_repeated_lines_and_paragraphs() -> None:
    text = "a long line of words\nb\na long line of words\nc"
    verdict, places = judge(GopherRepetition(duplicate_lines=0.2), text)
    assert rejection(verdict) == ("repeated lines", 0.25, 0.2, "duplicate_lines")
    assert places == ["a long line of words"]
    assert verdict.spans[0][0] == 23
    verdict, _ = judge(GopherRepetition(), text)
    assert rejection(verdict) == ("characters in repeated lines", round(20 / 45, 4), 0.2, "duplicate_line_characters")
    text = "same\nlines\n\nother\n\n\nsame\nlines\n\nsame\nlines"
    verdict, places = judge(GopherRepetition(), text)
    assert rejection(verdict) == ("repeated paragraphs", 0.5, 0.3, "duplicate_paragraphs")
    assert places == ["same\nlines", "same\nlines"]


def test_the_commonest_n_gram() -> None:
    text = f"{PROSE} spam eggs" + " spam eggs" * 20
    verdict, places = judge(GopherRepetition(duplicate_5_grams=1), text)
    # 21 pairs "spam eggs" and 20 pairs "eggs spam".
    assert rejection(verdict) == ("one 2-gram again and again", round(21 * 9 / len(text), 4), 0.2, "top_2_gram")
    assert places == ["spam eggs"] * 21 or places == ["spam eggs" + " spam eggs" * 20]


def test_repeated_longer_n_grams_are_counted_once() -> None:
    sentence = "we said this whole sentence once before in here"
    text = f"{PROSE} {sentence} x {sentence} y {sentence}."
    verdict, places = judge(GopherRepetition(duplicate_5_grams=0.05, top_2_gram=1, top_3_gram=1, top_4_gram=1), text)
    reason, value, limit, parameter = rejection(verdict)
    # Nine words: from the left one run of five, and no other fits beside it, in each of the two repetitions.
    assert (reason, limit, parameter) == ("repeated 5-grams", 0.05, "duplicate_5_grams")
    assert value == round(2 * len("wesaidthiswholesentence") / len(text), 4)
    assert places == ["we said this whole sentence"] * 2


@pytest.mark.parametrize(
    ("step", "text", "expected", "first_place"),
    [
        (GopherQuality(), "Too short, is it.", ("few words", 4, 50, "min_words"), None),
        (GopherQuality(max_words=60), PROSE, ("many words", len(PROSE.split()), 60, "max_words"), None),
        (GopherQuality(min_words=1), "a of to b", ("short words", 1.5, 3, "min_word_length"), None),
        (GopherQuality(min_words=1), "extraordinarily long", ("long words", 9.5, 9, "max_word_length"), None),
        (GopherQuality(min_words=1), "# # one two three", ("hashes", 0.4, 0.1, "max_symbols"), "#"),
        (GopherQuality(min_words=1), "one two … three...", ("ellipses", 0.4, 0.1, "max_symbols"), "…"),
        (
            GopherQuality(min_words=1), "- seven\n  • eight\n- nine",
            ("bullet lines", 1, 0.9, "max_bullet_lines"), "- seven",
        ),
        (
            GopherQuality(min_words=1, max_symbols=1), "what then...\nand the other\nmore … ",
            ("lines with an ellipsis", 0.6667, 0.3, "max_ellipsis_lines"), "what then...",
        ),
        (
            GopherQuality(min_words=1, min_word_length=1), "12 to 34 of 56 : x",
            ("words without letters", 0.4286, 0.8, "min_lettered_words"), "12",
        ),
        (GopherQuality(min_words=1), "seven eight nine ten", ("few required words", 0, 2, "min_stop_words"), None),
        (GopherQuality(min_words=1), "The cat and dogs", ("few required words", 1, 2, "min_stop_words"), None),
        (
            FineWebQuality(), "Home\nAbout us\nContact\n\nNews",
            ("lines without an end mark", 0, 0.12, "min_ended_lines"), "Home",
        ),
        (FineWebQuality(), "Home.\nAbout us.\nContact.", ("short lines", 1, 0.67, "max_short_lines"), "Home."),
        (
            FineWebQuality(short_line=3), "this here is a line.\nand another one.\nthis here is a line.",
            ("characters in repeated lines", 0.3571, 0.1, "max_repeated"), "this here is a line.",
        ),
        (FineWebQuality(short_line=3), "Seven.\nEight.\nNine.", ("line feeds", 0.3333, 0.3, "max_line_feeds"), "\n"),
        (FineWebQuality(), " \n ", ("empty", None, None, ""), None),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_rejections(
    step: Step, text: str, expected: tuple[str, float | None, float | None, str], first_place: str | None
) -> None:
    if expected[0] == "long words":
        step = step.model_copy(update={"max_word_length": 9})
    verdict, places = judge(step, text)
    assert rejection(verdict) == expected
    if first_place is not None:
        assert places[0] == first_place


def test_c4_drops_lines_and_says_which() -> None:
    text = (
        "Home | News | Contact\n"
        "This is the first sentence of it. Here is the second one!\n"
        "Please enable Javascript to see all of this page.\n"
        "Short line.\n"
        "  A citation[12] was here, and one more.[citation needed]  \n"
        "It goes on and on and on...\n"
        f"A word of {'x' * 1001} characters is here.\n"
        "We use cookies to make this site so much better."
    )
    verdict, places = judge(C4Quality(), text)
    assert verdict.outcome == "changed"
    assert verdict.text == (
        "This is the first sentence of it. Here is the second one!\nA citation was here, and one more."
    )
    assert places[:3] == ["Home | News | Contact", "Please enable Javascript to see all of this page.", "Short line."]
    assert len(places) == 6
    assert verdict.reason == "lines: no end mark"
    loose = C4Quality(end_marks="", min_words=1, citations=True, javascript=True, policies=True)
    verdict, _ = judge(loose, text)
    assert verdict.text is not None
    assert verdict.text.split("\n") == [line.strip() for line in text.split("\n") if "xxx" not in line]


@pytest.mark.parametrize(
    ("text", "expected", "place"),
    [
        ("One sentence is all there is.", ("few sentences", 1, 3, "min_sentences"), None),
        ("It was here. So it was.\nLorem Ipsum dolor sit amet.", ("lorem ipsum", None, None, ""), "Lorem Ipsum"),
        ("A { in a line that stays here.", ("curly bracket", None, None, ""), "{"),
    ],
)
def test_c4_rejects_pages(text: str, expected: tuple[str, float | None, float | None, str], place: str | None) -> None:
    verdict, places = judge(C4Quality(), text)
    assert rejection(verdict) == expected
    assert places[:1] == ([place] if place else [])


def test_c4_leaves_alone_what_is_all_sentences() -> None:
    text = "This is a whole sentence. And so is this one!\nIs this the third one, then?"
    assert C4Quality().apply(Document(text, "s")).outcome == "kept"
    # A page goes for a bracket only in a line that would have stayed.
    assert C4Quality().apply(Document(f"{text}\nmenu {{", "s")).text == text
    chinese = "今天天气很好。我们去公园散步！你去吗？"
    assert C4Quality(end_marks="", min_words=1).apply(Document(chinese, "s")).outcome == "kept"


def test_spans_are_bounded() -> None:
    verdict, places = judge(GopherQuality(), "word # " * 30_000)
    assert verdict.reason == "hashes"
    assert len(places) == 200
