"""The language of a text: short ones and long ones, wanted and not."""

from __future__ import annotations

import pytest

from workbench.corpus.cleaning.language import Language
from workbench.corpus.cleaning.step import Document

# Article 1 of the Universal Declaration of Human Rights.
TEXTS = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience "
    "and should act towards one another in a spirit of brotherhood.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt "
    "und sollen einander im Geist der Brüderlichkeit begegnen.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i "
    "sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и "
    "должны поступать в отношении друг друга в духе братства.",
    "zh": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"
    "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 "
    "이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
    "ar": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. "
    "وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.",
}


@pytest.mark.parametrize("code", TEXTS)
@pytest.mark.parametrize("times", [1, 30], ids=["short", "long"])
def test_each_language_is_found(code: str, times: int) -> None:
    verdict = Language(min_score=0.5).apply(Document("\n".join([TEXTS[code]] * times), "s"))
    assert (verdict.outcome, verdict.language) == ("kept", code)


@pytest.mark.parametrize("times", [1, 30], ids=["short", "long"])
def test_only_the_wanted_languages_stay(times: int) -> None:
    step = Language(languages=("en", "de"))
    outcomes = {code: step.apply(Document("\n".join([text] * times), "s")) for code, text in TEXTS.items()}
    assert {code for code, verdict in outcomes.items() if verdict.outcome == "kept"} == {"en", "de"}
    assert outcomes["fr"].reason == "in fr"
    assert outcomes["fr"].parameter == "languages"
    assert outcomes["en"].language == "en"


def test_a_text_in_two_languages_is_hardly_in_either() -> None:
    text = "\n".join(TEXTS[code] for code in ("en", "de", "fr", "es") * 4)
    verdict = Language(languages=("en", "de", "fr", "es")).apply(Document(text, "s"))
    assert verdict.outcome == "rejected"
    assert verdict.reason.startswith("hardly in ")
    assert verdict.parameter == "min_score"
    assert verdict.value is not None
    assert 0 < verdict.value < 0.65
    assert Language().apply(Document(text, "s")).language is None  # nothing is asked for, and nothing claimed


def test_a_text_without_words_is_in_no_language() -> None:
    verdict = Language(languages=("en",)).apply(Document(" \n ", "s"))
    assert (verdict.outcome, verdict.reason) == ("rejected", "in no language")


def test_code_passes_and_keeps_the_name_of_its_language() -> None:
    verdict = Language(languages=("zh",)).apply(Document("def f(x):\n    return x", "s", language="python"))
    assert (verdict.outcome, verdict.language) == ("kept", None)


def test_the_middle_of_a_long_text_counts() -> None:
    """A menu in English before 200,000 characters in Polish, and a licence in English after them."""
    text = "\n".join([TEXTS["en"]] * 4 + [TEXTS["pl"]] * 1200 + [TEXTS["en"]] * 2)
    assert Language().apply(Document(text, "s")).language == "pl"
