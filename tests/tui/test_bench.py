"""Bench: the grid of models and tasks, the items that flipped, the score over a training, and what it writes."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.bench_project import fill_bench, measure
from tests.tui.drive import SIZES, loaded, text_of, typed, until, words_of
from workbench.benchmarks import compare as comparing
from workbench.benchmarks import lookup
from workbench.benchmarks.results import Figure, Item
from workbench.store import runs
from workbench.store.catalog import open_catalog
from workbench.store.project import Project, create, open_project
from workbench.tui import bench
from workbench.tui.app import WorkbenchApp
from workbench.tui.bench import EVERY_PANEL, gather, rows_of
from workbench.tui.bench_items import Asked, parts_of, probabilities, read_items, taken, titles
from workbench.tui.records import Part
from workbench.tui.screens.bench import BenchScreen
from workbench.tui.screens.bench_history import HistoryScreen
from workbench.tui.screens.bench_items import ItemsScreen
from workbench.tui.screens.dialogs import Confirm, ErrorDialog
from workbench.tui.screens.form import FormScreen
from workbench.tui.screens.menu import Menu
from workbench.tui.widgets.chart import Chart
from workbench.tui.widgets.fields import Fold, Pick
from workbench.tui.widgets.form_row import Row
from workbench.tui.widgets.interval import interval
from workbench.tui.widgets.painted import Painted
from workbench.tui.widgets.reader import Reader
from workbench.tui.widgets.table import Table

AppOn = Callable[..., WorkbenchApp]
Snap = Callable[..., bool]
every_size = pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)


@pytest.fixture(scope="session")
def measured_root(example_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench") / "my-llm"
    shutil.copytree(example_root, root)
    fill_bench(open_project(root))
    return root


@pytest.fixture
def measured(measured_root: Path, tmp_path: Path) -> Project:
    """The example project with seven benchmarks; a copy, to be changed."""
    shutil.copytree(measured_root, tmp_path / "my-llm")
    return open_project(tmp_path / "my-llm")


def benchmarks(project: Project) -> list[lookup.Benchmark]:
    with open_catalog(project) as catalog:
        return bench.read(project, catalog)


async def at_bench(pilot: Pilot[str]) -> BenchScreen:
    """The grid, and what is on the screen compared with the baseline."""
    await loaded(pilot)
    await pilot.press("g", "b")
    await until(pilot, lambda: isinstance(pilot.app.screen, BenchScreen))
    screen = pilot.app.screen
    assert isinstance(screen, BenchScreen)
    await until(pilot, lambda: screen.has_class("-empty") or (screen.models and screen._to_compare() is None))
    return screen


def line_of(pilot: Pilot[str], task: str) -> str:
    """The grid's line of a task."""
    return next(line for line in text_of(pilot).splitlines() if line.strip("│ ").startswith(f"{task} "))


# --------------------------------------------------------------------------- what there is


def test_a_model_stands_once_with_its_newest_answer_to_each_task(project: Project) -> None:
    model = {"id": "smol", "name": "smol", "identity": "a" * 64}
    measure(project, model, 0.3, seed=1, panel="", tasks=["arc_easy", "gsm8k"], items=40, name="first", ago=9)
    measure(project, model, 0.8, seed=2, panel="", tasks=["arc_easy", "hellaswag"], items=60, name="second", ago=3)
    measure(project, model, 0.8, seed=3, panel="quick", tasks=["humaneval"], items=10, ago=5)
    measure(project, {**model, "checkpoint": 50}, 0.2, seed=4, panel="", tasks=["arc_easy"], items=60, ago=1)
    found = benchmarks(project)
    assert bench.panels_of(found) == ["", "quick"]
    checkpoint, smol = gather(found, "")
    assert (checkpoint.model, smol.model) == ("smol@50", "smol")
    assert {task: source.id for task, source in smol.sources.items()} == {
        "arc_easy": "second", "hellaswag": "second", "gsm8k": "first",
    }  # fmt: skip
    assert {task: len(items) for task, items in smol.items.items()} == {"arc_easy": 60, "hellaswag": 60, "gsm8k": 40}
    assert set(smol.only("gsm8k").items) == {"gsm8k"}
    assert set(gather(found, EVERY_PANEL)[1].figures) == {"arc_easy", "hellaswag", "gsm8k", "humaneval"}


def test_models_of_one_name_are_told_apart(project: Project) -> None:
    for number in (1, 2):
        model = {"id": f"base-{number}", "name": "base", "identity": f"{number}" * 64}
        measure(project, model, 0.5, seed=number, tasks=["gsm8k"], items=10, ago=number)
    assert [model.model for model in gather(benchmarks(project), "quick")] == ["base-1", "base-2"]


def test_groups_stand_above_their_tasks_and_may_be_folded(measured: Project) -> None:
    models = gather(benchmarks(measured), "quick")
    assert [row.task for row in rows_of(models, folded=True)] == [
        "arc_easy", "hellaswag", "mmlu", "lambada_openai", "gsm8k", "humaneval",
    ]  # fmt: skip
    rows = rows_of(models, folded=False)
    assert [(row.task, row.group) for row in rows[2:6]] == [
        ("mmlu", ""), ("mmlu_anatomy", "mmlu"), ("mmlu_virology", "mmlu"), ("mmlu_world_religions", "mmlu"),
    ]  # fmt: skip
    base = next(model for model in models if model.model == "base")
    by_score = bench.sorted_rows(rows, "score", base, {})
    top = [row for row in by_score if not row.group]
    shares = [bench.figure_of(base, row).value for row in top]  # type: ignore[union-attr]
    assert shares == sorted(shares, reverse=True)
    place = by_score.index(next(row for row in by_score if row.task == "mmlu"))
    assert {row.group for row in by_score[place + 1 : place + 4]} == {"mmlu"}


def test_a_bar_is_where_the_score_and_its_interval_are(example: Project, app_on: AppOn) -> None:
    class Plain(Painted):
        def assemble(self, *parts, **options):  # type: ignore[no-untyped-def]
            from rich.text import Text

            return Text("".join(part if isinstance(part, str) else part[0] for part in parts))

    def drawn(value: float, low: float | None, high: float | None, mark: float | None = None) -> str:
        return interval(Plain(), Figure(value=value, low=low, high=high), 0.0, 1.0, 10, mark).plain

    assert drawn(0.5, 0.0, 1.0) == "━━━━━●━━━━"
    assert drawn(0.0, None, None) == "●         "
    assert drawn(1.0, 0.9, 1.0, mark=0.0) == "┊       ╺●"
    assert drawn(0.2, 0.1, 0.32, mark=0.8) == " ━●╸   ┊  "


def test_numbers_fit_into_their_cells() -> None:
    written = [bench.short("perplexity", value) for value in (0.98, 7.547, 15.5, 194.6, 12_345.6, 3e9)]
    assert written == ["0.980", "7.55", "15.5", "195", "12346", "3e9"]
    signed = [bench.short_signed("acc", value) for value in (0.125, -1.0, 0.0001)]
    assert signed == ["+12.5", "−100.0", "±0.0"]
    assert [bench.short_signed("bits_per_byte", value) for value in (0.431, 0.031, -0.0011, -0.00021, 0.0)] == [
        "+.431", "+.031", "−.001", "−2e-4", "±.000",
    ]  # fmt: skip


# --------------------------------------------------------------------------- the grid


async def test_the_grid_says_what_the_comparison_found(measured: Project, app_on: AppOn) -> None:
    found = benchmarks(measured)
    by_model = {one.model: one for one in found}
    wanted = {row.task: row for row in comparing.compare(by_model["base"], by_model["base@200"]).tasks}
    async with app_on(measured).run_test(size=(200, 50)) as pilot:
        screen = await at_bench(pilot)
        assert [model.model for model in screen.grid.heads] == [
            "base", "stranger", "base-q8", "base@800", "base@600", "base@400", "base@200",
        ]  # fmt: skip
        assert screen.baseline is screen.grid.heads[0]
        assert "◆ base" in text_of(pilot)
        for task in ("arc_easy", "mmlu", "gsm8k"):
            number = f"▼−{-100 * wanted[task].difference:.1f}"
            assert line_of(pilot, task).rstrip("│ ").endswith(number), line_of(pilot, task)
        assert "▼+" in line_of(pilot, "lambada_openai")  # more of it is worse
        assert "≈" in line_of(pilot, "arc_easy")  # the export differs by chance


async def test_another_baseline_turns_the_differences_round(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        screen = await at_bench(pilot)
        assert "▲+" in line_of(pilot, "gsm8k")
        gain = next(part for part in line_of(pilot, "gsm8k").split() if part.startswith("▲+"))
        await pilot.press("right", "b")
        await until(pilot, lambda: screen.baseline and screen.baseline.model == "stranger")
        await until(pilot, lambda: screen._to_compare() is None)
        await pilot.press("m")
        await until(pilot, lambda: isinstance(pilot.app.screen, Menu))
        await pilot.press("escape")
        pilot.app.perform_command("model base")  # type: ignore[attr-defined]
        await until(pilot, lambda: screen.chosen and screen.chosen.model == "base" and screen._to_compare() is None)
        assert gain.replace("▲+", "▼−") in line_of(pilot, "gsm8k")
        assert "0 now right" in words_of(pilot)


async def test_unlike_settings_are_marked_and_told(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        await at_bench(pilot)
        assert "*" in line_of(pilot, "arc_easy")
        await pilot.press("right")
        await until(pilot, lambda: "stranger on arc_easy" in text_of(pilot))
        assert "shots: 0 against 5: not the same test" in words_of(pilot)
        assert "McNemar's exact test): better" in words_of(pilot)
        await pilot.press("right")
        await until(pilot, lambda: "base-q8 on arc_easy" in text_of(pilot))
        assert "inside the noise" in words_of(pilot)
        assert "not the same test" not in words_of(pilot)


async def test_tasks_are_filtered_sorted_and_unfolded(measured: Project, app_on: AppOn) -> None:
    def shown(screen: BenchScreen) -> list[str]:
        return [row.task for row in screen.grid.rows]

    async with app_on(measured).run_test(size=(80, 24)) as pilot:
        screen = await at_bench(pilot)
        assert "tasks as in the panel, models newest first" in text_of(pilot)
        await pilot.press("s")
        assert shown(screen) == sorted(shown(screen))
        assert "tasks by name, models newest first" in text_of(pilot)
        await pilot.press("f")
        assert "mmlu_virology" in shown(screen)
        await pilot.press("f", "slash")
        await typed(pilot, "mmlu an")
        await pilot.press("enter")
        assert shown(screen) == ["mmlu_anatomy"]  # a filter looks into groups
        await pilot.press("escape")
        assert len(shown(screen)) == 6
        assert screen.query_one(Input).value == ""
        folded = screen.grid.rows
        await pilot.press("f")
        assert bench.tasks_in(folded) == bench.tasks_in(screen.grid.rows) == len(screen.grid.rows) - 1  # mmlu's own
        await pilot.press("f")
        pilot.app.perform_command("sort difference")  # type: ignore[attr-defined]
        await until(pilot, lambda: "tasks by difference of stranger" in text_of(pilot))  # not of the baseline
        await pilot.press("right")
        await until(pilot, lambda: screen.chosen and screen.chosen.model == "stranger")
        screen._arrange()
        compared = screen._differences(screen.chosen)
        gains = [compared[task].difference for task in shown(screen) if task in compared and task != "lambada_openai"]
        assert gains == sorted(gains, reverse=True)
        assert shown(screen)[-1] == "humaneval"  # it was not asked
        await pilot.press("o", "o")
        scores = [bench.figure_of(model, screen.grid.row) for model in screen.grid.heads[1:]]
        values = [figure.value for figure in scores if figure is not None]
        assert values == sorted(values, reverse=True)
        assert f"models by score on {screen.grid.row.task}" in text_of(pilot)


async def test_hundred_columns_are_drawn_only_where_they_are_seen(project: Project, app_on: AppOn) -> None:
    for number in range(12):
        model = {"id": f"model-{number:02}", "name": f"model-{number:02}", "identity": f"{number:064}"}
        measure(project, model, 0.4, seed=number, tasks=["arc_easy", "gsm8k"], items=20, ago=30 - number)
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await at_bench(pilot)
        assert screen.grid.seen == [0, 1, 2]
        assert len(screen.compared) == 2  # with what is seen, and no more
        await pilot.press("greater_than_sign", "greater_than_sign")
        await until(pilot, lambda: screen._to_compare() is None)
        assert screen.grid.seen == [0, 3, 4]
        assert "◆ model-00" in text_of(pilot)  # the baseline stays
        await pilot.press(*["right"] * 20)
        assert screen.grid.seen == [0, 10, 11]
        assert screen.chosen is screen.grid.heads[11]


async def test_the_terminal_may_become_narrower_and_wider_again(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(200, 50)) as pilot:
        screen = await at_bench(pilot)
        wide = list(screen.grid.seen)
        for width, height in ((80, 24), (200, 50), (60, 20), (120, 36)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            assert len(screen.grid.columns) == len(screen.grid.seen) + 1
            assert "◆ base" in text_of(pilot)
        assert 1 < len(screen.grid.seen) < len(wide)


async def test_panels_are_chosen_and_a_new_benchmark_appears_by_itself(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        screen = await at_bench(pilot)
        model = {"id": "late", "name": "late", "identity": "e" * 64}
        measure(measured, model, 0.9, seed=9, tasks=["arc_easy"], items=20, panel="", ago=0)
        await until(pilot, lambda: len(screen.found) == 8)
        assert screen.panel == "quick"  # what one looks at stays
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, Menu))
        assert "single tasks" in text_of(pilot)
        await pilot.press("home", "enter")
        await until(pilot, lambda: screen.panel == "" and [model.model for model in screen.models] == ["late"])
        assert "Single tasks, 1 model, 1 task" in text_of(pilot)
        pilot.app.perform_command("panel everything")  # type: ignore[attr-defined]
        await until(pilot, lambda: len(screen.models) == 8)


async def test_items_that_cannot_be_read_leave_the_scores(measured: Project, app_on: AppOn) -> None:
    (measured.folder("benchmark") / "stranger-quick" / "items.parquet").write_bytes(b"PAR1 no more")
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        await at_bench(pilot)
        await pilot.press("right")
        await until(pilot, lambda: "No difference: The items of stranger-quick cannot be read" in words_of(pilot))
        assert "75.0" in line_of(pilot, "arc_easy")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))


# --------------------------------------------------------------------------- items


def test_probabilities_and_what_is_taken_of_a_choice() -> None:
    item = Item(
        task="t", item="0", hash="h", prompt="p", target="1", metrics={"acc": 0.0, "acc_norm": 1.0},
        choices=("ab", "a much longer one"), log_likelihoods=(-4.0, -5.0), right=1,
    )  # fmt: skip
    assert probabilities(item) == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.e)])
    assert (taken(item, "acc"), taken(item, "acc_norm")) == (0, 1)
    asked = Asked(place=0, item=item, before=None, metric="acc_norm", flipped=False, title="")
    parts = parts_of(asked, ["smol"])
    assert [part.label for part in parts] == ["prompt", "1", "2  ✓ right  taken by smol", "taken", "metrics"]
    assert "73.1%" in parts[1].text
    assert "26.9%" in parts[2].text


def test_flipped_items_are_those_of_the_comparison(measured: Project) -> None:
    models = {model.model: model for model in gather(benchmarks(measured), "quick")}
    for task in ("arc_easy", "mmlu", "gsm8k"):
        asked = read_items(models["base"], models["stranger"], task)
        wanted = comparing.flips(models["base"], models["stranger"], task)
        assert [one.item.hash for one in asked if one.flipped] == [flip.other.hash for flip in wanted]
        assert len(asked) == (360 if task == "mmlu" else 120)
        gained = sum(one.value(one.before) == 0.0 and one.value(one.item) == 1.0 for one in asked)
        assert gained == sum(flip.gained for flip in wanted)
        assert gained > 10


def test_the_words_of_all_questions_are_left_out_of_their_titles() -> None:
    """Those of MBPP begin with the same instruction; of shorter ones nothing is left out."""
    item = Item(task="mbpp", item="0", hash="", prompt="How much is 7?", target="", metrics={})
    tasks = ("You are an expert programmer, and here is your task: Write f.", "Question: Is it f?")
    asked = [[replace(item, more={"question": text.replace("f", name)}) for name in "gh"] for text in tasks]
    assert [titles(items) for items in asked] == [["… g.", "… h."], ["Question: Is it g?", "Question: Is it h?"]]
    assert titles([item]) == ["How much is 7?"]
    assert titles([]) == []


async def test_a_cell_opens_what_flipped_and_keys_show_the_rest(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        await at_bench(pilot)
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ItemsScreen) and pilot.app.screen.read)
        screen = pilot.app.screen
        assert isinstance(screen, ItemsScreen)
        table = screen.query_one(Table)
        flipped = len(table.rows)
        assert f"{flipped} of 120 items that flipped" in text_of(pilot)
        assert "taken by stranger" in text_of(pilot)
        counts = {}
        for key in ("a", "r", "w"):
            await pilot.press(key)
            counts[key] = len(table.rows)
        assert counts["a"] == 120 == counts["r"] + counts["w"]
        await pilot.press("f", "plus")
        assert screen.query_one(Reader).has_focus
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, BenchScreen))
        await pilot.press("left", "enter")  # the baseline's own cell
        await until(pilot, lambda: isinstance(pilot.app.screen, ItemsScreen) and pilot.app.screen.read)
        screen = pilot.app.screen
        assert isinstance(screen, ItemsScreen)
        assert "open a cell beside the baseline's" in str(screen.why_not_flipped())


async def test_a_long_prompt_loses_nothing_beside_its_scrollbar(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(80, 24)) as pilot:
        await at_bench(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ItemsScreen) and pilot.app.screen.read)
        reader = pilot.app.screen.query_one(Reader)
        reader.show([Part("prompt", "short")])
        await pilot.pause()
        words = [f"{number}{'-' * (number % 9)}" for number in range(400)]
        reader.show([Part("prompt", " ".join(words))])
        await until(pilot, lambda: reader.show_vertical_scrollbar)
        await pilot.pause()
        shown = " ".join(reader.render_line(y).text for y in range(reader.size.height)).split()
        assert len(shown) > 50
        assert shown == ["prompt", *words[: len(shown) - 1]]


async def test_answers_and_programs_are_shown_as_text(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        screen = await at_bench(pilot)
        assert screen.grid.choose("gsm8k")
        await pilot.press("right", "right", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ItemsScreen) and pilot.app.screen.read)
        assert screen.grid.heads[2].model == "base-q8"
        await pilot.press("w")
        await until(pilot, lambda: "[/INST] [red]no[/red]" in text_of(pilot))
        assert "base-q8, wrong" in text_of(pilot)
        assert "\x1b" not in text_of(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert screen.grid.choose("humaneval")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ItemsScreen) and pilot.app.screen.read)
        await pilot.press("w")
        await until(pilot, lambda: "base-q8, wrong, timeout" in text_of(pilot))
        assert "10 s are over" in text_of(pilot)


# --------------------------------------------------------------------------- history


async def test_the_history_is_a_curve_over_the_steps(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        await at_bench(pilot)
        await pilot.press("h")
        await until(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen) and pilot.app.screen.points)
        screen = pilot.app.screen
        assert isinstance(screen, HistoryScreen)
        assert [(step, model.model) for step, model, _ in screen.points] == [
            (200, "base@200"), (400, "base@400"), (600, "base@600"), (800, "base@800"), (1000, "base"),
        ]  # fmt: skip
        (series,) = screen.query_one(Chart).series
        assert [x for x, _ in series.points] == [200, 400, 600, 800, 1000]
        assert [low < 100 * figure.value < high for (_, low, high), (*_, figure) in
                zip(series.spans, screen.points, strict=True)] == [True] * 5  # fmt: skip
        await pilot.press("n", "m")
        assert "hellaswag over the steps" in text_of(pilot)
        assert screen.metric == "acc"  # hellaswag's other metric
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ItemsScreen) and pilot.app.screen.read)
        assert "hellaswag: base@400 against base@200" in text_of(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, BenchScreen))


async def test_the_history_of_an_export_is_that_of_its_model(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(80, 24)) as pilot:
        await at_bench(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, BenchScreen)
        screen.do_model("base-q8")
        await pilot.press("h")
        await until(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen) and pilot.app.screen.points)
        points = pilot.app.screen.points  # type: ignore[attr-defined]
        assert [(step, model.model) for step, model, _ in points] == [
            (200, "base@200"), (400, "base@400"), (600, "base@600"), (800, "base@800"), (1000, "base-q8"),
        ]  # fmt: skip
        # What goes by itself covers the curve, and no point.
        assert pilot.app.screen.query_one("#points").region.bottom <= pilot.app.screen.query_one("#curve").region.y


async def test_the_form_offers_panels_and_says_what_is_not_set(measured: Project, app_on: AppOn) -> None:
    (measured.root / "panels").mkdir()
    (measured.root / "panels" / "mine.yaml").write_text("tasks: [arc_easy, hellaswag]\n")
    (measured.root / "panels" / "wrong.yaml").write_text("tasks: [5]\n")
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        await at_bench(pilot)
        pilot.app.open_form("benchmark", {})  # type: ignore[attr-defined]
        await until(pilot, lambda: "the project's own" not in text_of(pilot) and "panel" in text_of(pilot))
        panel = next(row.control for row in pilot.app.screen.query(Row) if row.field.path == "panel")
        assert isinstance(panel, Pick)
        assert panel.options[0] == ("mine", "2 tasks, the project's own")
        assert panel.options[1] == ("wrong", "wrong.yaml, task 1: It is 5, which names no task.")
        assert {"quick", "base", "instruct", "code", "quantisation"} < {value for value, _ in panel.options}
        panel.choose("mine")
        await until(pilot, lambda: "to fetch    arc_easy, hellaswag: their data" in text_of(pilot))
        for fold in pilot.app.screen.query(Fold):
            fold.focus()
            await pilot.press("enter")
        await until(pilot, lambda: any(row.field.path == "chat_template" for row in pilot.app.screen.query(Row)))
        put = next(row.control for row in pilot.app.screen.query(Row) if row.field.path == "chat_template")
        assert str(put.render()) == "‹ not set ›"


async def test_every_kept_checkpoint_is_benchmarked_in_the_same_way(measured: Project, app_on: AppOn) -> None:
    with open_catalog(measured) as catalog:
        (made,) = catalog.rows("SELECT run FROM artifacts WHERE id = 'base'")
    for step in (200, 400):
        folder = runs.folder_of(measured, made["run"]) / "checkpoints" / f"step-{step:08}"
        folder.mkdir(parents=True)
        (folder / "complete.json").write_text("{}")
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        await at_bench(pilot)
        await pilot.press("k")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        asked = "Benchmark 2 kept checkpoints of base, from step 200 to 400, on the panel quick, the first 120 items"
        assert asked in words_of(pilot)
        await pilot.press("y")
        live = pilot.app.live  # type: ignore[attr-defined]

        def started() -> list[str]:
            return [run.id for run in live.runs.values() if run.stage == "benchmark"]

        await until(pilot, lambda: len(started()) == 2)
        recipes = [runs.recipe_of(measured, run) for run in sorted(started())]
        assert [(recipe["checkpoint"], recipe["panel"], recipe["limit"]) for recipe in recipes] == [
            (200, "quick", 120), (400, "quick", 120),
        ]  # fmt: skip
        for run in started():
            runs.request(measured, run, "stop")
        await until(pilot, lambda: not any(live.runs[run].active for run in started()), 90)


async def test_what_has_no_checkpoints_is_told(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(80, 24)) as pilot:
        await at_bench(pilot)
        await pilot.press("right", "k")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        assert "stranger is no model of this project" in words_of(pilot)


# --------------------------------------------------------------------------- what it writes and starts


async def test_the_table_is_written_in_three_formats(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(120, 36)) as pilot:
        await at_bench(pilot)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(pilot.app.screen, Menu))
        await pilot.press("m")
        folder: Path = measured.root / "tables"
        await until(pilot, lambda: (folder / "quick.md").exists())
        head, _, *rows = (folder / "quick.md").read_text().splitlines()
        assert head.startswith("| task | metric | items | setting | base | stranger | base-q8 |")
        assert rows[0].startswith("| arc_easy | acc %↑ | 120 | 0-shot")
        for form in ("csv", "json"):
            pilot.app.perform_command(f"export-bench {form}")  # type: ignore[attr-defined]
            await until(pilot, (folder / f"quick.{form}").exists)
        lines = list(csv.DictReader((folder / "quick.csv").open()))
        assert {line["model"] for line in lines} == {"base", "base-q8", "stranger", *(f"base@{n}00" for n in "2468")}
        assert len(json.loads((folder / "quick.json").read_text())) == 7
        pilot.app.perform_command("export-bench latex")  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        assert "There is no format 'latex'." in words_of(pilot)


async def test_a_new_benchmark_begins_with_the_chosen_model_and_panel(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(80, 24)) as pilot:
        await at_bench(pilot)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen))
        draft = pilot.app.screen.draft  # type: ignore[attr-defined]
        assert (draft.stage, draft.texts["model"], draft.texts["panel"]) == ("benchmark", "base", "quick")


async def test_where_nothing_was_measured_it_says_what_to_do(tmp_path: Path, example: Project, app_on: AppOn) -> None:
    async with app_on(create(tmp_path / "new")).run_test(size=(80, 24)) as pilot:
        await at_bench(pilot)
        assert "no model that could be measured" in words_of(pilot)
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        await at_bench(pilot)
        assert "No benchmark yet: what is a model worth?" in words_of(pilot)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen))


async def test_what_was_not_asked_and_what_cannot_be_read_is_told(measured: Project, app_on: AppOn) -> None:
    async with app_on(measured).run_test(size=(80, 24)) as pilot:
        screen = await at_bench(pilot)
        assert screen.grid.choose("humaneval")
        await pilot.press("right")
        await until(pilot, lambda: "stranger was not asked." in text_of(pilot))
        assert screen.why_not_history() == "stranger was not asked humaneval."
        await pilot.press("enter", "h")
        assert pilot.app.screen is screen
    for path in measured.folder("benchmark").glob("*/results.json"):
        path.write_text("{")
    async with app_on(measured).run_test(size=(80, 24)) as pilot:
        await at_bench(pilot)
        await until(pilot, lambda: "None of the benchmarks can be read." in text_of(pilot))


async def test_hostile_names_are_shown_as_text(project: Project, app_on: AppOn) -> None:
    model = {"id": "[red]x[/] \x1b[2J", "name": "x", "identity": "d" * 64}
    measure(project, model, 0.5, seed=1, tasks=["[b]task\x9b2J"], items=10, name="plain")
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await at_bench(pilot)
        assert "[red]x[/]" in text_of(pilot)
        assert "[b]task" in text_of(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ItemsScreen) and pilot.app.screen.read)
        assert "\x1b" not in text_of(pilot)
        assert "\x9b" not in text_of(pilot)
        await pilot.press("escape", "h")
        await until(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen))
        assert "\x1b" not in text_of(pilot)


# --------------------------------------------------------------------------- pictures


@every_size
def test_grid(snap_compare: Snap, measured: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await at_bench(pilot)
        await pilot.press("f", "right", "down", "down")
        await until(pilot, lambda: "stranger on mmlu" in text_of(pilot) and "flipped" in text_of(pilot))

    assert snap_compare(app_on(measured), terminal_size=size, run_before=before)


@every_size
def test_items(snap_compare: Snap, measured: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await at_bench(pilot)
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ItemsScreen) and pilot.app.screen.read)

    assert snap_compare(app_on(measured), terminal_size=size, run_before=before)


@every_size
def test_history(snap_compare: Snap, measured: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await at_bench(pilot)
        await pilot.press("h")
        await until(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen) and pilot.app.screen.points)

    assert snap_compare(app_on(measured), terminal_size=size, run_before=before)


def test_grid_in_ascii(snap_compare: Snap, measured: Project, app_on: AppOn) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await at_bench(pilot)
        assert text_of(pilot).replace("\n", "").isascii()
        await pilot.press("right")
        await until(pilot, lambda: "stranger on arc_easy" in text_of(pilot))

    assert snap_compare(app_on(measured, ascii=True), terminal_size=(80, 24), run_before=before)
