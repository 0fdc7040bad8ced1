"""Rows that are left out: kept with their reasons, counted, and the first of them quoted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from workbench.corpus.chats.table import EXCERPT_CHARACTERS, REJECT_SCHEMA, REJECTS, TableWriter
from workbench.errors import WorkbenchError
from workbench.wording import amount

QUOTED = 5
QUOTED_CHARACTERS = 120
EXPECTED = ("duplicate", "marked as bad")  # reasons that are no fault of the row: never quoted


class Rejects:
    """Writes `rejects.parquet` into `folder`; a context manager."""

    def __init__(self, folder: Path):
        self.dropped: Counter[str] = Counter()
        self._quoted: list[dict[str, str]] = []
        self._table = TableWriter(folder / REJECTS, REJECT_SCHEMA)

    def add(self, source: str, reason: str, value: Any) -> None:
        """`value` is the row, as text or whatever it is."""
        text = value if isinstance(value, str) else _as_text(value)
        self.dropped[reason] += 1
        self._table.add(source, reason, text[:EXCERPT_CHARACTERS])
        if reason not in EXPECTED and len(self._quoted) < QUOTED:
            self._quoted.append({"source": source, "reason": reason, "excerpt": text[:QUOTED_CHARACTERS]})

    def tell(self, warn: Callable[[str], None]) -> None:
        """Say how many rows were left out and why, and quote the first bad ones."""
        if self.dropped:
            warn(f"{amount(sum(self.dropped.values()), 'rows', 'were')} left out: {self._reasons()}.")
        for bad in self._quoted:
            warn(f"{bad['source']}: {bad['reason']}: {bad['excerpt']}")

    def nothing_left(self, what: str, remedy: str) -> WorkbenchError:
        """The error for when no row was usable."""
        if not self.dropped:
            return WorkbenchError("The sources hold no rows.", "Check that the files are the right ones.")
        first = self._quoted[0] if self._quoted else None
        quote = f" The first: {first['source']}: {first['excerpt']}" if first else ""
        return WorkbenchError(f"Not one {what} is left: {self._reasons()}.{quote}", remedy)

    def report(self) -> dict[str, Any]:
        return {"dropped": dict(self.dropped.most_common()), "bad_rows": self._quoted}

    def _reasons(self) -> str:
        return ", ".join(f"{reason} ({count:,})" for reason, count in self.dropped.most_common())

    def __enter__(self) -> Rejects:
        self._table.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._table.__exit__(*details)


def _as_text(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:  # nested too deeply
        return f"{{{', '.join(map(repr, list(value)[:8]))}, ...}}" if isinstance(value, dict) else type(value).__name__
