"""Which files a corpus is made of, and a fingerprint of their contents.

Standard library and xxhash only: the command line asks for fingerprints before it starts anything.
"""

from __future__ import annotations

import difflib
import glob
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workbench.corpus import python_library
from workbench.corpus.addresses import LIST_SUFFIX, addresses_in, check_address, hub_source, is_remote
from workbench.corpus.kinds import READABLE, kind_of
from workbench.errors import WorkbenchError
from workbench.recipes.base import HUB, PYTHON_DOCS

BLOCK_BYTES = 1 << 20
HASHED_BYTES = 256 << 20  # of contents in a fingerprint: a plan of any size takes a moment
PROJECT = "workbench.yaml"  # in a project's folder; what the project made lies two folders below, with one of these
MADE = ("artifact.json", "run.json", "judgements.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SourceFile:
    """One file to read. Files sort by `name`, so that the same texts elsewhere make the same corpus."""

    name: str  # relative to the source, with forward slashes
    path: Path
    given: str  # the source as it was given
    size: int  # bytes; 0 where it is not known
    kind: str  # as `workbench.corpus.kinds` calls it, or "python", "address", "hub"; "" if it was asked for otherwise


@dataclass(slots=True)
class Expansion:
    """What sources stand for: files to read, what could not be looked at, and what is left out on purpose."""

    files: list[SourceFile] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # (name, why)
    unknown: list[str] = field(default_factory=list)  # names of files that say no kind that can be read
    projects: list[str] = field(default_factory=list)  # folders of projects, whose own files were left out
    notes: list[str] = field(default_factory=list)  # whole sentences about what else is not read

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where that cannot be known before they are fetched."""
        if any(file.kind in ("address", "hub") for file in self.files):
            return None
        return sum(file.size for file in self.files)

    def is_own(self, folder: Path) -> bool:
        """Whether a project keeps its own files in `folder`: they are no sources, and the project is noted."""
        root = folder.parent.parent
        if not (root / PROJECT).is_file():
            return False
        if not folder.name.endswith(".partial") and not any((folder / name).exists() for name in MADE):
            return False
        if str(root) not in self.projects:
            self.projects.append(str(root))
        return True


def expand(sources: Sequence[str], suffixes: Sequence[str] | None = None, readable: str = READABLE) -> Expansion:
    """All files of `sources` in their order of reading, each once.

    They are of the kinds that reading knows, or end in one of `suffixes`, of which `readable` tells people.

    A folder is walked through symbolic links too, but never twice, without hidden files, and without what a
    project made: a corpus of `.` is not to hold the project's other corpora, samples and logs. A file
    or folder that may not be looked at is no error but an entry of `unreadable`; a file of another kind, which is
    not looked at, is one of `unknown`. Raises `WorkbenchError` for a source that does not exist, matches nothing, or
    has no file of a known kind.
    """
    found = Expansion()
    seen: set[tuple[int, int]] = set()
    unknown: dict[Path, str] = {}
    for given in sources:
        if suffixes is None and (remote := _remote(given)):
            known = {file.name for file in found.files if file.kind in ("address", "hub")}
            found.files += [file for file in remote if file.name not in known]
            continue
        before = len(found.files) + len(found.unreadable)
        others: Counter[str] = Counter()  # suffixes that cannot be read
        already = False
        for name, path in _candidates(given, found):
            kind = "python" if given == PYTHON_DOCS else kind_of(path.name)
            if not (kind if suffixes is None or kind == "python" else path.suffix.lower() in suffixes):
                others[path.suffix.lower() or "no suffix"] += 1
                unknown.setdefault(path, name)
                continue
            try:
                status = os.stat(path)
            except OSError as error:  # a dangling link, a loop of links, a folder that may not be entered
                found.unreadable.append((name, error.strerror or str(error)))
                continue
            if not stat.S_ISREG(status.st_mode):
                found.unreadable.append((name, "not a regular file"))
                continue
            key = (status.st_dev, status.st_ino)
            if key in seen:
                already = True
                continue
            seen.add(key)
            found.files.append(SourceFile(name=name, path=path, given=given, size=status.st_size, kind=kind))
        if not already and before == len(found.files) + len(found.unreadable):
            raise _nothing_to_read(given, others, readable, found.projects)
    found.files.sort()
    found.unknown = sorted(unknown.values())
    return found


def fingerprint(sources: Sequence[str]) -> str:
    """A hash (xxh3-128, 32 hexadecimal digits) of what an import of `sources` would read.

    It covers names relative to their source and contents, not where the files lie. Beyond the first 256 MiB,
    in the order of reading, files count by size and time of change rather than by contents; addresses and data
    sets of the hub count by their names. Raises as `expand`.
    """
    import xxhash

    digest = xxhash.xxh3_128()
    left = HASHED_BYTES
    for file in expand(sources).files:
        if file.kind == "python":
            digest.update(repr(sys.version_info[:3]).encode())
        digest.update(f"{len(file.name)}:{file.name}:{file.size}:".encode(errors="surrogateescape"))
        if file.kind in ("address", "hub"):
            continue
        try:
            if file.size > left:
                digest.update(f"{os.stat(file.path).st_mtime_ns}".encode())
                continue
            left -= file.size
            with open(file.path, "rb") as content:
                while block := content.read(BLOCK_BYTES):
                    digest.update(block)
        except OSError as error:
            digest.update(f"unreadable: {error.errno}".encode())
    return digest.hexdigest()


def _remote(given: str) -> list[SourceFile]:
    """What `given` stands for if that is an address, a list of them, or a data set of the hub."""
    if given.startswith(HUB):
        hub_source(given)
        names, kind = [given], "hub"
    elif is_remote(given):
        names, kind = [check_address(given)], "address"
    elif given.lower().endswith(LIST_SUFFIX) and Path(given).expanduser().is_file():
        names, kind = addresses_in(Path(given).expanduser()), "address"
    else:
        return []
    return [SourceFile(name=name, path=Path(), given=given, size=0, kind=kind) for name in names]


def _candidates(given: str, found: Expansion) -> Iterator[tuple[str, Path]]:
    """(name, path) of everything that `given` stands for."""
    if given == PYTHON_DOCS:
        yield from python_library.files()
        return
    path = Path(given).expanduser()
    if path.is_dir():
        yield from _walk(path, path, found)
    elif os.path.lexists(path):
        yield path.name, path
    elif glob.has_magic(given):
        parts = path.parts
        fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
        root = Path(*parts[:fixed])
        for match in sorted(glob.glob(str(path), recursive=True)):
            place = Path(match)
            if any(found.is_own(folder) for folder in (place, *place.parents) if folder != root):
                continue
            if place.is_dir():
                if parts[-1] != "**":  # which matches the files in it by itself
                    yield from _walk(place, root, found)
            else:
                yield place.relative_to(root).as_posix(), place
    else:
        raise WorkbenchError(f"There is no file or folder {given!r}.", _suggestion(path))


def _walk(folder: Path, root: Path, found: Expansion) -> Iterator[tuple[str, Path]]:
    """Files under `folder`, named relative to `root`."""

    def note(error: OSError) -> None:
        name = os.path.relpath(error.filename, root) if error.filename else str(folder)
        found.unreadable.append((name, error.strerror or str(error)))

    entered: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=note):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in entered:  # a link back up the tree
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not found.is_own(Path(place, name))
        )
        _only_saved(Path(place), folders, names, found)
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(place, name)
                yield path.relative_to(root).as_posix(), path


def _only_saved(place: Path, folders: list[str], names: list[str], found: Expansion) -> None:
    """Of a data set that `datasets.save_to_disk` wrote, the files of its split `train`, if it has one of that name."""
    if "dataset_dict.json" in names:
        names.clear()
        if "train" in folders:
            others = ", ".join(repr(name) for name in folders if name != "train")
            folders[:] = ["train"]
            if others:
                found.notes.append(f"Of the data set {place.name} only the split 'train' is read, not {others}.")
    elif "state.json" in names and "dataset_info.json" in names:
        try:
            listed = json.loads((place / "state.json").read_bytes())["_data_files"]
            names[:] = [str(file["filename"]) for file in listed if Path(file["filename"]).name == file["filename"]]
        except (OSError, ValueError, KeyError, TypeError):
            found.unreadable.append((f"{place.name}/state.json", "it lists no files"))
            names.clear()


def _nothing_to_read(given: str, others: Counter[str], readable: str, projects: list[str]) -> WorkbenchError:
    if given == PYTHON_DOCS:
        return WorkbenchError(
            f"This Python has no sources of its standard library in {python_library.root()}.",
            "Import files of your own, or use a Python that brings its library as .py files.",
        )
    path = Path(given).expanduser()
    there = ", ".join(f"{suffix} ({count})" for suffix, count in others.most_common(5))
    if path.is_dir():
        has = f"; it holds {there}" if there else "; it is empty"
        if projects:
            has = " besides what the project made"
        return WorkbenchError(f"The folder {given!r} has no file that can be read{has}.", readable)
    if path.exists():
        return WorkbenchError(f"{given!r} is not a kind of file that can be read.", readable)
    if there:
        return WorkbenchError(f"No file that matches {given!r} can be read: there are {there}.", readable)
    return WorkbenchError(
        f"Nothing matches {given!r}.", "Check the pattern; ** matches folders at any depth, * within one name."
    )


def _suggestion(path: Path) -> str:
    try:
        names = os.listdir(path.parent)
    except OSError:
        return f"Check the path: {str(path.parent)!r} is not a folder that can be read."
    near = difflib.get_close_matches(path.name, names, 1)
    if near:
        return f"Did you mean {str(path.parent / near[0])!r}?"
    return "Check the path; relative ones start at the folder that you are in, those in a recipe at its file's folder."
