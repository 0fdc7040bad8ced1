"""How numbers are printed: short, with their unit, always the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOTHING = "-"


def count(number: float | None) -> str:
    """1,234 up to 9,999, then 12.3k, 4.56M, 1.2B."""
    if number is None:
        return NOTHING
    if abs(number) < 10_000:
        return f"{number:,.0f}"
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}" if number / size < 1000 else f"{number / size:.0f}{unit}"
    return f"{number:,.0f}"


def counted(number: float, things: str) -> str:
    """ "1 document", "2 documents"."""
    return f"{count(number)} {things.removesuffix('s') if number == 1 else things}"


def size(number: float | None) -> str:
    """Bytes: 512 B, 3.2 KiB, 1.25 GiB."""
    if number is None:
        return NOTHING
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"


def duration(seconds: float | None) -> str:
    """0.4s, 12s, 3m 05s, 2h 14m, 5d 3h."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    total = int(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m {total % 60:02}s"
    if total < 86_400:
        return f"{total // 3600}h {total % 3600 // 60:02}m"
    return f"{total // 86_400}d {total % 86_400 // 3600}h"


def age(seconds: float) -> str:
    """just now, 5 min ago, 3 h ago, 2 days ago."""
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86_400:
        return f"{int(seconds // 3600)} h ago"
    days = int(seconds // 86_400)
    return f"{days} day{'s' if days > 1 else ''} ago"


def loss(value: float | None) -> str:
    """Nats per token, four digits: 3.142, 12.05."""
    return NOTHING if value is None else f"{value:.3f}" if value < 10 else f"{value:.2f}"


def reading(value: float) -> str:
    """A value of any metric, short: 5,152, 12.05, 3.142, 0.0003."""
    if abs(value) >= 1000:
        return count(value)
    return loss(value) if abs(value) >= 0.1 else rate(value)


def rate(value: float | None) -> str:
    """A learning rate or a norm: 0.0003, 1.2e-05."""
    return NOTHING if value is None else f"{value:.4g}"


def share(done: float | None, total: float | None) -> float | None:
    """`done` of `total`, between 0 and 1; None where that is not known."""
    if done is None or not total:
        return None
    return min(1.0, max(0.0, done / total))


def value(item: Any) -> str:
    """A value of a report or a recipe."""
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int):
        return f"{item:,}"
    if isinstance(item, float):
        return f"{item:,.0f}" if item.is_integer() and abs(item) < 1e9 else f"{item:.4g}"
    if isinstance(item, Mapping):
        return ", ".join(f"{key} {value(part)}" for key, part in item.items()) or NOTHING
    if isinstance(item, (list, tuple)):
        return ", ".join(value(part) for part in item) or NOTHING
    return NOTHING if item is None else str(item)
