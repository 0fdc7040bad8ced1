"""Where in a text phone numbers stand.

phonenumbers knows the plan of each country; it takes 50 µs and more for a number, and takes many a date for one.
So only digits in the form of a phone number are asked about: behind a plus, in the usual groups, or after "tel".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

Span = tuple[int, int]

_NUMBER = re.compile(
    r"(?<![\w.,:=#$€£/+-])(?:\+|00)?[ ]?\(?\d(?:[ .()/\u00a0\u2010\u2011-]{0,2}\d){6,17}(?![\w-]|[.,:/]\d|[%°])",
    re.ASCII,
)
_YEAR = r"(?:19|20)\d\d"
_DATE = re.compile(
    rf"{_YEAR}[-./](?:0?[1-9]|1[0-2])(?:[-./]|\b)|\d{{1,2}}[-./]\d{{1,2}}[-./]{_YEAR}|{_YEAR}[ –-]+{_YEAR}"
)
_BEFORE = re.compile(
    r"(?:(?:phone|mobile|mob|cell|fax|call|dial|text|sms|whats\s?app|tel|tél|telefon|téléphone|teléfono|telefone|handy|"
    r"contact|hotline|ring)\b|电话|手机|電話|致电|联系)[^\d\n]{0,20}\Z|[☎📞✆☏]\s?\Z",
    re.I,
)
BEFORE = 40
_CN_MOBILE = re.compile(r"1[3-9]\d[ -]?\d{4}[ -]?\d{4}", re.ASCII)


def phone_numbers(text: str, runs: Sequence[Span], regions: Sequence[str]) -> Iterator[Span]:
    for start, stop in runs:
        begin = start
        while begin and start - begin < 4 and text[begin - 1] in "+( 0":
            begin -= 1
        for found in _NUMBER.finditer(text, begin, min(stop + 2, len(text))):
            number = found.group()
            if not _DATE.search(number) and _is_phone(number.strip(), _is_named(text, found.start()), tuple(regions)):
                lead = len(number) - len(number.lstrip())
                yield found.start() + lead, found.end()


def _is_named(text: str, start: int) -> bool:
    return _BEFORE.search(text, max(0, start - BEFORE), start) is not None


@lru_cache(maxsize=4096)
def _is_phone(number: str, named: bool, regions: tuple[str, ...]) -> bool:
    import phonenumbers

    digits = sum(character.isdigit() for character in number)
    if not 7 <= digits <= 15:
        return False
    if number.startswith(("+", "00")):
        return _is_valid(number if number[0] == "+" else "+" + number[2:], None)
    grouped = digits < len(number)
    if "CN" in regions and _CN_MOBILE.fullmatch(number):
        return True
    if named:
        return any(_is_valid(number, region) for region in regions)
    if not grouped or digits < 9:
        return False
    leniency = phonenumbers.Leniency.STRICT_GROUPING
    return any(
        found.start == 0 and found.end == len(number)
        for region in regions
        for found in phonenumbers.PhoneNumberMatcher(number, region, leniency)
    )


def _is_valid(number: str, region: str | None) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False
