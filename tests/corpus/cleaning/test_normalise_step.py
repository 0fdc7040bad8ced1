"""What the step normalises beyond the plain form, where it is asked to."""

from __future__ import annotations

import pytest

from workbench.corpus.cleaning.normalise import Normalise
from workbench.corpus.cleaning.step import Document

PLAIN = "schön “quoted”, ﬁsh, x², Straße: 全角ＡＢＣ１２３，カタカナ！（ｶﾞｷﾞ）～"


def normalised(text: str, **parameters: bool) -> str:
    verdict = Normalise(**parameters).apply(Document(text, "s"))
    return text if verdict.text is None else verdict.text


@pytest.mark.parametrize(
    ("parameters", "text", "expected"),
    [
        ({}, PLAIN, PLAIN),
        ({}, "a\r\nb\x00c \n", "a\nbc"),
        ({"fold_width": True}, PLAIN, PLAIN.replace("ＡＢＣ１２３", "ABC123").replace("ｶﾞｷﾞ", "ガギ")),
        ({"fold_width": True}, "１００％　ｏｆ　￥５", "100% of ¥5"),
        ({"fold_width": True}, "你好，世界！（真的？）：；～", "你好，世界！（真的？）：；～"),
        ({"fold_case": True}, "Straße ΣΊΣΥΦΟΣ İstanbul", "strasse σίσυφοσ i\u0307stanbul"),
        ({"ftfy": True}, "schÃ¶n, itâ€™s &amp; so", "schön, it’s & so"),
        ({"ftfy": True}, PLAIN, PLAIN),
    ],
)
def test_forms(parameters: dict[str, bool], text: str, expected: str) -> None:
    found = normalised(text, **parameters)
    assert found == expected
    assert normalised(found, **parameters) == found


def test_what_is_normal_is_kept() -> None:
    assert Normalise().apply(Document("plain text\n\nof two paragraphs", "s")).outcome == "kept"
    assert Normalise().apply(Document("plain  ", "s")).reason == "normalised"
