"""Who may come in, and what the terminal is told of each request."""

from __future__ import annotations

import hmac
import re
import traceback
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.safe_text import strip_controls
from workbench.serving.refusal import Refusal

LONGEST_LINE = 300  # characters


class Door:
    """Lets in who names this machine as the host, comes from no other web page, and has the key.

    A page in the user's browser can send requests to any address, and under a name of its own that it has resolved
    to 127.0.0.1 also read the answers (DNS rebinding): the headers Host and Origin, which it cannot choose, tell.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] | None, key: str | None):
        """`hosts`: names that requests may have in their header; None: any. `key`: what they must carry, if any."""
        self._app, self._hosts, self._key = app, hosts, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] == "http":
                self._look_at(scope)
        except Refusal as refusal:
            await refused(scope, refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _look_at(self, scope: Scope) -> None:
        """Raises `Refusal`."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        name = re.sub(r":\d*\Z", "", host).lower()
        if self._hosts is not None and name not in self._hosts:
            raise Refusal(
                f"The host {name[:80]!r} is not this server's.", f"Call it {' or '.join(self._hosts)}.", status=403
            )
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refusal(f"Pages of {origin[:80]!r} may not ask this server.", "Ask from a program.", status=403)
        if self._key is not None and scope["path"] != "/health":
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._key.encode()):
                raise Refusal(
                    "The API key is missing or wrong.", "Send it as Authorization: Bearer KEY.", status=401,
                    code="invalid_api_key",
                )  # fmt: skip


class Log:
    """Says a line about each request, and turns what nobody foresaw into a sentence."""

    def __init__(self, app: ASGIApp, *, say: Callable[[str], None], debug: bool):
        self._app, self._say, self._debug = app, say, debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        scope["state"]["note"] = ""

        async def heard(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, heard)
        except Exception as error:
            if self._debug:
                traceback.print_exc()
            refusal = Refusal(
                f"{type(error).__name__}: {error}", "Begin the server with --debug for the traceback.", status=500
            )
            if not status:
                await refused(scope, refusal)(scope, receive, heard)
            scope["state"]["note"] = str(refusal)
        finally:
            parts = (scope["method"], scope["path"][:80], str(status or ""), scope["state"]["note"])
            # A path may hold anything, a line feed too.
            self._say(" ".join(strip_controls(" ".join(parts)).split())[:LONGEST_LINE])


def refused(scope: Scope, refusal: Refusal) -> JSONResponse:
    """The response, with a note for the log."""
    scope["state"]["note"] = str(refusal)
    headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
    return JSONResponse(refusal.body(), refusal.status, headers)
