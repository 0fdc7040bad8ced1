"""The view of a project: it reads what is new, survives what happens to the catalog, and harms nobody."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from textual.widgets._toast import Toast

from tests.tui.drive import loaded, text_of, until, words_of
from tests.tui.example import NOW, training
from workbench.errors import WorkbenchError
from workbench.store import events, runs
from workbench.store.catalog import open_catalog
from workbench.store.project import Project
from workbench.store.repair import repair
from workbench.tui.app import WorkbenchApp
from workbench.tui.live import EVERYTHING, Live

AppOn = Callable[..., WorkbenchApp]


def go_on(project: Project, run: str, first: int, last: int) -> None:
    """The run makes more steps, and its supervisor indexes them."""
    with open(project.runs / run / "events.jsonl", "a", encoding="utf-8") as file:
        file.writelines(event.line() for event in training(first, last, 1000, NOW, 10, 9))
    with open_catalog(project) as catalog:
        events.index_events(project, catalog, run)


def test_it_reads_everything_once_and_then_what_is_new(example: Project) -> None:
    live = Live(example)
    first = live.poll()
    assert len(first.runs) == 9
    assert first.artifacts
    assert live.poll() == live.poll() != EVERYTHING
    assert not live.poll()
    go_on(example, "pretrain-8", 641, 650)
    changes = live.poll()
    assert changes.runs == {"pretrain-8"}
    assert not changes.artifacts
    assert live.runs["pretrain-8"].step == 650
    live.close()


def test_new_runs_stand_in_front(example: Project) -> None:
    live = Live(example)
    live.poll()
    with open_catalog(example) as catalog:
        run, _ = runs.read(example, "pretrain-7")
        new = replace(run, id="pretrain-10", number=10)
        runs.index(catalog, new, runs.RunState(state="queued"))
    assert live.poll().runs == {"pretrain-10"}
    assert next(iter(live.runs)) == "pretrain-10"
    assert [run.id for run in live.active()] == ["pretrain-8", "pretrain-9", "pretrain-10"]
    live.close()


def test_what_is_left_of_a_run_follows_from_its_rate(example: Project) -> None:
    live = Live(example)
    live.poll()
    run = live.runs["pretrain-8"]
    left = run.remaining_seconds()
    assert left is not None
    assert run.tokens_per_second is not None
    assert left == pytest.approx(360 * 4096 / run.tokens_per_second)
    assert run.share() == pytest.approx(0.64)
    assert live.runs["pretrain-9"].remaining_seconds() is None
    # What counts no tokens, such as the second pass of an import that has worked for a minute, counts by itself.
    begun = replace(run, tokens=None, phase="pass 2", unit="bytes", started=0.0, step=10, total_steps=100, updated=60.0)
    first = begun.after(run)
    assert first.remaining_seconds() is None
    assert replace(begun, step=40, updated=66.0).after(first).remaining_seconds() == pytest.approx(12)
    anew = replace(begun, step=40, updated=66.0, started=65.0).after(first)  # it was stopped, and goes on
    assert anew.remaining_seconds() is None
    live.close()


def test_a_damaged_catalog_is_a_sentence_and_a_repair_mends_it(example: Project) -> None:
    live = Live(example)
    live.poll()
    before = {run.id: run.state for run in live.runs.values()}
    for side in ("-wal", "-shm"):
        example.catalog_path.with_name(f"catalog.sqlite{side}").unlink(missing_ok=True)
    other = example.root / "damaged"
    other.write_bytes(b"not a database at all" * 500)
    other.replace(example.catalog_path)
    live._looked = 0.0
    assert live.poll() is EVERYTHING
    assert live.error is not None
    assert "is damaged" in live.error.what
    assert "repair" in live.error.remedy
    for run, state in list(runs.all_runs(example)):
        if state.state in ("running", "queued"):  # a repair waits for the end of runs
            ended = replace(state, state="stopped", pid=0)
            (runs.folder_of(example, run.id) / "state.json").write_text(json.dumps(asdict(ended)))
    repair(example)
    assert live.poll() is EVERYTHING
    assert live.error is None
    assert {run.id for run in live.runs.values()} == set(before)
    live.close()


def test_a_catalog_that_is_written_for_long_is_waited_for_in_silence(example: Project) -> None:
    live = Live(example)
    live.poll()
    writer = sqlite3.connect(example.catalog_path)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE runs SET step = 641 WHERE id = 'pretrain-8'")
    assert not live.poll()  # readers see the old rows meanwhile
    assert live.error is None
    writer.commit()
    writer.close()
    assert live.poll().runs == {"pretrain-8"}
    live.close()


def test_questions_are_answered_beside_the_screen(example: Project) -> None:
    live = Live(example)
    live.poll()
    points = live.ask(lambda catalog: events.series(catalog, "pretrain-8", "loss", buckets=50)).result(10)
    assert 45 <= len(points) <= 50
    with pytest.raises(WorkbenchError):
        live.ask(lambda catalog: catalog.rows("SELECT * FROM no_such_table")).result(10)
    live.close()


async def test_two_programs_show_one_project(example: Project, app_on: AppOn) -> None:
    one, other = app_on(example), app_on(example)
    async with one.run_test(size=(120, 36)) as first, other.run_test(size=(120, 36)) as second:
        for pilot in (first, second):
            await loaded(pilot)
            await pilot.press("g", "r")
            await until(pilot, lambda pilot=pilot: "640 of 1,000" in text_of(pilot))  # type: ignore[misc]
        go_on(example, "pretrain-8", 641, 700)
        for pilot in (first, second):
            await until(pilot, lambda pilot=pilot: "700 of 1,000" in text_of(pilot))  # type: ignore[misc]


async def test_a_lost_run_is_found_at_the_start(example: Project, app_on: AppOn) -> None:
    with open_catalog(example) as catalog:
        run, state = runs.read(example, "pretrain-8")
        runs.write_state(example, catalog, run, replace(state, pid=2**22 - 1, pid_started=100.0))
    app = app_on(example)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: app.live and app.live.loaded and app.live.runs["pretrain-8"].state == "lost")
        await until(pilot, lambda: "longer queued" in text_of(pilot).splitlines()[0])  # it no longer counts as going on


async def test_the_program_stays_open_over_a_damaged_catalog(example: Project, app_on: AppOn) -> None:
    for side in ("-wal", "-shm"):
        example.catalog_path.with_name(f"catalog.sqlite{side}").unlink(missing_ok=True)
    example.catalog_path.write_bytes(b"rubbish" * 1000)
    app = app_on(example)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "is damaged" in text_of(pilot))
        assert ":repair" in text_of(pilot)
        await pilot.press("g", "r")
        await until(pilot, lambda: "is damaged" in text_of(pilot))


async def test_it_is_said_once_when_a_run_ends(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24), notifications=True) as pilot:
        await loaded(pilot)
        await pilot.pause(0.6)
        assert not list(pilot.app.query(Toast))  # what ended before is known
        with open_catalog(example) as catalog:
            for number, state, reason in ((8, "failed", "Out of memory."), (9, "finished", "")):
                run, _ = runs.read(example, f"pretrain-{number}")
                ended = runs.RunState(state=state, started=NOW - 60, ended=NOW, reason=reason, artifact="longer")  # type: ignore[arg-type]
                runs.write_state(example, catalog, run, ended)
        await until(pilot, lambda: "pretrain-8 failed. Out of memory." in words_of(pilot))
        assert "pretrain-9 made the model longer in 1m 00s." in words_of(pilot)


async def test_what_a_run_waits_for_stands_in_its_row_and_in_the_header(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(160, 40)) as pilot:
        await loaded(pilot)
        run = pilot.app.live.runs["pretrain-8"]  # type: ignore[attr-defined]
        waits = replace(
            run, step=305, total_steps=None, unit="seconds", phase="waiting for llama.cpp to be compiled", loss=None
        )
        pilot.app.live.runs = {"pretrain-8": waits}  # type: ignore[attr-defined]
        await pilot.press("g", "r")
        await until(pilot, lambda: text_of(pilot).count("waiting for llama.cpp") >= 3)  # header, row, figures
        assert "305 seconds" not in text_of(pilot)
