"""Text, source code and HTML as they lie there: bytes, with their encoding where it was looked for."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from workbench.corpus.kinds import READABLE, language_of
from workbench.corpus.reading.encodings import byte_order_mark, decode, find_encoding, is_text
from workbench.corpus.reading.entry import BLOCK_BYTES, Entry
from workbench.corpus.reading.pieces import LongLine, pieces, too_long
from workbench.corpus.reading.raw import MAX_BINARY_BYTES, Kind, Raw, Reject, UnusableFile

SAMPLE_BYTES = 1 << 20  # of a long text, to find its encoding by


def read_text(entry: Entry) -> Iterator[Raw | Reject]:
    """A text or a file of source code: one document, or its pieces."""
    limit = entry.options.max_document_bytes
    kind: Kind = "code" if entry.kind == "code" else "text"
    language = language_of(entry.label) if kind == "code" else None
    with entry.open() as content:
        head = content.read(limit + 1)
        mark, encoding = byte_order_mark(head)
        check_text(entry, head[mark:], encoding)
        if len(head) <= limit:
            yield entry.raw(head[mark:], kind=kind, language=language, encoding=encoding or entry.encoding)
            return
        encoding = encoding or find_encoding(head[:SAMPLE_BYTES], hint=entry.encoding, whole=False)
        text = _Utf8(itertools.chain(_sliced(head[mark:]), blocks(content)), encoding)
        cut = False
        for number, piece in enumerate(pieces(text, limit)):
            if isinstance(piece, LongLine):
                yield entry.reject(too_long(limit), decode(piece.start)[0], number)
            else:
                check_text(entry, piece)
                yield entry.raw(
                    piece, number, kind=kind, language=language, encoding="utf-8", bad_bytes=text.taken(), cut=cut
                )
            cut = True


def read_whole(entry: Entry) -> Iterator[Raw | Reject]:
    """A file that makes sense only as a whole: HTML, a notebook, a PDF, an EPUB."""
    name = {"html": "HTML", "notebook": "notebook", "pdf": "PDF", "epub": "EPUB"}[entry.kind]
    limit = max(MAX_BINARY_BYTES, entry.options.max_document_bytes)
    if entry.kind in ("html", "notebook"):
        limit = entry.options.max_document_bytes
    with entry.open() as content:
        data = content.read(limit + 1)
    if len(data) > limit:
        yield entry.reject(f"{name} over {limit / (1 << 20):g} MiB")
        return
    encoding = ""
    if entry.kind in ("html", "notebook"):
        mark, encoding = byte_order_mark(data)
        data = data[mark:]
        check_text(entry, data, encoding)
    kind: Kind = entry.kind  # type: ignore[assignment]
    yield entry.raw(data, kind=kind, encoding=encoding or entry.encoding)


def utf8_blocks(entry: Entry, content: BinaryIO, *, detect: bool = False) -> Iterator[bytes]:
    """The content as UTF-8, except for bytes that never were; its byte-order mark is gone.

    Without a mark it is taken for UTF-8, unless it is to be found out. Raises `UnusableFile` if its start is not text.
    """
    head = content.read(BLOCK_BYTES)
    mark, encoding = byte_order_mark(head)
    body = head[mark:]
    check_text(entry, body, encoding)
    if not encoding:
        encoding = find_encoding(body, hint=entry.encoding, whole=False) if detect else "utf-8"
    return iter(_Utf8(itertools.chain([body], blocks(content)), encoding))


def blocks(content: BinaryIO) -> Iterator[bytes]:
    while block := content.read(BLOCK_BYTES):
        yield block


def check_text(entry: Entry, data: bytes, encoding: str = "") -> None:
    """Raises `UnusableFile` if `data` is not text."""
    if not is_text(data, encoding):
        raise UnusableFile("binary", f"{entry.name} is not text but binary data.", READABLE)


def _sliced(data: bytes) -> Iterator[bytes]:
    for place in range(0, len(data), BLOCK_BYTES):
        yield data[place : place + BLOCK_BYTES]


class _Utf8:
    """Blocks of some encoding as blocks of UTF-8, counting what could not be decoded."""

    def __init__(self, content: Iterable[bytes], encoding: str):
        self._content = content
        self._encoding = encoding
        self._bad = 0

    def __iter__(self) -> Iterator[bytes]:
        if self._encoding == "utf-8":
            yield from self._content
            return
        decoder = codecs.getincrementaldecoder(self._encoding)("replace")
        for block in self._content:
            yield self._encoded(decoder.decode(block))
        yield self._encoded(decoder.decode(b"", final=True))

    def _encoded(self, text: str) -> bytes:
        self._bad += text.count("\ufffd")
        return text.encode("utf-8", "replace")

    def taken(self) -> int:
        """How many were broken since the last call."""
        bad, self._bad = self._bad, 0
        return bad
