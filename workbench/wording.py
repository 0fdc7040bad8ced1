"""Counts in sentences: one row is, 2,345 rows are."""

from __future__ import annotations

SINGULAR = {"are": "is", "have": "has", "were": "was", "do": "does"}


def amount(number: int, things: str, verb: str = "") -> str:
    """ "1 row", "2,345 rows"; with the verb "have": "1 row has", "2,345 rows have"."""
    if number == 1:
        things, verb = things.removesuffix("s"), SINGULAR.get(verb, verb)
    return f"{number:,} {things} {verb}".rstrip()
