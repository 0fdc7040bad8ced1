"""What tells a person, or opens an account: addresses, numbers, keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from workbench.corpus.cleaning.step import KEPT, Document, Step, Verdict

Handling = Literal["replace", "reject", "keep"]
Span = tuple[int, int]

# What stands for each kind. With a space inside, in plain brackets: no tokenizer has a special token of that form, and
# a model that learns it writes something that a person can read.
PLACEHOLDERS = {
    "secret": "[secret key]",
    "email": "[email address]",
    "iban": "[bank account]",
    "card": "[payment card]",
    "national_id": "[national id]",
    "ip": "[ip address]",
    "phone": "[phone number]",
}


class Pii(Step):
    """Replace what tells a person by a placeholder, or reject the document.

    Kinds are told by form and check digit: e-mail addresses, public IPv4 and IPv6 addresses, payment cards (Luhn),
    IBANs (mod 97), phone numbers (phonenumbers), national numbers (US, CA, GB, DE, ES, FR, IT, NL, PL,
    BR, CN, IN, KR), and keys, tokens and passwords. Names and postal addresses have no such form, and stay.
    """

    name: ClassVar[str] = "pii"

    email: Handling = Field("replace", description="E-mail addresses.")
    phone: Handling = Field("replace", description="Phone numbers.")
    ip: Handling = Field("replace", description="Public IP addresses.")
    card: Handling = Field("replace", description="Numbers of payment cards.")
    iban: Handling = Field("replace", description="International bank account numbers.")
    national_id: Handling = Field("replace", description="National identity and tax numbers.")
    secret: Handling = Field("replace", description="Keys, tokens and passwords.")
    phone_regions: tuple[str, ...] = Field(
        ("US", "GB"), description="Countries whose numbers are known without +: codes of two letters, as US, CN."
    )

    @field_validator("phone_regions")
    @classmethod
    def _are_known(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        from phonenumbers import SUPPORTED_REGIONS

        for region in regions:
            if region not in SUPPORTED_REGIONS:
                raise ValueError(f"{region!r} has no phone numbers: give codes of ISO 3166, as GB, US or CN")
        return regions

    def apply(self, document: Document) -> Verdict:
        found = self._found(document.text)
        if not found:
            return KEPT
        kinds = sorted({kind for _, kind in found})
        for kind in kinds:
            if getattr(self, kind) == "reject":
                spans = tuple(span for span, other in found if other == kind)
                return Verdict("rejected", kind, value=len(spans), limit=0, parameter=kind, spans=spans)
        pieces, end = [], 0
        for (start, stop), kind in found:
            pieces += [document.text[end:start], PLACEHOLDERS[kind]]
            end = stop
        text = "".join([*pieces, document.text[end:]])
        return Verdict(
            "changed", " + ".join(kinds), value=len(found), spans=tuple(span for span, _ in found), text=text
        )

    def _found(self, text: str) -> list[tuple[Span, str]]:
        """Places with their kinds, in order and apart: where two overlap, the one first in `PLACEHOLDERS` holds."""
        from workbench.corpus.cleaning import identifiers
        from workbench.corpus.cleaning.credentials import credentials
        from workbench.corpus.cleaning.phones import phone_numbers

        runs = identifiers.digit_runs(text)
        finders: dict[str, Iterator[Span]] = {
            "secret": credentials(text),
            "email": identifiers.emails(text),
            "iban": identifiers.bank_accounts(text, runs),
            "card": identifiers.payment_cards(text, runs),
            "national_id": identifiers.national_numbers(text, runs),
            "ip": identifiers.ip_addresses(text, runs),
            "phone": phone_numbers(text, runs, self.phone_regions),
        }
        found = sorted(
            (span, rank, kind)
            for rank, kind in enumerate(PLACEHOLDERS)
            if getattr(self, kind) != "keep"
            for span in finders[kind]
        )
        apart: list[tuple[Span, int, str]] = []
        for item in found:
            if not apart or item[0][0] >= apart[-1][0][1]:
                apart.append(item)
            elif item[1] < apart[-1][1]:
                apart[-1] = item
        return [(span, kind) for span, _, kind in apart]
