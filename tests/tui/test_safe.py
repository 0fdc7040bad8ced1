"""Text from outside is shown, and never obeyed: not by the terminal, not as markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tui.drive import loaded, text_of, until
from tests.tui.example import NOW, PRETRAIN, Builder
from workbench.contract import Metrics, Sample, Started, Warned
from workbench.store.catalog import open_catalog
from workbench.store.project import Project, create
from workbench.tui import safe
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.runs import RunsScreen
from workbench.tui.snapshot import print_snapshot

AppOn = Callable[..., WorkbenchApp]

HOSTILE = "[/INST] [bold]x[/] \x1b]52;c;aGFja2Vk\x07 \x1b[31mred\x1b[0m \x9b2J \u202eabc \x00\x07 end"
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("text", [HOSTILE, "\x1b]52;c;no end", "\x1bPq#0;2\x1b\\", "a\rb", "\x1b", "é\ud800"])
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    for made in (safe.safe(text), safe.line(text)):
        assert not OBEYED.search(made), repr(made)
        made.encode("utf-8")


def test_what_is_harmless_stays() -> None:
    assert safe.safe("tab\tand\nline, é 漢字 👩‍👩‍👧 [brackets]") == "tab\tand\nline, é 漢字 👩‍👩‍👧 [brackets]"
    assert safe.line("progress  10%\rprogress 100%\n") == "progress 100%"


@pytest.fixture
def hostile(tmp_path: Path) -> Project:
    """A project whose every text wants to be more than text."""
    build = Builder(tmp_path / "hostile")
    run = build.run({**PRETRAIN, "name": "base"}, {})
    build.tell(
        run,
        [
            Started(time=NOW, total_steps=100, device=HOSTILE),
            Metrics(time=NOW, step=1, loss=5.0, tokens=10, more={"[/INST]": 1.0}),
            Metrics(time=NOW, step=2, loss=4.0, tokens=20),
            Sample(time=NOW, step=1, prompt="[/INST]", text=HOSTILE),
            Warned(time=NOW, message=HOSTILE),
        ],
        HOSTILE + "\n" + HOSTILE,
    )
    build.put(run, "failed", started=NOW, ended=NOW, reason=HOSTILE, remedy=HOSTILE)
    with open_catalog(build.project) as catalog:
        catalog.connection.execute(
            "UPDATE runs SET name = ?, phase = ?, unit = ?, artifact = ?", (HOSTILE, HOSTILE, HOSTILE, HOSTILE)
        )
        catalog.connection.execute(
            "INSERT INTO artifacts VALUES ('corpus', ?, ?, 1, 'i', 'd', 'import', NULL, 0, 1, ?, ?)",
            (
                HOSTILE,
                HOSTILE,
                '{"stage": "[/INST]"}',
                '{"documents": 3, "dropped": {"[/INST]\\u001b]52;c;x\\u0007": 2}}',
            ),
        )
        catalog.connection.commit()
    build.catalog.close()
    return build.project


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_no_screen_obeys_what_it_shows(hostile: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    app = app_on(hostile)
    async with app.run_test(size=size) as pilot:
        await loaded(pilot)
        seen = [text_of(pilot)]
        await pilot.press("enter")
        await pilot.pause()
        seen.append(text_of(pilot))
        await pilot.press("g", "r")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen) and app.screen.detail)
        for key in ("1", "2", "3", "4", "5", "m", "m", "m", "full_stop", "escape", "question_mark", "escape", "escape"):
            await pilot.press(key)
            await pilot.pause(0.05)
            seen.append(text_of(pilot))
        await pilot.press("space", "c")
        await pilot.pause(0.1)
        seen.append(text_of(pilot))
        await pilot.press("g", "o")
        await pilot.pause(0.2)
        seen.append(text_of(pilot))
    for screen in seen:
        assert not OBEYED.search(screen.replace("\n", ""))
    assert any("[/INST]" in screen for screen in seen)


def test_neither_does_the_snapshot_in_plain_text(hostile: Project, capsys: pytest.CaptureFixture[str]) -> None:
    print_snapshot(hostile, now=lambda: NOW)
    printed = capsys.readouterr().out
    assert "[/INST]" in printed
    assert not OBEYED.search(printed.replace("\n", ""))


async def test_a_project_called_like_markup(app_on: AppOn, tmp_path: Path) -> None:
    project = create(tmp_path / "[red]x[INST]")
    async with app_on(project).run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "[red]x[INST]" in text_of(pilot))
