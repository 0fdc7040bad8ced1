"""A hash of what files and folders hold, wherever they lie."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.recipes.base import HUB, PYTHON_DOCS

BLOCK_BYTES = 1 << 20


def fingerprint_of_paths(sources: Sequence[str]) -> str:
    """xxh3-128 (32 hexadecimal digits) over names relative to their source, and contents.

    A source `hf:ORG/NAME` counts by its name. Raises `WorkbenchError` for a source that is not there or
    cannot be read.
    """
    import xxhash

    digest = xxhash.xxh3_128()
    for source in sources:
        if source.startswith(HUB):
            digest.update(source.encode())
            continue
        if source == PYTHON_DOCS:
            digest.update(repr(sys.version_info[:3]).encode())
            continue
        for name, path in _files(source):
            digest.update(f"{len(name)}:{name}:".encode(errors="surrogateescape"))
            try:
                with open(path, "rb") as content:
                    digest.update(f"{os.fstat(content.fileno()).st_size}:".encode())
                    while block := content.read(BLOCK_BYTES):
                        digest.update(block)
            except OSError as error:
                raise WorkbenchError(
                    f"{path} cannot be read: {error.strerror}.", "Make it readable, or leave it out."
                ) from None
    return digest.hexdigest()


def _files(source: str) -> Iterator[tuple[str, Path]]:
    """(name relative to the source, path) in the order of names."""
    path = Path(source).expanduser()
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                file = Path(folder, name)
                yield str(file.relative_to(path)), file
    elif path.is_file():
        yield path.name, path
    else:
        found = sorted(glob.glob(source, recursive=True)) if glob.has_magic(source) else []
        if not found:
            raise WorkbenchError(f"There is no file {source!r}.", "Check the path.")
        for match in found:
            yield from _files(match)
