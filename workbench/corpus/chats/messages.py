"""Messages in the one form in which they are kept: `{"role", "content"}`, perhaps `tool_calls` and `name`.

Roles are system, user, assistant and tool. Texts stay as they are, control characters too: what shows them strips
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Message = dict[str, Any]

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "question": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "bing": "assistant", "bard": "assistant", "answer": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
KEPT = ("name", "tool_call_id")


class Unfit(Exception):
    """A row, or a part of it, that cannot be used; the text is what it is counted under."""


def message(value: Any) -> Message:
    """One message from OpenAI's or ShareGPT's form. Raises `Unfit`."""
    if not isinstance(value, Mapping):
        raise Unfit("a message is not an object")
    given = value.get("role", value.get("from"))
    if not isinstance(given, str):
        raise Unfit("a message without a role")
    role = ROLES.get(given.strip().lower())
    if role is None:
        raise Unfit("unknown role")
    content = next((value[key] for key in ("content", "value", "text") if value.get(key) is not None), None)
    calls = value.get("tool_calls") or None
    if given == "function_call":
        calls, content = [_parsed(content)], None
    found: Message = {"role": role, "content": _text(content) if content is not None or not calls else ""}
    if calls:
        found["tool_calls"] = [_call(call) for call in _parsed(calls, list)]
    for key in KEPT:
        if isinstance(value.get(key), str):
            found[key] = value[key]
    return found


def messages(value: Any) -> list[Message]:
    """A conversation, from a list or the JSON text of one. Raises `Unfit`."""
    value = _parsed(value, list) if isinstance(value, str) else value
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise Unfit("no messages")
    return [message(item) for item in value]


def tools(value: Any) -> list[Any] | None:
    """What the assistant may call, from a list or the JSON text of one. Raises `Unfit`."""
    if value is None or value == "" or value == [] or value == "[]":
        return None
    if isinstance(value, str):
        value = _parsed(value, list)
    if not isinstance(value, list):
        raise Unfit("tools are not a list")
    return value


def says_nothing(item: Message) -> bool:
    """Whether a message has neither text nor a call."""
    return not item["content"].strip() and not item.get("tool_calls")


def check_order(turns: Sequence[Message]) -> None:
    """Raises `Unfit` unless the roles are: perhaps system, then user and assistant in turns, where a tool may answer
    between two of the assistant's; and none of them says nothing."""
    before = "start"
    for place, turn in enumerate(turns):
        role = turn["role"]
        if says_nothing(turn) and role != "tool":
            raise Unfit({"user": "empty question", "assistant": "empty answer"}.get(role, "empty system message"))
        fits = {
            "system": place == 0,
            "user": before in ("start", "system", "assistant"),
            "assistant": before in ("user", "tool"),
            "tool": before in ("assistant", "tool"),
        }[role]
        if not fits:
            raise Unfit("roles out of order")
        before = role


def check_answered(turns: Sequence[Message]) -> None:
    """Raises `Unfit` unless the conversation is in order and ends in an answer."""
    if not any(turn["role"] == "assistant" for turn in turns):
        raise Unfit("no answer")
    check_order(turns)
    if turns[-1]["role"] != "assistant":
        raise Unfit("no answer to the last question")


def canonical(value: Any) -> str:
    """JSON text, alike for what is alike. Raises `Unfit` for what is nested too deeply."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:
        raise Unfit("nested too deeply") from None


def _text(content: Any) -> str:
    """The text of a message's content, which may come in parts. Raises `Unfit`."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content):
        if not all(part.get("type", "text") == "text" and isinstance(part.get("text"), str) for part in content):
            raise Unfit("content is not text")
        return "".join(part["text"] for part in content)
    raise Unfit("content is not text")


def _call(value: Any) -> dict[str, Any]:
    """A tool call in OpenAI's form, with its arguments as an object, as templates want them."""
    if not isinstance(value, Mapping):
        raise Unfit("a tool call is not an object")
    inner = value.get("function")
    function = inner if isinstance(inner, Mapping) else value
    name, arguments = function.get("name"), function.get("arguments", {})
    if not isinstance(name, str):
        raise Unfit("a tool call without a name")
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            raise Unfit("a tool call whose arguments are not JSON") from None
    found: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    if isinstance(value.get("id"), str):
        found["id"] = value["id"]
    return found


def _parsed(value: Any, kind: type = dict) -> Any:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise Unfit("a field that should be JSON is not") from None
    if not isinstance(value, kind):
        raise Unfit("a field is not what its name says")
    return value
