"""Models: the tree, the facts, and what can be done with the chosen one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from tests.tui.drive import SIZES, loaded, text_of, until, words_of
from workbench.store.project import Project
from workbench.tui import model_tree
from workbench.tui.app import WorkbenchApp
from workbench.tui.live import ArtifactRow, Live
from workbench.tui.screens.dialogs import ErrorDialog
from workbench.tui.screens.form import FormScreen
from workbench.tui.screens.models import ModelsScreen
from workbench.tui.screens.runs import RunsScreen
from workbench.tui.widgets.table import Table

AppOn = Callable[..., WorkbenchApp]


def row(kind: str, id: str, **more: object) -> ArtifactRow:
    values = {
        "name": id, "version": 1, "identity": id, "stage": kind, "run": None, "created": 0.0, "bytes": 1, "recipe": {},
        "report": {}, "inputs": {},
    }  # fmt: skip
    return ArtifactRow(kind=kind, id=id, **{**values, **more})  # type: ignore[arg-type]


async def at_models(pilot: Pilot[str]) -> ModelsScreen:
    await loaded(pilot)
    await pilot.press("g", "o")
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelsScreen))
    screen = pilot.app.screen
    assert isinstance(screen, ModelsScreen)
    await until(pilot, lambda: screen.has_class("-empty") or (screen.chosen and screen.manifest))
    return screen


def test_the_tree_puts_exports_below_their_model_and_the_newest_model_first() -> None:
    old, new = row("model", "old"), row("model", "new")
    first = row("export", "old-f16", inputs={"model": ("model", "old")})
    tuned = row("model", "old-sft", inputs={"model": ("model", "old")})
    second = row("export", "sft-q8", inputs={"model": ("model", "old-sft")})
    nodes = model_tree.tree([row("corpus", "books"), old, first, tuned, second, new])
    assert [(node.guide(ascii=False), node.artifact.id) for node in nodes] == [
        ("", "new"), ("", "old"), ("├─ ", "old-f16"), ("└─ ", "old-sft"), ("   └─ ", "sft-q8"),
    ]  # fmt: skip
    assert nodes[4].guide(ascii=True) == "   `- "


def test_what_is_known_of_an_artifact_is_said_with_its_units(example: Project) -> None:
    live = Live(example)
    live.poll()
    known = {item.id: item for item in live.artifacts}
    live.close()
    assert ("parameters", "5.77M") in model_tree.measured(known["base"])
    assert ("held-out text", "1.354 bits per byte") in model_tree.measured(known["base"])
    assert ("same likeliest", "token at 99.6% of places") in model_tree.check(known["base-q8"])
    assert model_tree.origin(known["base-q8"], live.artifacts) == [
        (0, "model base", "5.77M parameters"), (1, "shards books-bpe-4k", "5.93M tokens"),
        (2, "corpus books", "18.3k documents"), (2, "tokenizer bpe-4k", "4,096 tokens"),
    ]  # fmt: skip
    assert model_tree.offspring(known["books-bpe-4k"], live.artifacts) == [
        (0, "model base", "5.77M parameters"), (1, "export base-q8", "q8_0, 6 MiB"),
    ]  # fmt: skip
    # The model is made from the corpus in three ways: through the shards, the tokenizer, and the tokenizer's shards.
    below = [name for _, name, _ in model_tree.offspring(known["books"], live.artifacts)]
    assert sorted(below) == sorted(set(below))
    assert "model base" in below


async def test_the_details_follow_the_cursor(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_models(pilot)
        assert "5.77M" in text_of(pilot)
        await pilot.press("down")
        await until(pilot, lambda: screen.manifest and screen.manifest.id == "base-q8")
        assert "same likeliest" in text_of(pilot)
        assert "model base  5.77M parameters" in text_of(pilot)


async def test_verify_reads_every_file_and_tells_of_one_that_changed(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_models(pilot)
        await pilot.press("down", "v")
        await until(pilot, lambda: screen.verified.get(("export", "base-q8")) == [])
        assert "Verified: every file is as it was made." in text_of(pilot)
        weights = example.folder("export") / "base-q8" / "model.gguf"
        weights.write_bytes(b"\1" + weights.read_bytes()[1:])
        await pilot.press("v")
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        assert "model.gguf has changed since it was made" in pilot.app.screen.error.what  # type: ignore[attr-defined]
        await pilot.press("enter")
        assert "Damaged: model.gguf has changed" in text_of(pilot)


async def test_keys_lead_to_the_run_the_export_form_and_say_why_not(example: Project, app_on: AppOn) -> None:
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        screen = await at_models(pilot)
        assert screen.chosen is not None
        assert screen.why_not_export("base-q8") == (
            "base-q8 is an export: choose the model that it was made from, and export that."
        )
        await pilot.press("e")
        await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen))
        form = pilot.app.screen
        assert isinstance(form, FormScreen)
        assert form.draft.stage == "export"
        assert form.draft.texts["model"] == "base"
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        made_by = screen.chosen.run
        await pilot.press("r")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await until(pilot, lambda: pilot.app.screen.query_one(Table).row is not None)
        assert pilot.app.screen.query_one(Table).row.id == made_by


async def test_an_empty_project_is_told_what_to_do_next(project: Project, app_on: AppOn) -> None:
    async with app_on(project).run_test(size=(80, 24)) as pilot:
        await at_models(pilot)
        assert "begin with the text" in words_of(pilot)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen))
        assert pilot.app.screen.draft.stage == "import"  # type: ignore[attr-defined]


async def test_hostile_reports_are_shown_as_text(example: Project, app_on: AppOn) -> None:
    report = {
        "architecture": "\x1b]52;c;aGk=\x07[/INST][red]x",
        "quantization": "q8_0",
        "check": {"chat_template": "[b]\x9b2J"},
    }
    connection = sqlite3.connect(example.catalog_path)
    connection.execute("UPDATE artifacts SET report = ? WHERE id = 'base-q8'", (json.dumps(report),))
    connection.commit()
    connection.close()
    async with app_on(example).run_test(size=(120, 36)) as pilot:
        await at_models(pilot)
        await pilot.press("down")
        await until(pilot, lambda: "[/INST]" in text_of(pilot))
        assert "[/INST][red]x" in text_of(pilot)
        assert "\x1b" not in text_of(pilot)
        assert "\x9b" not in text_of(pilot)


def test_the_gist_of_data_counts_what_it_holds() -> None:
    def of(kind: str, **report: object) -> str:
        return model_tree.gist(
            ArtifactRow(
                kind=kind, id="a", name="a", version=1, identity="", stage="", run=None, created=0.0, bytes=10,
                recipe={}, report=report, inputs={},
            )
        )  # fmt: skip

    assert of("chats", rows=8, turns=8, prompts=True) == "8 prompts"
    assert of("chats", rows=5091, turns=10182) == "5,091 conversations"
    assert of("preferences", pairs=1510, marks=529, prompts=256) == "1,510 pairs"
    assert of("candidates", prompts=1, answers=4) == "1 prompt"
    assert of("corpus", documents=744, bytes=1 << 20) == "744 documents"


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("chosen", ["model", "export"])
def test_models(
    snap_compare: Callable[..., bool], example: Project, app_on: AppOn, size: tuple[int, int], chosen: str
) -> None:
    async def before(pilot: Pilot[str]) -> None:
        screen = await at_models(pilot)
        if chosen == "export":
            await pilot.press("down")
            await until(pilot, lambda: screen.manifest and screen.manifest.kind == "export")

    assert snap_compare(app_on(example), terminal_size=size, run_before=before)


def test_models_where_there_are_none(snap_compare: Callable[..., bool], project: Project, app_on: AppOn) -> None:
    async def before(pilot: Pilot[str]) -> None:
        await at_models(pilot)

    assert snap_compare(app_on(project), terminal_size=(80, 24), run_before=before)


def test_a_reward_model_stands_below_its_base_and_a_student_below_what_it_was() -> None:
    made = [
        row("model", "base"),
        row(
            "reward",
            "base-reward",
            inputs={"base": ("model", "base")},
            report={"eval_reward_accuracy": 0.71, "length_only_accuracy": 0.5},
        ),
        row("model", "base-ppo", inputs={"reward": ("reward", "base-reward"), "base": ("model", "base")}),
        row("export", "base-ppo-q8", inputs={"model": ("model", "base-ppo")}),
        row("chats", "talks"),
    ]
    rows = [(len(node.last), node.artifact.id) for node in model_tree.tree(made)]
    assert rows == [(0, "base"), (2, "base-reward"), (2, "base-ppo"), (3, "base-ppo-q8")]
    assert ("pairs right", "71.0%, by length alone 50.0%") in model_tree.measured(made[1])
