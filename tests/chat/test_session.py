"""A conversation in a plain terminal: real lines, real signals, a real model."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pexpect
import pytest

from workbench.chat.conversation import Conversation
from workbench.chat.process import ModelProcess
from workbench.chat.session import answer, converse
from workbench.contract import Message, Sampling, Score, Token

PROGRAM = """
import sys
from pathlib import Path
from workbench.chat.conversation import Conversation
from workbench.chat.process import ModelProcess
from workbench.chat.session import converse
from workbench.contract import Sampling
conversation = Conversation(system="You are a helpful assistant.", sampling=Sampling(temperature=0, max_tokens=900))
with ModelProcess("llamacpp", Path(sys.argv[1]), options={"context_length": 1024}) as model:
    converse(model, conversation)
print("TURNS", [(turn["role"], len(turn["content"]) > 0) for turn in conversation.turns])
"""


def said(*lines: str) -> Callable[[], str]:
    """A person who types these lines and then Ctrl-D."""
    left = iter(lines)

    def ask() -> str:
        for line in left:
            return line
        raise EOFError

    return ask


class Scripted:
    """A model whose answers are given: for what no real model can be made to say."""

    context_length = 100
    chat_template = None

    def __init__(self, *pieces: str, before: Callable[[int], None] = lambda number: None):
        self.pieces, self.before = pieces, before

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return []

    def render(self, messages: Sequence[Message]) -> str:
        return "".join(message["content"] for message in messages)

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> Iterator[Token]:
        for number, piece in enumerate(self.pieces):
            self.before(number)
            yield Token(text=piece)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        return []

    def close(self) -> None:
        pass


def test_one_answer(model: ModelProcess) -> None:
    pieces = list(
        answer(
            model,
            "What is the capital of France?",
            Sampling(temperature=0, max_tokens=20),
            system="You are a helpful assistant.",
        )
    )
    assert "".join(pieces) == "The capital of France is Paris."
    assert len(pieces) > 5, "it streams"


def test_what_a_model_says_cannot_reach_the_terminal() -> None:
    hostile = Scripted("a\x1b]52;c;", "cm0gLXJm\x07", "b\x1b", "[2Jc\u202ed")
    assert "".join(answer(hostile, "x", Sampling())) == "abcd"
    output = io.StringIO()
    conversation = Conversation()
    converse(hostile, conversation, lines=said("x"), output=output)
    assert output.getvalue() == "abcd\n"


def test_a_conversation(model: ModelProcess, tmp_path: Path) -> None:
    output = io.StringIO()
    conversation = Conversation(system="You are a helpful assistant.")
    lines = said(
        "/set temperature 0",
        "What is the capital of France?",
        "",
        "And of Italy?",
        "/set max_tokens 2",
        "/retry",
        "/sav",
        "/save talk.json",
        "/undo",
        "/quit",
        "never read",
    )
    converse(model, conversation, lines=lines, output=output, folder=tmp_path)
    shown = output.getvalue().splitlines()
    assert shown[1] == "The capital of France is Paris."
    assert "Rome" in shown[2]
    assert shown[4] == " ".join(shown[2].split()[:2])
    assert shown[5] == "There is no command /sav. Did you mean /save?"
    assert shown[7] == "Took back: And of Italy?"
    assert len(shown) == 8
    assert [turn["role"] for turn in conversation.turns] == ["user", "assistant"]
    assert [turn["role"] for turn in Conversation.load(tmp_path / "talk.json").turns] == ["user", "assistant"] * 2


def test_a_prompt_without_room_is_a_sentence_and_the_conversation_goes_on(model: ModelProcess) -> None:
    output = io.StringIO()
    conversation = Conversation(sampling=Sampling(temperature=0, max_tokens=4))
    converse(model, conversation, lines=said("word " * 2000, "/undo", "Hello"), output=output)
    assert "but the model's context holds 1,024. Shorten it" in output.getvalue()
    assert [turn["role"] for turn in conversation.turns] == ["user", "assistant"]


def test_the_first_interrupt_ends_the_answer_and_keeps_it() -> None:
    def interrupt(number: int) -> None:
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)

    output = io.StringIO()
    conversation = Conversation()
    converse(Scripted("one ", "two ", "three ", "four", before=interrupt), conversation, lines=said("x"), output=output)
    assert conversation.turns[-1] == {"role": "assistant", "content": "one two three "}
    assert output.getvalue() == "one two three \n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_interrupt_ends_the_conversation() -> None:
    def interrupt(number: int) -> None:
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    lines = said("x", "never asked")
    conversation = Conversation()
    converse(Scripted("one ", "two ", "three", before=interrupt), conversation, lines=lines, output=io.StringIO())
    assert conversation.turns == [{"role": "user", "content": "x"}, {"role": "assistant", "content": "one two "}]
    assert lines() == "never asked"


@pytest.mark.parametrize("ending", ["ctrl-c", "ctrl-d", "/quit"])
def test_in_a_terminal(smollm2: Path, ending: str) -> None:
    """Ctrl-C in the middle of a long answer, a second question, and each way to end."""
    child = pexpect.spawn(
        sys.executable, ["-c", PROGRAM, str(smollm2)], timeout=60, encoding="utf-8", dimensions=(24, 80)
    )
    child.expect("> ")
    child.sendline("Count from 1 to 1000, one number a line, and do not stop before 1000.")
    child.expect(r"\r\n.*\w.*\w")  # it has begun to answer
    child.sendintr()
    child.expect("\n> ")
    child.sendline("What is the capital of France?")
    child.expect("Paris")
    child.expect("\n> ")
    if ending == "ctrl-c":
        child.sendintr()
        child.expect("Ctrl-C again")
        child.sendintr()
    elif ending == "ctrl-d":
        child.sendeof()
    else:
        child.sendline("/quit")
    child.expect(r"TURNS \[\('user', True\), \('assistant', True\), \('user', True\), \('assistant', True\)\]")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_lines_from_a_pipe_are_answered_without_a_prompt(smollm2: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, smollm2],
        input="What is the capital of France?\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "The capital of France is Paris."
    assert ">" not in done.stdout
    assert done.stderr == ""
