"""Chat templates: Jinja from a model's folder, run in a sandbox, with what the text of a message may not do.

A rendering is searched for special tokens afterwards, so `<|im_end|>` inside a message would end its turn. Such
texts are put behind private characters while the template runs, and come back as ordinary text: the rendering
says where they stand. `{% generation %}` blocks are found by private characters too, which needs nothing of
Jinja's insides and lives through filters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from workbench.errors import WorkbenchError

Messages = Sequence[Mapping[str, Any]]
UNDROP = "Use a template that writes it, or leave system messages out of the data."

# Plane 16 is for private use. One of its characters in a message is put behind another, like a special token.
_BEGIN, _END, _FIRST = 0x100000, 0x100001, 0x100002
_PRIVATE = re.compile("[\U00100000-\U0010fffd]")


@dataclass(frozen=True, slots=True)
class Rendering:
    """`text`, with the character spans in it that `{% generation %}` marks, and those of special tokens' texts that
    came from messages, which are not special."""

    text: str
    generated: tuple[tuple[int, int], ...]
    plain: tuple[tuple[int, int], ...]


class _Generation(Extension):
    """`{% generation %}` … `{% endgeneration %}`: what the model is to learn to write."""

    tags = {"generation"}

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        self.environment.globals["_has_markers"] = True
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        return f"{chr(_BEGIN)}{caller()}{chr(_END)}"


class ChatTemplate:
    """A compiled template. `variables` are its `bos_token` and the like; `special` are the texts of special tokens."""

    def __init__(self, source: str, *, name: str, variables: Mapping[str, str], special: Iterable[str]):
        """`name` stands in errors. Raises `WorkbenchError` if it is not valid Jinja."""
        self.source, self.name = source, name
        self._variables = dict(variables)
        longest_first = sorted(filter(None, special), key=len, reverse=True)
        self._special = re.compile("|".join([*map(re.escape, longest_first), _PRIVATE.pattern]))
        self._begins = {text[0] for text in longest_first}
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_raise, strftime_now=lambda form: datetime.now().strftime(form))
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise WorkbenchError(
                f"The chat template {name} is not valid: {error}.", "Mend the file, or remove it to use ChatML."
            ) from None
        self.has_markers = bool(environment.globals.get("_has_markers"))  # `{% generation %}` stands in it

    def render(
        self, messages: Messages, tools: Sequence[Any] | None = None, *, add_generation_prompt: bool = False
    ) -> Rendering:
        """The conversation as one text; with `add_generation_prompt` it is ready for the assistant's turn.

        Raises `WorkbenchError` if the template refuses the messages.
        """
        behind = _Behind(self._special, self._begins)
        try:
            marked = self._template.render(
                messages=[behind.put(dict(message)) for message in messages],
                tools=behind.put(list(tools)) if tools else None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._variables,
            )
        except (jinja2.TemplateError, TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            said = behind.back(str(error)).rstrip(".")
            raise WorkbenchError(
                f"The chat template {self.name} refuses the conversation: {said}.",
                "Its roles or their order may not be what the template takes.",
            ) from None
        return behind.rendering(marked)


def require_system_turn(folder: Path, conversations: str) -> None:
    """Raises `WorkbenchError` if the chat template of the model in `folder` drops or refuses system messages, which the
    `conversations` have: "3 conversations of chats"."""
    from workbench.corpus.chats.model_folder import own_template, read_config, token_text

    config = read_config(folder)
    source = own_template(folder, config)
    if source is None:
        return  # ChatML takes its place
    named = {role: text for role, token in config.items() if (text := token_text(token)) and role.endswith("_token")}
    template = ChatTemplate(source, name=f"of {folder.name}", variables=named, special=named.values())
    word = "Distinctly"
    turns = [("system", word), ("user", "Hello."), ("assistant", "Hello.")]
    if word not in template.render([{"role": role, "content": text} for role, text in turns]).text:
        raise WorkbenchError(f"The chat template of {folder.name} drops the system message of {conversations}.", UNDROP)


class _Behind:
    """Special tokens' texts of one conversation, behind private characters."""

    def __init__(self, special: re.Pattern[str], begins: set[str]):
        self._special, self._begins = special, begins
        self._characters: dict[str, str] = {}  # text -> its character

    def put(self, value: Any) -> Any:
        """`value` with the special texts in all its strings, keys too, replaced."""
        if isinstance(value, str):
            # Most texts hold not even the character that a special token begins with: finding that out is quick.
            if value.isascii() and not any(begin in value for begin in self._begins):
                return value
            return self._special.sub(self._replace, value)
        if isinstance(value, Mapping):
            return {self.put(key): self.put(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.put(item) for item in value]
        return value

    def back(self, text: str) -> str:
        return self.rendering(text).text if _PRIVATE.search(text) else text

    def rendering(self, marked: str) -> Rendering:
        """What the template wrote, with everything back in its place."""
        originals = {character: text for text, character in self._characters.items()}
        pieces: list[str] = []
        generated: list[tuple[int, int]] = []
        plain: list[tuple[int, int]] = []
        begun: list[int] = []
        length = last = 0
        for match in _PRIVATE.finditer(marked):
            pieces.append(marked[last : match.start()])
            length += match.start() - last
            last = match.end()
            character = match.group()
            if character == chr(_BEGIN):
                begun.append(length)
            elif character == chr(_END):
                if begun:  # a filter may have cut its beginning off
                    generated.append((begun.pop(), length))
            else:
                text = originals[character]
                pieces.append(text)
                plain.append((length, length + len(text)))
                length += len(text)
        pieces.append(marked[last:])
        return Rendering("".join(pieces), tuple(sorted(generated)), tuple(plain))

    def _replace(self, match: re.Match[str]) -> str:
        text = match.group()
        return self._characters.setdefault(text, chr(_FIRST + len(self._characters)))


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)  # Jinja's own escapes for HTML


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
