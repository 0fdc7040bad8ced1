"""`workbench chat`: one answer, or a conversation."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from workbench import registry
from workbench.chat.conversation import SETTINGS, Conversation
from workbench.chat.process import quiet_threads
from workbench.chat.session import answer as answers
from workbench.chat.session import converse
from workbench.cli.output import answer, common, complete_artifact, note, open_current
from workbench.contract import LanguageModel, Sampling
from workbench.errors import WorkbenchError
from workbench.store import artifacts

HELP = {
    "max_tokens": "Length of an answer, at most.",
    "temperature": "How freely tokens are drawn.",
    "top_p": "Draw from the likeliest tokens with this share together.",
    "top_k": "Draw from this many of the likeliest tokens.",
    "min_p": "Leave out what is less likely than this share of the likeliest.",
    "repetition_penalty": "Above 1, what was said becomes less likely.",
    "seed": "The same seed gives the same answer.",
    "stop": 'A text that ends the answer, or several: \'["first", "second"]\'.',
}


def sampling_options(command: Any) -> Any:
    """The flags of `Sampling`, as texts that `Conversation.set` reads."""
    for field in reversed(fields(Sampling)):
        default = "" if field.default in (None, ()) else f" [default: {field.default}]"
        command = click.option(
            "--" + field.name.replace("_", "-"),
            field.name,
            metavar="TEXT" if field.name == "stop" else "NUMBER",
            help=HELP[field.name] + ("" if field.name == "stop" else f" It is {SETTINGS[field.name].help}.") + default,
        )(command)
    return command


@click.command(
    "chat",
    epilog='\b\nExamples:\n  workbench chat base-q8 --prompt "Once upon a time" --max-tokens 64 --seed 1\n'
    "  workbench chat base-q8\n  workbench chat ~/models/SmolLM2.gguf --system 'Answer in one word.'\n"
    "  echo 'Once upon a time' | workbench chat base-q8 --prompt -",
)
@click.argument("model", shell_complete=complete_artifact("export", "model"))
@click.option("--prompt", help="Answer this and end; - reads it from standard input. Without it: a conversation.")
@click.option("--system", default="", help="What the model is told before the conversation.")
@click.option(
    "--engine", metavar="NAME", help="What opens the model: pytorch, mlx or llamacpp. [default: what it is made for]"
)
@sampling_options
@common
def chat(as_json: bool, model: str, prompt: str | None, system: str, engine: str | None, **values: Any) -> None:
    """Talk with MODEL: an export, a model of the project, a GGUF file or a Hugging Face folder.

    A model that was not trained on conversations continues the text.
    """
    conversation = Conversation(model=model, system=system)
    for setting, text in values.items():
        if text is not None:
            conversation.set(setting, text)
    opens, path = locate(model, engine)
    quiet_threads()
    loaded = registry.engine(opens).load(path)
    try:
        if prompt is None:
            _converse(loaded, conversation)
            return
        text = sys.stdin.read() if prompt == "-" else prompt
        pieces = answers(loaded, text, conversation.sampling, system=system)
        if as_json:
            answer({"model": model, "prompt": text, "answer": "".join(pieces)})
            return
        try:
            for piece in pieces:
                click.echo(piece, nl=False)
                sys.stdout.flush()
        finally:
            click.echo()
    finally:
        loaded.close()


def locate(model: str, engine: str | None = None) -> tuple[str, Path]:
    """(engine, path) of what a person calls `model`: a path, or the name of an export or model.

    Raises `WorkbenchError` if there is none, or both kinds have the name, or `engine` opens no such model.
    """
    path = Path(model).expanduser()
    if path.is_file() or path.suffix == ".gguf" or (path / "config.json").is_file():
        return registry.opener(path, engine), path
    project, catalog = open_current()
    try:
        made = artifacts.resolve_any(project, catalog, model, kinds=registry.ANSWERING)
    except WorkbenchError as error:
        if path.is_dir():
            raise WorkbenchError(f"{path} is a folder without a model: it has no config.json.", error.remedy) from None
        raise
    folder = artifacts.folder_of(project, made)
    return registry.opener(folder, engine), folder


def _converse(loaded: LanguageModel, conversation: Conversation) -> None:
    if sys.stdin.isatty():
        kind = "answers" if loaded.chat_template else "continues your text: it was not trained on conversations"
        note(f"{conversation.model} {kind}. /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends.")
    converse(loaded, conversation)


COMMANDS = {"chat": chat}
