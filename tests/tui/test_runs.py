"""The Runs screen: what it shows of a run, and what it asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.drive import loaded, text_of, typed, until
from workbench import figures
from workbench.store import runs
from workbench.store.catalog import open_catalog
from workbench.store.project import Project
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.compare import CompareScreen
from workbench.tui.screens.dialogs import AskLine, Confirm
from workbench.tui.screens.form import FormScreen
from workbench.tui.screens.runs import RunsScreen
from workbench.tui.widgets.chart import Chart, ticks, whole
from workbench.tui.widgets.log_tail import LogTail
from workbench.tui.widgets.table import Table

AppOn = Callable[..., WorkbenchApp]


async def at_runs(pilot: Pilot[str], run: str = "pretrain-8") -> RunsScreen:
    """The Runs screen with everything read of `run`."""
    await loaded(pilot)
    await pilot.press("g", "r")
    await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen) and pilot.app.screen.run)
    screen = pilot.app.screen
    assert isinstance(screen, RunsScreen)
    screen.query_one(Table).choose(run)
    await until(pilot, lambda: screen.detail and screen.detail.run == run)
    return screen


def control(project: Project, run: str) -> set[str]:
    return {path.name for path in (project.runs / run / "control").iterdir()}


async def test_a_run_that_goes_on_shows_its_curve_its_figures_and_its_log(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_runs(pilot)
        shown = text_of(pilot)
        for part in ("640 of 1,000", "4m 53s", "2.649", "2.739", "5,025", "913 MiB", "5.77M", "nats per token"):
            assert part in shown, part
        assert "step 600: validation took 2.4 s" in shown  # the end of the log
        train, validation = screen.query_one(Chart).series
        assert validation.marks
        assert len(validation.points) == 6
        assert 60 < len(train.points) <= screen.query_one(Chart).buckets


async def test_a_failed_run_says_why_and_what_to_do(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await at_runs(pilot, "pretrain-6")
        shown = " ".join(text_of(pilot).replace("│", " ").split())
        assert "Out of memory" in shown
        assert "Lower --per-device-batch-size" in shown


async def test_stop_asks_the_run_and_kill_asks_first(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await at_runs(pilot)
        await pilot.press("k")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("n")
        assert control(example, "pretrain-8") == set()
        await pilot.press("s")
        await until(pilot, lambda: control(example, "pretrain-8") == {"stop"})
        await pilot.press("k")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: control(example, "pretrain-8") == {"stop", "kill"})


async def test_checkpoint_now_and_a_note(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await at_runs(pilot)
        await pilot.press("w")
        await until(pilot, lambda: "checkpoint" in control(example, "pretrain-8"))
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskLine))
        await typed(pilot, "lower rate")
        await pilot.press("enter")
        await until(pilot, lambda: any(name.startswith("note-") for name in control(example, "pretrain-8")))
        (note,) = [path for path in (example.runs / "pretrain-8" / "control").iterdir() if path.name.startswith("note")]
        assert note.read_text() == "lower rate"


async def test_a_command_names_the_run_that_it_means(example: Project, app_on: AppOn) -> None:
    app = app_on(example)
    async with app.run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        app.perform_command("stop pretrain-9")
        await until(pilot, lambda: control(example, "pretrain-9") == {"stop"})
        assert control(example, "pretrain-8") == set()


async def test_the_filter_narrows_as_one_types_and_esc_clears_it(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_runs(pilot)
        await pilot.press("slash")
        await typed(pilot, "pretrain fail")
        await until(pilot, lambda: "Runs 1 of 9" in text_of(pilot))
        await pilot.press("enter", "escape")
        await until(pilot, lambda: len(screen.query_one(Table).rows) == 9)
        assert screen.query_one("#filter", Input).value == ""


async def test_two_runs_are_compared(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_runs(pilot)
        await pilot.press("space", "space", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen) and "optimizer" in text_of(pilot))
        assert screen.marked == ["pretrain-8", "pretrain-7"]
        shown = text_of(pilot)
        assert [line.split()[1:-1] for line in shown.splitlines() if "learning_rate" in line] == [
            ["optimizer.learning_rate", "0.003", "0.001"]
        ]
        assert "seed" not in shown  # the same in both
        assert len(pilot.app.screen.query_one(Chart).series) == 2
        await pilot.press("escape")
        assert pilot.app.screen is screen


async def test_the_metric_and_the_texts_change_with_a_key(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_runs(pilot)
        await pilot.press("m")
        await until(pilot, lambda: screen.detail and screen.detail.metric == "tokens_per_second")
        for key, part in (("2", "list of values"), ("4", "checkpoint at step 600"), ("5", "corpus: books")):
            await pilot.press(key)
            await until(pilot, lambda part=part: part in text_of(pilot))  # type: ignore[misc]
        await pilot.press("3")
        await until(pilot, lambda: "No checkpoint is kept." in text_of(pilot))


async def test_narrow_and_low_enter_gives_the_run_the_whole_screen(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        screen = await at_runs(pilot)
        assert not screen.query_one("#chart-pane").display
        await pilot.press("enter")
        await until(pilot, lambda: "training" in text_of(pilot) and "validation" in text_of(pilot))
        assert not screen.query_one("#list-pane").display
        await pilot.press("escape")
        await pilot.pause()
        assert screen.query_one("#list-pane").display


async def test_a_log_is_followed_and_a_large_one_read_from_its_end(example: Project, app_on: AppOn) -> None:
    log = example.runs / "pretrain-8" / "log.txt"
    log.write_text("".join(f"line {number}\n" for number in range(400_000)))
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_runs(pilot)
        await until(pilot, lambda: "line 399999" in text_of(pilot))
        tail = screen.query_one(LogTail)
        assert len(tail.lines) <= 30_000
        with open(log, "a") as file:
            file.write("one more")
        tail.read()
        await until(pilot, lambda: "one more" in text_of(pilot))
        with open(log, "a") as file:
            file.write(" word\nprogress 1\rprogress 2\n")
        tail.read()
        assert tail.lines[-2:] == ["one more word", "progress 2"]
        tail.focus()
        await pilot.press("home")
        await pilot.pause()
        with open(log, "a") as file:
            file.write("the newest\n")
        tail.read()
        await pilot.pause()
        assert "the newest" not in text_of(pilot)  # whoever reads above is left there
        await pilot.press("end")
        await until(pilot, lambda: "the newest" in text_of(pilot))


async def test_a_read_only_project_can_be_looked_at(
    example: Project, app_on: AppOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Project, "writable", lambda self: False)  # tests may run as root, who writes everywhere
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_runs(pilot)
        assert screen.why_not_stop().startswith("The project is read-only. ")
        assert "640 of 1,000" in text_of(pilot)


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [(0, 1000, 4, [0, 250, 500, 750, 1000]), (2.55, 8.1, 3, [4, 6, 8]), (1, 1, 3, [1]), (0.0001, 0.002, 4, None)],
)
def test_ticks_are_round_numbers_within_the_range(low: float, high: float, most: int, expected: list[float]) -> None:
    found = ticks(low, high, most)
    assert all(low <= tick <= high for tick in found)
    assert len(found) <= most + 2
    assert expected is None or found == expected


def test_steps_are_marked_at_whole_numbers() -> None:
    assert whole(ticks(0, 2, 5)) == [0, 1, 2]
    assert whole(ticks(1, 2, 5)) == [1, 2]
    assert whole(ticks(0, 10, 4)) == [0, 5, 10]
    assert whole([0.25, 0.5]) == [0.25, 0.5]


def test_figures_are_short_and_have_their_unit() -> None:
    assert [figures.count(value) for value in (7, 9999, 12_345, 4_567_890, 1.2e9, None)] == [
        "7", "9,999", "12.3k", "4.57M", "1.2B", "-",
    ]  # fmt: skip
    assert [figures.size(value) for value in (512, 3277, 1 << 30)] == ["512 B", "3.2 KiB", "1 GiB"]
    assert [figures.duration(value) for value in (0.42, 12, 185, 8040, 270_000)] == [
        "0.4s", "12s", "3m 05s", "2h 14m", "3d 3h",
    ]  # fmt: skip


async def test_long_lines_of_a_log_wrap_at_words_and_again_at_another_width(example: Project, app_on: AppOn) -> None:
    sentence = (
        "error: The training needs about 42.3 GiB of memory; cpu has 21.3 GiB free. Lower --max-length, then resume."
    )
    with open(example.runs / "pretrain-8" / "log.txt", "a") as log:
        log.write(f"{sentence}\n日本語{'日本語' * 40}\n")
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        await at_runs(pilot)
        await pilot.press("1")
        await until(pilot, lambda: "then resume." in text_of(pilot))
        tail = pilot.app.screen.query_one(LogTail)
        assert sentence in " ".join(tail.shown())
        assert max(cell_len(row) for row in tail.shown()) <= tail.size.width
        await pilot.resize_terminal(120, 36)
        await until(pilot, lambda: sentence in tail.shown())


async def test_a_note_goes_to_a_run_that_has_ended_too(example: Project, app_on: AppOn) -> None:
    with open(example.runs / "pretrain-4" / "events.jsonl", "ab") as events:
        events.write(b'{"kind": "Metr')  # cut by a kill
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await at_runs(pilot)
        pilot.app.perform_command("show pretrain-4")  # type: ignore[attr-defined]
        await until(pilot, lambda: pilot.app.screen.run.id == "pretrain-4")  # type: ignore[attr-defined]
        pilot.app.perform_command("note the best so far")  # type: ignore[attr-defined]
        await pilot.press("4")
        await until(pilot, lambda: "note: the best so far" in text_of(pilot))
    lines = (example.runs / "pretrain-4" / "events.jsonl").read_bytes().splitlines()
    assert b"the best so far" in lines[-1]
    assert lines[-2] == b'{"kind": "Metr'


async def test_a_run_that_failed_before_its_first_step_is_asked_for_anew_not_resumed(
    example: Project, app_on: AppOn
) -> None:
    with open_catalog(example) as catalog:
        catalog.connection.execute("UPDATE runs SET step = NULL WHERE id = 'pretrain-6'")
        catalog.connection.commit()
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_runs(pilot)
        pilot.app.perform_command("show pretrain-6")  # type: ignore[attr-defined]
        await until(pilot, lambda: screen.run and screen.run.id == "pretrain-6")
        assert screen.why_not_resume() == (
            "pretrain-6 failed before its first step, and would again: a opens the form with its recipe."
        )
        await pilot.press("a")
        await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen) and pilot.app.screen.checked.recipe)
        form = pilot.app.screen
        assert isinstance(form, FormScreen)
        assert form.checked.recipe is not None
        assert form.checked.recipe.model_dump(mode="json", exclude_none=True) == runs.recipe_of(example, "pretrain-6")


async def test_a_run_took_what_all_its_attempts_took(example: Project, app_on: AppOn) -> None:
    with open_catalog(example) as catalog:
        run, state = runs.read(example, "pretrain-4")
        runs.write_state(example, catalog, run, replace(state, seconds_before=3600.0))
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await at_runs(pilot)
        pilot.app.perform_command("show pretrain-4")  # type: ignore[attr-defined]
        await until(pilot, lambda: text_of(pilot).count("1h 13m") == 2)  # in the list, and of all figures
