"""A file that grows line by line, each on disk before the next is asked for, so that a killed run loses none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench import durable


class Ledger:
    """Rows of JSON by a key of theirs; `rows` are those on disk, in their order."""

    def __init__(self, path: Path, key: Callable[[Mapping[str, Any]], tuple[Any, ...]]):
        self.path, self.key = path, key
        self.rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # a line that a kill cut short
            os.truncate(path, whole)
        for line in content[:whole].splitlines():
            row = json.loads(line)
            self.rows[key(row)] = row

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """They are on disk when this returns."""
        new = list(rows)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in new))
            file.flush()
            os.fsync(file.fileno())
        self.rows.update((self.key(row), row) for row in new)

    def drop(self, keys: Iterable[tuple[Any, ...]]) -> None:
        """Take rows out again."""
        for key in keys:
            del self.rows[key]
        durable.write_text(self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows.values()))
