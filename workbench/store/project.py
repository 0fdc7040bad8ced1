"""A project: one folder with everything in it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench import durable
from workbench.errors import WorkbenchError

SETTINGS = "workbench.yaml"
FORMAT = 1

FOLDERS = {
    "corpus": "corpora",
    "tokenizer": "tokenizers",
    "shards": "shards",
    "chats": "chats",
    "candidates": "candidates",
    "preferences": "preferences",
    "model": "models",
    "reward": "rewards",
    "export": "exports",
    "benchmark": "benchmarks",
    "verdicts": "verdicts",
}
"""Kind of artifact -> its folder. The order is the order of the road."""


@dataclass(frozen=True, slots=True)
class Project:
    """`root` is an absolute path; `name` is for people."""

    root: Path
    name: str

    @property
    def catalog_path(self) -> Path:
        return self.root / "catalog.sqlite"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def folder(self, kind: str) -> Path:
        """Where artifacts of `kind` lie."""
        return self.root / FOLDERS[kind]

    def writable(self) -> bool:
        return os.access(self.root, os.W_OK)

    def require_writable(self) -> None:
        """Raises `WorkbenchError` if nothing can be written here."""
        if not self.writable():
            raise WorkbenchError(
                f"The project {self.root} is read-only.",
                "Copy it to a folder that you can write to, or ask its owner for write permission.",
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the project's lock while names and version numbers are given out. Released by death, too."""
        with open(self.root / ".lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def create(path: Path) -> Project:
    """A new project in the folder `path`, which may exist if it is empty.

    Raises `WorkbenchError` if it cannot be made there.
    """
    root = path.expanduser().resolve()
    if (root / SETTINGS).exists():
        raise WorkbenchError(f"{root} is a project already.", f"Work in it: cd {path}")
    outer = _upwards(root.parent)
    if outer is not None:
        raise WorkbenchError(f"{root} would lie inside the project {outer}.", "Choose a folder outside it.")
    if root.exists() and not root.is_dir():
        raise WorkbenchError(f"{root} is a file.", "Choose another name: a project is a folder.")
    if root.exists() and any(root.iterdir()):
        raise WorkbenchError(f"{root} is not an empty folder.", "Choose a new name, or empty it first.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for name in (*FOLDERS.values(), "runs"):
            (root / name).mkdir()
        # Written last: a folder without it is no project, so a half-made one can be made again.
        durable.write_text(root / SETTINGS, f"format: {FORMAT}\nname: {json.dumps(root.name)}\n")
    except OSError as error:
        raise WorkbenchError(
            f"{root} cannot be made: {error.strerror}.", "Choose a folder that you can write to."
        ) from None
    return open_project(root)


def open_project(root: Path) -> Project:
    """The project in `root`.

    Raises `WorkbenchError` if there is none or it is of a newer format.
    """
    import yaml

    root = root.expanduser().resolve()
    try:
        settings = yaml.safe_load((root / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkbenchError(
            f"{root} is not a project: it has no {SETTINGS}.", f"Make one: workbench new {root}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WorkbenchError(
            f"{root / SETTINGS} cannot be read: {error}.", "Mend it by hand: format and name."
        ) from None
    if not isinstance(settings, dict) or not isinstance(settings.get("format"), int):
        raise WorkbenchError(f"{root / SETTINGS} does not say its format.", f"Add the line: format: {FORMAT}")
    if settings["format"] > FORMAT:
        raise WorkbenchError(
            f"The project {root} has format {settings['format']}, this program knows up to {FORMAT}.",
            "Upgrade: pip install --upgrade llm-workbench",
        )
    return Project(root, str(settings.get("name") or root.name))


def find(explicit: str | Path | None = None) -> Project:
    """The project that is meant: `--project`, else `WORKBENCH_PROJECT`, else from here upwards.

    Raises `WorkbenchError` if there is none.
    """
    chosen = explicit or os.environ.get("WORKBENCH_PROJECT")
    if chosen:
        return open_project(Path(chosen))
    root = _upwards(Path.cwd())
    if root is None:
        raise WorkbenchError(
            f"There is no project in {Path.cwd()} or above it.",
            "Make one: workbench new my-llm && cd my-llm. Or name one: --project PATH.",
        )
    return open_project(root)


def _upwards(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        if (folder / SETTINGS).is_file():
            return folder
    return None
