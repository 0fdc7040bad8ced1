"""Rebuilds the catalog from the files."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.store import artifacts, events, runs
from workbench.store.catalog import Catalog, locked_catalog, open_at
from workbench.store.project import FOLDERS, Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was found, and where the old catalog went (None: there was none, or it was sound)."""

    artifacts: int
    runs: int
    kept: Path | None


def repair(project: Project) -> Repaired:
    """Make a new catalog in place of the old one, which is kept if it was damaged.

    Raises `WorkbenchError` while a run is going on, because its supervisor has the old one open.
    """
    project.require_writable()
    for run, state in runs.all_runs(project):
        if runs.starting(state) or (state.state not in runs.ENDED and runs.alive(state)):
            raise WorkbenchError(f"The run {run.id} is {state.state}.", f"Stop it first: workbench runs stop {run.id}")
    with locked_catalog(project):
        # Built beside the old one: on a full disk the old one stays.
        beside = project.root / ".catalog.rebuilt.sqlite"
        try:
            _remove(beside)
            with open_at(project, beside) as catalog:
                rebuild(project, catalog)
                count = catalog.rows(
                    "SELECT (SELECT count(*) FROM artifacts) AS artifacts, (SELECT count(*) FROM runs) AS runs"
                )[0]
                catalog.connection.execute("PRAGMA journal_mode = DELETE")  # one file, so that one rename moves it
        except BaseException:
            _remove(beside)
            raise
        if sound(project.catalog_path):
            kept = None
            _remove(project.catalog_path)  # with what SQLite keeps beside it: that must not meet the new one
        else:
            kept = _put_aside(project.catalog_path)
        os.replace(beside, project.catalog_path)
    return Repaired(artifacts=count["artifacts"], runs=count["runs"], kept=kept)


def sound(path: Path) -> bool:
    """Whether the file is a catalog that can be read from end to end."""
    if not path.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM runs").fetchone()
            return connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    except sqlite3.Error:
        return False


def _put_aside(path: Path) -> Path | None:
    """Rename a catalog with what SQLite keeps beside it; None if there is none."""
    if not path.exists():
        return None
    kept = path.with_name(f"catalog.damaged-{time.strftime('%Y%m%d-%H%M%S')}.sqlite")
    os.replace(path, kept)
    for suffix in ("-wal", "-shm"):
        side = path.with_name(path.name + suffix)
        if side.exists():
            os.replace(side, kept.with_name(kept.name + suffix))
    return kept


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def rebuild(project: Project, catalog: Catalog) -> None:
    """Fill an empty catalog with all artifacts, runs and events on disk."""
    artifacts.index(catalog, list(artifacts.on_disk(project)))
    for run, state in runs.all_runs(project):
        runs.index(catalog, run, state)
        events.index_events(project, catalog, run.id)


def left_overs(project: Project) -> list[Path]:
    """Folders that no living run is filling: what killed processes left behind."""
    active = {run.id for run, state in runs.all_runs(project) if state.state not in runs.ENDED and runs.alive(state)}
    return [
        folder
        for kind in FOLDERS
        if project.folder(kind).is_dir()
        for folder in sorted(project.folder(kind).glob("*.partial"))
        if folder.name.removesuffix(".partial") not in active
    ]
