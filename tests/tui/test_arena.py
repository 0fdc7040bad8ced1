"""The Arena: what is shown and hidden, what counts as read, what is kept, and what it has come to."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import TextArea

from tests.speed.pseudo_terminal import Terminal, python
from tests.tui.drive import SIZES, loaded, text_of, typed, until, words_of
from tests.tui.example import HOUR, NOW, Builder
from workbench.contract import Progress, Started
from workbench.preferences.arena import Arena, standing
from workbench.preferences.candidates import Answer, Prompt
from workbench.preferences.choice import Choice
from workbench.preferences.judgements import Book, Judgement
from workbench.preferences.ranking import Ranking, RewardChoice
from workbench.store import judgements, runs
from workbench.store.project import Project
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.arena import ArenaScreen
from workbench.tui.screens.arena_judging import Judging
from workbench.tui.screens.arena_pair import PairScreen, upper_height
from workbench.tui.screens.arena_set import Order, SetScreen
from workbench.tui.screens.arena_standing import interval_bar
from workbench.tui.screens.dialogs import AskLine
from workbench.tui.widgets.answer import AnswerText, wrap

AppOn = Callable[..., WorkbenchApp]
Snap = Callable[..., bool]

MAP = "A hash map keeps pairs of a key and a value. The key is turned into a number that says where to look. "
ROOM = (
    "Think of a cloakroom: you hand in a coat and get a number.\n\n1. The number is the hash.\n"
    "2. The hook is the bucket.\n\nTake a sorted list where the order matters."
)
HOSTILE = "Sure! [/INST] [red]no[/red] \x1b]52;c;aGFjaw==\x07\x1b[2Jend 日本語の答え שלום \u202eover"
RAIN = ("Soft rain on the roof,\na kettle begins to sing.\nThe cat does not care.", "Rain falls. Rain falls again.")


def answers_to(number: int, texts: tuple[str, ...]) -> list[Answer]:
    return [
        Answer(
            id=f"{number}-{turn}", model=("smol-sft", "smol")[turn % 2], kind="model", temperature=0.8, seed=turn,
            text=text, finish="stop",
        )
        for turn, text in enumerate(texts)
    ]  # fmt: skip


def line(number: int, question: str, *texts: str) -> str:
    return Prompt(
        id=str(number), messages=[{"role": "user", "content": question}], answers=answers_to(number, texts)
    ).line()


def candidates(project: Project, name: str, lines: list[str]) -> Path:
    """A finished set of these; its judgements' file."""
    build = Builder(project.root)
    run = build.run({"stage": "candidates", "models": ["smol"], "typed": [name], "name": name}, {})
    build.tell(run, [Started(time=NOW - 2 * HOUR)])
    folder = project.folder("candidates") / f"{run.id}.partial"
    made = build.seal(run, {}, {"prompts": len(lines)}, {}, NOW - 2 * HOUR)
    build.put(run, "finished", created=NOW - 3 * HOUR, started=NOW - 3 * HOUR, ended=NOW - 2 * HOUR, artifact=made.id)
    assert not folder.exists()
    (project.folder("candidates") / made.id / "candidates.jsonl").write_text("".join(lines))
    build.catalog.close()
    return judgements.file_of(project, made.identity)


@pytest.fixture
def rain(project: Project) -> Path:
    """Three prompts with two short answers each."""
    return candidates(project, "rain", [line(n, f"Write a haiku about rain, number {n}.", *RAIN) for n in range(3)])


@pytest.fixture(autouse=True)
def _same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pairs in the same order, and the same login name."""

    class Fixed(random.Random):
        def __init__(self, seed: int | None = None):
            super().__init__(7)

    monkeypatch.setattr("workbench.preferences.choice.random.Random", Fixed)
    monkeypatch.setenv("LOGNAME", "ada")


async def at_arena(pilot: Pilot[str]) -> ArenaScreen:
    await loaded(pilot)
    await pilot.press("g", "a")
    await until(pilot, lambda: isinstance(pilot.app.screen, ArenaScreen) and pilot.app.screen._known)
    screen = pilot.app.screen
    assert isinstance(screen, ArenaScreen)
    return screen


async def ranking(pilot: Pilot[str], key: str = "enter") -> Judging:
    """The first set of the list, opened, its answers on the screen."""
    await at_arena(pilot)
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, Judging) and pilot.app.screen.answers)
    screen = pilot.app.screen
    assert isinstance(screen, Judging)
    return screen


async def settled(pilot: Pilot[str]) -> None:
    """Until nothing has changed on the screen for a while, however busy the machine is."""
    shown, same = "", 0
    while same < 10:
        await pilot.pause(0.05)
        now = text_of(pilot)
        same = same + 1 if now == shown else 0
        shown = now


def status(pilot: Pilot[str]) -> str:
    return text_of(pilot).splitlines()[-2]


def said(file: Path) -> list[Judgement]:
    return list(Book(file).judgements.values())


# --------------------------------------------------------------------------- judging


async def test_a_verdict_is_kept_and_the_next_pair_shows(project: Project, rain: Path, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await ranking(pilot)
        assert isinstance(screen, PairScreen)
        for count, (key, verdict, strength) in enumerate((("1", "left", 2), ("3", "tie", 0), ("b", "both_bad", 0)), 1):
            shown = [answer.id for answer in screen.answers]
            await until(pilot, lambda: not screen.unread)
            await pilot.press(key)
            await until(pilot, lambda before=shown: [answer.id for answer in screen.answers] != before)
            made = said(rain)
            assert len(made) == count  # on disk before the next one shows
            last = made[-1]
            assert (last.verdict, last.strength, [last.left, last.right]) == (verdict, strength, shown)
            assert last.rater == "ada"
            assert last.seconds is not None
        await until(pilot, lambda: "All pairs are judged." in text_of(pilot))
        assert "workbench reward --base MODEL --preferences rain" in words_of(pilot)
        assert "It was A" in status(pilot)  # of the last pair, too
        assert "3 judged · 0 to go" in status(pilot)


async def test_what_only_compares_models_is_kept_apart(project: Project, rain: Path, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await ranking(pilot, "m")
        assert "Arena: evaluation of rain" in text_of(pilot)
        assert "trains nothing" in str(screen.why_not_edit())
        file = judgements.evaluations_of(rain)
        shown: set[str] = set()
        for _ in range(3):
            await until(pilot, lambda: screen.answers and screen.answers[0].id not in shown and not screen.unread)
            shown.update(answer.id for answer in screen.answers)
            await pilot.press("1")
        await until(pilot, lambda: len(said(file)) == 3)
        await until(pilot, lambda: "All pairs of different models are judged." in words_of(pilot))
        assert "workbench preferences stats rain" in words_of(pilot)
    assert not rain.exists()  # what trains knows nothing of it


async def test_names_are_hidden_until_the_verdict(project: Project, rain: Path, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await ranking(pilot)
        await until(pilot, lambda: not screen.unread)
        assert "smol" not in text_of(pilot)
        expected = [answer.model for answer in screen.answers]
        await pilot.press("2")
        await until(pilot, lambda: f"It was A {expected[0]}, B {expected[1]}." in status(pilot))


async def test_an_answer_must_have_been_shown_to_its_end(project: Project, app_on: AppOn) -> None:
    file = candidates(project, "long", [line(0, "What is a hash map?", MAP * 30, ROOM)])
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await ranking(pilot)
        long = next(place for place, answer in enumerate(screen.answers) if answer.id == "0-0")
        await until(pilot, lambda: screen.unread == [long])
        await pilot.press("1")
        refused = f"{'AB'[long]} was not shown to the end yet: Space pages on."
        await until(pilot, lambda: refused in status(pilot))
        assert not said(file)
        screen._focus(screen.panes[long])
        await pilot.press("end")  # what was jumped over is not read
        await pilot.pause()
        assert screen.unread == [long]
        await pilot.press("home")
        for _ in range(20):
            await pilot.press("space")
            await pilot.pause()
        await until(pilot, lambda: not screen.unread)
        await until(pilot, lambda: refused not in status(pilot))  # it is so no more
        await pilot.press("5")
        await until(pilot, lambda: not screen.answers)
        assert [item.verdict for item in said(file)] == ["right"]
        await pilot.press("z")  # read once is read
        await until(pilot, lambda: screen.answers)
        assert not screen.unread


async def test_keys_pressed_ahead_judge_nothing_that_was_not_shown(project: Project, rain: Path, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await ranking(pilot)
        await until(pilot, lambda: not screen.unread)
        screen.do_a()
        screen.do_a()  # before the next pair was drawn
        screen.do_a()
        assert len(said(rain)) == 1


async def test_space_goes_on_to_the_answer_that_is_not_read(project: Project, app_on: AppOn) -> None:
    candidates(project, "long", [line(0, "What is a hash map?", MAP * 9, MAP * 11)])
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await ranking(pilot)
        for _ in range(30):
            if not screen.unread:
                break
            await pilot.press("space")
            await pilot.pause()
        assert not screen.unread
        assert screen.active == 1


async def test_undo_goes_back_without_limit_and_shows_the_pair_again(
    project: Project, rain: Path, app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await ranking(pilot)
        shown = []
        for key in "124":
            await until(pilot, lambda: not screen.unread)
            shown.append([answer.id for answer in screen.answers])
            await pilot.press(key)
            await until(pilot, lambda: len(said(rain)) == len(shown))
        await until(pilot, lambda: not screen.answers)
        for left, before in reversed(list(enumerate(shown))):
            await pilot.press("z")
            await until(pilot, lambda count=left: len(said(rain)) == count and screen.answers)
            assert "rain, number" in text_of(pilot)
            assert [answer.id for answer in screen.answers] == before
        assert not said(rain)
        await pilot.press("z")
        await until(pilot, lambda: "There is nothing to take back." in status(pilot))
        assert rain.read_bytes().count(b"\n") == 6  # three judgements and three lines that take them back


async def test_tags_notes_flags_and_skips(project: Project, rain: Path, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await ranking(pilot)
        await until(pilot, lambda: not screen.unread)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLine))
        await typed(pilot, "wrong, verbose")
        await pilot.press("enter")
        await until(pilot, lambda: "tags: wrong, verbose" in status(pilot))
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLine))
        await typed(pilot, "made up")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is screen)
        await until(pilot, lambda: not screen.unread)
        await pilot.press("2")
        await until(pilot, lambda: len(said(rain)) == 1)
        assert (said(rain)[0].tags, said(rain)[0].note) == (("wrong", "verbose"), "made up")
        flagged = screen.arena.pair.prompt.id  # type: ignore[union-attr]
        await pilot.press("f")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLine))
        await typed(pilot, "nonsense")
        await pilot.press("enter")
        await until(pilot, lambda: len(said(rain)) == 2)
        assert (said(rain)[1].kind, said(rain)[1].note, said(rain)[1].prompt) == ("flag", "nonsense", flagged)
        await until(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("s")
        await until(pilot, lambda: not screen.answers)
        assert said(rain)[2].kind == "skip"
        await pilot.press("z", "z")  # the skip and the flag
        await until(pilot, lambda: len(said(rain)) == 1)
        assert screen.arena.pair.prompt.id == flagged  # type: ignore[union-attr]
        assert [item.kind for item in said(rain)] == ["pair"]


async def test_what_is_set_aside_is_not_counted_as_judged(project: Project, app_on: AppOn) -> None:
    file = candidates(project, "four", [line(n, f"Number {n}?", *(f"Answer {k}." for k in range(4))) for n in range(3)])
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await ranking(pilot)
        await until(pilot, lambda: not screen.unread)
        assert "0 judged · 18 to go" in status(pilot)
        await pilot.press("3")
        await until(pilot, lambda: "1 judged · 17 to go" in status(pilot))
        await pilot.press("s")
        await until(pilot, lambda: "1 judged · 1 set aside · 16 to go" in status(pilot))
        assert screen.arena is not None
        prompt = screen.arena.pair.prompt.id  # type: ignore[union-attr]
        kept = sum(item.prompt == prompt for item in said(file))  # of the prompt's six pairs
        await pilot.press("f")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLine))
        await pilot.press("enter")
        await until(pilot, lambda: "Flagged: nothing of this prompt comes again, to anyone." in status(pilot))
        assert f"{16 - (6 - kept)} to go" in status(pilot)  # whatever is said, this stands
        found = standing(screen.arena.candidates, screen.arena.book)
        choice = screen.arena.choice
        assert (choice.votes, choice.to_go, choice.set_aside) == (found.judged, found.left_over, 1 + 6 - kept)


async def test_what_is_to_go_and_judged_is_the_raters_own(project: Project, app_on: AppOn) -> None:
    file = candidates(project, "four", [line(n, f"Number {n}?", *(f"Answer {k}." for k in range(4))) for n in range(3)])
    made = [
        Judgement(
            kind="pair", rater="bob", prompt=str(n), left=f"{n}-0", right=f"{n}-{k}", id=f"{n}{k}", verdict="left"
        )
        for n, k in ((0, 1), (0, 2), (1, 1), (2, 3))
    ]
    made.append(Judgement(kind="skip", rater="bob", prompt="2", left="2-1", right="2-2", id="skip"))
    file.parent.mkdir(parents=True)
    file.write_bytes(b"".join(item.line() for item in made))
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await ranking(pilot)
        await until(pilot, lambda: not screen.unread)
        assert "0 judged · 18 to go" in status(pilot)  # of ada's: bob's pairs come to her too, after the others
        assert screen.arena is not None
    bobs = Choice(screen.arena.candidates, screen.arena.book, "bob")
    assert (bobs.votes, bobs.to_go, bobs.set_aside) == (4, 13, 1)
    alone = Choice(screen.arena.candidates, screen.arena.book, "ada", overlap=0)
    assert (alone.votes, alone.to_go, alone.set_aside) == (0, 13, 0)


async def test_an_edited_answer_is_kept_without_control_sequences(project: Project, rain: Path, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await ranking(pilot)
        await pilot.press("tab")
        edited = screen.answers[1]
        await until(pilot, lambda: screen.active == 1)
        await pilot.press("e")
        await until(pilot, lambda: pilot.app.screen is not screen and pilot.app.screen.query(TextArea))
        area = pilot.app.screen.query_one(TextArea)
        assert area.text == edited.text
        area.text = "Drops on the window\x1b]52;c;aGFjaw==\x07 [/INST]"
        await pilot.press("escape")
        await until(pilot, lambda: "Keep what you wrote?" in text_of(pilot))
        await pilot.press("y")
        await until(pilot, lambda: pilot.app.screen is screen and said(rain))
        (kept,) = said(rain)
        assert (kept.kind, kept.left, kept.text) == ("edit", edited.id, "Drops on the window [/INST]")
        assert [answer.id for answer in screen.answers][1] == edited.id  # it is still to be judged
        await pilot.press("z")
        await until(pilot, lambda: not said(rain))


async def test_an_edit_that_is_left_or_cannot_be_written_is_not_kept(
    project: Project, rain: Path, app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await ranking(pilot)
        await pilot.press("e")
        await until(pilot, lambda: pilot.app.screen is not screen)
        await pilot.press("escape")  # nothing was written
        await until(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("e")
        await until(pilot, lambda: pilot.app.screen is not screen)
        await pilot.press("x", "escape", "n")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert not said(rain)
        rain.mkdir()  # where a file should be: nothing can be kept
        await pilot.press("e")
        await until(pilot, lambda: pilot.app.screen is not screen)
        await pilot.press("x", "escape", "y")
        await until(pilot, lambda: "The judgement could not be kept in" in words_of(pilot))


async def test_hostile_answers_are_shown_and_not_obeyed(project: Project, app_on: AppOn) -> None:
    candidates(project, "hostile", [line(0, f"{HOSTILE} [/INST]?", HOSTILE, "")])
    for size in SIZES:
        async with app_on(project).run_test(size=size) as pilot:
            await ranking(pilot)
            text = text_of(pilot)
            assert "[/INST] [red]no[/red]" in text
            assert "(an empty answer)" in text
            assert not set(text) & {"\x1b", "\x07", "\u202e"}
            assert all(cell_len(row) == size[0] for row in text.splitlines())


# --------------------------------------------------------------------------- whole sets


async def test_a_set_is_ordered_by_its_digits(project: Project, app_on: AppOn) -> None:
    file = candidates(
        project, "four", [line(0, "Name a colour.", "red", "green", "blue", "azure"), line(1, "?", "a", "b")]
    )
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await ranking(pilot, "w")
        assert isinstance(screen, SetScreen)
        await until(pilot, lambda: not screen.unread)
        ids = [answer.id for answer in screen.answers]
        await pilot.press("enter")
        assert not said(file)
        await pilot.press("3", "1", "equals_sign", "4", "2", "backspace", "space", "2")
        await until(pilot, lambda: screen.order.text() == "3 > 1 = 4 = 2")
        await pilot.press("z", "z")
        await until(pilot, lambda: screen.order.text() == "3 > 1 = 4")
        await pilot.press("2")
        await until(pilot, lambda: "Best first: 3 > 1 = 4 > 2" in text_of(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: said(file))
        (made,) = said(file)
        assert made.order == ((ids[2],), (ids[0], ids[3]), (ids[1],))
        await until(pilot, lambda: len(screen.answers) == 2)
        await pilot.press("z")
        await until(pilot, lambda: len(screen.answers) == 4)
        assert [answer.id for answer in screen.answers] == ids
        assert not said(file)


async def test_sets_that_were_skipped_come_to_others(project: Project, app_on: AppOn) -> None:
    file = candidates(project, "two", [line(n, f"Question {n}?", "yes", "no", "perhaps") for n in range(2)])
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await ranking(pilot, "w")
        await pilot.press("s")
        await pilot.press("s")
        await until(pilot, lambda: not screen.answers)
        assert {item.kind for item in said(file)} == {"skip"}
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ArenaScreen))
        pilot.app.perform_command("arena.rater bob")  # type: ignore[attr-defined]
        await pilot.press("w")
        await until(pilot, lambda: isinstance(pilot.app.screen, Judging) and pilot.app.screen.answers)


def test_an_order_is_typed_and_taken_back() -> None:
    order = Order()
    for place in (2, 0):
        order.put(place)
    order.joins = True
    order.put(3)
    assert order.text() == "3 > 1 = 4"
    assert (order.rank(3), order.rank(1)) == (2, None)
    order.back()
    assert order.text() == "3 > 1 ="
    order.back()
    order.back()
    order.back()
    assert order.text() == ""
    order.back()


# --------------------------------------------------------------------------- more than one, and growing


async def test_two_sessions_never_show_the_same_pair(project: Project, rain: Path, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24)) as first:
        here = await ranking(first)
        async with app_on(project).run_test(size=(80, 24)) as second:
            there = await ranking(second)
            mine, others = (here.arena.pair, there.arena.pair)  # type: ignore[union-attr]
            assert mine is not None
            assert others is not None
            assert mine.answers != others.answers
            await until(second, lambda: not there.unread)
            await second.press("1")
            await until(second, lambda: len(said(rain)) == 1 and not there.unread)
            await second.press("1")
            await until(second, lambda: not there.answers)
            assert "The last 1 pairs are before others" in words_of(second)
            await first.press("escape")  # the first one leaves: its pair is free
            await until(second, lambda: there.answers)
            assert there.arena.pair.answers == mine.answers  # type: ignore[union-attr]


async def test_answers_that_are_still_being_written(project: Project, app_on: AppOn) -> None:
    build = Builder(project.root)
    run = build.run({"stage": "candidates", "models": ["smol"], "typed": ["growing"], "name": "growing"}, {})
    build.tell(run, [Started(time=NOW - 60), Progress(time=NOW - 50, done=1, total=3, unit="prompts")])
    build.put(
        run, "running", created=NOW - 62, started=NOW - 60, pid=os.getpid(),
        pid_started=runs.process_started(os.getpid()),
    )  # fmt: skip
    build.catalog.close()
    file = project.runs / run.id / "candidates.jsonl"
    file.write_text(line(0, "First?", *RAIN))
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await at_arena(pilot)
        await until(pilot, lambda: "growing  being written" in text_of(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Judging) and pilot.app.screen.answers)
        screen = pilot.app.screen
        assert isinstance(screen, Judging)
        await until(pilot, lambda: not screen.unread)
        await pilot.press("1")
        await until(pilot, lambda: f"{run.id} is still writing answers: 1 of 3 prompts." in words_of(pilot))
        with open(file, "a") as growing:
            growing.write(line(1, "Second?", *RAIN))
        await until(pilot, lambda: "Second?" in text_of(pilot))  # by itself
    assert judgements.count(judgements.file_of(project, run.identity)) == 1


async def test_damaged_judgements_are_told(project: Project, rain: Path, app_on: AppOn) -> None:
    rain.parent.mkdir(parents=True)
    rain.write_text('{"kind": "pair"}\n')
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await at_arena(pilot)
        await until(pilot, lambda: "damaged" in text_of(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "is damaged in line 1" in words_of(pilot))


async def test_the_arena_without_a_model_says_what_to_do(project: Project, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "a")
        await until(pilot, lambda: "no model that could write some" in words_of(pilot))


async def test_the_arena_without_answers_says_what_to_do(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "a")
        await until(pilot, lambda: "workbench candidates --model MODEL" in words_of(pilot))


async def test_pairs_come_by_the_scores_that_are_kept_and_a_reward_model_that_fails_is_told(
    project: Project, app_on: AppOn, tmp_path: Path
) -> None:
    texts = ("red", "green", "blue", "azure")
    file = candidates(project, "four", [line(0, "Name a colour.", *texts)])
    file.parent.mkdir(parents=True)
    kept = {"0-0": 0.0, "0-1": 3.0, "0-2": 3.5, "0-3": 9.0}
    rows = [json.dumps({"answer": name, "score": score}) + "\n" for name, score in kept.items()]
    (file.parent / "scores-c0ffee.jsonl").write_text("".join(rows))
    gone = RewardChoice(name="gone", identity="c0ffee", folder=tmp_path / "gone")
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        arena = await at_arena(pilot)
        arena.ranking = Ranking(rater="ada", reward=gone, repeat=0)
        await pilot.press("enter")
        await until(pilot, lambda: "The reward model gone scores nothing" in words_of(pilot), 120)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, Judging) and pilot.app.screen.answers)
        screen = pilot.app.screen
        assert isinstance(screen, Judging)
        gaps = []
        while screen.answers:
            await until(pilot, lambda: not screen.unread)
            first, second = (kept[answer.id] for answer in screen.answers)
            gaps.append(abs(first - second))
            await pilot.press("3")
            await until(pilot, lambda: len(said(file)) == len(gaps))
        assert gaps == [0.5, 3.0, 3.5, 5.5, 6.0, 9.0]  # where it is least sure comes first


def press_until(text: bytes, terminal: Terminal, key: str) -> None:
    """Press again if it was refused, as a verdict is before the answers were drawn to their end."""
    mark = len(terminal.output)
    for _ in range(10):
        place = len(terminal.output)
        terminal.press(key)
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline and b"not shown to the end" not in terminal.output[place:]:
            if text in terminal.output[mark:]:
                return
            terminal.read(0.5)
        terminal.collect(0.5)
    raise AssertionError(terminal.output[-400:])


def test_a_kill_loses_no_judgement(project: Project, rain: Path) -> None:
    """In a terminal of its own, as typed; what was told to be judged is kept, and its pair is free again."""
    command = python("-m", "workbench.cli", "rank", "rain", "--rater", "ada", "--project", str(project.root))
    terminal = Terminal(command, rows=24, columns=80)
    try:
        terminal.wait_for(b"0 judged", seconds=90)
        for count in (1, 2):
            press_until(f"{count} judged".encode(), terminal, "1")
    finally:
        terminal.close()  # kill -9
    assert [item.verdict for item in said(rain)] == ["left", "left"]
    arena = Arena(project.folder("candidates") / "rain" / "candidates.jsonl", rain, "bob", overlap=0)
    assert arena.next() is not None
    arena.close()


@pytest.mark.parametrize("size", [(40, 12), (20, 6)])
async def test_a_terminal_that_is_too_small_ends_nothing(
    project: Project, rain: Path, app_on: AppOn, size: tuple[int, int]
) -> None:
    async with app_on(project).run_test(size=size) as pilot:
        screen = await ranking(pilot)
        await pilot.press("tab", "space", "plus", "plus", "i")
        await until(pilot, lambda: pilot.app.screen is not screen)
        await pilot.press("escape")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: not screen.unread)
        await pilot.press("2")
        await until(pilot, lambda: len(said(rain)) == 1)


async def test_a_click_chooses_the_answer(project: Project, rain: Path, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await ranking(pilot)
        await pilot.click("#answer-1")
        await until(pilot, lambda: screen.active == 1)


# --------------------------------------------------------------------------- widgets


def test_wrapping_loses_nothing_and_keeps_to_the_width() -> None:
    texts = [
        MAP * 3,
        HOSTILE,
        "  indented\n\ttab\n\n",
        "日本語の答え" * 20,
        "x" * 200,
        "",
        "a  b " * 30,
        "👩‍👩‍👧 family " * 12,
    ]
    for text in texts:
        for width in (8, 20, 77):
            lines = wrap(text, width)
            assert all(cell_len(row) <= width for row in lines)
            assert "".join("".join(lines).split()) == "".join(text.split())


def test_an_answer_of_a_hundred_thousand_words_wraps_at_once() -> None:
    begun = time.perf_counter()
    assert len(wrap("word " * 100_000, 58)) == pytest.approx(500_000 / 55, rel=0.1)
    assert time.perf_counter() - begun < 20  # a quadratic way takes minutes


async def test_what_was_read_stays_read_when_the_terminal_changes(project: Project, app_on: AppOn) -> None:
    candidates(project, "long", [line(0, "What is a hash map?", MAP * 9, ROOM)])
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        screen = await ranking(pilot)
        await until(pilot, lambda: not screen.unread)
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.3)
        assert not screen.unread
        assert any(pane.overflows for pane in screen.query(AnswerText))


@pytest.mark.parametrize(
    ("above", "below", "active", "expected"),
    [(3, 3, 0, 7), (12, 3, 1, 12), (30, 3, 0, 12), (3, 30, 0, 3), (9, 6, 1, 9), (30, 30, 0, 10), (30, 30, 1, 5)],
)
def test_answers_above_each_other_share_fifteen_lines(above: int, below: int, active: int, expected: int) -> None:
    assert upper_height(15, above, below, active) == expected


def test_an_interval_is_drawn_to_scale() -> None:
    assert interval_bar(-1, 0, 1, -1, 1, 11, ascii=True) == "|----o----|"
    assert interval_bar(0.5, 0.75, 1, -1, 1, 9, ascii=False) == "    ┊ ├●┤"
    assert len(interval_bar(0, 0, 0, 0, 0, 5, ascii=True)) == 5


# --------------------------------------------------------------------------- pictures

every_size = pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)


@pytest.fixture
def pictured(project: Project) -> Project:
    """A set with an answer that scrolls; two raters judged some of it."""
    lines = [
        line(n, f"Explain what a hash map is, and when to use a sorted list instead. ({n})", MAP * 12, ROOM, HOSTILE)
        for n in range(30)
    ]
    file = candidates(project, "mine", lines)
    file.parent.mkdir(parents=True)
    draw = random.Random(3)
    made = []
    for number in range(24):
        for rater in ("ada", "bob") if number < 8 else ("ada",):
            left, right = draw.sample([f"{number}-0", f"{number}-1"], 2)
            made.append(
                Judgement(
                    kind="pair",
                    rater=rater,
                    prompt=str(number),
                    left=left,
                    right=right,
                    id=f"{rater}-{number}",
                    verdict="left" if (left.endswith("1")) == (draw.random() < 0.65) else "right",
                    strength=1,
                    seconds=5 + draw.random() * 4,
                    time=NOW,
                    repeat_of="ada-0" if number == 23 else "",
                )
            )
    file.write_bytes(b"".join(item.line() for item in made))
    return project


@every_size
def test_sets(snap_compare: Snap, pictured: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await at_arena(pilot)
        await until(pilot, lambda: "27%" in text_of(pilot))

    assert snap_compare(app_on(pictured), terminal_size=size, run_before=before)


@every_size
def test_pair(snap_compare: Snap, pictured: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        screen = await ranking(pilot)
        await until(pilot, lambda: len(screen.unread) < 2)
        screen.say("It was A smol, B smol-sft.")
        await settled(pilot)

    assert snap_compare(app_on(pictured), terminal_size=size, run_before=before)


@every_size
def test_whole_set(snap_compare: Snap, pictured: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        screen = await ranking(pilot, "w")
        assert isinstance(screen, SetScreen)
        await settled(pilot)
        await pilot.press("2", "equals_sign", "1")
        await until(pilot, lambda: screen.order.rank(0) and screen.order.rank(1))
        await settled(pilot)

    assert snap_compare(app_on(pictured), terminal_size=size, run_before=before)


@every_size
def test_standing(snap_compare: Snap, pictured: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await ranking(pilot)
        await pilot.press("i")
        await until(pilot, lambda: "Krippendorff" in text_of(pilot))

    assert snap_compare(app_on(pictured), terminal_size=size, run_before=before)


def test_pair_in_ascii(snap_compare: Snap, pictured: Project, app_on: AppOn) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await ranking(pilot)
        await pilot.press("i")
        await until(pilot, lambda: "Krippendorff" in text_of(pilot))

    assert snap_compare(app_on(pictured, ascii=True), terminal_size=(80, 24), run_before=before)


def test_the_example_is_what_it_says(pictured: Project) -> None:
    (file,) = (pictured.root / "judgements").glob("*/judgements.jsonl")
    assert len([json.loads(row) for row in file.read_text().splitlines()]) == 32
