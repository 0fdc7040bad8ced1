"""Which engine: a form offers those of this machine and greys the others; the chat opens a model with another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest
from textual.pilot import Pilot

from engines.mlx import engine as mlx_engine
from engines.pytorch import engine as torch_engine
from tests.tui.drive import loaded, until, words_of
from workbench import registry
from workbench.errors import WorkbenchError
from workbench.recipes.fields import recipe_fields
from workbench.recipes.load import recipe_from
from workbench.recipes.sft import SftRecipe
from workbench.runs.plan import require_engine
from workbench.store.project import Project
from workbench.tui import choices
from workbench.tui.app import WorkbenchApp
from workbench.tui.chat_models import chat_models, engines_of, find
from workbench.tui.live import EVERYTHING
from workbench.tui.screens.chat import ChatScreen
from workbench.tui.screens.form import FormScreen, Row
from workbench.tui.screens.menu import Menu
from workbench.tui.widgets.fields import Fold, Pick

AppOn = Callable[..., WorkbenchApp]


@pytest.fixture
def without_mlx(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nor bitsandbytes."""
    monkeypatch.setattr(mlx_engine, "find_spec", lambda name: None)
    monkeypatch.setattr(torch_engine, "find_spec", lambda name: None if name == "bitsandbytes" else find_spec(name))
    forget()
    yield
    forget()


def forget() -> None:
    choices.engines.cache_clear()
    choices._lacks.cache_clear()


async def row_of(pilot: Pilot[str], stage: str, path: str) -> Row:
    await loaded(pilot)
    pilot.app.open_form(stage)  # type: ignore[attr-defined]
    await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen) and pilot.app.screen.focused)
    screen = pilot.app.screen
    assert isinstance(screen, FormScreen)
    title = path.rpartition(".")[0] or "more"
    fold = next(fold for fold in screen.query(Fold) if fold.title == title)
    fold.focus()
    await pilot.press("enter")
    await until(pilot, lambda: any(row.field.path == path for row in screen.rows()))
    return next(row for row in screen.rows() if row.field.path == path)


async def test_an_engine_that_is_missing_is_greyed_with_the_line_that_installs_it(
    without_mlx: None, example: Project, app_on: AppOn
) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        row = await row_of(pilot, "sft", "engine")
        pick = row.control
        assert isinstance(pick, Pick)
        assert [value for value, _ in pick.options] == ["pytorch", "mlx"]
        pick.focus()
        await pilot.press("right")
        assert pick.value == "pytorch"  # there is no other
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Menu))
        assert "mlx and mlx-lm cannot be found. pip install 'llm-workbench[mlx]'" in words_of(pilot)
        await pilot.press("down", "enter")
        assert isinstance(pilot.app.screen, Menu)
        assert pick.value == "pytorch"
        await pilot.press("escape")
        form = pilot.app.screen
        assert isinstance(form, FormScreen)
        pick.choose("mlx")  # as a line that was typed may have it
        await until(pilot, lambda: "To mend first: engine." in words_of(pilot))
        assert form.checked.errors["engine"].what == "mlx and mlx-lm cannot be found. pip install 'llm-workbench[mlx]'"
        assert form.checked.recipe is None
        await pilot.app.pop_screen()
        form.catch_up(EVERYTHING)  # a call that was on its way while the form left


async def test_a_form_opens_what_is_to_be_mended_in_it(without_mlx: None, example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        pilot.app.open_form("pretrain", {"engine": "mlx"}, whole=True)  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen) and pilot.app.screen.focused)
        form = pilot.app.screen
        assert isinstance(form, FormScreen)
        assert "engine" in {row.field.path for row in form.rows()}
        said = "mlx and mlx-lm cannot be found. pip install 'llm-workbench[mlx]'"
        await until(pilot, lambda: said in words_of(pilot))


async def test_a_number_format_whose_library_is_missing_is_greyed_and_refused(
    without_mlx: None, example: Project, app_on: AppOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        pick = (await row_of(pilot, "sft", "adapter.quantize_base")).control
        assert isinstance(pick, Pick)
        pick.focus()
        await pilot.press("right")
        assert pick.value == "none"  # there is no other
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Menu))
        await pilot.press("down")
        for line in (
            "Weights in nf4 need bitsandbytes, which cannot be found. Install it: pip install",
            "'llm-workbench[qlora]'",
            "mlx and mlx-lm cannot be found. pip install 'llm-workbench[mlx]'",
        ):
            await until(pilot, lambda line=line: line in words_of(pilot))  # type: ignore[misc]
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, Menu)
        assert pick.value == "none"
    lora = {"stage": "sft", "base": "m", "data": ["c"], "adapter": {"lora_rank": 4, "quantize_base": "nf4"}}
    with pytest.raises(WorkbenchError, match="need bitsandbytes, which cannot be found"):
        require_engine(recipe_from(lora))
    assert registry.engine("pytorch").capabilities().weight_formats == ()
    monkeypatch.setattr(torch_engine.sys, "platform", "darwin")
    what, remedy = registry.engine("pytorch").capabilities().lacking_formats["nf4"]
    assert (what, remedy) == ("Weights in nf4 need bitsandbytes, which is not made for Macs.", "Choose mlx-4bit.")


async def test_what_is_written_says_which_engines_there_are(example: Project, app_on: AppOn) -> None:
    pytest.importorskip("mlx")
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        pick = (await row_of(pilot, "benchmark", "engine")).control
        assert isinstance(pick, Pick)
        assert [value for value, _ in pick.options] == ["", "pytorch", "mlx"]
        pick.focus()
        await pilot.press("right", "right")
        assert pick.value == "mlx"
        assert pilot.app.screen.draft.check().recipe.model_engine() == "mlx"  # type: ignore[attr-defined]


def test_each_stage_has_the_engines_that_run_it() -> None:
    assert [*choices.engines("export", None)] == ["llamacpp", "mlx"]
    assert [*choices.engines("merge-adapter", "pytorch")] == ["pytorch"]
    assert [*choices.engines("pretrain", "pytorch")] == ["pytorch", "mlx"]


def test_a_number_format_says_whose_it_is() -> None:
    [field] = [field for field in recipe_fields(SftRecipe) if field.name == "quantize_base"]
    assert choices.options(field, None, "sft") == [
        ("none", ""), ("nf4", "engine pytorch"), ("mlx-4bit", "engine mlx"), ("mlx-8bit", "engine mlx"),
    ]  # fmt: skip
    for name, of in (("nf4", "pytorch"), ("mlx-4bit", "mlx")):
        assert name in registry.engine(of).capabilities().weight_formats


async def test_the_chat_opens_its_model_with_the_engine_that_is_chosen(
    without_mlx: None, example: Project, app_on: AppOn
) -> None:
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatScreen) and pilot.app.live.loaded)  # type: ignore[attr-defined]
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        model = next(model for model in chat_models(example, pilot.app.live.artifacts) if model.kind == "model")  # type: ignore[attr-defined]
        assert [name for name, _, why_not in engines_of(model) if why_not is None] == ["pytorch"]
        artifacts = pilot.app.live.artifacts  # type: ignore[attr-defined]
        assert find(example, artifacts, f"{model.name}=mlx") == model.with_engine("mlx")
        with pytest.raises(WorkbenchError, match="The engine llamacpp does not open"):
            find(example, artifacts, f"{model.name}=llamacpp")
        opened = []
        screen.open = opened.append  # type: ignore[method-assign]
        screen.model = model
        screen.do_engine()
        await until(pilot, lambda: isinstance(pilot.app.screen, Menu))
        assert "mlx and mlx-lm cannot be found." in words_of(pilot)
        await pilot.press("escape")
        screen.do_engine("mlx")  # named: it is opened, and its process says what is missing
        assert [(item.id, item.engine) for item in opened] == [(model.id, "mlx")]
