"""Where in a text e-mail and IP addresses, payment cards, bank accounts, national and phone numbers stand.

Runs of digits are found in one pass; what each may be is asked only within them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from workbench.corpus.cleaning import checksums
from workbench.corpus.scripts import WITHOUT_SPACES

Span = tuple[int, int]

# Letters of scripts without spaces belong to the sentence, not to the address in it. (Number patterns go by ASCII alone
# for the same reason: a character of such a script before or behind a number does not go on with it.)
_NO_SPACES = "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in WITHOUT_SPACES)
_LOCAL = re.compile(rf"(?<![^\W{_NO_SPACES}])(?<![.%+-])[^\W{_NO_SPACES}](?:[^\W{_NO_SPACES}]|[.%+-]){{0,63}}\Z")
_LABEL = rf"[^\W_{_NO_SPACES}](?:(?:[^\W{_NO_SPACES}]|-){{0,61}}[^\W_{_NO_SPACES}])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+[^\W\d_{_NO_SPACES}]{{2,24}}(?![^\W{_NO_SPACES}]|-|\.[^\W_{_NO_SPACES}])")
# Ends of file names and of systemd's units, name@instance.service.
_NO_DOMAIN = re.compile(
    r"\.(?:png|jpe?g|gif|svg|webp|ico|js|mjs|json|css|html?|jar|xml|ya?ml|zip|gz|txt|service|socket|timer|target|mount)\Z",
    re.I,
)
_NO_PERSON = frozenset({"git", "hg", "svn"})  # logins of forges: git@github.com

_IPV4 = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)", re.ASCII)
_IPV6 = re.compile(r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:.]{2,40}")
_VERSION_BEFORE = re.compile(
    r"(?:\bv|version|release|firmware|build|section|chapter|clause|§|\bver\.?)[\s:=\"']{0,3}\Z", re.I
)

_DIGITS = re.compile(r"\d(?:[ .()/\u00a0\u2010\u2011-]{0,2}\d){5,}", re.ASCII)
_SEPARATORS = re.compile(r"[^0-9A-Z]")
_CARD = re.compile(
    r"(?<![\w.,+-])(?:\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -]?)\d{6}\2\d{4,5})(?![\w-]|[.,]\d)", re.ASCII
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[A-Z0-9]{8,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)\b", re.ASCII)
_FISCAL = re.compile(r"\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]\b", re.ASCII)  # behind six letters
_BEFORE_FISCAL = re.compile(r"\b[A-Z]{6}\Z", re.ASCII)


class _National(NamedTuple):
    """The form of a number, its check, and what must be said before it where form and check are not enough."""

    form: re.Pattern[str]
    right: Callable[[str], bool]
    named: re.Pattern[str] | None = None


def _national(form: str, right: Callable[[str], bool], named: str = "") -> _National:
    """No digit, letter, point or dash may go on beside it; for what comes first in it, see `form`."""
    name = re.compile(rf"(?:{named})[^\n\d]{{0,24}}\Z", re.I) if named else None
    return _National(re.compile(rf"(?<![A-Za-z0-9_.,+-])(?:{form})(?![A-Za-z0-9_-]|[.,]\d)", re.ASCII), right, name)


# A check of two digits is right by chance once in a hundred numbers, one digit once in ten, and a form alone always:
# then the number's usual separators are asked for, or its name before it.
_NATIONAL = (
    _national(r"\d{3}-\d\d-\d{4}", checksums.us_ssn),
    _national(r"\d{3}( ?)\d\d\1\d{4}", checksums.us_ssn, r"\bSSN|social security"),
    _national(r"[A-Z]{2} \d\d \d\d \d\d [A-D]", checksums.gb_nino),
    _national(r"[A-Z]{2}\d{6}[A-D]", checksums.gb_nino, r"\bNINO|\bNI\b|national insurance"),
    _national(r"(?:\d{8}|\d\d\.\d{3}\.\d{3}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z]", checksums.es_dni),
    _national(r"\d{3}\.\d{3}\.\d{3}-\d\d", checksums.br_cpf),
    _national(r"\d{11}", checksums.br_cpf, r"\bCPF\b"),
    _national(r"[1-8]\d{16}[\dX]", checksums.cn_resident),
    _national(r"(?<!\d )[2-9]\d{3}([ -])\d{4}\1\d{4}(?! \d)", checksums.in_aadhaar),
    _national(r"[2-9]\d{11}", checksums.in_aadhaar, r"aadha?ar|\bUIDAI\b"),
    _national(r"\d{6}-[1-8]\d{6}", checksums.kr_resident),
    _national(r"\d{2} ?\d{3} ?\d{3} ?\d{3}", checksums.de_tax, r"steuer-?\s?id\w*|steuernummer|\bid-?nr\b|tax id"),
    _national(r"\d{11}", checksums.pl_pesel, r"\bPESEL\b"),
    _national(r"\d{9}", checksums.nl_bsn, r"\bBSN\b|burgerservicenummer"),
    _national(r"\d{3}([ -]?)\d{3}\1\d{3}", checksums.luhn, r"\bSIN\b|social insurance"),
    _national(r"[12] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d(?! \d)", checksums.fr_nir),
)
NAME = 48  # characters before a number in which its name stands
BEFORE_ACCOUNT, AFTER_ACCOUNT = 16, 40  # characters of an IBAN beside its first run of six digits
AROUND = 3  # characters beside a run of digits that may belong to it: letters and their separators


def emails(text: str) -> Iterator[Span]:
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        local = domain and _LOCAL.search(text, max(0, at - 64), at)
        if local and domain and local.group().lower() not in _NO_PERSON and not _NO_DOMAIN.search(domain.group()):
            yield local.start(), domain.end()
        at = text.find("@", at + 1)


def ip_addresses(text: str, runs: list[Span]) -> Iterator[Span]:
    """Public ones alone; a version or a section's number has the same form, and single digits are taken for one."""
    for start, stop in runs:
        for found in _IPV4.finditer(text, start, min(stop + AROUND, len(text))):
            digits = found.group()
            versioned = _VERSION_BEFORE.search(text, max(0, found.start() - 12), found.start())
            if len(digits) > len("1.2.3.4") and not versioned and _is_public(digits):
                yield found.span()
    for found in _IPV6.finditer(text):
        address = found.group().rstrip(":.")
        before = text[found.start() - 1 : found.start()] if found.start() else ""
        after = text[found.end() : found.end() + 1]
        if not (before.isalnum() or before in (":", "_") or after.isalnum()) and _is_public(address):
            yield found.start(), found.start() + len(address)


def _is_public(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return isinstance(address, IPv4Address | IPv6Address) and address.is_global and not address.is_multicast


def payment_cards(text: str, runs: list[Span]) -> Iterator[Span]:
    for start, stop in runs:
        if stop - start >= 13:
            for found in _CARD.finditer(text, start, min(stop + AROUND, len(text))):
                digits = _SEPARATORS.sub("", found.group())
                if len(digits) >= 13 and checksums.payment_card(digits):
                    yield found.span()


def bank_accounts(text: str, runs: list[Span]) -> Iterator[Span]:
    done = 0
    for start, stop in runs:
        for found in _IBAN.finditer(text, max(done, start - BEFORE_ACCOUNT), min(stop + AFTER_ACCOUNT, len(text))):
            # Where words in capitals follow, the account ends before them.
            account = found.group()
            size = checksums.IBAN_LENGTHS.get(account[:2], 0)
            end = size + (size - 1) // 4 if " " in account else size
            if size and checksums.iban(account[:end].replace(" ", "")):
                done = found.start() + end
                yield found.start(), done


def national_numbers(text: str, runs: list[Span]) -> Iterator[Span]:
    for start, stop in runs:
        begin, end = max(0, start - AROUND), min(stop + AROUND, len(text))
        for form, right, named in _NATIONAL:
            for found in form.finditer(text, begin, end):
                said = not named or named.search(text, max(0, found.start() - NAME), found.start())
                if said and right(_SEPARATORS.sub("", found.group())):
                    yield found.span()
    for found in _FISCAL.finditer(text):
        start = max(0, found.start() - 6)
        if _BEFORE_FISCAL.search(text, max(0, start - 1), found.start()) and checksums.it_codice_fiscale(
            text[start : found.end()]
        ):
            yield start, found.end()


def digit_runs(text: str) -> list[Span]:
    """Six digits or more, with at most two separators between them."""
    return [found.span() for found in _DIGITS.finditer(text)]
