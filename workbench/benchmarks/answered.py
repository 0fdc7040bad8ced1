"""What a model has answered before: nothing is computed twice, and a killed benchmark goes on where it was.

One file a model, appended to as answers come and never rewritten. A request is known by a hash of all that decides
its answer, so that other panels, limits and numbers of shots share what they have in common.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.errors import WorkbenchError
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
    """The answers of one model, by key.

    What was asked together stands in one line. One that a killed process left half-written is passed over whole, so
    that what was asked together is asked together again: in other company a score differs in its last digits.
    """

    def __init__(self, path: Path):
        """Raises `WorkbenchError` if the file cannot be read and written."""
        self._known: dict[str, Any] = {}
        try:
            path.parent.mkdir(exist_ok=True)
            self._file = open(path, "ab")  # noqa: SIM115 (closed by close)
            whole = path.read_bytes()
        except OSError as error:
            raise WorkbenchError(
                f"{path}, which keeps what a model answered, cannot be used: {error.strerror}.",
                "Move it away: what it holds is computed again.",
            ) from None
        for line in whole.splitlines():
            try:
                self._known |= json.loads(line)["answers"]
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
        self._file.write(json.dumps({"answers": dict(answers)}, ensure_ascii=True).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._known.update(answers)

    def close(self) -> None:
        self._file.close()
