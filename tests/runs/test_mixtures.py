"""A pretraining on two corpora, through real supervisors: each gets its shards, and the model says what it saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.road import import_recipe, make, pretrain_recipe, tokenizer_recipe, write_texts
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.runs.plan import plan
from workbench.store import artifacts
from workbench.store.catalog import open_catalog
from workbench.store.project import create


def test_a_mixture_from_texts_to_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_STATE_DIR", str(tmp_path / "state"))
    project = create(tmp_path / "project")
    sums = tmp_path / "sums"
    sums.mkdir()
    for number in range(150):
        (sums / f"{number}.txt").write_text("".join(f"{number} + {n} = {number + n}. " for n in range(60)))
    sums_recipe = recipe_from({"stage": "import", "sources": [str(sums)], "name": "sums"})
    mixed = pretrain_recipe(steps=20, corpus=["books=0.7", "sums=0.3"], phases=["0.5: sums"])
    with open_catalog(project) as catalog:
        with pytest.raises(WorkbenchError, match="'books'"):
            plan(project, catalog, [mixed])
        recipes = [import_recipe(write_texts(tmp_path / "texts")), sums_recipe, tokenizer_recipe(), mixed]
        steps = plan(project, catalog, recipes)
        assert [(step.recipe.stage, step.name) for step in steps] == [
            ("import", "books"),
            ("import", "sums"),
            ("tokenizer", "bpe"),
            ("shards", "books-bpe"),
            ("shards", "sums-bpe"),
            ("pretrain", "base"),
        ]
        assert steps[-1].after == (3, 4, 2)
        states = make(project, catalog, *recipes)
        assert [state.state for state in states] == ["finished"] * 6, states
        made = artifacts.resolve(project, catalog, "model", "base")
        assert {role: item["id"] for role, item in made.inputs.items()} == {
            "shards.0": "books-bpe",
            "shards.1": "sums-bpe",
            "tokenizer": "bpe",
        }
        shares = {name: item["share"] for name, item in made.report["sources"].items()}
        assert shares == pytest.approx({"books": 0.35, "sums": 0.65}, abs=0.02)
        assert {"eval_loss_books", "eval_loss_sums"} <= made.report.keys()
        assert [step.action for step in plan(project, catalog, recipes)] == ["made"] * 6
        alone = plan(project, catalog, [pretrain_recipe("alone", steps=20, corpus="books")])
        assert [step.action for step in alone] == ["made", "new"]  # the shards are there
