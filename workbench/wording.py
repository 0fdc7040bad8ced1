"""Counts in sentences: one row is, 2,345 rows are."""

from __future__ import annotations

SINGULAR = {"are": "is", "have": "has", "were": "was", "do": "does", "stand": "stands"}


def amount(number: int, things: str, verb: str = "") -> str:
    """ "1 row", "2,345 rows"; with the verb "have": "1 row has", "2,345 rows have"."""
    return f"{number:,} {things.removesuffix('s') if number == 1 else things} {agreeing(number, verb)}".rstrip()


def agreeing(number: int, verb: str) -> str:
    """The verb after so many things: "is" after one, "are" after several."""
    return SINGULAR.get(verb, verb) if number == 1 else verb
