"""Chat templates: Jinja from a model file, run in a sandbox as transformers runs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from workbench.contract import Message
from workbench.errors import WorkbenchError


class _Generation(Extension):
    """`{% generation %}` marks the assistant's tokens for training; in a prompt it is its content."""

    tags = {"generation"}

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def compile_template(source: str, special_tokens: Mapping[str, str]) -> Callable[[Sequence[Message]], str]:
    """A function from messages to the prompt, ready for the assistant's turn.

    `special_tokens` are the template's variables `bos_token`, `eos_token`, …
    Raises `WorkbenchError` if the template is not valid Jinja; the function does, if it refuses the messages.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(raise_exception=_raise, strftime_now=lambda form: datetime.now().strftime(form))
    try:
        template = environment.from_string(source)
    except jinja2.TemplateError as error:
        raise WorkbenchError(
            f"The model's chat template is not valid: {error}.", "Mend chat_template.jinja and export the model again."
        ) from None

    def render(messages: Sequence[Message]) -> str:
        try:
            return template.render(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **special_tokens,
            )
        except (jinja2.TemplateError, TypeError, KeyError) as error:
            raise WorkbenchError(
                f"The model's chat template refuses the conversation: {error}.", "Try without a system message."
            ) from None

    return render


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)  # Jinja's own escapes for HTML


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
