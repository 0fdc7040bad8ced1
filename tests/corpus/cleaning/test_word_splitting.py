"""Words: the rules one by one, and what must hold of any text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.corpus.cleaning.word_splitting import split_words

BEYOND_ASCII = " €"  # takes a text to the other of the two ways through the code


def words_of(text: str) -> list[str]:
    words = split_words(text)
    return [text[start:stop] for start, stop in zip(words.starts.tolist(), words.stops.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat, the (old) dog.", "The|cat|,|the|(|old|)|dog|."),
        ("Don't say it's 3.14; we'll", "Do|n't|say|it|'s|3.14|;|we|'ll"),
        ("snake_case std::move f(x) __init__", "snake_case|std::move|f(x|)|_|_|init|_|_"),
        ("well-known UTF-8 64-bit 1990-95", "well|-|known|UTF-8|64|-|bit|1990|-|95"),
        ("--help /usr/bin .txt a/b", "--help|/usr|/|bin|.txt|a|/|b"),
        ("1,000 one,two x=y key:value", "1,000|one|,|two|x|=|y|key|:|value"),
        ("J. Doe, e.g. this...and that... end.Begin", "J.|Doe|,|e.g.|this|...|and|that|...|end|.|Begin"),
        ("===== ((x)) “no”—yes", "=|=|=|=|=|(|(|x|)|)|“|no|”|—|yes"),
        ("我爱Python编程。カタカナ", "我|爱|Python|编|程|。|カ|タ|カ|ナ"),
        ("안녕하세요 여러분", "안녕하세요|여러분"),
        ("cafe\u0301 naïve", "cafe\u0301|naïve"),
        ("𠀀𠀁 𝒳y", "𠀀|𠀁|𝒳y"),
        ("  \n\t ", ""),
        ("", ""),
        ("x", "x"),
        ("...", "..."),
    ],
)
def test_words(text: str, words: str) -> None:
    assert words_of(text) == (words.split("|") if words else [])


def test_both_ways_through_the_code_agree() -> None:
    text = "Don't e.g. 3.14; f(x)->y --help J. Doe (see /usr/share) a_b ... 1,000.\n" * 40
    assert [*words_of(text), "€"] == words_of(text + BEYOND_ASCII)
    assert split_words(text).hashes.tolist() == split_words(text + BEYOND_ASCII).hashes.tolist()[:-1]
    assert split_words(text).kinds.tolist() == split_words(text + BEYOND_ASCII).kinds.tolist()[:-1]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("abT1.,-'’/:=_()€é我カ\u0301 \n"), max_size=60))
def test_every_character_but_white_space_is_in_one_word(text: str) -> None:
    words = split_words(text)
    found = words_of(text)
    assert "".join(found) == "".join(text.split())
    assert (words.starts[1:] >= words.stops[:-1]).all()
    assert all(found)
    assert not any(c.isspace() for word in found for c in word)
    # The same number exactly for the same word, and what is said of a word is what its characters say.
    assert len(set(words.hashes.tolist())) == len(set(found))
    assert words.lettered.tolist() == [any(c.isalpha() for c in word) for word in found]
    assert words.signs.tolist() == [not any(c.isalnum() for c in word) for word in found]


def test_numbers_hold_over_blocks_and_for_endless_words() -> None:
    draw = np.random.default_rng(3)
    vocabulary = ["".join(draw.choice(list("abcdefgh"), size=draw.integers(1, 9))) for _ in range(300)]
    chosen = draw.integers(0, 300, 60_000)
    text = " ".join(vocabulary[n] for n in chosen)
    assert len(text) > 4 << 16
    words = split_words(text)
    number = {word: split_words(word).hashes[0] for word in set(vocabulary)}
    assert (words.hashes == np.array([number[vocabulary[n]] for n in chosen])).all()
    assert len(set(number.values())) == len(set(vocabulary))
    endless = split_words(" ".join(("y" * 200_000, "y" * 200_000, "y" * 199_999, "z" * 200_000)))
    assert endless.hashes[0] == endless.hashes[1]
    assert len(set(endless.hashes.tolist())) == 3


def test_n_grams_are_the_same_for_the_same_words() -> None:
    words = split_words("a b c a b c a c b")
    grams = words.n_grams(3).tolist()
    text = ["a b c", "b c a", "c a b", "a b c", "b c a", "c a c", "a c b"]
    assert len(set(grams)) == len(set(text))
    assert grams[0] == grams[3]
    assert grams[1] == grams[4]
    assert words.spanned(3).tolist() == [3] * 7
    assert len(words.n_grams(10)) == len(words.spanned(10)) == 0
