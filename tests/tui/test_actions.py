"""One registry of actions: every key, command and line of the documentation comes from it, and each does something."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

import workbench.tui
from tests.tui.drive import loaded, text_of, typed, until
from workbench.errors import WorkbenchError
from workbench.recipes.base import validate
from workbench.recipes.load import STAGES
from workbench.store.project import Project
from workbench.tui import action_list, actions
from workbench.tui.action_list import ACTIONS
from workbench.tui.actions import BY_ACTION
from workbench.tui.app import WorkbenchApp
from workbench.tui.places import BY_ID, PLACES, SCREENS, screen_for
from workbench.tui.screens.form import FormScreen
from workbench.tui.screens.runs import RunsScreen
from workbench.tui.stages import recipe_of

AppOn = Callable[..., WorkbenchApp]


def owners() -> dict[str, list[type]]:
    """place -> the classes that are it, from all modules of the terminal program."""
    found: dict[str, list[type]] = {}
    for module in pkgutil.walk_packages(workbench.tui.__path__, "workbench.tui."):
        for item in vars(importlib.import_module(module.name)).values():
            if isinstance(item, type) and isinstance(vars(item).get("PLACE"), str) and vars(item)["PLACE"]:
                found.setdefault(vars(item)["PLACE"], []).append(item)
    return found


def test_every_place_is_somebody_and_every_action_has_a_place() -> None:
    assert {action.place for action in ACTIONS} <= set(BY_ID)
    assert set(BY_ID) <= set(owners())
    assert len(BY_ACTION) == len(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_is_carried_out_by_all_who_are_its_place(action: actions.Action) -> None:
    for owner in owners()[action.place]:
        assert callable(getattr(owner, f"do_{action.method}", None)), f"{owner.__name__} lacks do_{action.method}"
    assert action.help.endswith("."), action.help
    assert action.title[0].isupper()


@pytest.mark.parametrize("place", BY_ID)
def test_every_key_is_bound_once_in_its_place(place: str) -> None:
    keys = Counter(key for action in actions.of(place) for key in action.key.split(",") if key)
    assert [key for key, times in keys.items() if times > 1] == []
    for owner in owners()[place]:
        if place != "ask" and issubclass(owner, DOMNode):  # that one takes keys before bindings do
            bound = {binding.key for binding in owner.BINDINGS if isinstance(binding, Binding)}
            assert {binding.key for binding in actions.bindings(place)} <= bound, owner


def test_no_screen_takes_a_key_that_works_everywhere() -> None:
    everywhere = {key for action in actions.of("everywhere") for key in action.key.split(",") if key}
    everywhere -= {"z"}  # undo: a screen that has more to take back does it itself
    for place in PLACES:
        if place.id not in ("everywhere", "dialog"):
            taken = {key for action in actions.of(place.id) for key in action.key.split(",")} & everywhere
            assert not taken, f"{place.id} takes {taken}"


def test_no_key_needs_a_modifier_that_terminals_swallow() -> None:
    for action in ACTIONS:
        assert "alt+" not in action.key, action.id
        assert "shift+" not in action.key, action.id
        assert not action.key.startswith("f1"), action.id


def test_the_documentation_lists_every_action_and_every_screen() -> None:
    table = actions.keys_table()
    for action in ACTIONS:
        assert f"`:{action.verb}" in table or f"`{actions.shown_key(action)}`" in table, action.id
        assert action.help in table, action.id
    for place in SCREENS:
        assert f"`g {place.letter}` {place.title}" in table


def test_screens_have_letters_of_their_own_and_are_found_by_them() -> None:
    assert len({place.letter for place in SCREENS}) == len(SCREENS)
    for place in SCREENS:
        assert screen_for(place.letter) is place
        assert screen_for(place.title) is place
    assert screen_for("nowhere") is None


async def test_the_menu_shows_what_cannot_be_done_with_its_reason(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "r")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen) and pilot.app.screen.run)
        await pilot.press("end")  # the import, which is finished
        await pilot.press("full_stop")
        await until(pilot, lambda: "Actions" in text_of(pilot))
        assert "import-1 is finished: there is nothing to stop." in text_of(pilot)
        assert "Resume" in text_of(pilot)


async def test_a_key_that_does_nothing_now_says_why(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36), notifications=True) as pilot:
        await loaded(pilot)
        await pilot.press("g", "r")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen) and pilot.app.screen.run)
        await pilot.press("end", "r")
        await until(pilot, lambda: pilot.app._notifications)
        (notice,) = pilot.app._notifications
        assert notice.message == "import-1 is finished: only what ended early can be resumed."


async def test_the_footer_offers_what_can_be_done_and_nothing_else(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "r")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen) and pilot.app.screen.run)
        await pilot.press("home", "down")  # the training that goes on
        await pilot.pause()
        assert "s Stop" in text_of(pilot).splitlines()[-1]
        await pilot.press("end")
        await pilot.pause()
        assert "s Stop" not in text_of(pilot).splitlines()[-1]
        assert "q Detach" in text_of(pilot).splitlines()[-1]


async def test_help_speaks_of_what_has_the_focus(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 50)) as pilot:
        await loaded(pilot)
        await pilot.press("g", "r")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen) and pilot.app.screen.run)
        await pilot.press("question_mark")
        await until(pilot, lambda: "Runs live on their own" in text_of(pilot))
        assert BY_ACTION["runs.stop"].help in text_of(pilot)
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, RunsScreen)


async def test_a_command_goes_to_the_screen_that_it_belongs_to(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        await pilot.press("colon")
        await typed(pilot, "filter wide")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen) and "Runs 1 of 9" in text_of(pilot))
        assert "pretrain-6" in text_of(pilot)


async def test_an_unknown_command_names_the_nearest(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36), notifications=True) as pilot:
        await loaded(pilot)
        await pilot.press("colon")
        await typed(pilot, "stopp pretrain-8")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app._notifications)
        (notice,) = pilot.app._notifications
        assert notice.message == "There is no command 'stopp'. Did you mean stop?"


async def test_the_palette_is_fed_by_the_same_registry(example: Project, app_on: AppOn) -> None:
    app = app_on(example)
    async with app.run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Map: Next step", "Detach", "Help", "Go to Runs"} <= titles
        assert "Runs: Stop" in titles  # of another screen: it leads there
        assert "Map: Back" not in titles  # there is nothing to go back from


async def test_every_stage_can_be_typed_and_opens_its_form(example: Project, app_on: AppOn) -> None:
    typed_stages = [stage for stage, *_ in action_list.STAGES]
    assert set(typed_stages) == set(STAGES) - {"shards"}  # those come with the pretraining
    async with app_on(example).run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        for stage in typed_stages:
            pilot.app.perform_command(stage)  # type: ignore[attr-defined]
            await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen) and pilot.app.screen.focused)
            assert pilot.app.screen.draft.stage == stage  # type: ignore[attr-defined]
            await pilot.press("escape")
            await until(pilot, lambda: not isinstance(pilot.app.screen, FormScreen))


def test_flags_and_bare_words_make_a_stages_recipe() -> None:
    recipe = recipe_of("sft", "--base smol --data chats --data more=0.5 --max-steps 20 --name mine")
    assert recipe.to_yaml() == validate(
        STAGES["sft"], {"base": "smol", "data": ["chats", "more=0.5"], "schedule": {"max_steps": 20}, "name": "mine"}
    ).to_yaml()  # fmt: skip
    assert recipe_of("import-model", "hf:org/name").source == "hf:org/name"  # type: ignore[attr-defined]
    assert recipe_of("import-model", "here.gguf").source.startswith("/")  # type: ignore[attr-defined]
    with pytest.raises(WorkbenchError, match="merge-adapter takes one model"):
        recipe_of("merge-adapter", "a b")
