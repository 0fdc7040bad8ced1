"""Artifacts: whole folders with a manifest, an identity, and names that people use."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench import __version__, durable
from workbench.errors import WorkbenchError
from workbench.recipes.base import nearest
from workbench.store.catalog import Catalog
from workbench.store.project import FOLDERS, Project

MANIFEST = "artifact.json"
SEVERAL = ("shards", "chats", "candidates", "preferences", "verdicts")  # kinds whose names are plurals

HOW_TO_MAKE = {
    "corpus": "Import one: workbench import SOURCE --name NAME",
    "tokenizer": "Train one: workbench tokenizer --corpus CORPUS",
    "shards": "They are made by workbench pretrain.",
    "chats": "Import some: workbench import-chat FILE --name NAME",
    "candidates": "Have some written: workbench candidates --model MODEL --prompts FILE",
    "preferences": "Import some: workbench import-preferences FILE --name NAME. Or rank answers of your own.",
    "model": "Train one: workbench pretrain --corpus CORPUS --tokenizer TOKENIZER",
    "reward": "Train one: workbench reward --base MODEL --preferences PREFERENCES",
    "export": "Make one: workbench export MODEL",
    "benchmark": "Make one: workbench benchmark MODEL",
    "verdicts": "Make some: workbench assess MODEL --prompts FILE --judge MODEL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What `artifact.json` holds."""

    kind: str
    id: str  # the folder's name: `name`, or `name-2` for its second version, ...
    name: str
    version: int
    identity: str  # hash of the resolved recipe and the inputs' identities
    digest: str  # hash of the files
    stage: str
    run: str | None
    created: float  # seconds since the epoch
    bytes: int
    recipe: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, str]]  # role -> {kind, id, identity, digest}
    report: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)  # of this program and the libraries
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # relative path -> {bytes, sha256}


def identity_of(recipe: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The identity of what `recipe` (its identity fields) makes of `inputs` (role -> identity)."""
    text = json.dumps({"recipe": recipe, "inputs": dict(inputs)}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(project: Project, catalog: Catalog, partial: Path, **spec: Any) -> Artifact:
    """`publish`, and the catalog's row. Raises `WorkbenchError` if the catalog cannot be written: then there is no row,
    but the artifact stands, and sealing it again gives that one."""
    made = publish(project, partial, **spec)
    index(catalog, [made])
    return made


def publish(
    project: Project,
    partial: Path,
    *,
    kind: str,
    name: str,
    identity: str,
    stage: str,
    run: str | None,
    recipe: Mapping[str, Any],
    inputs: Mapping[str, Artifact],
    report: Mapping[str, Any],
    versions: Mapping[str, str],
) -> Artifact:
    """Turn the finished folder `partial` into an artifact: hash, manifest, rename. The catalog is not asked.

    If the same identity is there under this name already, that one is kept and `partial` stays for the
    caller to remove.
    """
    files = {path: _hashed(partial / path) for path in _files(partial)}
    with project.locked():
        versions_there = [other for other in _on_disk(project, kind) if other.name == name]
        if existing := next((other for other in versions_there if other.identity == identity), None):
            return existing
        version = 1 + max((other.version for other in versions_there), default=0)
        artifact_id = name if version == 1 else f"{name}-{version}"
        while (project.folder(kind) / artifact_id).exists():  # another name that looks like our version
            version += 1
            artifact_id = f"{name}-{version}"
        artifact = Artifact(
            kind=kind,
            id=artifact_id,
            name=name,
            version=version,
            identity=identity,
            digest=_digest(files),
            stage=stage,
            run=run,
            created=time.time(),
            bytes=sum(item["bytes"] for item in files.values()),
            recipe=recipe,
            inputs={
                role: {"kind": made.kind, "id": made.id, "identity": made.identity, "digest": made.digest}
                for role, made in inputs.items()
            },
            report=report,
            versions={"workbench": __version__, **versions},
            files=files,
        )
        durable.write_json(partial / MANIFEST, asdict(artifact))
        durable.publish_directory(partial, project.folder(kind) / artifact_id)
    return artifact


def index(catalog: Catalog, artifacts: list[Artifact]) -> None:
    """Put artifacts into the catalog."""
    with catalog.writing() as db:
        for item in artifacts:
            db.table("artifacts").insert(
                {
                    "kind": item.kind, "id": item.id, "name": item.name, "version": item.version,
                    "identity": item.identity, "digest": item.digest, "stage": item.stage, "run": item.run,
                    "created": item.created, "bytes": item.bytes,
                    "recipe": json.dumps(item.recipe), "report": json.dumps(item.report),
                },
                replace=True,
            )  # fmt: skip
            db.table("inputs").insert_all(
                (
                    {
                        "kind": item.kind, "id": item.id, "role": role,
                        "input_kind": made["kind"], "input_id": made["id"], "input_identity": made["identity"],
                    }
                    for role, made in item.inputs.items()
                ),
                replace=True,
            )  # fmt: skip


def read_manifest(folder: Path) -> Artifact:
    """The manifest of an artifact's folder.

    Raises `WorkbenchError` if it is missing or damaged.
    """
    try:
        return Artifact(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise WorkbenchError(
            f"{folder} is not an artifact: it has no {MANIFEST}.", "workbench verify lists them."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise WorkbenchError(
            f"{folder / MANIFEST} is damaged: {error}.", f"Make it again, after removing {folder}."
        ) from None


def folder_of(project: Project, artifact: Artifact) -> Path:
    return project.folder(artifact.kind) / artifact.id


def by_identity(project: Project, catalog: Catalog, kind: str, identity: str, *, prefer: str = "") -> Artifact | None:
    """The artifact that such a recipe and inputs made, if its folder is still there; the one named `prefer` first."""
    rows = catalog.rows(
        "SELECT id FROM artifacts WHERE kind = ? AND identity = ? ORDER BY name != ?, created", (kind, identity, prefer)
    )
    for row in rows:
        folder = project.folder(kind) / row["id"]
        if (folder / MANIFEST).exists():
            return read_manifest(folder)
    return None


def by_identity_on_disk(project: Project, kind: str, identity: str, *, prefer: str = "") -> Artifact | None:
    """As `by_identity`, without the catalog, which may have missed the end of a run. Reads all manifests of a kind."""
    found = [item for item in _on_disk(project, kind) if item.identity == identity]
    return min(found, key=lambda item: (item.name != prefer, item.created), default=None)


def link_files(source: Path, target: Path) -> None:
    """Put an artifact's files into the empty folder `target` without copying, where the file system can."""
    for path in _files(source):
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / path, place)
        except OSError:
            shutil.copy2(source / path, place)


def resolve(project: Project, catalog: Catalog, kind: str, reference: str) -> Artifact:
    """The artifact that a person means: a name is its newest version, `name-N` its N-th.

    Raises `WorkbenchError` naming what there is, or how to make one.
    """
    found = catalog.rows(
        "SELECT id FROM artifacts WHERE kind = ? AND name = ? ORDER BY version DESC LIMIT 1", (kind, reference)
    ) or catalog.rows(
        "SELECT id FROM artifacts WHERE kind = ? AND (id = ? OR name || '-' || version = ?) LIMIT 1",
        (kind, reference, reference),
    )
    if found:
        return read_manifest(project.folder(kind) / found[0]["id"])
    there = sorted({row["name"] for row in catalog.rows("SELECT name FROM artifacts WHERE kind = ?", (kind,))})
    others = catalog.rows("SELECT DISTINCT kind FROM artifacts WHERE ? IN (name, id) ORDER BY kind", (reference,))
    besides = f"; {reference} is of the kind {' and '.join(row['kind'] for row in others)}" if others else ""
    if not there:
        raise WorkbenchError(f"{_there_is_no(kind)} called {reference!r} in this project{besides}.", HOW_TO_MAKE[kind])
    raise WorkbenchError(f"{_there_is_no(kind)} called {reference!r}{besides}.", nearest(reference, there))


def _there_is_no(kind: str) -> str:
    return f"There are no {kind}" if kind.split(" or ")[0] in SEVERAL else f"There is no {kind}"


def is_adapter(recipe: Mapping[str, Any]) -> bool:
    """Whether a model of this recipe is an adapter, which needs its base beside it."""
    return recipe.get("adapter", {}).get("lora_rank") is not None


def resolve_any(project: Project, catalog: Catalog, reference: str, kinds: Sequence[str] = tuple(FOLDERS)) -> Artifact:
    """The artifact that `name` or `kind/name` means, of whichever of `kinds`.

    Raises `WorkbenchError` if none or several are meant.
    """
    kind, slash, name = reference.partition("/")
    if slash and kind in kinds:
        return resolve(project, catalog, kind, name)
    found = []
    for candidate in kinds:
        try:
            found.append(resolve(project, catalog, candidate, reference))
        except WorkbenchError:
            continue
    if len(found) == 1:
        return found[0]
    if found:
        choices = " or ".join(f"{item.kind}/{item.id}" for item in found)
        raise WorkbenchError(f"{reference!r} is the name of {len(found)} artifacts.", f"Say which: {choices}.")
    marks = ", ".join("?" * len(kinds))
    rows = catalog.rows(f"SELECT DISTINCT name FROM artifacts WHERE kind IN ({marks}) ORDER BY 1", tuple(kinds))
    what = _there_is_no("artifact" if len(kinds) == len(FOLDERS) else " or ".join(kinds))
    remedy = nearest(reference, [row["name"] for row in rows]) if rows else HOW_TO_MAKE[kinds[0]]
    raise WorkbenchError(f"{what} called {reference!r}.", remedy)


def verify(project: Project) -> Iterator[tuple[str, Path, list[str]]]:
    """Re-hash every artifact: (kind, folder, what is wrong with it), one at a time."""
    for kind in FOLDERS:
        for folder in _folders(project, kind):
            yield kind, folder, problems(folder)


def problems(folder: Path) -> list[str]:
    """Re-hash one artifact: what is wrong with it, nothing if it is whole. Reads every byte."""
    try:
        manifest = read_manifest(folder)
    except WorkbenchError as error:
        return [error.what]
    found = [] if manifest.id == folder.name else [f"its folder was renamed: it was made as {manifest.id}"]
    for path, expected in manifest.files.items():
        if not (folder / path).is_file():
            found.append(f"{path} is missing")
        elif (folder / path).stat().st_size != expected["bytes"]:
            found.append(f"{path} has {(folder / path).stat().st_size:,} bytes instead of {expected['bytes']:,}")
        elif _hashed(folder / path) != expected:
            found.append(f"{path} has changed since it was made")
    found += [f"{path} was not there when it was made" for path in _files(folder) if path not in manifest.files]
    return found


def on_disk(project: Project) -> Iterator[Artifact]:
    """All artifacts whose manifest can be read, from the files alone."""
    for kind in FOLDERS:
        yield from _on_disk(project, kind)


def _on_disk(project: Project, kind: str) -> Iterator[Artifact]:
    for folder in _folders(project, kind):
        try:
            yield read_manifest(folder)
        except WorkbenchError:
            continue  # `verify` names it


def _folders(project: Project, kind: str) -> list[Path]:
    parent = project.folder(kind)
    if not parent.is_dir():
        return []
    return [folder for folder in sorted(parent.iterdir()) if folder.is_dir() and not folder.name.endswith(".partial")]


def _files(folder: Path) -> list[str]:
    found = []
    for place, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(place, name), folder) for name in names]
    return sorted(path for path in found if path != MANIFEST)


def _hashed(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps({path: item["sha256"] for path, item in files.items()}).encode()).hexdigest()
