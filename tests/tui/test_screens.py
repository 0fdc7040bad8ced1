"""Pictures of the screens at the three sizes; each was looked at before it was kept."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from tests.tui.drive import SIZES, loaded, text_of, until
from tests.tui.example import NOW
from tests.tui.test_runs import at_runs
from workbench.store import recent
from workbench.store.project import Project
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.compare import CompareScreen
from workbench.tui.widgets.chart import Chart
from workbench.tui.widgets.table import Table

AppOn = Callable[..., WorkbenchApp]
Snap = Callable[..., bool]
pytestmark = pytest.mark.usefixtures("_utc")
every_size = pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


async def map_is_drawn(pilot: Pilot[str]) -> None:
    await loaded(pilot)
    await until(pilot, lambda: "books-bpe-4k" in text_of(pilot) and "Reading" not in text_of(pilot))
    if pilot.app.size.width >= 100:
        await until(pilot, lambda: "Made from it" in text_of(pilot))


@every_size
def test_start(snap_compare: Snap, app_on: AppOn, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    entries = [
        {"path": "/home/ada/my-llm", "name": "my-llm", "opened": NOW - 300},
        {"path": "/data/projects/shakespeare", "name": "shakespeare", "opened": NOW - 90_000},
    ]
    monkeypatch.setattr(recent, "recent", lambda: entries)

    async def before(pilot: Pilot[str]) -> None:
        await until(pilot, lambda: "shakespeare" in text_of(pilot))

    assert snap_compare(app_on(None), terminal_size=size, run_before=before)


def test_start_for_the_first_time(snap_compare: Snap, app_on: AppOn) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await until(pilot, lambda: "No project was opened yet." in text_of(pilot))

    assert snap_compare(app_on(None), terminal_size=(80, 24), run_before=before)


@every_size
def test_map(snap_compare: Snap, example: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    assert snap_compare(app_on(example), terminal_size=size, run_before=map_is_drawn)


@every_size
def test_map_of_an_empty_project(snap_compare: Snap, project: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await loaded(pilot)
        await until(pilot, lambda: "Import text" in text_of(pilot))
        if pilot.app.size.width >= 100:
            await until(pilot, lambda: "Nothing is made here yet" in text_of(pilot))

    assert snap_compare(app_on(project), terminal_size=size, run_before=before)


@every_size
def test_runs(snap_compare: Snap, example: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await at_runs(pilot)
        await until(pilot, lambda: "5.77M" in text_of(pilot) or size == (80, 24))

    assert snap_compare(app_on(example), terminal_size=size, run_before=before)


@every_size
def test_a_failed_run_over_the_whole_screen(
    snap_compare: Snap, example: Project, app_on: AppOn, size: tuple[int, int]
) -> None:
    async def before(pilot: Pilot[str]) -> None:
        screen = await at_runs(pilot, "pretrain-6")
        await pilot.press("plus")
        await until(pilot, lambda: "Out of memory" in text_of(pilot) and screen.query_one(Chart).series)
        await until(pilot, lambda: "training" in text_of(pilot))

    assert snap_compare(app_on(example), terminal_size=size, run_before=before)


@every_size
def test_comparison(snap_compare: Snap, example: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await at_runs(pilot)
        await pilot.press("space", "space", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen) and "optimizer" in text_of(pilot))

    assert snap_compare(app_on(example), terminal_size=size, run_before=before)


@pytest.mark.parametrize("key", ["full_stop", "question_mark", "colon", "g"], ids=["actions", "help", "command", "go"])
def test_menus(snap_compare: Snap, example: Project, app_on: AppOn, key: str) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await map_is_drawn(pilot)
        await pilot.press(key)
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)

    assert snap_compare(app_on(example), terminal_size=(80, 24), run_before=before)


def test_a_damaged_catalog(
    snap_compare: Snap, example: Project, app_on: AppOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for side in ("-wal", "-shm"):
        example.catalog_path.with_name(f"catalog.sqlite{side}").unlink(missing_ok=True)
    example.catalog_path.write_bytes(b"rubbish" * 1000)

    async def before(pilot: Pilot[str]) -> None:
        await until(pilot, lambda: "is damaged" in text_of(pilot))
        live = pilot.app.live  # type: ignore[attr-defined]
        live.error.what = "catalog.sqlite is damaged (file is not a database)."  # without this test's folder
        pilot.app.screen.query_one("Banner").refresh(layout=True)
        await pilot.pause()

    assert snap_compare(app_on(example), terminal_size=(80, 24), run_before=before)


@pytest.mark.parametrize("look", ["light", "few_colours", "ascii"])
def test_other_terminals(snap_compare: Snap, example: Project, app_on: AppOn, look: str) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await at_runs(pilot)
        await until(pilot, lambda: "5.77M" in text_of(pilot))

    assert snap_compare(app_on(example, **{look: True}), terminal_size=(120, 36), run_before=before)


async def test_a_row_that_is_turned_about_has_no_colours_of_its_own(example: Project, app_on: AppOn) -> None:
    async with app_on(example, few_colours=True).run_test(size=(120, 36)) as pilot:
        await at_runs(pilot)
        table = pilot.app.screen.query_one(Table)
        styles = [segment.style for segment in table.render_line(table.cursor + 1) if segment.style is not None]
        assert all(style.reverse and not style.dim for style in styles)
        assert len({str(style.color) for style in styles}) == 1
