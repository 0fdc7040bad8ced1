"""What is inside archives and compressed files, read as it streams by: nothing is ever written under a member's name.

Archives may hold archives, one level deep. What they may grow to is limited in all and in proportion to their
size, so that a small file cannot keep a machine busy for days.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import PurePath
from typing import IO, Any

from workbench.corpus.kinds import ARCHIVES, COMPRESSIONS, READABLE, kind_of
from workbench.corpus.reading.entry import BLOCK_BYTES, Entry, printable
from workbench.corpus.reading.growth import Growth
from workbench.corpus.reading.raw import UNKNOWN, Raw, Reject, UnusableFile, unopened

MAX_TAR_HEADER_BYTES = 1 << 20  # of a member's long name and the like, which tarfile reads at once
NESTED_ONCE = 2
MEMBER_BUFFER_BYTES = 64 << 10
PACKED_TARS = {".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz", ".tzst": ".zst"}
ENCRYPTED = 0x1
BROKEN = (
    EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, struct.error,
    LookupError, ValueError, OverflowError, RuntimeError,
)  # fmt: skip

Read = Callable[[Entry], Iterator[Raw | Reject]]


def read_zip(entry: Entry, read: Read) -> Iterator[Raw | Reject]:
    """The members of a zip file, in the order of its directory. `read` reads each."""
    with entry.open_anywhere() as file:
        size = file.seek(0, io.SEEK_END)
        try:
            archive = zipfile.ZipFile(file)
        except BROKEN as error:
            raise _unsound(entry, error) from None
        growth = Growth(entry.name, entry.options, lambda: size, entry.growth)

        def contents(info: zipfile.ZipInfo, member: Entry) -> Iterator[Raw | Reject]:
            if info.flag_bits & ENCRYPTED:
                yield member.reject("encrypted")
                return
            if entry.path is not None:
                entry.advance(info.compress_size)
            try:
                opened = archive.open(info)
            except BROKEN as error:
                yield _broken_member(member, error)
                return
            grown = Growth(member.name, entry.options, lambda: info.compress_size, growth)
            yield from _contents(member, opened, grown, read)

        with archive:
            files = (
                (info.filename, info.file_size, partial(contents, info))
                for info in archive.infolist()
                if info.filename and not info.is_dir() and info.external_attr >> 28 != 0o12  # a symbolic link
            )
            yield from _members(entry, files)


def read_tar(entry: Entry, read: Read) -> Iterator[Raw | Reject]:
    """The members of a tar file, packed or not, in their order. `read` reads each."""
    with entry.open() as file:
        measured = _Measured(file)
        growth = Growth(entry.name, entry.options, lambda: measured.count, entry.growth)
        stream = _Stream(entry, _unpacked(measured, _compression(entry)), growth)

        def contents(file: IO[bytes] | None, member: Entry) -> Iterator[Raw | Reject]:
            member.stream, member.growth = file, growth
            return read(member)

        def files(archive: tarfile.TarFile) -> Iterator[tuple[str, int, Read]]:
            for info in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # or it remembers them all
                if info.isfile() and not info.issparse():  # a sparse one holds gaps of any length
                    yield info.name, info.size, partial(contents, archive.extractfile(info))
            while stream.read(BLOCK_BYTES):  # a checksum comes last
                pass

        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Headers) as archive:
                yield from _members(entry, files(archive))
        except BROKEN as error:
            raise _unsound(entry, error) from None


def read_compressed(entry: Entry, read: Read) -> Iterator[Raw | Reject]:
    """The one file inside `notes.txt.gz` or the like."""
    with entry.open() as file:
        measured = _Measured(file)
        member = _member(entry, PurePath(entry.label).stem, 0, name=entry.name)
        if isinstance(member, Entry):
            growth = Growth(member.name, entry.options, lambda: measured.count, entry.growth)
            yield from _contents(member, _unpacked(measured, _compression(entry)), growth, read)
        elif member is not None:
            yield member


def _members(entry: Entry, files: Iterable[tuple[str, int, Read]]) -> Iterator[Raw | Reject]:
    """What is in `files` (path, size, what reads it), but for hidden ones."""
    seen = False
    for path, size, read in files:
        member = _member(entry, path, size)
        if member is not None:
            seen = seen or isinstance(member, Entry) or member.reason != UNKNOWN
            yield from read(member) if isinstance(member, Entry) else [member]
    if not seen:
        raise UnusableFile("nothing to read", f"The archive {entry.name} holds no file that can be read.", READABLE)


def _contents(member: Entry, stream: IO[bytes], growth: Growth, read: Read) -> Iterator[Raw | Reject]:
    with closing(stream):
        member.stream = io.BufferedReader(_Stream(member, stream, growth), MEMBER_BUFFER_BYTES)  # type: ignore[assignment]
        member.growth = growth
        yield from read(member)


def _member(entry: Entry, path: str, size: int, name: str = "") -> Entry | Reject | None:
    """The member to read; None for one that is hidden, as folders are not searched for such, either."""
    path = printable(path)
    name = name or f"{entry.name}:{path}"
    parts = PurePath(path.replace("\\", "/")).parts
    if ".." in parts or path.startswith(("/", "\\")) or path[1:2] == ":":
        return Reject(name, "path leaves the archive", path, file=entry.file)
    if any(part.startswith(".") for part in parts) or "__MACOSX" in parts:
        return None
    kind = kind_of(parts[-1]) if parts else ""
    if not kind:
        return unopened(name, entry.file)
    depth = entry.depth + 1
    if kind in ARCHIVES and depth >= NESTED_ONCE:
        return Reject(name, "archives nested too deep", path, file=entry.file)
    return dataclasses.replace(
        entry,
        name=name,
        label=parts[-1],
        kind=kind,
        path=None,
        stream=None,
        size=size,
        depth=depth,
        advance=_nothing,
        encoding="",
    )


def _nothing(_: int) -> None:
    """What is read inside an archive is not counted again."""


class _Headers(tarfile.TarInfo):
    """Headers of tar members; one that is broken is an error rather than the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Headers:
        try:
            header = super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from None
        if not header.isreg() and header.size > MAX_TAR_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


class _Stream(io.RawIOBase):
    """An unpacked stream under its limits; what is broken in it is told as that."""

    def __init__(self, entry: Entry, stream: IO[bytes], growth: Growth):
        self._entry = entry
        self._stream = stream
        self._growth = growth

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except BROKEN as error:
            raise _unsound(self._entry, error) from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise _unsound(self._entry, error) from None
        except Exception as error:
            if type(error).__name__ != "ZstdError":  # of a library that is loaded only where it is needed
                raise
            raise _unsound(self._entry, error) from None
        self._growth.add(len(data))
        buffer[: len(data)] = data
        return len(data)


class _Measured(io.RawIOBase):
    """A packed stream that knows how much of it was read."""

    def __init__(self, stream: IO[bytes]):
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self.count += len(data)
        buffer[: len(data)] = data
        return len(data)


def _unpacked(stream: Any, compression: str) -> IO[bytes]:
    match compression:
        case ".gz":
            return gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[return-value]
        case ".bz2":
            return bz2.BZ2File(stream)  # type: ignore[return-value]
        case ".xz":
            return lzma.LZMAFile(stream)  # type: ignore[return-value]
        case ".zst":
            import zstandard

            return zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)  # type: ignore[return-value]
    return stream


def _compression(entry: Entry) -> str:
    suffix = PurePath(entry.label.lower()).suffix
    return PACKED_TARS.get(suffix) or (suffix if suffix in COMPRESSIONS else "")


def _broken_member(member: Entry, error: Exception) -> Reject:
    what = f"{member.name} cannot be unpacked: {_why(error)}."
    return Reject(member.name, "corrupt archive", what, remedy="Fetch or pack it anew.", file=member.file)


def _unsound(entry: Entry, error: Exception) -> UnusableFile:
    what = f"{entry.name} cannot be unpacked further: {_why(error)}."
    return UnusableFile("corrupt archive", what, "Fetch or pack it anew.", of=entry.name)


def _why(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
