"""Forms of post-training: what a run will take stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.tui.data_project import fill_project, sealed
from tests.tui.drive import SIZES, loaded, typed, until, words_of
from workbench.recipes.load import recipe_from
from workbench.store.project import Project
from workbench.tui import outlook
from workbench.tui.app import WorkbenchApp
from workbench.tui.live import Live
from workbench.tui.screens.form import FormScreen
from workbench.tui.widgets.fields import LinesField, StartButton

AppOn = Callable[..., WorkbenchApp]
FREE = 8 << 30


def facts(project: Project, **values: object) -> dict[str, str]:
    live = Live(project)
    live.poll()
    found = outlook.expect(recipe_from(values).resolved(), live.artifacts, FREE, project)
    live.close()
    return {fact.what: fact.value for fact in found}


def test_each_method_says_what_it_takes(project: Project) -> None:
    fill_project(project)
    sft = facts(project, stage="sft", base="smol", data=["capitals"], adapter={"lora_rank": 4})
    assert sft["parameters"] == "300k"
    assert sft["trained"] == "23.6k (7.85%)"  # 4 layers, rank 4, widths of 4 · 128 + 3 · 320; of 300,000
    assert sft["data"] == "121 conversations"
    assert sft["steps"] == "at most 8"
    assert sft["length"] == "512 tokens"  # the model's context
    assert sft["memory"].endswith("fits")
    assert sft["time"] == "measured at its start"
    dpo = facts(project, stage="dpo", base="smol", preferences="pairs")
    assert (dpo["trained"], dpo["data"], dpo["steps"]) == ("all of them", "40 pairs", "at most 3")
    kto = facts(project, stage="kto", base="smol", preferences="pairs")
    assert kto["data"] == "1 mark"
    ppo = facts(project, stage="ppo", base="smol", prompts="capitals", reward="judge")
    assert ppo["steps"] == "100"


def test_an_adapter_is_as_large_as_what_it_sits_in(project: Project) -> None:
    made = fill_project(project)
    tuned = sealed(
        project, "model", "tuned", lambda folder: {"parameters": 1}, stage="sft", base="smol", data=["capitals"],
        adapter={"lora_rank": 4},
    )  # fmt: skip
    live = Live(project)
    live.poll()
    from dataclasses import replace

    rows = [
        replace(item, inputs={"base": ("model", made["smol"].id)}) if item.id == tuned.id else item
        for item in live.artifacts
    ]
    recipe = recipe_from({"stage": "dpo", "base": "tuned", "preferences": "pairs"}).resolved()
    found = {fact.what: fact.value for fact in outlook.expect(recipe, rows, FREE, project)}
    live.close()
    assert found["parameters"] == "300k"


def test_time_is_that_of_a_run_like_it(project: Project) -> None:
    fill_project(project)
    sealed(
        project, "model", "before",
        lambda folder: {"parameters": 300_000, "seconds": 20.0, "steps": 10, "adapter": False},
        stage="sft", engine="pytorch", base="smol", data=["capitals"], batch={"batch_size": 16},
    )  # fmt: skip
    again = facts(project, stage="sft", base="smol", data=["capitals"], schedule={"max_steps": 300})
    assert again["time"] == "about 10m 00s"
    assert (
        facts(project, stage="sft", base="smol", data=["capitals"], adapter={"lora_rank": 4})["time"] != again["time"]
    )
    with_mlx = facts(project, stage="sft", base="smol", data=["capitals"], schedule={"max_steps": 300}, engine="mlx")
    assert with_mlx["time"] == "measured at its start"


def test_what_is_not_known_is_said(project: Project) -> None:
    fill_project(project)
    assert "known once" in facts(project, stage="sft", base="later", data=["capitals"])["parameters"]
    (project.folder("model") / "deaf" / "config.json").write_text('{"n_embd": 12}')
    assert facts(project, stage="sft", base="deaf", data=["capitals"])["memory"].startswith("not known")
    assert "steps" not in facts(project, stage="sft", base="smol", data=["later"])


async def test_a_typed_line_shows_what_it_takes_before_it_starts(project: Project, app_on: AppOn) -> None:
    fill_project(project)
    async with app_on(project).run_test(size=(120, 36)) as pilot:
        await loaded(pilot)
        app: Any = pilot.app
        await pilot.press("colon")
        await typed(pilot, "sft --base smol --data capitals --lora-rank 4")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, FormScreen) and app.screen.checked.recipe)
        await until(pilot, lambda: "at most 8" in words_of(pilot) and app.screen.steps)
        assert list(project.runs.iterdir()) == []
        assert isinstance(app.screen.focused, StartButton)  # Enter starts it
        assert app.screen.draft.texts["adapter.lora_rank"] == "4"
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, FormScreen))
        app.perform_command("sft --data capitals=much")
        await until(pilot, lambda: isinstance(app.screen, FormScreen) and app.screen.focused)
        assert isinstance(app.screen.focused, LinesField)  # what is to be mended
        assert "gives capitals the weight 'much'" in words_of(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, FormScreen))
        app.perform_command("sft --bass smol")
        await until(pilot, lambda: "sft has no --bass." in words_of(pilot))
        assert not isinstance(app.screen, FormScreen)


@pytest.mark.parametrize("size", SIZES)
async def test_the_form_shows_it(project: Project, app_on: AppOn, size: tuple[int, int]) -> None:
    fill_project(project)
    async with app_on(project).run_test(size=size) as pilot:
        await loaded(pilot)
        values = {"base": "smol", "data": "capitals", "adapter.lora_rank": "4"}
        pilot.app.open_form("sft", values)  # type: ignore[attr-defined]
        await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen) and pilot.app.screen.checked.recipe)
        await until(pilot, lambda: "23.6k (7.85%)" in words_of(pilot))
        assert "time measured at its start" in words_of(pilot)
        assert "at most 8" in words_of(pilot)
