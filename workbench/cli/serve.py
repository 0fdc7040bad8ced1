"""`workbench serve`: a model for programs, over HTTP in OpenAI's form."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workbench.chat.conversation import Conversation
from workbench.cli import errors
from workbench.cli.chat import locate, sampling_options
from workbench.cli.output import common, complete_artifact, note
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.serving.answering import Desk

KEY = "WORKBENCH_API_KEY"
THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")


@click.command(
    "serve",
    epilog="\b\nExamples:\n  workbench serve base-q8\n"
    "  workbench serve ~/models/SmolLM2.gguf --port 0 --temperature 0\n"
    "  workbench serve tuned --engine mlx\n"
    "  WORKBENCH_API_KEY=$(openssl rand -hex 16) workbench serve tuned --host 0.0.0.0",
)
@click.argument("model", shell_complete=complete_artifact("export", "model"))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to serve; others than this machine's need a key.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes one that is free."
)
@click.option(
    "--api-key-file", type=click.Path(path_type=Path), metavar="FILE",
    help=f"Requests must carry the key in this file. [default: the key in ${KEY}, if there is one]",
)  # fmt: skip
@click.option(
    "--engine", metavar="NAME", help="What opens the model: pytorch, mlx or llamacpp. [default: what it is made for]"
)
@sampling_options
@common
@click.pass_context
def serve(
    ctx: click.Context,
    as_json: bool,
    model: str,
    host: str,
    port: int,
    api_key_file: Path | None,
    engine: str | None,
    **values: Any,
) -> None:
    """Answer programs that speak OpenAI's API with MODEL: an export, a model, a GGUF file or a Hugging Face folder.

    /v1/chat/completions, /v1/completions, /v1/models and /health; one answer at a time, the others wait in order.
    The flags of sampling are for requests that leave them open. Ctrl-C ends it.
    """
    from workbench.serving.answering import Desk
    from workbench.serving.api import application
    from workbench.serving.server import Server, listen, reaches_others

    defaults = Conversation()
    for setting, text in values.items():
        if text is not None:
            defaults.set(setting, text)
    opens, path = locate(model, engine)
    key = _key(api_key_file)
    with listen(host, port) as listening:
        public = reaches_others(listening)
        if public and key is None:
            raise WorkbenchError(
                f"{host} can be reached from other machines, and no key is set.",
                f"Set {KEY}, or give --api-key-file; or leave out --host to serve this machine alone.",
            )
        note(f"Opening {model} with {opens}.")
        with _asked_to_end():
            desk = Desk(opens, path, say=_say)
            try:
                name = _name(model, path)
                served = application(
                    desk, name, defaults.sampling, hosts=None if public else _hosts(host), key=key, say=_say,
                    debug=bool(ctx.find_root().obj.get("debug")),
                )  # fmt: skip
                _announce(desk, name, opens, listening, host, key, api_key_file, as_json=as_json)
                if public:
                    note("Other machines can reach it. Who has the key can ask; what is sent can be read on the way.")
                ended_by = Server(served, debug=bool(ctx.find_root().obj.get("debug"))).answer(listening)
            finally:
                desk.close()
    note("Ended.")
    if ended_by == signal.SIGINT:
        sys.exit(errors.INTERRUPTED)


def _key(file: Path | None) -> str | None:
    """The key that requests must carry; the environment that children inherit loses it."""
    given = os.environ.pop(KEY, None)
    where, remedy = f"${KEY}", "Set it to a key, or unset it."
    if file is not None:
        where, remedy = str(file), "Write one line into it, such as openssl rand -hex 16 gives."
        try:
            given = file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WorkbenchError(f"The key cannot be read from {where}: {error}.", remedy) from None
    if given is not None and not (given.isascii() and given.isprintable() and given.strip() == given != ""):
        raise WorkbenchError(f"{where} holds no key: one is printable ASCII without spaces around.", remedy)
    return given


@contextlib.contextmanager
def _asked_to_end() -> Iterator[None]:
    """While the model is being opened, SIGTERM ends it as an error does: with nothing left running."""

    def end(*_: object) -> None:
        raise WorkbenchError("It was asked to end.")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _name(model: str, path: Path) -> str:
    """What requests call it: as typed, or the name of the file or folder that was."""
    if path != Path(model).expanduser():
        return model
    whole = path.resolve()
    return whole.stem if whole.suffix == ".gguf" else whole.name


def _hosts(host: str) -> tuple[str, ...]:
    given = f"[{host}]" if ":" in host else host.lower()
    return tuple(dict.fromkeys((*THIS_MACHINE, given)))


def _announce(
    desk: Desk,
    name: str,
    engine: str,
    listening: socket.socket,
    host: str,
    key: str | None,
    key_file: Path | None,
    *,
    as_json: bool,
) -> None:
    from workbench.safe_text import strip_controls

    port = listening.getsockname()[1]
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    address = f"http://{f'[{reached}]' if ':' in reached else reached}:{port}/v1"
    chats = desk.model.chat_template is not None
    if as_json:
        facts = {
            "address": address, "host": host, "port": port, "model": name, "engine": engine, "chats": chats,
            "context_length": desk.model.context_length, "process": os.getpid(),
        }  # fmt: skip
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    asked: dict[str, Any] = {"model": name}
    if chats:
        path, asked["messages"] = "chat/completions", [{"role": "user", "content": "Hello"}]
    else:
        path, asked["prompt"] = "completions", "Once upon a time"
    words = ["curl", f"{address}/{path}", "-H", "Content-Type: application/json", "-d", json.dumps(asked)]
    line = shlex.join(words)
    if key is not None:
        secret = f"$(cat {shlex.quote(str(key_file))})" if key_file else f"${KEY}"
        line += f' -H "Authorization: Bearer {secret}"'
    kind = "" if chats else " It continues text: it was not trained on conversations."
    told = f"{name} answers at {address}, in a context of {desk.model.context_length:,} tokens.{kind} Ctrl-C ends it."
    click.echo(strip_controls(f"{told}\n{line}"))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone: whoever asks is to have an answer all the same
        note(line)


COMMANDS = {"serve": serve}
