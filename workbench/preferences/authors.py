"""Who writes: a model of the project, or an OpenAI-compatible server."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from workbench.contract import LanguageModel, Message, Sampling
from workbench.errors import WorkbenchError

TIMEOUT_SECONDS = 300
ATTEMPTS = 5  # of a request that the server could not serve for now
KEY = "OPENAI_API_KEY"
UNFIT = (400, 413, 422)  # statuses that are about one request


class Written(NamedTuple):
    """An answer; `whole` is false where it was cut off at its longest."""

    text: str
    whole: bool


class Refused(WorkbenchError):
    """The server is there, but would not answer this one request; mostly it is too long for its model."""


class Author(Protocol):
    """Writes answers."""

    chats: bool  # whether it takes turns; else it continues text

    def write(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[Written]:
        """The answer to each prompt."""


class ModelAuthor:
    """A model that an engine has opened; `check` is called while it writes, and may raise."""

    def __init__(self, model: LanguageModel, check: Callable[[], None]):
        self._model, self._check = model, check
        self.chats = model.chat_template is not None

    def write(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[Written]:
        rendered = [self._model.render(messages) for messages in prompts]
        texts = ["" for _ in prompts]
        finishes: list[str | None] = [None for _ in prompts]
        for token in self._model.generate(rendered, sampling):
            self._check()
            texts[token.prompt] += token.text
            finishes[token.prompt] = token.finish or finishes[token.prompt]
        return [Written(text, finish == "stop") for text, finish in zip(texts, finishes, strict=True)]


class EndpointAuthor:
    """A server that speaks OpenAI's chat completions. `check` is called between requests."""

    chats = True

    def __init__(
        self,
        address: str,
        model: str,
        check: Callable[[], None],
        *,
        pause_seconds: float = 1.0,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ):
        """`pause_seconds` before the second attempt at a request; each further one waits twice as long."""
        self._address = f"{address.rstrip('/').removesuffix('/chat/completions')}/chat/completions"
        self._model, self._check, self._pause = model, check, pause_seconds
        self._timeout = timeout_seconds

    def write(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[Written]:
        """Raises `Refused` if the server would not answer this, `WorkbenchError` if it refuses us, or is not there."""
        written = []
        for number, messages in enumerate(prompts):
            self._check()
            answer = self._request(
                {
                    "model": self._model,
                    "messages": [dict(message) for message in messages],
                    "max_tokens": sampling.max_tokens,
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                    "seed": None if sampling.seed is None else sampling.seed + number,
                }
            )
            try:
                choice = answer["choices"][0]
                written.append(Written(choice["message"]["content"] or "", choice.get("finish_reason") != "length"))
            except (KeyError, IndexError, TypeError):
                raise WorkbenchError(
                    f"{self._address} answered something else than a chat completion: {json.dumps(answer)[:200]}.",
                    "Check the address; it usually ends in /v1.",
                ) from None
        return written

    def _request(self, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
        request = urllib.request.Request(self._address, data=data, headers=headers)
        for attempt in range(ATTEMPTS):
            try:
                with _OPENER.open(request, timeout=self._timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                said = error.read(500).decode(errors="replace").strip()
                busy = error.code == 429 or error.code >= 500
                if not busy or attempt == ATTEMPTS - 1:
                    remedy = f"Set {KEY} to a key that it takes." if error.code in (401, 403) else "Check its log."
                    kind = Refused if error.code in UNFIT else WorkbenchError
                    raise kind(f"{self._address} refused with status {error.code}: {said[:200]}.", remedy) from None
            except ValueError:
                what = f"{self._address} answered something that is not JSON."
                raise WorkbenchError(what, "Check the address; it usually ends in /v1.") from None
            except (OSError, http.client.HTTPException) as error:  # it may go away in the middle of its answer
                if attempt == ATTEMPTS - 1:
                    why = getattr(error, "reason", None) or error
                    raise WorkbenchError(
                        f"{self._address} cannot be reached: {why}.", "Start the server, or check the address."
                    ) from None
            self._wait(self._pause * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._check()
            time.sleep(min(0.1, seconds))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected request would take the key along to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)
