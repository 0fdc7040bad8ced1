"""Talking with a model in a plain terminal: one answer, or a conversation line by line."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from workbench.chat import commands
from workbench.chat.conversation import Conversation
from workbench.contract import LanguageModel, Sampling
from workbench.errors import WorkbenchError
from workbench.safe_text import Stripper, strip_controls


def answer(model: LanguageModel, prompt: str, sampling: Sampling, *, system: str = "") -> Iterator[str]:
    """The pieces of one answer, stripped for the terminal.

    A model with a chat template is asked; one without continues the prompt. Closing the iterator stops the
    work. Raises `WorkbenchError` if the prompt leaves no room in the context.
    """
    conversation = Conversation(system=system, sampling=sampling)
    conversation.ask(prompt)
    yield from reply(model, conversation)


def reply(model: LanguageModel, conversation: Conversation) -> Iterator[str]:
    """The pieces of the answer that the conversation awaits, stripped for the terminal; it is not changed."""
    stripper = Stripper()
    tokens = model.generate([model.render(conversation.messages())], conversation.sampling)
    try:
        for token in tokens:
            yield stripper.feed(token.text)
    finally:
        tokens.close()  # type: ignore[attr-defined]  # a generator, by the contract's "closing the iterator"


def converse(
    model: LanguageModel,
    conversation: Conversation,
    *,
    lines: Callable[[], str] | None = None,
    output: TextIO = sys.stdout,
    folder: Path | None = None,
) -> None:
    """Ask for lines and stream answers until `/quit`, the end of input, or Ctrl-C twice.

    `lines` answers with the next line and raises `EOFError` at the end (by default the terminal's, with
    editing and history; a prompt is shown only to a person). Ctrl-C during an answer stops it and keeps what
    came; `folder` is where `/save` writes files without a path, by default the current one.
    """
    ask = lines or _terminal_lines(output)
    interrupted = False  # by a Ctrl-C at the prompt, just now
    while True:
        try:
            line = ask()
        except EOFError:
            return
        except KeyboardInterrupt:
            if interrupted:
                return
            interrupted = True
            print("\nCtrl-C again, Ctrl-D or /quit ends.", file=output)
            continue
        interrupted = False
        if not line.strip():
            continue
        try:
            command = commands.parse(line)
            if command is None:
                conversation.ask(commands.text_of(line))
            else:
                outcome = commands.apply(command, conversation, folder=folder or Path.cwd())
                if outcome.text:
                    print(strip_controls(outcome.text), file=output, flush=True)
                if outcome.next == "quit":
                    return
            if command is None or outcome.next == "answer":
                _stream(model, conversation, output)
        except KeyboardInterrupt:  # the second Ctrl-C during an answer
            print(file=output)
            return
        except WorkbenchError as error:
            print(strip_controls(str(error)), file=output, flush=True)


def _stream(model: LanguageModel, conversation: Conversation, output: TextIO) -> None:
    """Print the answer as it comes and add it to the conversation, as far as it came."""
    pieces: list[str] = []
    stripper = Stripper()
    try:
        with _interrupts() as interrupted:
            tokens = model.generate([model.render(conversation.messages())], conversation.sampling)
            try:
                for token in tokens:
                    pieces.append(token.text)
                    output.write(stripper.feed(token.text))
                    output.flush()
                    if interrupted():
                        break
            finally:
                tokens.close()  # type: ignore[attr-defined]
    finally:
        conversation.answer("".join(pieces))
        print(file=output, flush=True)


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """While it lasts the first Ctrl-C is noted, so that an answer ends between two tokens; the second raises."""
    seen = False

    def note(*_: object) -> None:
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: signals go elsewhere
        yield lambda: False
        return
    try:
        yield lambda: seen
    finally:
        signal.signal(signal.SIGINT, before)


def _terminal_lines(output: TextIO) -> Callable[[], str]:
    person = sys.stdin.isatty() and output.isatty()
    if person:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() editing and history
    return (lambda: input("> ")) if person else input
