"""What a model has answered before: nothing is computed twice, and a killed benchmark goes on where it was.

One file a model, appended to as answers come and never rewritten. A request is known by a hash of all that decides
its answer, so that other panels, limits and numbers of shots share what they have in common.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.store.project import Project

FOLDER = "answered"  # in the project


def file_of(project: Project, identity: str, engine: str, checkpoint: int | None) -> Path:
    """Where the answers of a model lie; the file may not exist yet."""
    step = f"-step-{checkpoint}" if checkpoint else ""
    return project.root / FOLDER / f"{identity[:16]}{step}-{engine}.jsonl"


def key_of(kind: str, *parts: Any) -> str:
    """What a request is known by."""
    text = json.dumps([kind, *parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Answered:
    """The answers of one model, by key. A line that a killed process left half-written is passed over."""

    def __init__(self, path: Path):
        self._known: dict[str, Any] = {}
        path.parent.mkdir(exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115 (closed by close)
        whole = path.read_bytes()
        for line in whole.splitlines():
            try:
                plain = json.loads(line)
                self._known[plain["key"]] = plain["answer"]
            except (ValueError, KeyError, TypeError):
                continue
        if whole and not whole.endswith(b"\n"):
            self._file.write(b"\n")
        durable.fsync_directory(path.parent)

    def get(self, key: str) -> Any:
        """The answer, or None if the request was never made."""
        return self._known.get(key)

    def add(self, answers: Mapping[str, Any]) -> None:
        """Keep these; they are on disk when it returns."""
        lines = [json.dumps({"key": key, "answer": answer}, ensure_ascii=True) for key, answer in answers.items()]
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._known.update(answers)

    def missing(self, keys: Sequence[str]) -> int:
        """How many of these are still to be asked."""
        return sum(key not in self._known for key in set(keys))

    def close(self) -> None:
        self._file.close()
