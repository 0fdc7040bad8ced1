"""The routes: OpenAI's models, chat completions and completions, and whether the model is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from workbench.contract import Sampling
from workbench.serving.answering import Desk, Writing
from workbench.serving.door import Door, Log, refused
from workbench.serving.refusal import Refusal
from workbench.serving.replies import DONE, ChatReply, CompletionReply, Reply, event
from workbench.serving.requests import Asked, AskedChat, AskedCompletion, read

MOST_BYTES = 4 * 2**20  # of a request
STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


def application(
    desk: Desk,
    name: str,
    defaults: Sampling,
    *,
    hosts: Collection[str] | None,
    key: str | None,
    say: Callable[[str], None],
    debug: bool = False,
) -> Starlette:
    """The server's application for the model that is called `name`.

    `defaults` are for what requests leave open; `hosts` and `key` as in `Door`; `say` is told a line a request.
    """
    model = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "workbench"}

    async def health(_request: Request) -> Response:
        if desk.alive:
            return JSONResponse({"status": "ok"})
        raise Refusal("The model's process has ended.", "It is opened again when it is next asked.", status=503)

    async def models(_request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    async def one_model(request: Request) -> Response:
        require(request.path_params["name"], name)
        return JSONResponse(model)

    routes = [
        Route("/health", health),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", one_model),
        Route("/v1/chat/completions", Completions(desk, name, defaults, AskedChat, ChatReply), methods=["POST"]),
        Route("/v1/completions", Completions(desk, name, defaults, AskedCompletion, CompletionReply), methods=["POST"]),
    ]
    there_are = ", ".join(route.path for route in routes if "{" not in route.path)

    async def tell(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            what, remedy = f"{request.method} {request.url.path[:80]} is nothing that this server does.", ""
            if error.status_code == 405:  # the path is right
                remedy = f"Ask it with {(error.headers or {}).get('Allow', 'another method')}."
            error = Refusal(what, remedy or f"There are: {there_are}.", status=error.status_code)
        assert isinstance(error, Refusal)
        return refused(request.scope, error)

    return Starlette(
        routes=routes,
        middleware=[Middleware(Log, say=say, debug=debug), Middleware(Door, hosts=hosts, key=key)],
        exception_handlers={Refusal: tell, HTTPException: tell},
    )


def require(asked: str | None, name: str) -> None:
    """Raises `Refusal` if another model than the one called `name` is asked for."""
    if asked is not None and asked != name:
        raise Refusal(
            f"There is no model called {asked[:80]!r} here.", f"There is: {name}.", status=404,
            parameter="model", code="model_not_found",
        )  # fmt: skip


class Completions:
    """An ASGI application that answers requests of one kind, whole or as a stream."""

    def __init__(self, desk: Desk, name: str, defaults: Sampling, kind: type[Asked], reply: type[Reply]):
        self._desk, self._name, self._defaults, self._kind, self._reply = desk, name, defaults, kind, reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked = read(self._kind, await body(Request(scope, receive)))
        except ClientDisconnect:
            return
        require(asked.model, self._name)
        telling = asyncio.create_task(self._tell(asked, scope, receive, send))
        gone = asyncio.create_task(_gone(receive))
        went_away = False
        try:
            await asyncio.wait({telling, gone}, return_when=asyncio.FIRST_COMPLETED)
            went_away = not telling.done()
            if not went_away:
                await telling
        finally:
            telling.cancel()
            gone.cancel()
            await asyncio.wait({telling, gone})
            if went_away:
                scope["state"]["note"] += "; who asked went away"

    async def _tell(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        question = asked.question(self._defaults)
        count = question.answers * max(1, len(question.prompts))
        reply = self._reply(self._name)
        async with self._desk.answer(question) as writing:
            try:
                if asked.stream:
                    await self._stream(reply, writing, asked.with_usage(), scope, send)
                else:
                    tokens = [token async for token in writing]
                    await JSONResponse(reply.answers(tokens, count, writing))(scope, receive, send)
            finally:
                told = f"{writing.prompt_tokens:,}+{writing.tokens:,} tokens, {writing.tokens_per_second:.1f} tokens/s"
                scope["state"]["note"] = f"{told} {scope['state']['note']}".rstrip()

    async def _stream(self, reply: Reply, writing: Writing, with_usage: bool, scope: Scope, send: Send) -> None:
        """The status is sent with the first token: until then a refusal can have its own."""
        begun = False

        async def tell(data: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        try:
            async for token in writing:
                if not begun:
                    await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
                    begun = True
                for piece in reply.pieces(token, with_usage=with_usage):
                    await tell(event(piece))
        except Refusal as refusal:
            if not begun:
                raise
            scope["state"]["note"] = str(refusal)
            await tell(event(refusal.body()), more=False)
            return
        if with_usage:
            await tell(event(reply.last(writing)))
        await tell(DONE, more=False)


async def body(request: Request) -> bytes:
    """The request's body. Raises `Refusal` if it is too large, `ClientDisconnect` if the rest never comes."""
    parts: list[bytes] = []
    size = int(request.headers.get("content-length", 0))
    if size <= MOST_BYTES:
        size = 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                break
    if size > MOST_BYTES:
        raise Refusal(
            f"The request has {size:,} bytes or more, and {MOST_BYTES:,} are the most.", "Send less.", status=413
        )
    return b"".join(parts)


async def _gone(receive: Receive) -> None:
    """Ends when the other side has gone away."""
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            return
