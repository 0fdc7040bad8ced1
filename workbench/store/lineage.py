"""Where an artifact came from, back to the raw text, and what was made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.store.artifacts import Artifact, folder_of, read_manifest
from workbench.store.catalog import Catalog
from workbench.store.project import Project


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A node of the tree: `artifact` is None where its folder is gone; then `id` and `kind` still name it."""

    role: str  # what it was to its child; "" at the root
    kind: str
    id: str
    identity: str
    artifact: Artifact | None
    inputs: tuple[Ancestor, ...]


def ancestors(project: Project, catalog: Catalog, artifact: Artifact, role: str = "") -> Ancestor:
    """The tree of inputs above `artifact`."""
    inputs = []
    for name, made in artifact.inputs.items():
        folder = project.folder(made["kind"]) / made["id"]
        parent = read_manifest(folder) if (folder / "artifact.json").exists() else None
        if parent is not None and parent.identity == made["identity"]:
            inputs.append(ancestors(project, catalog, parent, name))
        else:
            inputs.append(Ancestor(name, made["kind"], made["id"], made["identity"], None, ()))
    return Ancestor(role, artifact.kind, artifact.id, artifact.identity, artifact, tuple(inputs))


def descendants(catalog: Catalog, artifact: Artifact) -> list[tuple[str, str]]:
    """(kind, id) of all that was made from it, nearest first."""
    found: list[tuple[str, str]] = []
    waiting = [artifact.identity]
    while waiting:
        rows = catalog.rows(
            "SELECT i.kind, i.id, a.identity FROM inputs i JOIN artifacts a ON a.kind = i.kind AND a.id = i.id "
            "WHERE i.input_identity = ? ORDER BY a.created",
            (waiting.pop(0),),
        )
        for row in rows:
            if (row["kind"], row["id"]) not in found:
                found.append((row["kind"], row["id"]))
                waiting.append(row["identity"])
    return found


def as_dict(project: Project, node: Ancestor) -> dict[str, Any]:
    """The tree as plain data, for `--json`."""
    plain: dict[str, Any] = {"role": node.role, "kind": node.kind, "id": node.id, "identity": node.identity}
    if node.artifact is not None:
        made = node.artifact
        plain |= {
            "name": made.name,
            "version": made.version,
            "path": str(folder_of(project, made)),
            "stage": made.stage,
            "run": made.run,
            "created": made.created,
            "bytes": made.bytes,
            "digest": made.digest,
            "versions": dict(made.versions),
            "recipe": dict(made.recipe),
        }
    else:
        plain["missing"] = True
    return plain | {"inputs": [as_dict(project, parent) for parent in node.inputs]}
