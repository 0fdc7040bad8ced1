"""Data: what there is, row by row, a person's yes or no, and what is trained on, token by token."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.data_project import DOCUMENTS, answered, asked, fill_project, sealed
from tests.tui.drive import SIZES, loaded, text_of, typed, until, words_of
from tests.tui.example import Builder
from workbench.corpus.chats.conversations import ConversationWriter, read_conversations
from workbench.corpus.chats.rejects import Rejects
from workbench.preferences.reviews import Reviews
from workbench.recipes.load import recipe_from
from workbench.store.artifacts import Artifact, read_manifest
from workbench.store.project import Project, open_project
from workbench.tui import inspecting
from workbench.tui.app import WorkbenchApp
from workbench.tui.records import Records
from workbench.tui.screens.data import DataScreen
from workbench.tui.screens.data_inspector import InspectorScreen
from workbench.tui.screens.data_records import RecordsScreen
from workbench.tui.screens.dialogs import AskLine
from workbench.tui.screens.form import FormScreen
from workbench.tui.screens.runs import RunsScreen
from workbench.tui.widgets.reader import Reader
from workbench.tui.widgets.table import Table
from workbench.tui.widgets.token_text import TokenText

AppOn = Callable[..., WorkbenchApp]
Snap = Callable[..., bool]
SFT = {"stage": "sft", "base": "smol", "data": ["capitals"], "max_length": 400, "batch": {"batch_size": 8}}


@pytest.fixture
def data(project: Project) -> dict[str, Artifact]:
    return fill_project(project)


def show_batches(app: WorkbenchApp, project: Project, **recipe: object) -> InspectorScreen:
    screen = InspectorScreen(inspecting.recipe_subject(project, recipe_from({**SFT, **recipe})))
    app.push_screen(screen)
    return screen


def shows(screen: RecordsScreen, number: int) -> bool:
    return screen.record is not None and screen.record.number == number


# --------------------------------------------------------------------------- rows


def test_any_row_of_a_set_is_read_and_found(project: Project, data: dict[str, Artifact]) -> None:
    books = Records("corpus", project.folder("corpus") / "books")
    assert len(books) == DOCUMENTS
    assert books.title(1717) is None  # not read yet, and nobody waits for it
    assert books.record(1717).parts[0].text.startswith("Document 1717: a function that returns needle.")
    assert books.title(1717) == (books.record(1717).title, "docs/01717.rst")
    assert [hit for page in range(books.pages) for hit in books.matches(page, "Returns NEEDLE")] == [1717]
    pairs = Records("preferences", project.folder("preferences") / "pairs")
    assert len(pairs) == 41
    labels = [[part.label for part in pairs.record(number).parts] for number in (40, 0)]
    assert sorted(labels) == [["user", "bad"], ["user", "chosen, by 1", "rejected", "rater"]]
    rejects = pa.table({"source": ["rows:7"], "reason": ["no answer"], "excerpt": ["{}"]})
    pq.write_table(rejects, pairs.folder / "rejects.parquet")
    assert len(Records("preferences", pairs.folder)) == 41  # what was left out is no row
    mine = Records("candidates", project.folder("candidates") / "mine")
    assert [part.text for part in mine.record(1).parts] == ["Capital of Japan?", "Tokyo", "It is Tokyo."]


async def test_sets_are_listed_with_what_they_hold(project: Project, data: dict[str, Artifact], app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "d")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen) and pilot.app.screen.chosen)
        shown = text_of(pilot)
        for words in ("5 prompts, 10 answers", "40 pairs, 1 mark", "8 conversations, 16 turns", "2,500 documents"):
            assert words in shown, words
        assert "smol" not in shown  # a model is no data
        await pilot.press("end", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RecordsScreen) and pilot.app.screen.record)
        assert "2,500 rows" in text_of(pilot)
        assert "Document 0: a function that returns hay." in text_of(pilot)
        await pilot.press("end")
        await until(pilot, lambda: pilot.app.screen.record.number == DOCUMENTS - 1)  # type: ignore[attr-defined]
        assert f"Document {DOCUMENTS - 1}: a function" in text_of(pilot)


async def test_a_search_finds_rows_and_esc_shows_all(
    project: Project, data: dict[str, Artifact], app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        pilot.app.perform_command("data.read books")  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(pilot.app.screen, RecordsScreen) and pilot.app.screen.record)
        screen = pilot.app.screen
        assert isinstance(screen, RecordsScreen)
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(screen.focused, Input))
        await typed(pilot, "needle docs")
        await pilot.press("enter")
        await until(
            pilot, lambda: screen.found and screen.searched == 1 and screen.record and screen.record.number == 1717
        )
        assert "1 of 2,500 rows" in text_of(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: screen.found is None)
        assert len(screen.query_one(Table).rows) == DOCUMENTS
        await until(pilot, lambda: screen.record)
        await pilot.press("plus", "slash")
        assert screen.query_one(Input).region  # the line to type into can be seen
        await typed(pilot, "nowhere")
        await pilot.press("enter")
        await until(pilot, lambda: screen.searched == 1 and screen.record is None)
        shown = text_of(pilot)
        assert "0 of 2,500 rows" in shown
        assert "row 1" not in shown  # of the pane that is empty now
        assert "Zoom" not in shown


@pytest.mark.parametrize("size", SIZES)
async def test_what_an_import_left_out_can_be_read(project: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    def fill(folder: Path) -> dict[str, Any]:
        with ConversationWriter(folder) as writer, Rejects(folder) as rejects:
            for number in range(3):
                writer.add([*asked(f"Question {number}?"), *answered("Yes.")], None, f"rows.jsonl:{number + 1}")
            rejects.add("rows.jsonl:4", "empty answer", '{"prompt": "Why?", "completion": "\x1b[2J"}')
            rejects.add("rows.jsonl:5", "roles out of order", "[]")
        return {"rows": 3, "dropped": dict(rejects.dropped)}

    sealed(project, "chats", "asked", fill)
    async with app_on(project).run_test(size=size) as pilot:
        await loaded(pilot)
        pilot.app.perform_command("data.read asked")  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(pilot.app.screen, RecordsScreen) and pilot.app.screen.record)
        screen = pilot.app.screen
        assert isinstance(screen, RecordsScreen)
        assert "x: 2 left out" in text_of(pilot)
        await pilot.press("x")
        await until(pilot, lambda: screen.shows_rejects and screen.record and screen.record.source == "rows.jsonl:4")
        shown = words_of(pilot)
        assert "2 left out" in shown
        assert "empty answer" in shown
        assert '"prompt": "Why?"' in shown
        assert "\x1b" not in shown
        await pilot.press("down")
        await until(pilot, lambda: screen.record and screen.record.source == "rows.jsonl:5")
        await pilot.press("escape")  # back to the rows
        await until(pilot, lambda: not screen.shows_rejects and screen.record and "Question" in screen.record.title)
        assert "3 rows" in text_of(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_text_in_data_is_only_text(
    project: Project, data: dict[str, Artifact], app_on: AppOn, size: tuple[int, int]
) -> None:
    async with app_on(project).run_test(size=size) as pilot:
        await loaded(pilot)
        for name, number in (("books", 3), ("capitals", 120), ("pairs", 40)):
            pilot.app.perform_command(f"data.read {name}")  # type: ignore[attr-defined]
            await until(pilot, lambda: isinstance(pilot.app.screen, RecordsScreen) and pilot.app.screen.record)
            screen = pilot.app.screen
            assert isinstance(screen, RecordsScreen)
            assert screen.records is not None
            held = screen.records
            at = next(n for n in (number, 0) if "[/INST]" in str(held.record(n).parts))
            screen.query_one(Table).choose(at)
            await until(pilot, partial(shows, screen, at))
            await pilot.press("plus")
            await pilot.pause()
            shown = text_of(pilot)
            assert "Sure! [/INST] [red]no[/red] end over" in " ".join(shown.split())
            assert "\x1b" not in shown
            assert "\u202e" not in shown
            assert all(cell_len(line) == size[0] for line in shown.splitlines())
            await pilot.press("escape", "escape")
            await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))


async def test_a_damaged_set_is_a_sentence(project: Project, data: dict[str, Artifact], app_on: AppOn) -> None:
    path = project.folder("chats") / "capitals" / "conversations.parquet"
    path.write_bytes(path.read_bytes()[:200])
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        pilot.app.perform_command("data.read capitals")  # type: ignore[attr-defined]
        await until(pilot, lambda: "That did not work" in text_of(pilot))
        assert "conversations.parquet cannot be read" in words_of(pilot)


# --------------------------------------------------------------------------- yes and no


async def test_made_up_rows_are_accepted_and_become_a_set(
    project: Project, data: dict[str, Artifact], app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        pilot.app.perform_command("data.read drafts")  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(pilot.app.screen, RecordsScreen) and pilot.app.screen.reviews)
        screen = pilot.app.screen
        assert isinstance(screen, RecordsScreen)
        await pilot.press("y", "y", "n", "y", "z", "y", "n")
        assert screen.reviews.accepted == {0: True, 1: True, 2: False, 3: True, 4: False}
        assert Reviews(project, data["drafts"].identity).accepted == screen.reviews.accepted  # on the disk already
        await until(pilot, lambda: "3 accepted, 2 rejected" in text_of(pilot))
        await pilot.press("m")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLine))
        await pilot.press("enter")
        live = pilot.app.live  # type: ignore[attr-defined]
        await until(pilot, lambda: any(item.id == "drafts-accepted" for item in live.artifacts))
    folder = project.folder("chats") / "drafts-accepted"
    questions = [row.messages[0]["content"] for row in read_conversations(folder)]
    assert questions == ["Name 2 fruits.", "Name 3 fruits.", "Name 5 fruits."]
    made = read_manifest(folder)
    assert made.report["rows"] == 3
    assert made.inputs["chats"]["id"] == "drafts"


async def test_nothing_to_accept_is_said(project: Project, data: dict[str, Artifact], app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24), notifications=True) as pilot:
        await loaded(pilot)
        pilot.app.perform_command("data.read capitals")  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(pilot.app.screen, RecordsScreen) and pilot.app.screen.record)
        await pilot.press("y")
        await until(pilot, lambda: "Only what a model made up (self-instruct) waits" in words_of(pilot))


def test_a_yes_survives_a_kill(project: Project, data: dict[str, Artifact]) -> None:
    """`kill -9` right after the answer, and a line that was cut short by it."""
    code = f"""
        import os, signal
        from pathlib import Path
        from workbench.preferences.reviews import Reviews
        from workbench.store.project import open_project
        reviews = Reviews(open_project(Path({str(project.root)!r})), {data["drafts"].identity!r})
        for row in range(5):
            reviews.say(row, row % 2 == 0)
        with open(reviews.path, "ab") as file:
            file.write(b'{{"row": 5, "acc')
            file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=Path(__file__).parents[2], check=False)
    assert ended.returncode == -signal.SIGKILL
    reviews = Reviews(open_project(project.root), data["drafts"].identity)
    assert reviews.accepted == {0: True, 1: False, 2: True, 3: False, 4: True}
    reviews.say(5, True)
    assert Reviews(project, data["drafts"].identity).accepted[5]
    assert os.path.getsize(reviews.path) == len(reviews.path.read_bytes())


# --------------------------------------------------------------------------- the inspector


@pytest.mark.parametrize("size", SIZES)
async def test_the_inspector_shows_what_is_trained_on(
    project: Project, data: dict[str, Artifact], app_on: AppOn, size: tuple[int, int]
) -> None:
    async with app_on(project).run_test(size=size) as pilot:
        await loaded(pilot)
        screen = show_batches(pilot.app, project)  # type: ignore[arg-type]
        await until(pilot, lambda: screen.shown_batch is not None and screen.has_class("-open"))
        assert screen.shown_batch is not None
        sequence = screen.sequence
        assert sequence is not None
        tokens = screen.query_one(TokenText)
        assert len(tokens.cells) == len(sequence.tokens)
        # What is marked is what the engine trains on, token by token.
        assert [cell.look == "trained" for cell in tokens.cells] == [token.trained for token in sequence.tokens]
        trained = "".join(token.text for token in sequence.tokens if token.trained)
        assert trained.endswith("<|im_end|>")
        assert "What is the capital" not in trained
        shown = text_of(pilot)
        assert f"{sequence.trained:,} of {len(sequence.tokens):,} trained on" in shown
        assert "┃" in shown
        assert "┊" in shown
        # The cursor on the first token of the answer, and what is known of it.
        place = next(n for n, token in enumerate(sequence.tokens) if token.trained)
        tokens.cursor = place
        await pilot.pause()
        token = sequence.tokens[place]
        assert f"{token.text.encode().hex()}" in text_of(pilot)
        assert "loss trained on" in words_of(pilot)
        assert screen.inspector is not None
        assert screen.inspector.token_bytes(token.id) == token.text.encode()
        await pilot.press("n")
        await until(pilot, lambda: screen.shown_batch and screen.shown_batch.step == 1)
        await pilot.press("j")
        await until(pilot, lambda: screen.row == 1)
        assert "batch 1 of" in text_of(pilot)
        assert "row 1 of 8" in text_of(pilot)
        await pilot.press("p", "k")
        await until(pilot, lambda: screen.shown_batch and screen.shown_batch.step == 0)
        assert screen.row == 0


async def test_every_token_is_reached_and_boundaries_alternate(
    project: Project, data: dict[str, Artifact], app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        screen = show_batches(pilot.app, project)  # type: ignore[arg-type]
        await until(pilot, lambda: screen.has_class("-open"))
        tokens = screen.query_one(TokenText)
        drawn = [number for line in tokens.lines for number, _ in line.pieces]
        assert sorted(set(drawn)) == list(range(len(tokens.cells)))
        room = tokens.scrollable_content_region.width
        assert all(12 + sum(cell_len(text) for _, text in line.pieces) <= room for line in tokens.lines)
        starts = set()
        for _ in range(len(tokens.stretches)):
            starts.add(tokens.cursor)
            await pilot.press("space")
        assert starts == set(tokens._starts)
        assert tokens.cursor == 0
        for key in ("down", "pagedown", "end", "up", "left"):
            await pilot.press(key)
        assert tokens.cursor < len(tokens.cells) - 1
        strip = tokens.render_line(3)
        grounds = [segment.style.bgcolor for segment in strip if segment.style and segment.style.bgcolor]
        assert len(set(grounds)) > 1


async def test_what_is_wrong_is_shown_with_its_row(project: Project, data: dict[str, Artifact], app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        screen = show_batches(pilot.app, project, base="deaf")  # type: ignore[arg-type]
        await until(pilot, lambda: screen.has_class("-open"))
        shown = words_of(pilot)
        assert "Error: The chat template drops the system message of 120 rows." in shown
        assert "first rows.jsonl:1:" in shown


async def test_a_recipe_that_cannot_be_looked_at_says_why(
    project: Project, data: dict[str, Artifact], app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(80, 24), notifications=True) as pilot:
        await loaded(pilot)
        screen = show_batches(pilot.app, project, data=["mine"])  # type: ignore[arg-type]
        await until(pilot, lambda: "There are no chats called 'mine'" in words_of(pilot))
        await pilot.press("n")
        await until(pilot, lambda: "There is no batch to look at yet." in words_of(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is not screen)


async def test_preferences_are_shown_as_both_answers(
    project: Project, data: dict[str, Artifact], app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        recipe = recipe_from({"stage": "dpo", "base": "smol", "preferences": "pairs", "batch": {"batch_size": 4}})
        screen = InspectorScreen(inspecting.recipe_subject(project, recipe))
        pilot.app.push_screen(screen)
        await until(pilot, lambda: screen.has_class("-open"))
        assert screen.shown_batch is not None
        labels = [sequence.documents[0].label for sequence in screen.shown_batch.sequences]
        assert labels == ["chosen", "rejected"] * 4
        assert "chosen prompt" in text_of(pilot)


async def test_batches_of_a_form_and_of_a_run(project: Project, data: dict[str, Artifact], app_on: AppOn) -> None:
    build = Builder(project.root)
    build.made = dict(data)
    run = build.run(
        {"stage": "sft", "base": "smol", "data": ["capitals"], "max_length": 200, "name": "tuned"},
        {"base": "smol", "data.0": "capitals"},
    )
    build.put(run, "stopped")
    build.catalog.close()
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        app = pilot.app
        await pilot.press("g", "r")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen) and app.screen.run)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, InspectorScreen) and app.screen.has_class("-open"))
        assert "of at most 200 tokens" in words_of(pilot)
        assert f"What is trained on: {run.id}" in text_of(pilot)
        await pilot.press("escape")
        app.open_form("sft", {"base": "smol", "data": "capitals", "max_length": "100"})  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(app.screen, FormScreen) and app.screen.checked.recipe)
        app.perform_command("form.inspect")  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(app.screen, InspectorScreen) and app.screen.has_class("-open"))
        assert "of at most 100 tokens" in words_of(pilot)


async def test_without_colour_what_is_trained_on_is_still_marked(
    project: Project, data: dict[str, Artifact], app_on: AppOn
) -> None:
    async with app_on(project, ascii=True).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        screen = show_batches(pilot.app, project)  # type: ignore[arg-type]
        await until(pilot, lambda: screen.has_class("-open"))
        shown = text_of(pilot)
        assert shown.isascii()
        assert "assistant # " in shown
        assert "user      : " in shown
        assert screen.query_one(TokenText).shown("a\nb\x1b[2J") == "a$b"
        assert screen.query(Reader) is not None


async def test_x_offers_runs_and_new_recipes_with_the_data_in_them(
    project: Project, data: dict[str, Artifact], app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "d")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen) and pilot.app.screen.chosen)
        pilot.app.screen.query_one(Table).choose(("chats", "capitals"))
        await pilot.press("x")
        await until(pilot, lambda: "What is trained on, in" in text_of(pilot))
        await pilot.press("down", "down", "enter")  # pretrain, continue, sft
        await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen))
        screen = pilot.app.screen
        assert isinstance(screen, FormScreen)
        assert screen.draft.stage == "sft"
        assert screen.draft.texts["data"] == "capitals"


async def test_sets_that_no_run_made_are_at_home_on_all_screens(
    project: Project, data: dict[str, Artifact], app_on: AppOn
) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        for place in ("map", "runs", "models", "chat", "arena", "data"):
            pilot.app.go(place)  # type: ignore[attr-defined]
            await pilot.pause(0.2)
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))


# --------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_picture_of_rows(
    snap_compare: Snap, project: Project, data: dict[str, Artifact], app_on: AppOn, size: tuple[int, int]
) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await loaded(pilot)
        pilot.app.perform_command("data.read capitals")  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(pilot.app.screen, RecordsScreen) and pilot.app.screen.record)
        await pilot.press("down", "down", "down")
        await until(pilot, lambda: shows(pilot.app.screen, 3))  # type: ignore[arg-type]

    assert snap_compare(app_on(project), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("base", ["smol", "deaf"])
def test_picture_of_the_inspector(
    snap_compare: Snap, project: Project, data: dict[str, Artifact], app_on: AppOn, size: tuple[int, int], base: str
) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await loaded(pilot)
        screen = show_batches(pilot.app, project, base=base)  # type: ignore[arg-type]
        await until(pilot, lambda: screen.has_class("-open"))
        await pilot.press("j", "space", "right")
        await until(pilot, lambda: screen.row == 1 and screen.query_one(TokenText).cursor > 1)

    assert snap_compare(app_on(project), terminal_size=size, run_before=before)
