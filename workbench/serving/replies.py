"""How answers are told: OpenAI's objects, whole or as pieces of a stream."""

from __future__ import annotations

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from workbench.contract import Token
from workbench.serving.answering import Writing

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"


class Reply(ABC):
    """One reply: its name, and the form of its objects."""

    prefix: str  # of the name
    whole: str  # the kind of object that a whole answer is
    piece: str  # and one of a stream

    def __init__(self, model: str):
        self._head = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._begun: set[int] = set()

    def answers(self, tokens: Sequence[Token], count: int, writing: Writing) -> Json:
        """The whole of `count` answers."""
        texts, finishes = [""] * count, ["stop"] * count
        for token in tokens:
            texts[token.prompt] += token.text
            finishes[token.prompt] = token.finish or finishes[token.prompt]
        choices = [self._choice(number, texts[number], finishes[number]) for number in range(count)]
        return {**self._head, "object": self.whole, "choices": choices, "usage": usage(writing)}

    def pieces(self, token: Token, *, with_usage: bool) -> Iterable[Json]:
        """What a stream tells of a token: nothing where it has no text and ends nothing."""
        more = {"usage": None} if with_usage else {}
        for choice in self._choices(token):
            yield {**self._head, "object": self.piece, "choices": [choice], **more}

    def last(self, writing: Writing) -> Json:
        """The piece of a stream that holds the count of tokens."""
        return {**self._head, "object": self.piece, "choices": [], "usage": usage(writing)}

    @abstractmethod
    def _choice(self, number: int, text: str, finish: str) -> Json: ...

    @abstractmethod
    def _choices(self, token: Token) -> Iterable[Json]: ...


class ChatReply(Reply):
    prefix, whole, piece = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def _choice(self, number: int, text: str, finish: str) -> Json:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": number, "message": message, "logprobs": None, "finish_reason": finish}

    def _choices(self, token: Token) -> Iterable[Json]:
        if token.prompt not in self._begun:
            self._begun.add(token.prompt)
            yield self._delta(token.prompt, {"role": "assistant", "content": ""}, None)
        if token.text:
            yield self._delta(token.prompt, {"content": token.text}, None)
        if token.finish:
            yield self._delta(token.prompt, {}, token.finish)

    @staticmethod
    def _delta(number: int, delta: Json, finish: str | None) -> Json:
        return {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish}


class CompletionReply(Reply):
    prefix, whole, piece = "cmpl", "text_completion", "text_completion"

    def _choice(self, number: int, text: str, finish: str | None) -> Json:
        return {"index": number, "text": text, "logprobs": None, "finish_reason": finish}

    def _choices(self, token: Token) -> Iterable[Json]:
        if token.text or token.finish:
            yield self._choice(token.prompt, token.text, token.finish)


def usage(writing: Writing) -> Json:
    """Tokens, by the model's own tokenizer; a BOS that the model itself puts before is not counted."""
    read, written = writing.prompt_tokens, writing.tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def event(plain: Json) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(plain).encode() + b"\n\n"
