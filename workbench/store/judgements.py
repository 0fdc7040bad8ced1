"""Where the judgements on a set of candidates lie: one file, appended to and never rewritten.

They stand beside the candidates' artifact, which does not change once it is made, under its identity,
which is known while it is still being written. A judgement that was taken back is a further line that says
so, hence the first N lines never change.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path

from workbench.store.project import Project

FOLDER = "judgements"
EVALUATIONS = "evaluations.jsonl"


def file_of(project: Project, identity: str) -> Path:
    """The judgements on the candidates of this identity; the file may not exist yet."""
    return project.root / FOLDER / identity[:16] / "judgements.jsonl"


def evaluations_of(judgements: Path) -> Path:
    """What people said only to compare models, beside `judgements`: nothing that trains reads it."""
    return judgements.with_name(EVALUATIONS)


def count(path: Path) -> int:
    """Whole lines; one without an end was cut off by a crash and does not count."""
    try:
        with open(path, "rb") as file:
            return sum(line.endswith(b"\n") for line in file)
    except FileNotFoundError:
        return 0


def digest(path: Path, lines: int) -> str:
    """sha256 of the first `lines` lines."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for line in islice(file, lines):
            found.update(line)
    return found.hexdigest()
