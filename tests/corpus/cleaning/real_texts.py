"""Real text that is on every machine with Python: topics of help() and docstrings; more where shared data lies."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from tests.corpus.conftest import SHARED
from workbench.corpus.normalise import normalise
from workbench.corpus.reading.python_docs import module_text, topics


def python_documentation(count: int) -> list[str]:
    """The first `count` documents of it, of 200 to 40,000 characters."""
    texts = [text for _, text in topics()]
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.glob("*.py")):
        try:
            texts.append(module_text(path.read_bytes(), path.stem))
        except (SyntaxError, ValueError):
            continue
    return [text for text in map(normalise, texts) if 200 <= len(text) <= 40_000][:count]


def shared_text(name: str, size: int, count: int) -> list[str]:
    """`count` pieces of about `size` characters of a file of shared data, evenly spread; none where it is missing."""
    path = SHARED / "data" / "text" / name
    if not path.is_file():
        return []
    text = normalise(path.read_text(encoding="utf-8"))
    step = len(text) // count
    return [text[place : place + size].strip() for place in range(0, step * count, step)]
