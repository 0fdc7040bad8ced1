"""Writes that are whole or absent, whatever is killed when.

Standard library only, so that engines and the store can share it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any


def fsync_directory(directory: Path) -> None:
    """Make renames and creations inside `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(directory: Path) -> None:
    """Flush every file and folder under `directory` to the disk."""
    for folder, _, names in os.walk(directory):
        for name in names:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_directory(Path(folder))


def write_text(path: Path, text: str) -> None:
    """Replace `path` with `text`: readers see the old file or the new one, never a part."""
    # The process id keeps two writers from sharing one temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as JSON; NaN and infinity are errors (`ValueError`)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_line(path: Path, line: bytes) -> None:
    """Add a line, with its end, to a file that others may add to as well; it is on the disk when this returns."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cut_torn_line(path)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    if new:
        fsync_directory(path.parent)


def whole_lines(path: Path, start: int = 0) -> list[bytes]:
    """The lines from byte `start` on, with their ends; without one that is being written, or was when a kill came."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        file.seek(start)
        content = file.read()
        return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    return []


def cut_torn_line(path: Path) -> None:
    """Remove a line without an end, which a kill left: nobody was told that it is kept."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        if file.read() not in (b"", b"\n"):
            file.seek(0)
            os.truncate(path, file.read().rfind(b"\n") + 1)


def publish_directory(partial: Path, final: Path) -> None:
    """Flush `partial` and rename it to `final`, which must not exist yet.

    Raises `FileExistsError` if `final` exists.
    """
    if final.exists():
        raise FileExistsError(final)
    fsync_tree(partial)
    os.rename(partial, final)
    fsync_directory(final.parent)


def fresh_directory(directory: Path) -> Path:
    """Empty `directory`, made anew if need be."""
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    return directory
