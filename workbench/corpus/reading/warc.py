"""Pages of web crawls: WARC's responses and WET's extracted text (ISO 28500), by fastwarc."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from workbench.corpus.reading.encodings import byte_order_mark, codec_of, is_text
from workbench.corpus.reading.entry import BLOCK_BYTES, Entry, printable
from workbench.corpus.reading.languages import language_code
from workbench.corpus.reading.raw import MAX_BINARY_BYTES, Kind, Raw, Reject, UnusableFile

if TYPE_CHECKING:
    from fastwarc.warc import WarcRecord

KINDS: dict[str, Kind] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "text",
    "application/pdf": "pdf",
    "application/epub+zip": "epub",
}
OK = 200


def read_warc(entry: Entry) -> Iterator[Raw | Reject]:
    """Documents of a crawl; their position is the number of the record, their source ends in the address.

    What is no page (requests, pictures, answers other than 200 OK) is passed over.
    """
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    wanted = WarcRecordType.response | WarcRecordType.conversion | WarcRecordType.resource
    with entry.open() as content:
        number = -1
        try:
            # All types are iterated over, so that the position is a record's number in its file.
            stream = _Forward(content)
            for record in ArchiveIterator(stream, parse_http=False, max_header_len=1 << 16, fsspec_args=False):
                number += 1
                if record.record_type & wanted:
                    yield from _document(entry, record, number)
        except OSError as error:
            if error.errno is not None:
                raise
            raise _unsound(entry, number, error) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of Rust, in which fastwarc is written
                raise
            raise _unsound(entry, number, error) from None
        if number < 0:
            what = f"{entry.name} holds no WARC record."
            raise UnusableFile("corrupt WARC", what, "Check that it is a WARC or WET file.")


def _document(entry: Entry, record: WarcRecord, number: int) -> Iterator[Raw | Reject]:
    if record.is_http:
        try:
            record.parse_http(auto_decode="all")
        except (OSError, ValueError) as error:
            yield _reject(entry, record, "broken record", str(error), number)
            return
        if record.http_headers is None or record.http_headers.status_code not in (OK, None):
            return
        media, charset = record.http_content_type or "", record.http_charset or ""
    else:
        media, _, parameters = (record.headers.get("Content-Type") or "").partition(";")
        charset = parameters.partition("charset=")[2]
    kind = KINDS.get(media.strip().lower())
    if kind is None:
        return
    limit = entry.options.max_document_bytes if kind in ("html", "text") else MAX_BINARY_BYTES
    try:
        data = record.reader.read(limit + 1)
    except (OSError, ValueError) as error:
        yield _reject(entry, record, "broken record", str(error), number)
        return
    if len(data) > limit:
        yield _reject(entry, record, f"page over {limit / (1 << 20):g} MiB", "", number)
        return
    encoding = ""
    if kind in ("html", "text"):
        mark, encoding = byte_order_mark(data)
        data = data[mark:]
        if not is_text(data, encoding):
            yield _reject(entry, record, "binary", "", number)
            return
    raw = entry.raw(data, number, kind=kind, encoding=encoding or codec_of(charset), language=_language(record))
    yield dataclasses.replace(raw, source=_source(entry, record))


class _Forward:
    """A stream that goes forward only, for a reader that asks where it is."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._place = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._place += len(data)
        return data

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._stream.close()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset if whence == io.SEEK_SET else self._place + offset
        if whence == io.SEEK_END or target < self._place:
            raise io.UnsupportedOperation("seek")
        while self._place < target and self.read(min(target - self._place, BLOCK_BYTES)):
            pass
        return self._place


def _unsound(entry: Entry, number: int, error: BaseException) -> UnusableFile:
    why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    what = f"{entry.name} cannot be read after {number + 1:,} records: {why}."
    return UnusableFile("corrupt WARC", what, "Fetch it anew.")


def _language(record: WarcRecord) -> str | None:
    """What Common Crawl found: its WET names languages by ISO 639-3, one or several."""
    found = record.headers.get("WARC-Identified-Content-Language") or ""
    return None if "," in found else language_code(found)


def _reject(entry: Entry, record: Any, reason: str, excerpt: str, number: int) -> Reject:
    return Reject(_source(entry, record), reason, excerpt, number, file=entry.file)


def _source(entry: Entry, record: Any) -> str:
    address = record.headers.get("WARC-Target-URI") or ""
    return f"{entry.name}:{printable(address)}" if address else entry.name
