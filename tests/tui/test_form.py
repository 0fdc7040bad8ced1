"""The form: any recipe class, the command line's sentences, the outlook, and a start that really starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import Field
from textual.pilot import Pilot

from tests.road import write_texts
from tests.tui.drive import SIZES, loaded, text_of, typed, until, words_of
from workbench import figures
from workbench.errors import WorkbenchError
from workbench.recipes.base import PATH_OR_NAME, Recipe, validate
from workbench.recipes.estimate import estimate
from workbench.recipes.fields import nested, recipe_fields
from workbench.recipes.load import STAGES
from workbench.store import runs
from workbench.store.project import Project
from workbench.tui import outlook
from workbench.tui.app import WorkbenchApp
from workbench.tui.draft import Draft
from workbench.tui.live import Live
from workbench.tui.screens.dialogs import Confirm
from workbench.tui.screens.form import FormScreen, Row
from workbench.tui.screens.runs import RunsScreen
from workbench.tui.widgets.fields import Fold, LineField, LinesField, Pick, StartButton
from workbench.tui.widgets.table import Table

AppOn = Callable[..., WorkbenchApp]
FORMS = [stage for stage in STAGES if stage != "shards"]  # shards are made by a pretraining


@pytest.fixture(autouse=True)
def _eight_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the form says of memory must not depend on who else uses this machine."""
    monkeypatch.setattr(outlook, "free_memory_bytes", lambda: 8 << 30)


async def at_form(pilot: Pilot[str], stage: str, values: dict[str, str] | None = None) -> FormScreen:
    await loaded(pilot)
    pilot.app.open_form(stage, values)  # type: ignore[attr-defined]
    await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen) and pilot.app.screen.focused)
    screen = pilot.app.screen
    assert isinstance(screen, FormScreen)
    return screen


def row(screen: FormScreen, path: str) -> Row:
    return next(item for item in screen.rows() if item.field.path == path)


BAD_VALUES = [
    ("pretrain", {"schedule.max_steps": "abc"}),
    ("pretrain", {"optimizer.beta1": "2"}),
    ("pretrain", {"name": "a b"}),
    ("pretrain", {"evaluation.eval_tokens": "12"}),
    ("pretrain", {"model.tie_word_embeddings": "perhaps"}),
    ("pretrain", {"model.size": "tinny"}),
    ("tokenizer", {"vocab_size": "100"}),
    ("export", {"quantization": "q8"}),
]


@pytest.mark.parametrize(("stage", "wrong"), BAD_VALUES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_value_is_told_in_the_words_of_the_command_line(stage: str, wrong: dict[str, str]) -> None:
    given = {"corpus": "books", "tokenizer": "bpe-4k", "model": "base"}
    right = {field.path: given[field.path] for field in recipe_fields(STAGES[stage]) if field.path in given}
    with pytest.raises(WorkbenchError) as on_the_command_line:
        validate(STAGES[stage], nested({**right, **wrong}))
    checked = Draft(stage, {**right, **wrong}).check()
    assert checked.recipe is None
    assert {path: str(error) for path, error in checked.errors.items()} == {
        next(iter(wrong)): str(on_the_command_line.value)
    }


def test_a_combination_that_cannot_be_is_told_too() -> None:
    checked = Draft("pretrain", {"corpus": "b", "tokenizer": "t", "model.num_attention_heads": "3"}).check()
    assert str(checked.problem) == (
        "num_attention_heads 3 does not divide hidden_size 256 into heads of even width. The nearest that does is 2."
    )


def test_an_empty_field_shows_what_follows_from_the_others() -> None:
    draft = Draft("pretrain", {"model.size": "nano"})
    assert draft.check().derived["optimizer.learning_rate"] == 3e-3
    assert "name" not in draft.check().derived  # it follows from the corpus, and there is none
    draft.texts |= {"corpus": "books", "tokenizer": "bpe", "model.size": "tiny"}
    assert draft.check().derived["optimizer.learning_rate"] == 2e-3
    assert draft.check().derived["name"] == "books-base"


def test_sources_are_paths_one_a_line_or_several_with_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my notes").mkdir()
    draft = Draft("import", {"sources": "my notes\na.txt '/b c.md' python-docs\n\n"})
    assert draft.values()["sources"] == [str(tmp_path / "my notes"), str(tmp_path / "a.txt"), "/b c.md", "python-docs"]
    draft.texts["sources"] = "'open"
    assert "Close the quotation mark." in str(draft.check().errors["sources"])


@pytest.mark.parametrize("stage", FORMS)
async def test_every_field_of_a_recipe_can_be_set(stage: str, example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_form(pilot, stage)
        screen.do_fold()
        wanted = {field.path for field in recipe_fields(STAGES[stage])}
        await until(pilot, lambda: {item.field.path for item in screen.rows()} == wanted)
        numbers = [item for item in screen.rows() if isinstance(item.control, LineField) and item.field.type is int]
        for item in numbers:
            assert isinstance(item.control, LineField)
            item.control.value = "999999999999"
        await until(pilot, lambda: all(screen.draft.texts.get(item.field.path) == "999999999999" for item in numbers))


async def test_the_outlook_has_the_estimates_figures(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_form(pilot, "pretrain")
        assert (screen.draft.texts["corpus"], screen.draft.texts["tokenizer"]) == ("books", "bpe-4k")
        row(screen, "model.size").control.focus()
        await pilot.press("left")  # nano
        row(screen, "schedule.max_steps").control.focus()
        await typed(pilot, "60")
        await until(pilot, lambda: screen.steps)
        recipe = screen.checked.recipe
        assert recipe is not None
        assert recipe.schedule.max_steps == 60  # type: ignore[attr-defined]
        expected = estimate(recipe, 4096)  # type: ignore[arg-type]
        shown = words_of(pilot)
        assert f"parameters {figures.count(expected.parameters)}" in shown
        assert f"{figures.size(expected.memory_bytes)}: fits" in shown
        assert screen.steps == [("shards books-bpe-4k", "made already", "good"), ("model books-base", "starts", "text")]


def test_the_time_follows_from_the_newest_finished_training(example: Project) -> None:
    live = Live(example)
    live.poll()
    live.close()
    draft = Draft("pretrain", {"corpus": "books", "tokenizer": "bpe-4k", "model.size": "tiny"})
    recipe = draft.check().recipe
    assert recipe is not None
    facts = {fact.what: fact for fact in outlook.expect(recipe, live.artifacts, 8 << 30)}
    # 1,000 steps of 4,096 tokens, as the finished one: 4,096,000 tokens at its 5,187.4 a second.
    assert facts["time"].value == "about 13m 09s"
    assert "pretrain-4" in facts["time"].more
    assert facts["epochs"].value == f"{4_096_000 / (5_934_602 * 0.95):.3g}"
    needed = estimate(recipe, 4096).memory_bytes  # type: ignore[arg-type]
    words = [outlook.expect(recipe, live.artifacts, free) for free in (needed * 2, needed + 1, needed - 1)]
    assert [
        next(fact.value for fact in facts if fact.what == "memory").partition(": ")[2] for facts in words
    ] == ["fits", "tight", "too much"]  # fmt: skip
    without = [item for item in live.artifacts if item.kind != "model"]
    with_mlx = recipe.model_copy(update={"engine": "mlx"})
    for unknown in (outlook.expect(recipe, without, None), outlook.expect(with_mlx, live.artifacts, None)):
        assert next(fact.value for fact in unknown if fact.what == "time") == "measured first"


def test_the_epochs_of_a_mixture_stand_side_by_side(example: Project) -> None:
    live = Live(example)
    live.poll()
    live.close()
    [corpus] = [item for item in live.artifacts if item.kind == "corpus"]
    [shards] = [item for item in live.artifacts if item.kind == "shards"]
    small = dataclasses.replace(corpus, id="good", name="good")
    inputs = {**shards.inputs, "corpus": ("corpus", "good")}
    few = dataclasses.replace(shards, id="good-bpe", report={"tokens": 100_000}, inputs=inputs)
    texts = {"corpus": "books=0.9\ngood=0.1", "phases": "0.5: good", "tokenizer": "bpe-4k", "model.size": "tiny"}
    recipe = Draft("pretrain", texts).check().recipe
    assert recipe is not None
    assert "epochs" not in {fact.what for fact in outlook.expect(recipe, live.artifacts, None)}  # not counted yet
    facts = {fact.what: fact for fact in outlook.expect(recipe, [*live.artifacts, small, few], None)}
    # Half of the 4,096,000 tokens are the phase's.
    books, good = 4_096_000 * 0.45 / (5_934_602 * 0.95), 4_096_000 * 0.55 / (100_000 * 0.95)
    assert facts["epochs"].value == f"books {books:.3g}, good {good:.3g}"
    assert facts["epochs"].style == "warn"
    wrong = Draft("pretrain", texts | {"phases": "good at the end"}).check()
    assert "'good at the end' is no phase." in str(wrong.first_error)


async def test_errors_stand_at_their_field_and_go_when_it_is_mended(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        screen = await at_form(pilot, "pretrain")
        steps = row(screen, "schedule.max_steps")
        steps.control.focus()
        await typed(pilot, "0")
        await pilot.pause()
        assert steps.has_class("-wrong")
        assert "schedule.max_steps is '0', but should be at least 1." in words_of(pilot)
        assert "To mend first: max_steps." in text_of(pilot)
        await pilot.press("backspace")
        await typed(pilot, "50")
        await pilot.pause()
        assert not steps.has_class("-wrong")
        assert screen.checked.recipe is not None


async def test_a_group_says_what_was_set_in_it(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_form(pilot, "pretrain")
        fold = next(item for item in screen.query(Fold) if item.title == "optimizer")
        fold.focus()
        await pilot.press("enter")
        await until(pilot, lambda: any(item.field.path == "optimizer.beta1" for item in screen.rows()))
        row(screen, "optimizer.beta1").control.focus()
        await typed(pilot, "0.85")
        await until(pilot, lambda: fold.count == 1)
        fold.focus()
        await pilot.press("enter")
        await until(pilot, lambda: "1 set" in text_of(pilot))


async def test_the_arrows_choose_and_enter_lists_all_with_what_is_known(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_form(pilot, "pretrain")
        size = row(screen, "model.size").control
        assert isinstance(size, Pick)
        size.focus()
        await pilot.press("right", "right")
        assert screen.draft.texts["model.size"] == "small"
        await pilot.press("enter")
        await until(pilot, lambda: "24 layers of width 1024" in text_of(pilot))
        await pilot.press("home", "enter")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert screen.draft.texts["model.size"] == "nano"


async def test_starting_an_import_from_the_form_makes_the_corpus(
    project: Project, app_on: AppOn, tmp_path: Path
) -> None:
    texts = write_texts(tmp_path / "texts", documents=30)
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await at_form(pilot, "import")
        await typed(pilot, str(texts))
        row(screen, "name").control.focus()
        await typed(pilot, "tales")
        await until(pilot, lambda: screen.source_facts)
        assert screen.source_facts[0].value == "30"
        await pilot.press("enter")  # on to the button
        assert isinstance(screen.focused, StartButton)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await until(pilot, lambda: pilot.app.screen.query_one(Table).row)
        assert pilot.app.screen.query_one(Table).row.id == "import-1"
        await until(pilot, lambda: runs.read(project, "import-1")[1].state in runs.ENDED, 60)
        assert runs.read(project, "import-1")[1].artifact == "tales"
        again = await at_form(pilot, "import", {"sources": str(texts), "name": "tales"})
        await until(pilot, lambda: again.checked.recipe is not None)
        again.do_start()
        await until(pilot, lambda: "made already" in text_of(pilot))
        assert pilot.app.screen is again  # nothing runs: one stays and can change something


async def test_what_cannot_start_is_told_and_nothing_runs(project: Project, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        screen = await at_form(pilot, "pretrain")
        screen.query_one(StartButton).focus()
        await pilot.press("enter")
        await pilot.pause()
        assert "The pretrain recipe lacks 'corpus'." in words_of(pilot)
        assert row(screen, "corpus").has_class("-wrong")
        missing = await at_form(pilot, "import", {"sources": "/nowhere/at/all"})
        await until(pilot, lambda: missing.plan_problem)
        assert "There is no file or folder '/nowhere/at/all'." in str(missing.plan_problem)
    assert list(project.runs.iterdir()) == []


async def test_leaving_asks_only_where_something_was_typed(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        screen = await at_form(pilot, "export")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is not screen)
        screen = await at_form(pilot, "export")
        row(screen, "name").control.focus()
        await typed(pilot, "mine")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert screen.draft.texts["name"] == "mine"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: not isinstance(pilot.app.screen, FormScreen | Confirm))


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_form(snap_compare: Callable[..., bool], example: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    async def before(pilot: Pilot[str]) -> None:
        screen = await at_form(pilot, "pretrain", {"name": "fresh"})
        await until(pilot, lambda: screen.steps)
        await pilot.press("down", "down")

    assert snap_compare(app_on(example), terminal_size=size, run_before=before)


def test_form_with_an_error(snap_compare: Callable[..., bool], example: Project, app_on: AppOn) -> None:
    async def before(pilot: Pilot[str]) -> None:
        screen = await at_form(pilot, "pretrain", {"schedule.max_steps": "many"})
        row(screen, "schedule.max_steps").control.focus()
        await pilot.pause()

    assert snap_compare(app_on(example), terminal_size=(120, 36), run_before=before)


def test_form_unfolded(snap_compare: Callable[..., bool], example: Project, app_on: AppOn) -> None:
    async def before(pilot: Pilot[str]) -> None:
        screen = await at_form(pilot, "pretrain", {"name": "fresh"})
        await until(pilot, lambda: screen.steps)
        screen.do_fold()
        await until(pilot, lambda: len(list(screen.rows())) == len(screen.draft.fields))

    assert snap_compare(app_on(example), terminal_size=(200, 50), run_before=before)


def test_form_of_an_import(snap_compare: Callable[..., bool], project: Project, app_on: AppOn) -> None:
    async def before(pilot: Pilot[str]) -> None:
        screen = await at_form(pilot, "import", {"sources": "/nowhere/books"})
        await until(pilot, lambda: screen.plan_problem)

    assert snap_compare(app_on(project), terminal_size=(80, 24), run_before=before)


class Mixture(Recipe):
    """Reads several artifacts, an optional one, and files or artifacts."""

    produces = "candidates"
    reads = {"models": ("model", "export"), "reward": "reward", "prompts": "chats"}
    default_name = "mixture"

    stage: str = "mixture"
    models: list[str] = Field(min_length=1, description="Who answers.")
    reward: str | None = Field(None, description="Who scores.")
    prompts: str = Field(description="What is asked.", json_schema_extra=PATH_OR_NAME)


async def test_fields_that_name_several_artifacts_or_none_or_files(
    example: Project, app_on: AppOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STAGES, "mixture", Mixture)
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_form(pilot, "mixture")
        assert [item.field.path for item in screen.rows()] == ["models", "prompts", "name"]
        models, prompts = row(screen, "models").control, row(screen, "prompts").control
        assert isinstance(models, LinesField)
        assert models.text == "base-q8"  # the newest of either kind
        await until(pilot, lambda: "in this project: base-q8, base" in words_of(pilot))
        models.text = "base\nbase-q8"
        assert isinstance(prompts, LineField)
        prompts.value = "questions.txt"
        await until(pilot, lambda: screen.checked.recipe)
        assert screen.checked.recipe.models == ["base", "base-q8"]  # type: ignore[union-attr]
        screen.do_fold()
        await until(pilot, lambda: len(list(screen.rows())) == 4)
        reward = row(screen, "reward").control
        assert isinstance(reward, Pick)
        assert (reward.value, reward.options) == ("", [("", "none")])
        assert screen.checked.recipe.reward is None  # type: ignore[union-attr]


async def test_what_cannot_fit_is_asked_about_before_it_is_started(example: Project, app_on: AppOn) -> None:
    before = sorted(path.name for path in example.runs.iterdir())
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        screen = await at_form(pilot, "pretrain", {"corpus": "books", "tokenizer": "bpe-4k", "model.size": "large"})
        await until(pilot, lambda: screen.checked.recipe)
        screen.do_start()
        await until(pilot, lambda: "refused as things are. Start it all the same?" in words_of(pilot))
        assert isinstance(pilot.app.screen, Confirm)
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is screen)
    assert sorted(path.name for path in example.runs.iterdir()) == before


async def test_another_size_keeps_the_field_in_sight_and_the_outlook_short(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        screen = await at_form(pilot, "pretrain")
        height = lambda: screen.query_one("#outlook").size.height  # noqa: E731
        await until(pilot, lambda: screen.steps)
        await pilot.pause()
        short = height()
        await pilot.resize_terminal(120, 36)
        fold = list(screen.query(Fold))[-1]
        fold.focus()
        await pilot.press("enter")
        await until(pilot, lambda: any(item.field.path == "engine" for item in screen.rows()))
        row(screen, "engine").control.focus()
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: height() == short)
        pane = screen.query_one("#fields").region
        await until(pilot, lambda: pane.contains_region(row(screen, "engine").control.region))


@pytest.mark.parametrize("path", ["schedule.max_steps", "sources"])
async def test_esc_leaves_the_form_from_a_field_that_is_typed_into(path: str, example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        screen = await at_form(pilot, "import" if path == "sources" else "pretrain")
        row(screen, path).control.focus()
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is not screen)
