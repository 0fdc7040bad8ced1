"""A real project for tests to start from: a little text, a tokenizer, and recipes that train in seconds."""

from __future__ import annotations

import random
from pathlib import Path

from workbench.recipes.base import Recipe
from workbench.recipes.fields import nested
from workbench.recipes.load import recipe_from
from workbench.runs.plan import plan
from workbench.runs.submit import submit, wait
from workbench.store import artifacts, runs
from workbench.store.catalog import Catalog
from workbench.store.project import Project

SUBJECTS = ["the cat", "a dog", "my sister", "the old king", "a small bird", "the teacher", "our neighbour", "the moon"]
VERBS = ["sees", "likes", "follows", "paints", "remembers", "hears", "carries", "forgets"]
OBJECTS = ["the garden", "a red house", "the river", "an apple", "two stones", "the long road", "a song", "the winter"]


def write_texts(folder: Path, documents: int = 200) -> Path:
    """Text files of a tiny grammar: a model of 0.3M parameters learns it in a hundred steps."""
    draw = random.Random(0)
    folder.mkdir()
    for number in range(documents):
        sentences = (f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(OBJECTS)}." for _ in range(40))
        (folder / f"{number:03}.txt").write_text(f"Story {number}. " + " ".join(sentences))
    return folder


def import_recipe(texts: Path) -> Recipe:
    return recipe_from({"stage": "import", "sources": [str(texts)], "name": "books"})


def tokenizer_recipe() -> Recipe:
    return recipe_from({"stage": "tokenizer", "corpus": "books", "vocab_size": 512, "name": "bpe"})


def pretrain_recipe(name: str = "base", steps: int = 30, **more: object) -> Recipe:
    values = {
        "model.size": "nano", "model.hidden_size": 64, "model.num_hidden_layers": 2, "model.max_length": 64,
        "batch.batch_size": 8, "schedule.max_steps": steps, "evaluation.eval_steps": 15, "evaluation.eval_tokens": 2048,
        "evaluation.sample_tokens": 8, "precision.dtype": "float32", **more,
    }  # fmt: skip
    return recipe_from({"stage": "pretrain", "name": name, "corpus": "books", "tokenizer": "bpe", **nested(values)})


def make(project: Project, catalog: Catalog, *recipes: Recipe) -> list[runs.RunState]:
    """Run the recipes to their ends through real supervisors; the states of those that ran."""
    started = submit(project, catalog, plan(project, catalog, recipes))
    return [wait(project, run) for run in started if run]


def made(project: Project, catalog: Catalog, recipe: Recipe) -> Path:
    """The folder of what the recipe makes."""
    states = make(project, catalog, recipe)
    assert [state.state for state in states] == ["finished"] * len(states), states
    return artifacts.folder_of(project, artifacts.resolve(project, catalog, recipe.produces, recipe.title()))
