"""Artifacts: sealed whole, found by name, verified by hash, traced back to their inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.errors import WorkbenchError
from workbench.store import artifacts, lineage
from workbench.store.catalog import Catalog
from workbench.store.project import Project


def seal(
    project: Project,
    catalog: Catalog,
    kind: str,
    name: str,
    text: str = "text",
    inputs: dict[str, artifacts.Artifact] | None = None,
) -> artifacts.Artifact:
    partial = project.folder(kind) / f"{name}.partial"
    partial.mkdir()
    (partial / "file.txt").write_text(text)
    (partial / "sub").mkdir()
    (partial / "sub" / "more.bin").write_bytes(b"\x00" * 1000)
    made = {role: item.identity for role, item in (inputs or {}).items()}
    return artifacts.seal(
        project,
        catalog,
        partial,
        kind=kind,
        name=name,
        identity=artifacts.identity_of({"text": text, "kind": kind}, made),
        stage="import",
        run="import-1",
        recipe={"text": text},
        inputs=inputs or {},
        report={"documents": 3},
        versions={"numpy": "2"},
    )


def test_sealing_renames_the_whole_folder_and_records_every_file(project: Project, catalog: Catalog) -> None:
    made = seal(project, catalog, "corpus", "books")
    folder = project.root / "corpora" / "books"
    assert sorted(path.name for path in folder.iterdir()) == ["artifact.json", "file.txt", "sub"]
    assert not list(folder.parent.glob("*.partial"))
    manifest = json.loads((folder / "artifact.json").read_text())
    assert set(manifest["files"]) == {"file.txt", "sub/more.bin"}
    assert made.bytes == 1004
    assert made.versions["numpy"] == "2"
    assert artifacts.read_manifest(folder) == made


def test_another_recipe_under_the_same_name_is_a_new_version(project: Project, catalog: Catalog) -> None:
    first = seal(project, catalog, "corpus", "books", "one")
    second = seal(project, catalog, "corpus", "books", "two")
    assert (first.id, second.id) == ("books", "books-2")
    assert artifacts.resolve(project, catalog, "corpus", "books").id == "books-2"
    assert artifacts.resolve(project, catalog, "corpus", "books-2").id == "books-2"
    assert artifacts.resolve(project, catalog, "corpus", "books-1").id == "books"


def test_the_same_identity_is_kept_once_a_name(project: Project, catalog: Catalog) -> None:
    first = seal(project, catalog, "corpus", "books", "one")
    assert seal(project, catalog, "corpus", "novels", "one").id == "novels"
    assert seal(project, catalog, "corpus", "books", "one") == first


def test_what_the_catalog_missed_is_not_made_twice(project: Project, catalog: Catalog) -> None:
    first = seal(project, catalog, "corpus", "books", "one")
    with catalog.writing() as db:
        db["artifacts"].delete_where()
        db["inputs"].delete_where()
    assert seal(project, catalog, "corpus", "books", "one") == first
    assert [path.name for path in project.folder("corpus").iterdir() if not path.name.endswith(".partial")] == ["books"]
    assert artifacts.resolve(project, catalog, "corpus", "books") == first


def test_a_name_never_takes_the_folder_of_another_names_version(project: Project, catalog: Catalog) -> None:
    seal(project, catalog, "corpus", "gpt-2", "zero")
    seal(project, catalog, "corpus", "gpt", "one")
    third = seal(project, catalog, "corpus", "gpt", "two")
    assert third.id == "gpt-3"
    assert artifacts.resolve(project, catalog, "corpus", "gpt").id == "gpt-3"
    assert artifacts.resolve(project, catalog, "corpus", "gpt-2").name == "gpt-2"


def test_a_missing_name_says_the_nearest_or_how_to_make_one(project: Project, catalog: Catalog) -> None:
    with pytest.raises(WorkbenchError, match="workbench import SOURCE"):
        artifacts.resolve(project, catalog, "corpus", "books")
    seal(project, catalog, "corpus", "books")
    with pytest.raises(WorkbenchError, match="Did you mean books"):
        artifacts.resolve(project, catalog, "corpus", "boks")


def test_a_name_of_another_kind_says_of_which(project: Project, catalog: Catalog) -> None:
    seal(project, catalog, "export", "base-q8")
    with pytest.raises(WorkbenchError, match=r"There is no model called 'base-q8' in this project; base-q8 is of the"):
        artifacts.resolve(project, catalog, "model", "base-q8")
    seal(project, catalog, "model", "base")
    with pytest.raises(WorkbenchError, match=r"is of the kind export\. Did you mean base\?"):
        artifacts.resolve(project, catalog, "model", "base-q8")


def test_verify_names_what_changed(project: Project, catalog: Catalog) -> None:
    seal(project, catalog, "corpus", "good", "one")
    seal(project, catalog, "corpus", "bad", "two")
    bad = project.folder("corpus") / "bad"
    (bad / "file.txt").write_text("TWO")
    (bad / "sub" / "more.bin").unlink()
    (bad / "new").write_text("")
    found = {folder.name: problems for _, folder, problems in artifacts.verify(project)}
    assert found["good"] == []
    assert found["bad"] == [
        "file.txt has changed since it was made",
        "sub/more.bin is missing",
        "new was not there when it was made",
    ]


def test_lineage_goes_back_to_the_start_and_forward_to_the_end(project: Project, catalog: Catalog) -> None:
    corpus = seal(project, catalog, "corpus", "books")
    tokenizer = seal(project, catalog, "tokenizer", "bpe", inputs={"corpus": corpus})
    model = seal(project, catalog, "model", "base", inputs={"tokenizer": tokenizer, "corpus": corpus})
    tree = lineage.ancestors(project, catalog, model)
    assert [(node.role, node.id) for node in tree.inputs] == [("tokenizer", "bpe"), ("corpus", "books")]
    assert tree.inputs[0].inputs[0].id == "books"
    assert lineage.descendants(catalog, corpus) == [("tokenizer", "bpe"), ("model", "base")]
    plain = lineage.as_dict(project, tree)
    assert plain["inputs"][0]["inputs"][0]["recipe"] == {"text": "text"}


def test_an_ambiguous_name_asks_for_the_kind(project: Project, catalog: Catalog) -> None:
    corpus = seal(project, catalog, "corpus", "books")
    seal(project, catalog, "model", "books", inputs={"corpus": corpus})
    with pytest.raises(WorkbenchError, match="corpus/books or model/books"):
        artifacts.resolve_any(project, catalog, "books")
    assert artifacts.resolve_any(project, catalog, "model/books").kind == "model"


def test_a_folder_without_a_manifest_does_not_exist(project: Project, catalog: Catalog, tmp_path: Path) -> None:
    (project.folder("corpus") / "half").mkdir()
    assert list(artifacts.on_disk(project)) == []
    with pytest.raises(WorkbenchError, match="no corpus called 'half'"):
        artifacts.resolve(project, catalog, "corpus", "half")
