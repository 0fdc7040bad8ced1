"""Addresses of the web: fetched one by one, politely, into files that are then read as any other."""

from __future__ import annotations

import dataclasses
import http.client
import json
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from workbench import __version__
from workbench.corpus.kinds import kind_of
from workbench.corpus.reading import robots
from workbench.corpus.reading.encodings import codec_of
from workbench.corpus.reading.entry import BLOCK_BYTES, Entry
from workbench.corpus.reading.raw import Raw, Reject, UnusableFile
from workbench.durable import write_json

AGENT = "llm-workbench"
HEADERS = {"User-Agent": f"{AGENT}/{__version__} (reads addresses that its user lists)", "Accept-Encoding": "identity"}
TIMEOUT_SECONDS = 20.0  # of one answer or one block
SLOW_SECONDS = 30.0  # a download may lag by this much behind SLOW_BYTES a second
SLOW_BYTES = 1024
SECONDS_BETWEEN = 0.25  # requests to one host, unless its robots.txt asks for more
SECONDS_BEFORE_RETRY = 1.0
MAX_REDIRECTS = 5
TRY_AGAIN = (408, 429, 500, 502, 503, 504)
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
    """What an address gave: kept beside the file, so that an interrupted run goes on with the same bytes.

    `problem` is (reason, why) where nothing could be fetched.
    """

    address: str
    media: str = ""
    charset: str = ""
    etag: str = ""
    modified: str = ""
    size: int = 0
    problem: tuple[str, str] | None = None


def read_address(entry: Entry, read: Callable[[Entry], Iterator[Raw | Reject]]) -> Iterator[Raw | Reject]:
    """What an address holds. `read` reads the file that it is fetched into."""
    if entry.options.scratch is not None:
        folder = entry.options.scratch / "downloads"
        folder.mkdir(parents=True, exist_ok=True)
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
    if found.problem is not None:
        reason, why = found.problem
        remedy = "Open it in a browser; what needs a login or a script has to be downloaded by hand."
        raise UnusableFile(reason, f"{entry.name} was not fetched: {why}.", remedy)
    label = PurePosixPath(unquote(urlsplit(entry.name).path)).name or "index.html"
    kind = _kind(label, found.media)
    if not kind:
        yield entry.reject("not a kind that can be read", found.media)
        return
    fetched = dataclasses.replace(
        entry, label=label, kind=kind, path=content, size=found.size, encoding=found.charset, advance=_unheard(entry)
    )
    yield from read(fetched)


def _earlier(receipt: Path, content: Path) -> Download | None:
    """What an earlier attempt at the same run has fetched."""
    try:
        plain: dict[str, Any] = json.loads(receipt.read_bytes())
        found = Download(**{**plain, "problem": tuple(plain["problem"]) if plain["problem"] else None})
        if found.problem is None and content.stat().st_size != found.size:
            return None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found


def _kind(label: str, media: str) -> str:
    """A page is one whatever its address ends in; else the ending tells more than the server."""
    told = MEDIA.get(media, "")
    return told if told == "html" else kind_of(label) or told or ("text" if media.startswith("text/") else "")


def _unheard(entry: Entry) -> Callable[[int], None]:
    return lambda _: entry.advance(0)  # its bytes were counted when they came


def _fetch(entry: Entry, content: Path) -> Download:
    """Fetch an address into the file `content`, trying twice."""
    for attempt in (1, 2):
        try:
            return _download(entry, content)
        except _Refused as problem:
            if attempt == 2 or not problem.passing:
                return Download(entry.name, problem=(problem.reason, problem.why))
            _wait(entry, SECONDS_BEFORE_RETRY)
    raise AssertionError


class _Refused(Exception):
    """An address gives nothing. `passing`: it may, a moment later."""

    def __init__(self, reason: str, why: str, passing: bool = False):
        super().__init__(why)
        self.reason = reason
        self.why = why
        self.passing = passing


def _download(entry: Entry, content: Path) -> Download:
    limit = entry.options.max_download_bytes
    too_large = _Refused("address over the limit", f"it holds over {limit / (1 << 20):g} MiB (--max-download-mib)")
    try:
        with _answer(entry, entry.name) as answer:
            headers: Message = answer.headers
            if int(headers.get("Content-Length") or 0) > limit:
                raise too_large
            packed = headers.get("Content-Encoding", "") in ("gzip", "x-gzip") and not entry.name.endswith("gz")
            unpacking = zlib.decompressobj(31) if packed else None
            size, began = 0, time.monotonic()
            with open(content, "wb") as file:
                while block := answer.read(64 << 10):
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
                        raise _Refused("not fetched", f"it came at less than {SLOW_BYTES} bytes a second")
            expected = headers.get("Content-Length")
            if expected is not None and not packed and size < int(expected):
                raise _Refused("not fetched", f"it ended after {size:,} of {int(expected):,} bytes", passing=True)
    except (OSError, http.client.HTTPException, zlib.error, ValueError) as error:
        raise _Refused("not fetched", _why(error), passing=not isinstance(error, ValueError)) from None
    return Download(
        address=entry.name,
        media=headers.get_content_type() if headers.get("Content-Type") else "",
        charset=codec_of(str(headers.get_param("charset") or "")),
        etag=headers.get("ETag", "")[:200],
        modified=headers.get("Last-Modified", "")[:100],
        size=size,
    )


def _answer(entry: Entry, address: str) -> Any:
    """The answer to a request, after redirects that robots.txt of their hosts allow. Raises `_Refused`."""
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(address)
        site = _site(f"{parts.scheme}://{parts.netloc}")
        if not site.robots(entry).allows(parts.path + (f"?{parts.query}" if parts.query else "")):
            raise _Refused("robots.txt forbids it", f"robots.txt of {parts.netloc} asks programs not to fetch it")
        site.wait(entry)
        try:
            return _request(address)
        except urllib.error.HTTPError as error:
            with error:
                target = error.headers.get("Location")
                if error.code in (301, 302, 303, 307, 308) and target:
                    address = urljoin(address, target)
                    if urlsplit(address).scheme not in ("http", "https"):
                        raise _Refused("not fetched", "it leads to what is no page of the web") from None
                    continue
                passing = error.code in TRY_AGAIN
                raise _Refused("not fetched", f"the answer was {error.code} {error.reason}", passing) from None
    raise _Refused("not fetched", f"it leads on more than {MAX_REDIRECTS} times")


def _request(address: str) -> Any:
    """Raises `urllib.error.HTTPError` for all answers that are no contents, redirects too."""
    request = urllib.request.Request(quote(address.partition("#")[0], safe="/:?&=%#@!$,;+~*'()[]"), headers=HEADERS)
    return _opener().open(request, timeout=TIMEOUT_SECONDS)


@cache
def _opener() -> urllib.request.OpenerDirector:
    """Web pages alone: not urllib's files and FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Site:
    """A host, as far as politeness needs it."""

    def __init__(self, root: str):
        self._root = root
        self._robots: robots.Robots | None = None
        self._asked = 0.0

    def robots(self, entry: Entry) -> robots.Robots:
        """Its rules: none where it has no robots.txt; nothing is allowed while that cannot be had (RFC 9309, 2.3.1)."""
        if self._robots is None:
            self.wait(entry)
            try:
                with _request(f"{self._root}/robots.txt") as answer:
                    self._robots = robots.parse(answer.read(robots.MAX_BYTES).decode("utf-8", "replace"), AGENT)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in TRY_AGAIN or error.code >= 500:
                        why = f"its robots.txt cannot be had: the answer was {error.code}"
                        raise _Refused("not fetched", why, passing=True) from None
                self._robots = robots.Robots()
        return self._robots

    def wait(self, entry: Entry) -> None:
        delay = max(SECONDS_BETWEEN, self._robots.delay if self._robots is not None else 0.0)
        _wait(entry, self._asked + delay - time.monotonic())
        self._asked = time.monotonic()


@cache
def _site(root: str) -> _Site:
    return _Site(root)


def _wait(entry: Entry, seconds: float) -> None:
    """Wait, hearing of a stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        entry.advance(0)
        time.sleep(min(left, 0.1))


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, Exception) else error
    why = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return str(why).splitlines()[0].rstrip(".")
