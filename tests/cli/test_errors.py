"""What the command line says when it cannot: one style, the remedy, the exit status, and JSON where that was asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import workbench
from tests.road import write_texts
from workbench.store import runs
from workbench.store.catalog import open_catalog
from workbench.store.project import Project, open_project

TRAIN = ["pretrain", "--corpus", "books", "--tokenizer", "bpe"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a corpus."""
    folder = tmp_path_factory.mktemp("errors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_STATE_DIR", str(folder / "state"))
        write_texts(folder / "texts", 20)
        workbench("new", "my-llm", cwd=folder)
        workbench("import", "../texts", "--name", "books", cwd=folder / "my-llm")
    return folder / "my-llm"


@pytest.mark.parametrize(
    ("words", "what", "remedy"),
    [
        (["expor"], "There is no verb 'expor'.", "Did you mean export?"),
        (["runs", "stp"], "There is no verb 'runs stp'.", "Did you mean stop?"),
        (["pretrain", "--lr", "1"], "workbench pretrain has no flag --lr.", "Did you mean --learning-rate?"),
        (["pretrain", "--seq-len", "1"], "workbench pretrain has no flag --seq-len.", "Did you mean --max-length?"),
        (["verify", "--zz"], "workbench verify has no flag --zz.", "workbench verify --help shows what it takes."),
        (TRAIN[:3], "workbench pretrain lacks --tokenizer.", "The tokenizer to use."),
        ([*TRAIN[:3], "--tokenizer"], "--tokenizer needs a value.", "Write it as --tokenizer VALUE."),
        ([*TRAIN, "--max-steps", "many"], "--max-steps is 'many', but should be a whole number.", "Optimizer steps"),
        ([*TRAIN, "--beta1", "x"], "--beta1 is 'x', but should be a number.", "Decay of"),
        ([*TRAIN, "--max-steps", "0"], "schedule.max_steps is 0, but should be at least 1.", ""),
        ([*TRAIN, "--size", "tny"], "--size cannot be 'tny'.", "Did you mean tiny?"),
        (["import"], "workbench import lacks SOURCE.", "workbench import --help shows what it takes."),
        (["verify", "all"], "workbench verify does not know what to do with 'all'.", "workbench verify --help"),
    ],
)  # fmt: skip
def test_words_that_are_no_command(place: Path, words: list[str], what: str, remedy: str) -> None:
    done = workbench(*words, cwd=place, check=False)
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert first == f"error: {what}"
    assert "".join(rest).strip().startswith(remedy)
    assert done.stdout == ""


def test_errors_are_json_too_where_that_was_asked(place: Path) -> None:
    done = workbench("lineage", "boks", "--json", cwd=place, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"error": "There is no artifact called 'boks'.", "remedy": "Did you mean books?"}
    assert done.stderr.startswith("error: There is no artifact called 'boks'.")
    done = workbench("lineage", "--json", "--zz", cwd=place, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "workbench lineage has no flag --zz."


def test_an_engine_that_cannot_is_refused_before_anything_is_announced(place: Path) -> None:
    (place / "pipeline.yaml").write_text(
        "- {stage: import, sources: [../texts], name: books}\n"
        "- {stage: tokenizer, corpus: books, vocab_size: 512, name: bpe}\n"
        "- {stage: pretrain, corpus: books, tokenizer: bpe, engine: corpus}\n"
    )
    done = workbench("run", "pipeline.yaml", cwd=place, check=False)
    said, able = done.stderr.splitlines()
    assert said == "error: The engine corpus does not run pretrain."
    assert able in ("       pretrain is run by: pytorch.", "       pretrain is run by: mlx, pytorch.")  # as installed
    done = workbench("run", "pipeline.yaml", "--set", "pretrain.engine=nope", cwd=place, check=False)
    assert "There is no engine called 'nope'." in done.stderr
    assert able in done.stderr
    assert len(list((place / "runs").iterdir())) == 1  # nothing was started


def test_a_pipeline_in_the_wrong_order_says_what_to_move(place: Path) -> None:
    (place / "order.yaml").write_text(
        "- {stage: tokenizer, corpus: later, vocab_size: 512, name: bpe}\n"
        "- {stage: import, sources: [../texts], name: later}\n"
    )
    done = workbench("run", "order.yaml", cwd=place, check=False)
    assert done.returncode == 1
    assert "The stage tokenizer needs the corpus 'later', which a later stage makes." in done.stderr
    assert "Move the stage import that makes 'later' in front of it." in done.stderr


def test_a_missing_source_says_where_relative_ones_start(place: Path) -> None:
    (place / "missing.yaml").write_text("- {stage: import, sources: [nowhere], name: x}\n")
    done = workbench("run", "missing.yaml", cwd=place, check=False)
    assert f"There is no file or folder '{place / 'nowhere'}'." in done.stderr
    assert "those in a recipe at its file's folder" in done.stderr


def test_a_run_that_there_is_not(place: Path) -> None:
    assert "Did you mean books?" in workbench("runs", "show", "boks", cwd=place, check=False).stderr
    project = open_project(place)
    with open_catalog(project) as catalog:
        recipe = runs.recipe_of(project, "import-1")
        for number in range(10):
            _made(project, catalog, recipe, f"corpus-{number}")
    newest = "The newest are: import-11, import-10, import-9, import-8, import-7."
    assert newest in workbench("runs", "show", "zzz", cwd=place, check=False).stderr


def _made(project: Project, catalog, recipe: dict[str, object], name: str) -> None:
    from dataclasses import replace

    from workbench.recipes.load import recipe_from

    run = runs.create(
        project, catalog, recipe_from(recipe), name=name, engine="corpus", produces="corpus", identity=name, inputs={},
        after=(), accelerator=False,
    )  # fmt: skip
    runs.write_state(project, catalog, run, replace(runs.read(project, run.id)[1], state="stopped"))


def test_a_project_cannot_be_made_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("x")
    done = workbench("new", "notes", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert f"{tmp_path / 'notes'} is a file." in done.stderr


def test_doctor_names_the_project_whose_catalog_is_damaged(tmp_path: Path) -> None:
    workbench("new", "p", cwd=tmp_path)
    (tmp_path / "p" / "catalog.sqlite").write_bytes(b"junk" * 5000)
    done = workbench("doctor", "--json", cwd=tmp_path / "p", check=False)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["project"] == str(tmp_path / "p")
    assert any("is damaged" in problem["what"] for problem in found["problems"])
