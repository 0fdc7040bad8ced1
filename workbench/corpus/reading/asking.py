"""Requests to servers of the web, as a guest makes them: named, unhurried, and by the rules of their robots.txt."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from workbench import __version__
from workbench.corpus.addresses import NOT_FETCHED
from workbench.corpus.reading import robots

AGENT = "llm-workbench"
HEADERS = {"User-Agent": f"{AGENT}/{__version__} (reads addresses that its user lists)", "Accept-Encoding": "identity"}
TIMEOUT_SECONDS = 20.0  # of one answer or one block
SECONDS_BETWEEN = 0.25  # requests to one host, unless its robots.txt asks for more
MAX_REDIRECTS = 5
TRY_AGAIN = (408, 429, 500, 502, 503, 504)

Waiting = Callable[[int], None]  # is called with 0 now and then; may raise


class Refused(Exception):
    """An address gives nothing. `passing`: it may, a moment later."""

    def __init__(self, reason: str, why: str, passing: bool = False):
        super().__init__(why)
        self.reason = reason
        self.why = why
        self.passing = passing


def answer(address: str, waiting: Waiting) -> Any:
    """The answer to a request, after redirects that robots.txt of their hosts allow. Raises `Refused`."""
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(address)
        site = _site(f"{parts.scheme}://{parts.netloc}")
        if not site.robots(waiting).allows(parts.path + (f"?{parts.query}" if parts.query else "")):
            raise Refused("robots.txt forbids it", f"robots.txt of {parts.netloc} asks programs not to fetch it")
        site.wait(waiting)
        try:
            return _request(address)
        except urllib.error.HTTPError as error:
            with error:
                target = error.headers.get("Location")
                if error.code in (301, 302, 303, 307, 308) and target:
                    address = urljoin(address, target)
                    if urlsplit(address).scheme not in ("http", "https"):
                        raise Refused(NOT_FETCHED, "it leads to what is no page of the web") from None
                    continue
                passing = error.code in TRY_AGAIN
                raise Refused(NOT_FETCHED, f"the answer was {error.code} {error.reason}", passing) from None
    raise Refused(NOT_FETCHED, f"it leads on more than {MAX_REDIRECTS} times")


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

    def robots(self, waiting: Waiting) -> robots.Robots:
        """Its rules: none where it has no robots.txt; nothing is allowed while that cannot be had (RFC 9309, 2.3.1)."""
        if self._robots is None:
            self.wait(waiting)
            try:
                with _request(f"{self._root}/robots.txt") as found:
                    self._robots = robots.parse(found.read(robots.MAX_BYTES).decode("utf-8", "replace"), AGENT)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in TRY_AGAIN or error.code >= 500:
                        told = f"its robots.txt cannot be had: the answer was {error.code}"
                        raise Refused(NOT_FETCHED, told, passing=True) from None
                self._robots = robots.Robots()
        return self._robots

    def wait(self, waiting: Waiting) -> None:
        delay = max(SECONDS_BETWEEN, self._robots.delay if self._robots is not None else 0.0)
        wait(waiting, self._asked + delay - time.monotonic())
        self._asked = time.monotonic()


@cache
def _site(root: str) -> _Site:
    return _Site(root)


def wait(waiting: Waiting, seconds: float) -> None:
    """Wait, hearing of a stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        waiting(0)
        time.sleep(min(left, 0.1))


def why(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, Exception) else error
    told = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return str(told).splitlines()[0].rstrip(".")
