"""The normal form: what it changes, what it leaves, and that it is one."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workbench.corpus.normalise import MAX_BLANKS, MAX_EMPTY_LINES, normalise

SPACED = st.text(st.sampled_from(" \t\n\r\v\f\x85\u00a0\u3000\u2028ab\x00\x1b\ufeffe\u0301"), max_size=60)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), SPACED, st.builds(lambda text, n: text * n, SPACED, st.integers(1, 40))))
@example("\u0958\x00\u0301 \n")
def test_is_a_normal_form(text):
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(character) == "Cc" for character in once if character not in "\n\t")
    assert "\n" * (MAX_EMPTY_LINES + 2) not in once
    assert not any(line != line.rstrip() for line in once.split("\n"))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("a\r\nb\rc\n", "a\nb\nc"),
        ("e\u0301", "é"),
        ("a\x00b\x1b[31mc\x7f\x9b", "ab[31mc"),
        ("\ufeffx", "x"),
        ("one  \ntwo\t\n", "one\ntwo"),
        ("\n\n  indented\n\n\n\tx = 1  # two  spaces", "  indented\n\n\n\tx = 1  # two  spaces"),
        ("page\fnext", "page\nnext"),
        (" \n\t\n", ""),
        ("a" + " " * 1_000_000 + "b", "a" + " " * MAX_BLANKS + "b"),
        ("a" + "\t \u00a0" * 1000 + "b", "a" + ("\t \u00a0" * 100)[:MAX_BLANKS] + "b"),
        ("a" + "\n" * 5000 + "b", "a" + "\n" * (MAX_EMPTY_LINES + 1) + "b"),
        ("a" + " \n" * 5000 + "b", "a" + "\n" * (MAX_EMPTY_LINES + 1) + "b"),
    ],
)
def test_examples(text, normal):
    assert normalise(text) == normal


def test_code_is_left_as_it_is():
    code = "def f(x):\n\tif x:\n\n\n        return {\n" + " " * 200 + "x: 'ﬁ',\n        }"
    assert normalise(code) == code
