"""What may be asked: OpenAI's chat completions and completions, as far as a model of texts can serve them.

A field of OpenAI's that would change the answer, and that is not offered, is refused; one that changes nothing is
let pass; one that nobody knows is taken for a slip of the pen.
"""

from __future__ import annotations

import difflib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from workbench.chat.conversation import SETTINGS
from workbench.contract import Message, Sampling
from workbench.serving.refusal import Refusal

MOST_ANSWERS = 128  # to one request, as OpenAI has it

HARMLESS = {
    "metadata", "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "service_tier", "store", "user",
}  # fmt: skip
# field -> (values that ask for nothing, what to do instead)
NOT_OFFERED: dict[str, tuple[Sequence[Any], str]] = {
    "audio": ([], "Leave it out: text is read and written alone."),
    "best_of": ([1], "Leave it out, ask for n answers and choose."),
    "echo": ([False], "Leave it out, and put the prompt before the answer yourself."),
    "frequency_penalty": ([0, 0.0], "Leave it out; repetition_penalty is there."),
    "function_call": (["none", "auto"], "Leave it out."),
    "functions": ([[]], "Leave it out."),
    "logit_bias": ([{}], "Leave it out."),
    "logprobs": ([False], "Leave it out."),
    "modalities": ([["text"]], "Leave it out: text is read and written alone."),
    "presence_penalty": ([0, 0.0], "Leave it out; repetition_penalty is there."),
    "reasoning_effort": (["none"], "Leave it out."),
    "response_format": ([{"type": "text"}], "Leave it out, and ask for the form in the prompt."),
    "suffix": ([""], "Leave it out: text is continued at its end alone."),
    "tool_choice": (["none", "auto"], "Leave it out."),
    "tools": ([[]], "Leave it out."),
    "top_logprobs": ([0], "Leave it out."),
    "verbosity": ([], "Leave it out."),
    "web_search_options": ([], "Leave it out."),
}
HARMLESS_IN_MESSAGES = {"annotations", "name", "refusal"}
NOT_OFFERED_IN_MESSAGES: dict[str, tuple[Sequence[Any], str]] = {
    "audio": ([], "Leave it out: text is read and written alone."),
    "function_call": ([], "Leave it out, and say in content what the function gave."),
    "tool_calls": ([[]], "Leave it out, and say in content what the tool gave."),
}
EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "an object",
    "string_type": "a text",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What the model is to write: answers to `messages`, or to each of `prompts`, which it continues."""

    sampling: Sampling
    messages: Sequence[Message] = ()
    prompts: Sequence[str] = ()
    answers: int = 1  # to each


class Asked(BaseModel, ABC):
    """What both kinds of requests have."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: list[str] | None = None
    n: int | None = Field(default=None, ge=1)
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @abstractmethod
    def question(self, defaults: Sampling) -> Question:
        """`defaults` are for what the request leaves open. Raises `Refusal`."""

    def with_usage(self) -> bool:
        """Whether a stream is to end in the count of tokens."""
        return bool((self.stream_options or {}).get("include_usage"))

    def _sampling(self, defaults: Sampling) -> Sampling:
        given = {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}
        if "stop" in given:
            given["stop"] = tuple(given["stop"])
        for name, value in given.items():
            if not SETTINGS[name].holds(value):
                raise Refusal(f"{name} is {_told(value)}, but should be {SETTINGS[name].help}.", parameter=name)
        return replace(defaults, **given)

    def _answers(self, prompts: int) -> int:
        answers = self.n or 1
        if answers * prompts > MOST_ANSWERS:
            raise Refusal(
                f"{answers * prompts:,} answers are asked for at once, and {MOST_ANSWERS} are the most.",
                "Ask for fewer at a time.",
                parameter="n" if answers > 1 else "prompt",
            )
        return answers


class Said(BaseModel):
    """A message."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @field_validator("content", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """The text of a list of parts, each on lines of its own."""
        if not isinstance(value, list):
            return value
        for part in value:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind != "text" or not isinstance(part.get("text"), str):
                raise ValueError(
                    f'A part of a content is {_told(part)}, but only {{"type": "text", "text": …}} is read.'
                )
        return "\n".join(part["text"] for part in value)


class AskedChat(Asked):
    """`POST /v1/chat/completions`."""

    messages: list[Said] = Field(min_length=1)
    max_completion_tokens: int | None = None

    def question(self, defaults: Sampling) -> Question:
        for number, said in enumerate(self.messages):
            _look_at_the_rest(
                said, HARMLESS_IN_MESSAGES, NOT_OFFERED_IN_MESSAGES, known=Said.model_fields, at=f"messages.{number}."
            )
        if self.max_completion_tokens is not None:
            self.max_tokens = self.max_completion_tokens  # the newer name
        messages: list[Message] = [
            {"role": "system" if said.role == "developer" else said.role, "content": said.content}
            for said in self.messages
        ]
        return Question(self._sampling(defaults), messages=messages, answers=self._answers(1))


class AskedCompletion(Asked):
    """`POST /v1/completions`."""

    prompt: list[str] = Field(min_length=1)

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_or_several_prompts(cls, value: Any) -> Any:
        if isinstance(value, list) and value and all(isinstance(item, int | list) for item in value):
            raise ValueError("The prompt is a list of token ids, but should be a text, or a list of texts.")
        return [value] if isinstance(value, str) else value

    def question(self, defaults: Sampling) -> Question:
        return Question(self._sampling(defaults), prompts=self.prompt, answers=self._answers(len(self.prompt)))


def read(kind: type[Asked], body: bytes) -> Asked:
    """The request in `body`, a JSON object. Raises `Refusal` that names the field, its value and what it should be."""
    try:
        plain = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(f"The request is not JSON: {error}.", "Send an object, as UTF-8.") from None
    if not isinstance(plain, dict):
        raise Refusal(f"The request is {_told(plain)}, but should be a JSON object.", 'Such as {"prompt": "Once"}.')
    try:
        asked = kind.model_validate(plain)
    except ValidationError as error:
        raise _unfit(error) from None
    _look_at_the_rest(asked, HARMLESS, NOT_OFFERED, known=kind.model_fields)
    return asked


def _unfit(error: ValidationError) -> Refusal:
    """pydantic's first finding in our words."""
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(str(item) for item in first["loc"])
    context = first.get("ctx", {})
    match first["type"]:
        case "missing":
            return Refusal(f"{place} is missing.", "It is needed.", parameter=place)
        case "value_error":
            return Refusal(str(context["error"]), parameter=place)
        case "too_short":
            return Refusal(f"{place} is empty.", "It needs one entry or more.", parameter=place)
        case "greater_than_equal":
            expected = f"a whole number from {context['ge']}"
        case "literal_error":
            expected = context["expected"]
        case other:
            expected = EXPECTED.get(other, first["msg"])
    return Refusal(f"{place} is {_told(first['input'])}, but should be {expected}.", parameter=place)


def _look_at_the_rest(
    asked: BaseModel,
    harmless: Collection[str],
    not_offered: Mapping[str, tuple[Sequence[Any], str]],
    *,
    known: Collection[str],
    at: str = "",
) -> None:
    """Raises `Refusal` for a further field that asks for something."""
    for name, value in (asked.model_extra or {}).items():
        if value is None or name in harmless:
            continue
        if name not in not_offered:
            near = difflib.get_close_matches(name, [*known, *harmless], 1)
            remedy = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise Refusal(f"There is no field called {at + name[:80]!r}.", remedy, parameter=at + name[:80])
        idle, remedy = not_offered[name]
        if not any(type(value) is type(other) and value == other for other in idle):
            raise Refusal(f"{at}{name} is {_told(value)}, which is not offered here.", remedy, parameter=at + name)


def _told(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
