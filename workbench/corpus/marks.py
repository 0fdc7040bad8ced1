"""Documents that a person called good or bad, in a file that is only appended to.

A line holds the text itself, so that it outlives the corpus that it was seen in. A later line on the same document
counts instead of the earlier ones; `none` takes a mark back.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from workbench.errors import WorkbenchError

FOLDER, FILE = "marks", "quality.jsonl"  # in the project
CHARACTERS = 20_000  # of a text: what the classifier looks at

Label = Literal["good", "bad", "none"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A document as it was marked."""

    label: Label
    text: str  # its first `CHARACTERS`
    corpus: str  # the corpus' id
    row: int  # the document's number there, from 0
    source: str = ""
    time: float = field(default_factory=time.time)  # seconds since the epoch


def file_of(project_root: Path) -> Path:
    """The marks of a project; the file may not exist yet."""
    return project_root / FOLDER / FILE


def append(file: Path, mark: Mark) -> None:
    """Write `mark` behind the others; it is on the disk when this returns.

    Raises `WorkbenchError` if it cannot be written.
    """
    line = json.dumps(asdict(mark), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
    try:
        file.parent.mkdir(exist_ok=True)
        with open(file, "a+b") as out:
            # A line that a crash cut off stays alone on its line.
            if out.seek(0, os.SEEK_END) and (out.seek(-1, os.SEEK_END), out.read(1))[1] != b"\n":
                line = b"\n" + line
            out.write(line)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise WorkbenchError(f"{file} cannot be written: {error.strerror}.", "Nothing was marked.") from None


def read(file: Path) -> list[Mark]:
    """The marks that count, in the order of the documents' first ones. Lines that a crash cut off are left out.

    Raises `WorkbenchError` if the file is there but cannot be read.
    """
    found: dict[tuple[str, int], Mark] = {}
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WorkbenchError(f"{file} cannot be read: {error.strerror}.", "Make it readable.") from None
    for line in lines:
        try:
            mark = Mark(**json.loads(line.decode("utf-8", "surrogatepass")))
        except (ValueError, TypeError):
            continue
        found[mark.corpus, mark.row] = mark
    return [mark for mark in found.values() if mark.label != "none"]
