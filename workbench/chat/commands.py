"""The commands of a conversation, the same in the terminal program and in the plain terminal."""

from __future__ import annotations

import difflib
import itertools
import re
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from workbench.chat.conversation import SETTINGS, Conversation, shown
from workbench.errors import WorkbenchError

# name -> (what follows it, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "help": ("", "this list"),
    "new": ("", "begin anew; the system message and the settings stay"),
    "system": ("[TEXT]", "set the system message, or clear it"),
    "set": ("[KEY VALUE]", "change how answers are drawn, or show the settings"),
    "retry": ("", "answer the last question again"),
    "undo": ("", "take back the last question and its answer"),
    "save": ("[FILE]", "write the conversation to a JSON file"),
    "quit": ("", "end"),
}


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: `text` for the person, and what the caller is to do next."""

    text: str
    next: Literal["nothing", "answer", "cleared", "undone", "quit"] = "nothing"
    question: str = ""  # the one taken back, for the input line to offer again


def parse(line: str) -> Command | None:
    """The command in a line; None for a line to the model. `//` begins one that starts with a slash.

    Raises `WorkbenchError` naming the nearest command for one that there is not.
    """
    stripped = line.strip()
    if not stripped.startswith("/") or stripped.startswith("//"):
        return None
    name, _, argument = stripped[1:].partition(" ")
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1, cutoff=0.5)
        remedy = f"Did you mean /{near[0]}?" if near else "/help lists them."
        raise WorkbenchError(f"There is no command /{name}.", remedy)
    if argument and not COMMANDS[name][0]:
        raise WorkbenchError(
            f"/{name} takes nothing after it, but {argument.strip()!r} follows.", f"Type /{name} alone."
        )
    return Command(name, argument.strip())


def text_of(line: str) -> str:
    """What a line that is no command says to the model."""
    stripped = line.strip()
    return stripped[1:] if stripped.startswith("//") else stripped


def apply(command: Command, conversation: Conversation, *, folder: Path) -> Outcome:
    """Do what the command says. `folder` is where a file without a path is saved.

    Raises `WorkbenchError` where it cannot be done; the conversation is then as it was.
    """
    match command.name:
        case "help":
            return Outcome(help_text())
        case "new":
            conversation.clear()
            return Outcome("A new conversation.", "cleared")
        case "system":
            conversation.system = command.argument
            return Outcome("The system message is set." if command.argument else "There is no system message now.")
        case "set":
            return Outcome(_set(command.argument, conversation))
        case "retry":
            conversation.retry()
            return Outcome("", "answer")
        case "undo":
            question = conversation.undo()
            return Outcome(f"Took back: {_short(question)}", "undone", question)
        case "save":
            path = folder / Path(command.argument).expanduser() if command.argument else _unused(folder, conversation)
            conversation.save(path)
            return Outcome(f"Saved to {path}.")
        case "quit":
            return Outcome("", "quit")
    raise AssertionError(command.name)


def _unused(folder: Path, conversation: Conversation) -> Path:
    """A file that is not there yet, named after the model and the moment."""
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", conversation.model).strip("-.") or "model"
    stem = f"chat-{model}-{time.strftime('%Y-%m-%d-%H%M%S')}"
    later = (f"{stem}-{number}.json" for number in itertools.count(2))
    return next(path for name in itertools.chain([f"{stem}.json"], later) if not (path := folder / name).exists())


def help_text() -> str:
    """All commands, one a line."""
    rows = [(f"/{name} {argument}".rstrip(), about) for name, (argument, about) in COMMANDS.items()]
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"{left:<{width}}  {about}" for left, about in rows)


def _set(argument: str, conversation: Conversation) -> str:
    key, _, value = (
        argument.replace("=", " ", 1).partition(" ") if "=" in argument.split(" ")[0] else argument.partition(" ")
    )
    if not key:
        return "\n".join(
            f"{item.name} {shown(getattr(conversation.sampling, item.name))}" for item in fields(conversation.sampling)
        )
    if not value.strip() and key in SETTINGS:
        return f"{key} is {shown(getattr(conversation.sampling, key))}: {SETTINGS[key].help}."
    return conversation.set(key, value)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."
