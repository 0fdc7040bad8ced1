"""A cleaned corpus on the screen: the funnel with examples, another threshold, near duplicates, a document's tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen

from tests.corpus.conftest import make_stage
from tests.tui.data_project import sealed
from tests.tui.drive import loaded, text_of, typed, until, words_of
from workbench.corpus.cleaning.presets import resolved
from workbench.recipes.base import validate
from workbench.recipes.corpus import ImportRecipe
from workbench.store.artifacts import Artifact
from workbench.store.project import Project
from workbench.tui import cleaning_view
from workbench.tui.app import WorkbenchApp
from workbench.tui.cleaning_view import FunnelRow
from workbench.tui.screens.data_clusters import ClustersScreen
from workbench.tui.screens.data_records import RecordsScreen
from workbench.tui.screens.data_rejects import RejectsScreen
from workbench.tui.screens.data_tokens import TokensScreen
from workbench.tui.screens.dialogs import AskLine
from workbench.tui.widgets.reader import Reader, marked
from workbench.tui.widgets.table import Table
from workbench.tui.widgets.token_text import TokenText

AppOn = Callable[..., WorkbenchApp]
STEPS = "- step: normalise\n- {step: length, min_characters: 40}\n- step: near-duplicates\n"
WORDS = ("river", "mill", "corn", "wheel", "stone", "water", "bread", "flour", "miller", "village", "bridge", "horse")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, dict, Path]:
    """The folder, report and recipe of a corpus of 60 documents (5 short, 3 near copies), and a tokenizer's folder."""
    root = tmp_path_factory.mktemp("cleaned")
    texts = [
        f"Story {n}. "
        + " ".join(WORDS[(n * k * k + 3 * k) % len(WORDS)] + str((n * n * 7 + k * (n + 3)) % 997) for k in range(120))
        for n in range(50)
    ]
    texts += [f"{texts[7]} and one word more {n}" for n in range(3)]
    texts += [f"Too short: \x1b[2J [red]{n}[/red]" for n in range(5)]
    texts += ["Spaced out    \r\nat the ends of lines, which is a change to be seen. " + texts[1][:500] + "é"]
    source = root / "stories.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (root / "steps.yaml").write_text(STEPS)
    given = {"sources": [str(source)], "clean": str(root / "steps.yaml")}
    recipe = resolved(validate(ImportRecipe, given), root).model_dump(mode="json", exclude_none=True)
    corpus = make_stage(root, "import", {key: value for key, value in recipe.items() if key != "stage"}).run()
    tokenizer = make_stage(
        root, "tokenizer", {"corpus": "c", "vocab_size": 512, "sample_mib": 1}, {"corpus": corpus.output}
    )
    return corpus.output, corpus.report, recipe, tokenizer.run().output


@pytest.fixture
def corpus(project: Project, made: tuple[Path, dict, dict, Path]) -> Artifact:
    folder, report, recipe, tokenizer = made

    def copied(source: Path, report: dict) -> Callable[[Path], dict]:
        def fill(into: Path) -> dict:
            shutil.copytree(source, into, dirs_exist_ok=True)
            return report

        return fill

    sealed(project, "tokenizer", "words", copied(tokenizer, {"vocab_size": 512}), stage="tokenizer")
    return sealed(project, "corpus", "stories", copied(folder, report), **recipe)


def shown(reader: Reader) -> str:
    return "\n".join(f"{part.label}\n{part.text}" for part in reader.parts)


async def open_from_data(pilot: Pilot[Any], key: str, kind: type[Screen[Any]]) -> None:
    """Press `key` on Data, on the row of the corpus."""
    await loaded(pilot)
    await pilot.press("g", "d")
    await pilot.pause()
    pilot.app.screen.query_one(Table).choose("stories")
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, kind))


def test_the_funnel_adds_up(made: tuple[Path, dict, dict, Path]) -> None:
    folder, report, _, _ = made
    rows = cleaning_view.funnel(report)
    steps = [row for row in rows if not row.reason]
    assert [(row.step, row.came, row.rejected) for row in steps] == [
        ("read", 59, 0), ("normalise", 59, 0), ("length", 59, 5), ("near-duplicates", 54, 3),
    ]  # fmt: skip
    reasons = [row for row in rows if row.reason]
    assert sum(row.rejected for row in reasons) == 8
    for row in reasons:
        assert len(cleaning_view.examples(folder, row)) == row.rejected
    (changed,) = cleaning_view.examples(folder, next(row for row in steps if row.step == "normalise"))[:1]
    assert [part.label for part in changed][1:] == ["before", "after"]
    assert [len(members) for members in cleaning_view.clusters(folder)] == [4]
    assert sum(cleaning_view.lengths(report).values()) == report["documents"] == 51


def test_marks_around_what_a_text_is_about() -> None:
    assert marked("a bad word", [(2, 5)], "[[", "]]") == "a [[bad]] word"
    assert marked("a===b", [(1, 2), (2, 3), (3, 4)], "<", ">") == "a<===>b"  # what touches is one
    assert marked("abc", [(1, 99)], "<", ">") == "a<bc>"
    assert "\x1b" not in marked("a\x1b[2Jb", [(0, 1)], "<", ">")


async def test_the_funnel_on_the_screen(project: Project, corpus: Artifact, app_on: AppOn) -> None:
    app = app_on(project)
    async with app.run_test(size=(120, 36)) as pilot:
        await open_from_data(pilot, "r", RejectsScreen)
        screen = app.screen
        assert isinstance(screen, RejectsScreen)
        table, reader = screen.query_one(Table), screen.query_one(Reader)
        rows: list[FunnelRow] = list(table.rows)
        table.cursor = next(place for place, row in enumerate(rows) if row.step == "length" and row.reason)
        await until(pilot, lambda: len(screen.examples) == 5)
        assert "measured" in shown(reader)
        assert "min_characters is 40" in shown(reader)
        assert "\x1b" not in text_of(pilot)
        assert "[red]" in text_of(pilot)  # it is text, and no markup
        await pilot.press("n")
        assert screen.shown == 1
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, AskLine))
        await pilot.press("ctrl+u")
        await typed(pilot, "min_characters=10")
        await pilot.press("enter")
        await until(pilot, lambda: screen.effect is not None)
        assert screen.effect is not None
        assert (screen.effect.kept_before, screen.effect.kept_after) == (54, 59)
        assert screen.effect.funnel["length"] == (5, 0)
        assert len(screen.effect.now_kept) == 5
        assert "kept now; it was rejected" in shown(reader)
        assert "of 59 sampled documents 59 are kept, +5" in words_of(pilot)
        await pilot.press("escape")
        assert screen.effect is None
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not screen)


async def test_a_threshold_that_there_is_not_is_told(project: Project, corpus: Artifact, app_on: AppOn) -> None:
    app = app_on(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        app.push_screen(RejectsScreen(next(item for item in app.live.artifacts if item.id == "stories")))
        await until(pilot, lambda: isinstance(app.screen, RejectsScreen))
        screen = app.screen
        await until(pilot, lambda: len(screen.query_one(Table).rows) > 3)
        assert screen.query_one(Table).row.step == "read"
        assert screen.why_not_threshold() == "Reading has no parameters: choose a step."
        screen.query_one(Table).cursor = 3
        assert screen.why_not_threshold() is None
        app.screen.do_threshold("min_charakters=3")
        await until(pilot, lambda: "min_charakters" in text_of(pilot))
        assert "min_characters" in text_of(pilot)  # the nearest that there is


async def test_near_duplicates_stand_side_by_side(project: Project, corpus: Artifact, app_on: AppOn) -> None:
    app = app_on(project)
    async with app.run_test(size=(120, 36)) as pilot:
        await open_from_data(pilot, "c", ClustersScreen)
        screen = app.screen
        kept, other = screen.query_one("#kept Reader", Reader), screen.query_one("#other Reader", Reader)
        await until(pilot, lambda: bool(other.parts))
        assert kept.parts[0].text.startswith("Story 7.")
        seen = {other.parts[0].text[-1]}
        for _ in range(2):
            await pilot.press("n")
            seen.add(other.parts[0].text[-1])
        assert seen == {"0", "1", "2"}


async def test_a_document_as_tokens(project: Project, corpus: Artifact, app_on: AppOn) -> None:
    app = app_on(project)
    async with app.run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        item = next(item for item in app.live.artifacts if item.id == "stories")
        app.push_screen(RecordsScreen(item))
        await until(pilot, lambda: isinstance(app.screen, RecordsScreen) and app.screen.record is not None)
        text = app.screen.record.parts[0].text
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, TokensScreen) and bool(app.screen.tokens))
        screen = app.screen
        assert "".join(token.text for token in screen.tokens) == text
        assert b"".join(token.bytes for token in screen.tokens) == text.encode()
        place = len(screen.tokens) // 4
        screen.query_one(TokenText).cursor = place
        await until(pilot, lambda: f"{screen.tokens[place].id:,}" in text_of(pilot))
        assert screen.tokens[place].bytes.hex(" ") in text_of(pilot)
        await pilot.press("escape")
        assert isinstance(app.screen, RecordsScreen)


def test_parts_of_a_character_are_tokens_without_text(made: tuple[Path, dict, dict, Path]) -> None:
    from workbench.corpus.token_view import document_tokens

    tokens = document_tokens(made[3], "a 漢字 é")
    assert "".join(token.text for token in tokens) == "a 漢字 é"
    assert b"".join(token.bytes for token in tokens) == "a 漢字 é".encode()
    assert sum(token.text == "" for token in tokens) >= 4
    assert document_tokens(made[3], "<|eos|>")[0].bytes != b"<|eos|>"  # a text brings no special token in


async def test_documents_are_marked_for_a_classifier(project: Project, corpus: Artifact, app_on: AppOn) -> None:
    from workbench.corpus import marks

    app = app_on(project)
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        app.push_screen(RecordsScreen(next(item for item in app.live.artifacts if item.id == "stories")))
        await until(pilot, lambda: isinstance(app.screen, RecordsScreen) and app.screen.record is not None)
        await pilot.press("y")
        await pilot.press("n")
        await pilot.press("y")
        await until(pilot, lambda: "2 good, 1 bad" in text_of(pilot))
        await pilot.press("z")
        await until(pilot, lambda: "1 good, 1 bad" in text_of(pilot))
        await pilot.press("n")  # the cursor is back on that row
    found = marks.read(marks.file_of(project.root))
    assert [(mark.row, mark.label) for mark in found] == [(0, "good"), (1, "bad"), (2, "bad")]
    assert found[0].text.startswith("Story 0.")
    assert found[0].corpus == "stories"
