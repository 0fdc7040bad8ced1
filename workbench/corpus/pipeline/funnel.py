"""How many documents come to each step, and what becomes of them there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

READ = "read"  # the step before the first: sources to documents


@dataclass(slots=True)
class Count:
    """One step's: `entered` = `kept` + `changed` + `rejected`. Bytes are UTF-8's.

    What only lost line feeds at its end counts as kept.
    """

    entered: int = 0
    kept: int = 0
    changed: int = 0
    rejected: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # of rejecting
    edits: Counter[str] = field(default_factory=Counter)  # reasons of changing

    def plain(self) -> dict[str, Any]:
        return {
            "in": self.entered, "kept": self.kept, "changed": self.changed, "rejected": self.rejected,
            "bytes_in": self.bytes_in, "bytes_out": self.bytes_out,
            "reasons": dict(self.reasons), "edits": dict(self.edits),
        }  # fmt: skip

    def add(self, plain: Mapping[str, Any]) -> None:
        """Add what `plain` gave."""
        self.entered += plain["in"]
        self.kept += plain["kept"]
        self.changed += plain["changed"]
        self.rejected += plain["rejected"]
        self.bytes_in += plain["bytes_in"]
        self.bytes_out += plain["bytes_out"]
        self.reasons.update(plain["reasons"])
        self.edits.update(plain["edits"])


class Funnel:
    """The counts of a recipe's steps, in their order, by place: -1 is the reading."""

    def __init__(self) -> None:
        self.counts: dict[int, Count] = {}

    def __getitem__(self, place: int) -> Count:
        return self.counts.setdefault(place, Count())

    def plain(self) -> dict[str, Any]:
        return {str(place): count.plain() for place, count in self.counts.items()}

    def add(self, plain: Mapping[str, Any]) -> None:
        for place, count in plain.items():
            self[int(place)].add(count)

    def report(self, names: Mapping[int, tuple[str, int]]) -> list[dict[str, Any]]:
        """One mapping a step, reading first; reasons by how often. `names`: place -> (name, version)."""
        rows = []
        for place, (name, version) in sorted(names.items()):
            plain = self[place].plain()
            for key in ("reasons", "edits"):
                plain[key] = dict(_ordered(Counter(plain[key])))
            rows.append({"step": name, "version": version, **plain})
        return rows

    def dropped(self) -> dict[str, int]:
        """Reason -> how many documents were rejected for it, over all steps."""
        total: Counter[str] = Counter()
        for count in self.counts.values():
            total.update(count.reasons)
        return dict(_ordered(total))


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
