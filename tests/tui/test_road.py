"""The road: states, staleness and the next step, from rows alone; and the map that draws them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.tui.drive import loaded, text_of, until
from workbench.store.project import Project
from workbench.tui.app import WorkbenchApp
from workbench.tui.live import ArtifactRow, RunRow
from workbench.tui.road import NextStep, Stop, next_step, road, stale
from workbench.tui.screens.form import FormScreen
from workbench.tui.screens.map import MapScreen
from workbench.tui.screens.runs import RunsScreen
from workbench.tui.snapshot import print_snapshot
from workbench.tui.stages import recipe_of
from workbench.tui.widgets.road_map import RoadMap

AppOn = Callable[..., WorkbenchApp]


def made(kind: str, id: str, version: int = 1, at: float = 0.0, **inputs: tuple[str, str]) -> ArtifactRow:
    name = id.rsplit("-", 1)[0] if version > 1 else id
    return ArtifactRow(
        kind=kind, id=id, name=name, version=version, identity=id, stage=kind, run=None, created=at, bytes=1,
        recipe={}, report={}, inputs=inputs,
    )  # fmt: skip


def run(produces: str, state: str, number: int = 1, **more: Any) -> RunRow:
    values = {
        "id": f"{produces}-{number}", "stage": produces, "name": "x", "engine": "e", "created": float(number),
        "reason": "", "remedy": "", "started": None, "ended": None, "artifact": None, "step": None, "total_steps": None,
        "tokens": None, "loss": None, "eval_loss": None, "tokens_per_second": None, "phase": None, "unit": None,
        "updated": None, **more,
    }  # fmt: skip
    return RunRow(number=number, produces=produces, state=state, **values)


CORPUS, TOKENIZER = made("corpus", "books"), made("tokenizer", "bpe", corpus=("corpus", "books"))
SHARDS = made("shards", "books-bpe", corpus=("corpus", "books"), tokenizer=("tokenizer", "bpe"))
MODEL = made("model", "base", shards=("shards", "books-bpe"), tokenizer=("tokenizer", "bpe"))
EXPORT = made("export", "base-q8", model=("model", "base"))
WHOLE = [CORPUS, TOKENIZER, SHARDS, MODEL, EXPORT]


def stops(artifacts: list[ArtifactRow], *runs: RunRow) -> list[Stop]:
    return road(artifacts, {item.id: item for item in reversed(runs)})


def states(artifacts: list[ArtifactRow], *runs: RunRow) -> list[str]:
    return [stop.state for stop in stops(artifacts, *runs)]


def test_what_is_made_and_what_is_missing() -> None:
    assert states([]) == ["missing"] * 5
    assert states(WHOLE[:2]) == ["made", "made", "missing", "missing", "missing"]
    assert states(WHOLE) == ["made"] * 5


def test_a_newer_input_makes_all_behind_it_stale() -> None:
    newer = made("corpus", "books-2", version=2, at=1.0)
    found = stale([*WHOLE, newer])
    assert found[("tokenizer", "bpe")] == "made from corpus books; there is books-2 now"
    assert found[("shards", "books-bpe")] == "made from corpus books; there is books-2 now"
    assert found[("model", "base")] == "its shards books-bpe is stale"
    assert found[("export", "base-q8")] == "its model base is stale"
    assert ("corpus", "books-2") not in found
    assert states([*WHOLE, newer]) == ["made", "stale", "stale", "stale", "stale"]


def test_runs_show_as_being_made_or_failed_until_something_newer_stands() -> None:
    assert states(WHOLE[:3], run("model", "running")) == ["made"] * 3 + ["making", "missing"]
    assert states(WHOLE[:3], run("model", "failed")) == ["made"] * 3 + ["failed", "missing"]
    assert states(WHOLE, run("model", "failed", number=9)) == ["made"] * 3 + ["failed", "made"]
    later = [*WHOLE[:3], made("model", "base", at=99.0, shards=("shards", "books-bpe"))]
    assert states(later, run("model", "failed", number=9)) == ["made"] * 4 + ["missing"]


@pytest.mark.parametrize(
    ("artifacts", "runs", "stage", "command"),
    [
        ([], [], "import", "import "),
        (WHOLE[:1], [], "tokenizer", "tokenizer --corpus books"),
        (WHOLE[:2], [], "pretrain", "pretrain --corpus books --tokenizer bpe"),
        (WHOLE[:4], [], "export", "export base --quantization q8_0"),
        ([*WHOLE, made("corpus", "books-2", 2, 1.0)], [], "tokenizer", "tokenizer --corpus books --name bpe"),
    ],
)
def test_the_next_step_is_a_command_that_can_be_typed(
    artifacts: list[ArtifactRow], runs: list[RunRow], stage: str, command: str
) -> None:
    step = next_step(stops(artifacts, *runs))
    assert (step.stage, step.command) == (stage, command)
    if stage != "import":
        assert recipe_of(stage, command.partition(" ")[2]).stage == stage


def test_the_next_step_looks_at_runs_first() -> None:
    assert next_step(stops(WHOLE, run("model", "running", 7))).run == "model-7"
    failed = next_step(stops(WHOLE, run("model", "lost", 8, remedy="Resume it.")))
    assert failed == NextStep(sentence="model-8 lost. Resume it.", run="model-8")
    assert next_step(stops(WHOLE)).screen == "chat"


async def test_the_map_shows_the_road_and_leads_on(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: "Made from it" in text_of(pilot))
        for part in ("books-bpe-4k", "5.93M tokens", "4,096 tokens", "64%", "4m 53s left", "q8_0", "2,151 dropped"):
            assert part in text_of(pilot), part
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        screen = pilot.app.screen
        assert isinstance(screen, RunsScreen)
        await until(pilot, lambda: screen.run and screen.run.id == "pretrain-8")


async def test_enter_opens_what_is_made_and_esc_goes_back(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: "Model" in text_of(pilot))
        await pilot.press("up", "up", "up", "up", "enter")
        await until(pilot, lambda: re.search(r"exact duplicate +2,114", text_of(pilot)) is not None)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.focused is pilot.app.screen.query_one(RoadMap))
        assert "Next step" in text_of(pilot)


async def test_an_empty_project_says_what_to_do(project: Project, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await until(pilot, lambda: "Import text: your files" in text_of(pilot))
        assert text_of(pilot).count("not made yet") == 5
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, MapScreen))


def test_the_snapshot_in_plain_text_says_the_same(example: Project, capsys: pytest.CaptureFixture[str]) -> None:
    print_snapshot(example, now=lambda: 1_790_000_000.0)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert "Corpus     + made" in printed
    assert "Next: pretrain-8 is running: watch it make base." in printed
    assert "* running    pretrain-8     base" in printed
    assert "64%, loss 2.649, 4m 53s left" in printed
    print_snapshot(None)
    assert "workbench new" in capsys.readouterr().out
