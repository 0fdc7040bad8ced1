"""Nothing that a terminal obeys survives, in one piece or in many."""

from __future__ import annotations

import random

import pytest

from workbench.safe_text import Stripper, strip_controls

CASES = [
    ("plain text, é 漢字 👩‍🚀 and\ttabs\nlines", "plain text, é 漢字 👩‍🚀 and\ttabs\nlines"),
    ("a\x1b[31mred\x1b[0m b", "ared b"),
    ("a\x1b[38;5;196;48:2:1:2:3m\x1b[?1049hb", "ab"),
    ("a\x1b]52;c;cm0gLXJmIC8=\x07b", "ab"),  # sets the clipboard
    ("a\x1b]52;c;cm0gLXJmIC8=\x1b\\b", "ab"),
    ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
    ("a\x1bP1;1|payload\x1b\\b", "ab"),
    ("a\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\b", "ab"),
    ("a\x9b31mb\x9d0;title\x9cc\x90dcs\x9cd", "abcd"),  # the same as single C1 characters
    ("a\x1bcb\x1b7c\x1b(0d\x1b#8e", "abcde"),  # reset, save, character sets, test pattern
    ("over\rwritten\x08\x08 bell\x07 null\x00 del\x7f", "overwritten bell null del"),
    ("line\r\nend", "line\nend"),
    ("abc\u202edcba\u202c \u2066x\u2069", "abcdcba x"),
    ("a\u2028b\u2029c\ufeff", "abc"),
    ("name\udcff", "name\ufffd"),
    ("a\x1b]0;never ended\nthe rest is seen", "a\nthe rest is seen"),
    ("a\x1b[12\nb", "a\nb"),
    ("a\x1b\x1b[31mb", "ab"),
    ("a\x1b]x\x1b[31mb", "ab"),
    ("a\x1b", "a"),
    ("\x1b[3é", "é"),
    ("[/INST] [red]markup[/red]", "[/INST] [red]markup[/red]"),
]


@pytest.mark.parametrize(("text", "shown"), CASES)
def test_whole(text: str, shown: str) -> None:
    assert strip_controls(text) == shown


@pytest.mark.parametrize(("text", "shown"), CASES)
def test_character_by_character(text: str, shown: str) -> None:
    stripper = Stripper()
    assert "".join(stripper.feed(character) for character in text) == shown


def test_any_cut_of_any_mix_gives_the_same_and_nothing_unsafe() -> None:
    generator = random.Random(0)
    alphabet = [
        "\x1b",
        "[",
        "]",
        "P",
        "\\",
        ";",
        "3",
        "m",
        "\x07",
        "\x9b",
        "\x9c",
        "\n",
        "a",
        "é",
        "\u202e",
        "(",
        "\x18",
    ]
    for _ in range(2000):
        text = "".join(generator.choices(alphabet, k=24))
        whole = strip_controls(text)
        cut = generator.randrange(len(text))
        stripper = Stripper()
        assert stripper.feed(text[:cut]) + stripper.feed(text[cut:]) == whole
        assert not set(whole) & {"\x1b", "\x07", "\x9b", "\x9c", "\u202e", "\x18"}
