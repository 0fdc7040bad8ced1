"""Something that holds documents: a file, a member of an archive, a download."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from workbench.corpus.reading.growth import Growth
from workbench.corpus.reading.raw import Kind, Raw, ReadOptions, Reject

BLOCK_BYTES = 1 << 20
SPOOL_BYTES = 16 << 20  # a member that has to be read out of order is kept in memory up to this size


@dataclass(slots=True, kw_only=True)
class Entry:
    """`name` is its source's name in results; `label` its own, which tells its kind.

    Its bytes come from `path`, or from `stream`, which can be read once.
    """

    name: str
    label: str
    kind: str
    file: int  # index in the expansion's files
    options: ReadOptions
    advance: Callable[[int], None]  # hears of the bytes read from disk
    path: Path | None = None
    stream: IO[bytes] | None = None
    size: int = 0  # bytes; 0 where it is not known
    depth: int = 0  # how many archives it lies in
    growth: Growth | None = None  # of the archive that it lies in
    encoding: str = ""  # codec that its server says

    def raw(
        self,
        content: bytes | str,
        position: int = 0,
        *,
        kind: Kind = "text",
        language: str | None = None,
        licence: str | None = None,
        encoding: str = "",
        bad_bytes: int = 0,
        cut: bool = False,
    ) -> Raw:
        return Raw(
            content=content,
            kind=kind,
            source=self.name,
            position=position,
            language=language,
            licence=licence,
            encoding=encoding,
            bad_bytes=bad_bytes,
            cut=cut,
            file=self.file,
        )

    def reject(self, reason: str, excerpt: str = "", position: int = 0) -> Reject:
        return Reject(self.name, reason, excerpt, position, file=self.file)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes from the start, forward only; `advance` hears of what is read from disk."""
        if self.path is None:
            assert self.stream is not None
            yield self.stream  # type: ignore[misc]
        else:
            with open(self.path, "rb", buffering=0) as file:
                yield io.BufferedReader(_Counted(file, self.advance), BLOCK_BYTES)  # type: ignore[type-var]

    @contextmanager
    def open_anywhere(self) -> Iterator[BinaryIO]:
        """Its bytes, in any order; `advance` hears of none of them."""
        if self.path is not None:
            with open(self.path, "rb") as file:
                yield file
            return
        assert self.stream is not None
        scratch = self.options.scratch_folder()
        with tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=None if scratch is None else str(scratch)) as spool:
            shutil.copyfileobj(self.stream, spool, BLOCK_BYTES)
            spool.seek(0)
            yield spool  # type: ignore[misc]


def printable(name: str) -> str:
    """A file's name as text: bytes of it that are no UTF-8 are U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class _Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], advance: Callable[[int], None]):
        self._file = file
        self._advance = advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._advance(count)
        return count
