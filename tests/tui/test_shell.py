"""The frame: projects, dialogs, themes, leaving, failing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from textual import events
from textual.color import Color
from textual.widgets import Input

from tests.tui.drive import NAMES, loaded, text_of, typed, until, words_of
from workbench.errors import WorkbenchError
from workbench.store.project import SETTINGS, Project, create
from workbench.store.recent import remember
from workbench.tui.app import WorkbenchApp
from workbench.tui.crash import write_crash_log
from workbench.tui.screens.command_line import CommandLine
from workbench.tui.screens.dialogs import AskLine, ErrorDialog
from workbench.tui.screens.map import MapScreen
from workbench.tui.screens.runs import RunsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.terminal import Terminal, detect
from workbench.tui.theme import ANSI, LIGHT
from workbench.tui.widgets.table import Column, Table

AppOn = Callable[..., WorkbenchApp]


async def test_without_a_project_it_starts_with_what_to_do(app_on: AppOn) -> None:
    async with app_on(None).run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "No project was opened yet." in text_of(pilot))
        assert "make a new one" in text_of(pilot)


async def test_a_new_project_is_made_and_opened(app_on: AppOn, tmp_path: Path) -> None:
    app = app_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, AskLine))
        app.screen.query_one(Input).value = str(tmp_path / "fresh")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MapScreen) and "not made yet" in text_of(pilot))
        assert (tmp_path / "fresh" / SETTINGS).exists()
        assert "Import text" in text_of(pilot)
        assert app.project is not None
        assert app.project.name == "fresh"


async def test_a_recent_project_is_opened_with_enter(app_on: AppOn, example: Project) -> None:
    remember(example)
    app = app_on(None)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and "my-llm" in text_of(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, MapScreen) and "books-bpe-4k" in text_of(pilot))


async def test_another_project_takes_the_place_of_the_first(app_on: AppOn, example: Project, tmp_path: Path) -> None:
    other = create(tmp_path / "other")
    app = app_on(example)
    async with app.run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "r")
        await until(pilot, lambda: "pretrain-8" in text_of(pilot))
        app.perform_command(f"open {other.root}")
        await until(pilot, lambda: isinstance(app.screen, MapScreen) and "not made yet" in text_of(pilot))
        await pilot.press("g", "r")
        await until(pilot, lambda: "Nothing was started" in text_of(pilot))
        assert "pretrain-8" not in text_of(pilot)


async def test_an_error_is_a_sentence_with_its_remedy(app_on: AppOn, example: Project, tmp_path: Path) -> None:
    app = app_on(example)
    async with app.run_test(size=(100, 30)) as pilot:
        await loaded(pilot)
        app.perform_command(f"open {tmp_path / 'nowhere'}")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        shown = " ".join(text_of(pilot).replace("│", " ").split())
        assert "is not a project: it has no workbench.yaml." in shown
        assert "Make one: workbench new" in shown
        await pilot.press("enter")
        assert isinstance(app.screen, MapScreen)


async def test_leaving_says_which_runs_go_on(app_on: AppOn, example: Project) -> None:
    app = app_on(example)
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press("q")
    assert app.return_value == "2 runs go on: pretrain-8, pretrain-9. `workbench` shows them again."


async def test_letters_type_where_there_is_a_field(app_on: AppOn) -> None:
    app = app_on(None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, AskLine))
        await typed(pilot, "q.g:z")
        assert app.screen.query_one(Input).value == "q.g:z"


async def test_keys_typed_at_once_arrive_where_they_are_meant(app_on: AppOn, example: Project) -> None:
    app = app_on(example)
    async with app.run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        for key in ("g", "r"):
            app.post_message(events.Key(key, key))
        await until(pilot, lambda: isinstance(app.screen, RunsScreen) and app.screen.detail)
        for key, character in (("colon", ":"), *((letter, letter) for letter in "filter"), ("space", " "), ("w", "w")):
            app.post_message(events.Key(key, character))
        await until(
            pilot, lambda: isinstance(app.screen, CommandLine) and app.screen.query_one(Input).value == "filter w"
        )
        assert not list((example.runs / "pretrain-8" / "control").iterdir())  # none of the letters was an action


async def test_themes_change_the_ground(app_on: AppOn, example: Project) -> None:
    app = app_on(example)
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        dark = app.screen.styles.background
        app.perform_command("theme light")
        await pilot.pause()
        assert app.screen.styles.background != dark
        app.perform_command("theme ansi")
        await pilot.pause()
        assert app.screen.styles.background.ansi is not None
        app.perform_command("theme blue")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        assert "There are: dark, light, ansi." in text_of(pilot)


def luminance(colour: Color) -> float:
    """Relative luminance (WCAG 2.1)."""
    parts = [value / 255 for value in colour.rgb]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_stands_out_from_its_ground_in_both_themes() -> None:
    """At least 4.5 to 1, as WCAG asks of text; lines between panes may be fainter."""
    from workbench.tui.theme import DARK, LIGHT

    for theme in (DARK, LIGHT):
        for name in ("foreground", "primary", "success", "warning", "error", "accent", "muted"):
            colour = Color.parse(getattr(theme, name, None) or theme.variables[name])
            for ground in (theme.background, theme.panel, theme.variables["bar"], theme.variables["cursor"]):
                bright, faint = sorted((luminance(colour), luminance(Color.parse(str(ground)))), reverse=True)
                least = 4.5 if ground in (theme.background, theme.panel, theme.variables["bar"]) else 3.5
                assert (bright + 0.05) / (faint + 0.05) >= least, f"{theme.name}: {name} on {ground}"


def test_a_crash_log_holds_the_traceback() -> None:
    try:
        raise RuntimeError("of this test")
    except RuntimeError as error:
        path = write_crash_log(error)
    assert path is not None
    assert "RuntimeError: of this test" in path.read_text()


def test_what_the_terminal_can_do_is_read_from_its_environment() -> None:
    assert detect({"TERM": "xterm-256color"}) == Terminal(full_screen=False)  # pytest has no terminal
    assert detect({"TERM": "linux"}).ascii
    assert detect({"TERM": "xterm"}).few_colours
    assert not detect({"TERM": "xterm", "COLORTERM": "truecolor"}).few_colours
    assert detect({"TERM": "xterm-256color", "NO_COLOR": ""}).few_colours
    assert detect({"TERM": "xterm-256color", "SSH_CONNECTION": "10.0.0.1 22"}).poll_seconds == 1.0
    assert detect({"TERM": "xterm-256color", "COLORFGBG": "0;15"}).light


async def test_a_long_table_draws_only_what_is_seen(app_on: AppOn) -> None:
    drawn: list[int] = []
    app = app_on(None)
    async with app.run_test(size=(80, 24)) as pilot:

        def cells(row: int) -> list[object]:
            drawn.append(row)
            return [table.assemble(str(row))]

        table = Table([Column(title="Number", width=10)], cells, key=lambda row: row)  # type: ignore[arg-type]
        await app.screen.mount(table)
        table.set_rows(range(100_000))
        table.focus()
        await pilot.press("end")
        await until(pilot, lambda: "99999" in text_of(pilot))
        await pilot.press("home", "pagedown")
        await pilot.pause()
    assert len(drawn) < 500


async def test_the_same_folder_moved_away_is_told(app_on: AppOn, example: Project) -> None:
    app = app_on(example)
    async with app.run_test(size=(100, 30)) as pilot:
        await loaded(pilot)
        shutil.rmtree(example.root)
        app.live._looked = 0.0  # type: ignore[union-attr]
        await until(pilot, lambda: app.live is not None and app.live.error is not None)
        assert isinstance(app.live.error, WorkbenchError)  # type: ignore[union-attr]


async def test_keys_that_come_in_one_burst_arrive_whole_and_in_order(example: Project, app_on: AppOn) -> None:
    app = app_on(example)
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        line = "import /somewhere/data/text/tinyshakespeare.txt"
        for turn in range(6):
            for place, letter in enumerate(f":{line}"):
                app.post_message(events.Key(NAMES.get(letter, letter), letter))
                if place % 7 == turn:
                    await asyncio.sleep(0.003)  # some come while the line is being opened
            await until(pilot, lambda: len(app.screen.query(Input)) == 1 and app.screen.query_one(Input).value == line)
            await pilot.press("escape")
            # Through a menu that is not open yet when the second letter comes.
            app.post_message(events.Key("g", "g"))
            app.post_message(events.Key("ro"[turn % 2], "ro"[turn % 2]))
            await until(pilot, lambda: app.current_mode == ("runs", "models")[turn % 2])  # noqa: B023


async def test_the_theme_is_kept_and_taken_back(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24), notifications=True) as pilot:
        await loaded(pilot)
        pilot.app.perform_command("theme light")  # type: ignore[attr-defined]
    again = app_on(example)
    assert again.theme == LIGHT.name
    assert app_on(example, few_colours=True).theme == ANSI.name  # which could not show it
    async with again.run_test(size=(80, 24), notifications=True) as pilot:
        await loaded(pilot)
        await pilot.press("z")
        await until(pilot, lambda: "Nothing was done here that can be taken back." in words_of(pilot))
        again.perform_command("theme dark")
        await pilot.press("z")
        assert again.theme == LIGHT.name
        await until(pilot, lambda: "Taken back: the theme dark." in words_of(pilot))


async def test_lines_that_were_typed_come_back(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24), notifications=True) as pilot:
        await loaded(pilot)
        await typed(pilot, ":theme grey")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        await pilot.press("escape", "colon", "up")
        await until(pilot, lambda: pilot.app.screen.query_one(Input).value == "theme grey")


async def test_a_window_that_is_too_small_says_so_and_comes_back(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(60, 15)) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: "The window has 60 columns and 15 rows." in text_of(pilot))
        assert "Next step" not in text_of(pilot).replace("n Next step", "")
        assert "q Detach" in text_of(pilot)
        await pilot.resize_terminal(60, 16)
        await until(pilot, lambda: "The window has" not in text_of(pilot) and "Corpus" in text_of(pilot))


async def test_a_project_whose_folder_is_gone_says_so(project: Project, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        shutil.rmtree(project.root)
        await until(pilot, lambda: f"The project's folder {project.root} is gone." in words_of(pilot))
        assert ":repair" not in words_of(pilot)


async def test_a_read_only_project_says_so_on_its_screens(
    example: Project, app_on: AppOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        monkeypatch.setattr(Project, "writable", lambda _: False)
        await pilot.press("g", "o")
        await until(pilot, lambda: "The project is read-only. Look at it and chat;" in words_of(pilot))
