"""Addresses of the web: fetched one by one, politely, into files that are then read as any other."""

from __future__ import annotations

import dataclasses
import http.client
import json
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from workbench.corpus.addresses import NOT_FETCHED
from workbench.corpus.kinds import kind_of
from workbench.corpus.reading.asking import Refused, answer, wait, why
from workbench.corpus.reading.encodings import codec_of
from workbench.corpus.reading.entry import BLOCK_BYTES, Entry
from workbench.corpus.reading.raw import UNKNOWN, Raw, Reject, UnusableFile
from workbench.durable import write_json

SLOW_SECONDS = 30.0  # a download may lag by this much behind SLOW_BYTES a second
SLOW_BYTES = 1024
SECONDS_BEFORE_RETRY = 1.0
MEDIA = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "text",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/pdf": "pdf",
    "application/epub+zip": "epub",
    "application/zip": "zip",
    "application/vnd.apache.parquet": "parquet",
}


@dataclass(frozen=True, slots=True)
class Download:
    """What an address gave: kept beside the file, so that an interrupted run goes on with the same bytes."""

    address: str
    media: str = ""
    charset: str = ""
    etag: str = ""
    modified: str = ""
    size: int = 0


def read_address(entry: Entry, read: Callable[[Entry], Iterator[Raw | Reject]]) -> Iterator[Raw | Reject]:
    """What an address holds. `read` reads the file that it is fetched into."""
    folder = entry.options.scratch_folder()
    if folder is not None:
        yield from _read_fetched(entry, folder, read)
        return
    with tempfile.TemporaryDirectory() as place:
        yield from _read_fetched(entry, Path(place), read)


def _read_fetched(
    entry: Entry, folder: Path, read: Callable[[Entry], Iterator[Raw | Reject]]
) -> Iterator[Raw | Reject]:
    import xxhash

    stem = folder / xxhash.xxh3_128_hexdigest(entry.name.encode())
    content, receipt = stem.with_suffix(".data"), stem.with_suffix(".json")
    found = _earlier(receipt, content)
    if found is None:
        found = _fetch(entry, content)
        write_json(receipt, dataclasses.asdict(found))
    label = PurePosixPath(unquote(urlsplit(entry.name).path)).name or "index.html"
    kind = _kind(label, found.media)
    if not kind:
        yield entry.reject(UNKNOWN, found.media)
        return
    fetched = dataclasses.replace(
        entry, label=label, kind=kind, path=content, size=found.size, encoding=found.charset, advance=_unheard(entry)
    )
    yield from read(fetched)


def _earlier(receipt: Path, content: Path) -> Download | None:
    """What an earlier attempt at the same run has fetched."""
    try:
        found = Download(**json.loads(receipt.read_bytes()))
        return found if content.stat().st_size == found.size else None
    except (OSError, ValueError, TypeError):
        return None


def _kind(label: str, media: str) -> str:
    """A page is one whatever its address ends in; else the ending tells more than the server."""
    told = MEDIA.get(media, "")
    return told if told == "html" else kind_of(label) or told or ("text" if media.startswith("text/") else "")


def _unheard(entry: Entry) -> Callable[[int], None]:
    return lambda _: entry.advance(0)  # its bytes were counted when they came


def _fetch(entry: Entry, content: Path) -> Download:
    """Fetch an address into the file `content`, trying twice. Raises `UnusableFile`."""
    for attempt in (1, 2):
        try:
            return _download(entry, content)
        except Refused as problem:
            if attempt == 2 or not problem.passing:
                content.unlink(missing_ok=True)
                remedy = "Open it in a browser; what needs a login or a script has to be downloaded by hand."
                what = f"{entry.name} was not fetched: {problem.why}."
                raise UnusableFile(problem.reason, what, remedy) from None
            wait(entry.advance, SECONDS_BEFORE_RETRY)
    raise AssertionError


def _download(entry: Entry, content: Path) -> Download:
    limit = entry.options.max_download_bytes
    too_large = Refused("address over the limit", f"it holds over {limit / (1 << 20):g} MiB (--max-download-mib)")
    try:
        with answer(entry.name, entry.advance) as found:
            headers: Message = found.headers
            if int(headers.get("Content-Length") or 0) > limit:
                raise too_large
            packed = headers.get("Content-Encoding", "") in ("gzip", "x-gzip") and not entry.name.endswith("gz")
            unpacking = zlib.decompressobj(31) if packed else None
            size, began = 0, time.monotonic()
            with open(content, "wb") as file:
                while block := found.read(64 << 10):
                    entry.advance(len(block))
                    if unpacking is not None:
                        block = unpacking.decompress(block, BLOCK_BYTES)
                        while unpacking.unconsumed_tail:
                            size += file.write(block)
                            if size > limit:
                                raise too_large
                            block = unpacking.decompress(unpacking.unconsumed_tail, BLOCK_BYTES)
                    size += file.write(block)
                    if size > limit:
                        raise too_large
                    if time.monotonic() - began > SLOW_SECONDS + size / SLOW_BYTES:
                        raise Refused(NOT_FETCHED, f"it came at less than {SLOW_BYTES} bytes a second")
            expected = headers.get("Content-Length")
            if expected is not None and not packed and size < int(expected):
                raise Refused(NOT_FETCHED, f"it ended after {size:,} of {int(expected):,} bytes", passing=True)
    except (OSError, http.client.HTTPException, zlib.error, ValueError) as error:
        raise Refused(NOT_FETCHED, why(error), passing=not isinstance(error, ValueError)) from None
    return Download(
        address=entry.name,
        media=headers.get_content_type() if headers.get("Content-Type") else "",
        charset=codec_of(str(headers.get_param("charset") or "")),
        etag=headers.get("ETag", "")[:200],
        modified=headers.get("Last-Modified", "")[:100],
        size=size,
    )
