"""The catalog: many writers, damage, repair, read-only projects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.test_artifacts import seal
from workbench.contract import Finished, Metrics, Started
from workbench.errors import WorkbenchError
from workbench.recipes.load import recipe_from
from workbench.store import artifacts, events, runs
from workbench.store.catalog import Catalog, open_catalog
from workbench.store.migrations import MIGRATIONS
from workbench.store.project import Project, create, find, open_project
from workbench.store.repair import repair

RECIPE = recipe_from({"stage": "import", "sources": ["a.txt"], "name": "books"})


def new_run(project: Project, catalog: Catalog, steps: int = 0) -> runs.Run:
    run = runs.create(
        project, catalog, RECIPE, name="books", engine="corpus", produces="corpus", identity="i", inputs={}, after=(),
        accelerator=False,
    )  # fmt: skip
    with open(runs.folder_of(project, run.id) / "events.jsonl", "a") as file:
        file.write(Started(total_steps=steps).line())
        for step in range(1, steps + 1):
            file.write(Metrics(step=step, tokens=step * 10, loss=5.0 / step, more={"eval_loss": 1.0}).line())
        file.write(Finished(report={}).line())
    events.index_events(project, catalog, run.id)
    return run


WRITER = """
import sys
from pathlib import Path
from tests.store.test_catalog import new_run
from workbench.store.catalog import open_catalog
from workbench.store.project import open_project
project = open_project(Path(sys.argv[1]))
with open_catalog(project) as catalog:
    for _ in range(20):
        new_run(project, catalog, steps=50)
"""


def test_processes_writing_at_once_lose_no_row(project: Project) -> None:
    # Four processes meet at a catalog that does not exist yet: the migration is raced for, too.
    root = Path(__file__).resolve().parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(project.root)], cwd=root, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    with open_catalog(project) as catalog:
        assert catalog.rows("SELECT count(*) AS n, count(DISTINCT number) AS m FROM runs") == [{"n": 80, "m": 80}]
        assert catalog.rows("SELECT count(*) AS n FROM metrics WHERE name = 'loss'")[0]["n"] == 80 * 50
        assert catalog.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


def test_repair_shows_the_same_project_as_before(project: Project, catalog: Catalog) -> None:
    corpus = seal(project, catalog, "corpus", "books")
    seal(project, catalog, "tokenizer", "bpe", inputs={"corpus": corpus})
    run = new_run(project, catalog, steps=300)
    state = runs.read(project, run.id)[1]
    runs.write_state(project, catalog, run, runs.replace(state, state="finished", artifact="books"))
    tables = ("artifacts", "inputs", "runs", "events", "metrics")
    before = {table: catalog.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables}
    catalog.close()
    project.catalog_path.write_bytes(b"this is not a database, and it is long enough to be looked at " * 100)
    with pytest.raises(WorkbenchError, match="workbench repair"):
        open_catalog(project)
    done = repair(project)
    assert (done.artifacts, done.runs) == (2, 1)
    assert done.kept is not None
    assert done.kept.exists()
    with open_catalog(project) as rebuilt:
        after = {table: rebuilt.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables}
    assert after == before


def test_repairing_a_sound_catalog_leaves_no_copy(project: Project, catalog: Catalog) -> None:
    seal(project, catalog, "corpus", "books")
    catalog.close()
    done = repair(project)
    assert (done.artifacts, done.kept) == (1, None)
    assert not list(project.root.glob("catalog.damaged-*"))


def test_a_run_counts_the_time_of_all_attempts() -> None:
    first = runs.RunState(state="stopped", started=100.0, ended=130.0, attempts=1)
    assert runs.seconds(first) == 30
    again = runs.replace(first, state="running", started=500.0, ended=None, seconds_before=30.0)
    assert runs.seconds(again, now=510.0) == 40
    assert runs.seconds(runs.replace(again, started=None)) == 30  # waiting for its turn


def test_a_catalog_that_was_emptied_is_filled_again(project: Project, catalog: Catalog) -> None:
    """As a full disk leaves it."""
    seal(project, catalog, "corpus", "books")
    catalog.close()
    for path in project.root.glob("catalog.sqlite*"):
        path.unlink()
    project.catalog_path.touch()
    with open_catalog(project) as again:
        assert artifacts.resolve(project, again, "corpus", "books").id == "books"


def test_a_deleted_catalog_comes_back_by_itself(project: Project, catalog: Catalog) -> None:
    seal(project, catalog, "corpus", "books")
    catalog.close()
    for path in project.root.glob("catalog.sqlite*"):
        path.unlink()
    with open_catalog(project) as again:
        assert artifacts.resolve(project, again, "corpus", "books").id == "books"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_project_is_read_and_says_so_on_writing(project: Project, catalog: Catalog) -> None:
    seal(project, catalog, "corpus", "books")
    catalog.close()
    os.chmod(project.root, 0o555)
    try:
        with open_catalog(project) as opened:
            assert opened.read_only
            assert artifacts.resolve(project, opened, "corpus", "books").id == "books"
        with pytest.raises(WorkbenchError, match="read-only"):
            project.require_writable()
    finally:
        os.chmod(project.root, 0o755)


def test_an_index_that_is_interrupted_goes_on_where_it_was(project: Project, catalog: Catalog) -> None:
    run = new_run(project, catalog, steps=10)
    path = runs.folder_of(project, run.id) / "events.jsonl"
    with open(path, "a") as file:
        file.write(Metrics(step=11, loss=0.5).line())
        file.write('{"event": "Metrics", "step": 12, "lo')  # a line that is still being written
    events.index_events(project, catalog, run.id)
    assert events.series(catalog, run.id, "loss")[-1] == (11, 0.5)
    with open(path, "a") as file:
        file.write('ss": 0.25, "time": 1.0}\n')
    events.index_events(project, catalog, run.id)
    assert events.series(catalog, run.id, "loss")[-1] == (12, 0.25)


def test_a_series_is_averaged_into_buckets(project: Project, catalog: Catalog) -> None:
    run = new_run(project, catalog, steps=1000)
    all_points = events.series(catalog, run.id, "loss")
    few = events.series(catalog, run.id, "loss", buckets=50)
    assert len(all_points) == 1000
    assert len(few) == 50
    assert few[0][1] == pytest.approx(sum(5.0 / step for step in range(1, 21)) / 20)
    assert events.metric_names(catalog, run.id) == ["eval_loss", "loss"]


def test_a_catalog_of_a_newer_program_is_refused(project: Project, catalog: Catalog) -> None:
    catalog.connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    catalog.close()
    with pytest.raises(WorkbenchError, match="newer version"):
        open_catalog(project)


def test_the_project_is_found_upwards_and_by_name(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = project.root / "corpora" / "x"
    deep.mkdir()
    monkeypatch.chdir(deep)
    assert find() == project
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkbenchError, match="workbench new"):
        find()
    monkeypatch.setenv("WORKBENCH_PROJECT", str(project.root))
    assert find() == project
    other = create(tmp_path / "other")
    assert find(other.root) == other
    with pytest.raises(WorkbenchError, match="would lie inside"):
        create(project.root / "models" / "inner")
    with pytest.raises(WorkbenchError, match="is a project already"):
        create(project.root)
    assert open_project(project.root) == project
