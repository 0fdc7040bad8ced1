"""The SQLite index of a project. Losing it loses nothing: `workbench repair` rebuilds it."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from workbench.errors import WorkbenchError
from workbench.store.migrations import MIGRATIONS
from workbench.store.project import Project

if TYPE_CHECKING:
    from sqlite_utils import Database

# WAL needs memory shared between its readers, which these do not give over the network.
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smbfs", "smb3", "afpfs", "9p", "lustre", "gpfs", "beegfs", "ceph"}
BUSY_SECONDS = 60.0  # a loaded machine with a slow disk has been seen to hold the write lock for more than ten
TUI_BUSY_SECONDS = 0.25


class Catalog:
    """One connection. Reading uses `rows`; writing goes through sqlite-utils inside `writing()`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, read_only: bool):
        self.connection = connection
        self.path = path
        self.read_only = read_only
        connection.row_factory = sqlite3.Row

    @cached_property
    def db(self) -> Database:
        # Imported on the first write: it loads numpy where that is installed, and readers must stay light.
        from sqlite_utils import Database

        return Database(self.connection)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """All rows of a query."""
        with explained(self.path):
            return [dict(row) for row in self.connection.execute(sql, parameters)]

    @contextmanager
    def writing(self) -> Iterator[Database]:
        """A write transaction: all of it is kept, or nothing."""
        with explained(self.path):
            # IMMEDIATE takes the write lock now, where the busy timeout holds; an upgrade later would not wait.
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
            except BaseException:
                self.connection.rollback()
                raise
            self.connection.commit()

    def data_version(self) -> int:
        """Changes whenever another connection has committed. About 2 µs."""
        with explained(self.path):
            return self.connection.execute("PRAGMA data_version").fetchone()[0]

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_catalog(project: Project, *, busy_seconds: float = BUSY_SECONDS) -> Catalog:
    """The project's catalog, brought up to date; read-only where the project is.

    Raises `WorkbenchError` if it is damaged, or of a newer program.
    """
    path = project.catalog_path
    if not project.root.is_dir():
        raise WorkbenchError(
            f"The project's folder {project.root} is gone.", "Put it back, or open another project: g s, then o."
        )
    if not project.writable():
        return _open_read_only(path)
    if not path.exists() or path.stat().st_size == 0:
        with locked_catalog(project):
            if not path.exists() or path.stat().st_size == 0:
                return _open_new(project, busy_seconds)
    return open_at(project, path, busy_seconds=busy_seconds, locked=False)


@contextmanager
def locked_catalog(project: Project) -> Iterator[None]:
    """While a catalog is made, migrated or replaced, nobody else does one of these."""
    with open(project.root / ".catalog.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_new(project: Project, busy_seconds: float) -> Catalog:
    """A catalog where there is none, filled from the files if there are any."""
    catalog = open_at(project, project.catalog_path, busy_seconds=busy_seconds, locked=True)
    if _has_content(project):
        from workbench.store.repair import rebuild

        rebuild(project, catalog)
    return catalog


def open_at(project: Project, path: Path, *, busy_seconds: float = BUSY_SECONDS, locked: bool = True) -> Catalog:
    """The catalog in the file `path`, brought up to date. `locked`: the caller holds `locked_catalog`."""
    with explained(path):
        connection = sqlite3.connect(path, timeout=busy_seconds, check_same_thread=False)
        catalog = Catalog(connection, path, read_only=False)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version < len(MIGRATIONS):
                with nullcontext() if locked else locked_catalog(project):
                    _migrate(catalog)
            elif version > len(MIGRATIONS):
                raise WorkbenchError(
                    f"{path} was written by a newer version of this program.",
                    "Upgrade: pip install --upgrade llm-workbench",
                )
            if network_file_system(project.root):
                connection.execute("PRAGMA journal_mode = DELETE")
            else:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")  # the files are the truth; see repair
        except BaseException:
            connection.close()
            raise
    return catalog


def network_file_system(path: Path) -> str | None:
    """The kind of network file system that `path` lies on, or None."""
    import psutil

    best, kind = "", ""
    for part in psutil.disk_partitions(all=True):
        mount = part.mountpoint.rstrip("/") + "/"
        if f"{path}/".startswith(mount) and len(mount) >= len(best):
            best, kind = mount, part.fstype.lower()
    return kind if kind in NETWORK_FILE_SYSTEMS or kind == "fuse.sshfs" else None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors as sentences."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise WorkbenchError(f"{path.name} is in use by another process.", "Try again in a moment.") from error
        if "readonly" in text or "unable to open" in text:
            raise WorkbenchError(
                f"{path} cannot be opened for writing.", "Check its permissions and those of its folder."
            ) from error
        if "full" in text or ("disk I/O error" in text and shutil.disk_usage(path.parent).free < 1 << 20):
            raise WorkbenchError(f"The disk is full: {path.name} could not be written.", "Free some space.") from error
        if "disk image is malformed" in text or "no such table" in text or "no such column" in text:
            raise _damaged(path, text) from error
        raise
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
            raise
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, text: str) -> WorkbenchError:
    return WorkbenchError(
        f"{path} is damaged ({text}).", "Nothing is lost: `workbench repair` rebuilds it from the project's files."
    )


def _open_read_only(path: Path) -> Catalog:
    if not path.exists():
        raise WorkbenchError(
            f"The read-only project {path.parent} has no {path.name}.", "Copy it and run workbench repair."
        )
    # A WAL database in a folder that cannot be written needs `immutable`: there is nobody else to change it.
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        with explained(path):
            connection = sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, check_same_thread=False)
            try:
                connection.execute("SELECT count(*) FROM runs").fetchone()
                version = connection.execute("PRAGMA user_version").fetchone()[0]
            except sqlite3.OperationalError:
                connection.close()
                if "immutable" in mode:
                    raise
                continue
            if version < len(MIGRATIONS):
                connection.close()
                raise WorkbenchError(
                    f"The read-only project {path.parent} is of an earlier version of this program.",
                    "Copy it to where you can write, and open the copy.",
                )
            return Catalog(connection, path, read_only=True)
    raise AssertionError("unreachable")


def _migrate(catalog: Catalog) -> None:
    version = catalog.connection.execute("PRAGMA user_version").fetchone()[0]
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        with catalog.writing() as db:
            step(db)
            db.execute(f"PRAGMA user_version = {number}")


def _has_content(project: Project) -> bool:
    return any(project.root.glob("*/*/artifact.json")) or any(project.runs.glob("*/run.json"))
