"""Whom one can talk to: the exports and models of a project, and files elsewhere. No Textual here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench import registry
from workbench.errors import WorkbenchError
from workbench.recipes.base import nearest
from workbench.store.project import Project
from workbench.tui import model_tree
from workbench.tui.live import ArtifactRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """A model that can be opened."""

    id: str  # "export/base-q8", or a path
    name: str
    engine: str
    path: Path
    about: str  # what is known of it, in a few words
    kind: str = "model"  # or "export"

    def with_engine(self, name: str) -> ChatModel:
        """The same model, opened by the engine `name`.

        Raises `WorkbenchError` if that does not open it here.
        """
        return replace(self, engine=registry.opener(self.path, name))


def engines_of(model: ChatModel) -> list[tuple[str, str, str | None]]:
    """(engine, on what it computes, why it cannot open the model here, or None) of those that open such models."""
    found: list[tuple[str, str, str | None]] = []
    for name in registry.openers(model.path):
        if name == "pytorch":  # always installed, and asking it would load PyTorch into this process
            found.append((name, "", None))
            continue
        able = registry.engine(name).capabilities()
        why_not = None if able.available else f"{able.reason} {able.install}".strip()
        found.append((name, ", ".join(able.devices), why_not))
    return found


def chat_models(project: Project, artifacts: Sequence[ArtifactRow]) -> list[ChatModel]:
    """Exports, which are quicker to open and to answer, before models; the newest first."""
    found = [
        ChatModel(
            id=f"{item.kind}/{item.id}",
            name=item.id,
            engine=registry.opener(path),
            path=path,
            about=f"{item.kind}, {model_tree.gist(item)}",
            kind=item.kind,
        )
        for item in reversed(artifacts)
        if item.kind in registry.ANSWERING
        for path in [project.folder(item.kind) / item.id]
    ]
    return sorted(found, key=lambda model: model.kind != "export")


def find(project: Project, artifacts: Sequence[ArtifactRow], wanted: str) -> ChatModel:
    """The model that a person names: an id, a name (its newest version), or the path of a file or folder; followed by
    =ENGINE, to be opened with that.

    Raises `WorkbenchError` if there is none, or the engine does not open it.
    """
    name, equals, engine = wanted.rpartition("=")
    if equals and engine in registry.names():
        return find(project, artifacts, name).with_engine(engine)
    known = chat_models(project, artifacts)
    for model in known:
        if wanted in (model.id, model.name):
            return model
    path = Path(wanted).expanduser()
    if path.is_file() or path.suffix == ".gguf":
        return ChatModel(
            id=str(path), name=path.stem, engine=registry.opener(path), path=path, about="a GGUF file", kind="export"
        )
    if (path / "config.json").is_file():
        return ChatModel(
            id=str(path), name=path.name, engine=registry.opener(path), path=path, about="a Hugging Face folder"
        )
    remedy = nearest(wanted, [model.name for model in known]) if known else "Train one and export it first."
    raise WorkbenchError(f"There is no model or export called {wanted!r}.", remedy)
