"""What a conversation holds, and the commands on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.chat import commands
from workbench.chat.commands import Command, Outcome
from workbench.chat.conversation import SETTINGS, Conversation
from workbench.contract import Sampling
from workbench.errors import WorkbenchError


def asked(*contents: str) -> Conversation:
    """A conversation whose contents take turns, the user's first."""
    conversation = Conversation(model="m")
    for number, content in enumerate(contents):
        (conversation.answer if number % 2 else conversation.ask)(content)
    return conversation


def roles(conversation: Conversation) -> str:
    return "".join(message["role"][0] for message in conversation.messages())


def test_the_system_message_comes_first() -> None:
    conversation = asked("a", "b")
    conversation.system = "Be brief."
    assert conversation.messages() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]


def test_partial_answers_stay_and_empty_ones_do_not() -> None:
    conversation = asked("a")
    conversation.answer("half an ans")
    assert conversation.turns[-1] == {"role": "assistant", "content": "half an ans"}
    conversation.ask("c")
    conversation.answer("")
    assert conversation.awaits_answer
    conversation.ask("d")  # templates want turns to alternate
    assert [turn["content"] for turn in conversation.turns] == ["a", "half an ans", "c\n\nd"]


def test_retry_undo_and_new() -> None:
    conversation = asked("a", "b", "c", "d")
    conversation.retry()
    assert roles(conversation) == "uau"
    conversation.retry()  # a question without an answer stays
    assert roles(conversation) == "uau"
    assert conversation.undo() == "c"
    assert conversation.undo() == "a"
    assert conversation.turns == []
    with pytest.raises(WorkbenchError, match="nothing to undo"):
        conversation.undo()
    with pytest.raises(WorkbenchError, match="nothing to answer again"):
        conversation.retry()


def test_every_sampling_field_can_be_set() -> None:
    from dataclasses import fields

    assert SETTINGS.keys() == {item.name for item in fields(Sampling)}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("temperature", "0.5", 0.5),
        ("temperature", "0", 0.0),
        ("max_tokens", "64", 64),
        ("top_k", "0", 0),
        ("seed", "7", 7),
        ("seed", "none", None),
        ("stop", "\\n\\n", ("\n\n",)),
        ("stop", '["a", "b"]', ("a", "b")),
        ("stop", "none", ()),
    ],
)
def test_settings(key: str, text: str, value: object) -> None:
    conversation = Conversation(sampling=Sampling(seed=1, stop=("x",)))
    conversation.set(key, text)
    assert getattr(conversation.sampling, key) == value


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("temprature", "1", "There is no setting called 'temprature'. Did you mean temperature?"),
        ("zzz", "1", "There is no setting called 'zzz'. There are: max_tokens, temperature"),
        ("temperature", "hot", "temperature cannot be 'hot'. It is a number from 0"),
        ("temperature", "-1", "temperature cannot be '-1'."),
        ("temperature", "nan", "temperature cannot be 'nan'."),
        ("max_tokens", "0", "max_tokens cannot be '0'. It is a whole number of tokens, 1 or more."),
        ("max_tokens", "1.5", "max_tokens cannot be '1.5'."),
        ("top_p", "0", "top_p cannot be '0'."),
        ("seed", "-1", "seed cannot be '-1'."),
        ("stop", "[1", "stop cannot be '[1'."),
        ("stop", "", "stop cannot be ''."),
    ],
)
def test_wrong_settings_change_nothing(key: str, text: str, message: str) -> None:
    conversation = Conversation()
    with pytest.raises(WorkbenchError) as caught:
        conversation.set(key, text)
    assert str(caught.value).startswith(message)
    assert conversation.sampling == Sampling()


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    conversation = asked("What? 👩‍🚀", "That\n\x1b[31m.", "And?")
    conversation.system = "Be brief."
    conversation.set("stop", '["x", "y"]')
    conversation.save(tmp_path / "c.json")
    assert Conversation.load(tmp_path / "c.json") == conversation
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "not json", '{"turns": 3, "model": "", "system": "", "sampling": {}}']
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(WorkbenchError, match="is not a saved conversation"):
        Conversation.load(tmp_path / "c.json")
    with pytest.raises(WorkbenchError, match="cannot be read"):
        Conversation.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("Hello", None),
        ("what is 1/2?", None),
        ("//not a command", None),
        ("/help", Command("help")),
        (" /system  You are a poet. ", Command("system", "You are a poet.")),
        ("/set temperature 0.2", Command("set", "temperature 0.2")),
        ("/save", Command("save")),
    ],
)
def test_lines(line: str, command: Command | None) -> None:
    assert commands.parse(line) == command


def test_lines_that_are_wrong() -> None:
    with pytest.raises(WorkbenchError, match=r"no command /retyr. Did you mean /retry"):
        commands.parse("/retyr")
    with pytest.raises(WorkbenchError, match=r"no command /zzz. /help lists them"):
        commands.parse("/zzz")
    with pytest.raises(WorkbenchError, match="/undo takes nothing after it, but 'two' follows"):
        commands.parse("/undo two")
    assert commands.text_of("//etc/passwd is a file ") == "/etc/passwd is a file"


def test_what_commands_do(tmp_path: Path) -> None:
    conversation = asked("a", "b")

    def run(line: str) -> Outcome:
        command = commands.parse(line)
        assert command is not None
        return commands.apply(command, conversation, folder=tmp_path)

    assert all(f"/{name}" in run("/help").text for name in commands.COMMANDS)
    assert run("/system Be brief.").text == "The system message is set."
    assert conversation.system == "Be brief."
    run("/system")
    assert conversation.system == ""
    assert run("/set temperature 0.25").text == "temperature is 0.25"
    assert run("/set temperature=0.5").text == "temperature is 0.5"
    assert "temperature is 0.5: a number from 0" in run("/set temperature").text
    assert "temperature 0.5\n" in run("/set").text
    assert run("/set").text.endswith("seed none, another draw each time\nstop none")
    assert run('/set stop ["one", "two"]').text == 'stop is "one", "two"'
    assert run("/set stop none").text == "stop is none"
    assert run("/set seed none").text == "seed is none, another draw each time"
    assert run("/retry").next == "answer"
    assert conversation.awaits_answer
    assert run("/undo") == Outcome("Took back: a", "undone", "a")
    conversation.ask("c")
    assert run("/save here.json").text == f"Saved to {tmp_path / 'here.json'}."
    assert json.loads((tmp_path / "here.json").read_text())["turns"] == [{"role": "user", "content": "c"}]
    with pytest.raises(WorkbenchError, match="cannot be saved"):
        run("/save missing/folder/c.json")
    assert run("/new").next == "cleared"
    assert conversation.turns == []
    assert run("/quit").next == "quit"
