"""An import is what its sources were when it was asked for, or it is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from workbench.corpus.documents import document_at
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.runs.contents import sources_changed
from workbench.runs.plan import plan
from workbench.runs.submit import submit, wait
from workbench.store import artifacts
from workbench.store.catalog import open_catalog
from workbench.store.project import create


def test_sources_that_change_after_the_command_make_no_corpus(tmp_path: Path) -> None:
    project = create(tmp_path / "my-llm")
    source = tmp_path / "a.txt"
    source.write_text("As it was when the command was given.\n")
    recipe = recipe_from({"stage": "import", "sources": [str(source)], "name": "a"})
    with open_catalog(project) as catalog:
        steps = plan(project, catalog, [recipe])
        source.write_text("As it was when it was read.\n")
        (run,) = submit(project, catalog, steps)
        assert run is not None
        state = wait(project, run)
        assert (state.state, state.reason) == (
            "failed", "The sources changed between the command and the end of reading them.",
        )  # fmt: skip
        (run,) = submit(project, catalog, plan(project, catalog, [recipe]))
        assert run is not None
        assert wait(project, run).state == "finished"
        made = artifacts.resolve(project, catalog, "corpus", "a")
        assert document_at(artifacts.folder_of(project, made), 0)["text"] == "As it was when it was read."
        assert plan(project, catalog, [recipe])[0].action == "made"


@pytest.mark.parametrize("preset", ["none", "plain", "web-en", "web-zh", "code"])
def test_a_recipe_that_was_written_down_is_the_same(tmp_path: Path, preset: str) -> None:
    project = create(tmp_path / "my-llm")
    (tmp_path / "a.txt").write_text("A text.\n")
    values = {"stage": "import", "sources": [str(tmp_path / "a.txt")], "clean": preset, "min_characters": 3}
    with open_catalog(project) as catalog:
        (step,) = plan(project, catalog, [recipe_from(values)])
    again = recipe_from(yaml.safe_load(step.recipe.to_yaml()))
    assert not sources_changed(again, step.identity)
    (tmp_path / "a.txt").write_text("Another.\n")
    assert sources_changed(again, step.identity)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(WorkbenchError, match="There is no file"):
        sources_changed(again, step.identity)
