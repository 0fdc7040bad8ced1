"""What is kept of a chat: a question with two models' answers for the Arena, and a good answer as a row for SFT.

Artifacts do not change, so each adds a version that goes on from the one before: all its rows and one more. Judgements
are about prompts by their ids, which stay: all versions share one file of them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.contract import Message
from workbench.errors import WorkbenchError
from workbench.preferences.candidates import FILE, Answer, Candidates, Prompt
from workbench.preferences.writer import prompt_id
from workbench.store import artifacts, judgements
from workbench.store.artifacts import Artifact
from workbench.store.catalog import Catalog
from workbench.store.project import Project

STAGE = "from-chat"
ARENA_SET, SFT_SET = "chat", "chat-answers"


def keep_for_arena(
    project: Project, catalog: Catalog, messages: Sequence[Message], answers: Sequence[Answer]
) -> Artifact:
    """The set `chat` of candidates with one prompt more; the answers' ids are given here."""
    with _adding(project):
        before = _newest(project, catalog, "candidates", ARENA_SET)
        prompts = list(_prompts(project, before))
        number = prompt_id(len(prompts), messages)
        named = [
            Answer(id=f"{number}-{place}", model=item.model, kind=item.kind, temperature=item.temperature,
                   seed=item.seed, text=item.text, finish=item.finish)
            for place, item in enumerate(answers, 1)
        ]  # fmt: skip
        prompts.append(Prompt(id=number, messages=[dict(message) for message in messages], answers=named))

        def fill(folder: Path) -> dict[str, Any]:
            (folder / FILE).write_text("".join(prompt.line() for prompt in prompts), encoding="utf-8")
            return {
                "prompts": len(prompts),
                "answers": sum(len(prompt.answers) for prompt in prompts),
                "pairs": sum(len(prompt.answers) * (len(prompt.answers) - 1) // 2 for prompt in prompts),
            }

        return _made(project, catalog, "candidates", ARENA_SET, before, prompts[-1].line(), fill)


def keep_for_sft(project: Project, catalog: Catalog, messages: Sequence[Message]) -> Artifact:
    """The set `chat-answers` of conversations with one more, which ends in the answer to learn.

    Raises `WorkbenchError` if it does not.
    """
    from workbench.corpus.chats.conversations import ConversationWriter, read_conversations

    if not messages or messages[-1]["role"] != "assistant":
        raise WorkbenchError("The conversation does not end in an answer.", "Ask something first.")
    with _adding(project):
        before = _newest(project, catalog, "chats", SFT_SET)

        def fill(folder: Path) -> dict[str, Any]:
            turns = 0
            with ConversationWriter(folder) as writer:
                for row in read_conversations(artifacts.folder_of(project, before)) if before else ():
                    tools = list(row.tools) if row.tools else None
                    writer.add([dict(message) for message in row.messages], tools, row.source)
                    turns += len(row.messages)
                writer.add([dict(message) for message in messages], None, f"{SFT_SET}:{writer.rows + 1}")
            return {"rows": writer.rows, "turns": turns + len(messages), "format": "from a chat"}

        return _made(project, catalog, "chats", SFT_SET, before, repr(list(messages)), fill)


@contextmanager
def _adding(project: Project) -> Iterator[None]:
    """One at a time, of all sessions."""
    folder = project.root / judgements.FOLDER
    folder.mkdir(exist_ok=True)
    with open(folder / ".from-chat", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _newest(project: Project, catalog: Catalog, kind: str, name: str) -> Artifact | None:
    rows = catalog.rows(
        "SELECT id FROM artifacts WHERE kind = ? AND name = ? ORDER BY version DESC LIMIT 1", (kind, name)
    )
    return artifacts.read_manifest(project.folder(kind) / rows[0]["id"]) if rows else None


def _prompts(project: Project, before: Artifact | None) -> Iterator[Prompt]:
    if before is not None:
        yield from Candidates(artifacts.folder_of(project, before) / FILE).prompts.values()


def _made(
    project: Project, catalog: Catalog, kind: str, name: str, before: Artifact | None, added: str, fill: Any
) -> Artifact:
    """The next version. Its judgements lie where those of the version before do."""
    continues = before.identity if before else ""
    recipe = {"stage": STAGE, "continues": continues, "added": added}
    identity = artifacts.identity_of(recipe, {})
    if before is not None and kind == "candidates":
        _share_judgements(project, before.identity, identity)
    partial = durable.fresh_directory(project.folder(kind) / f"{name}-{os.getpid()}.partial")
    try:
        report = fill(partial) | {"continues": continues}
        return artifacts.seal(
            project, catalog, partial, kind=kind, name=name, identity=identity, stage=STAGE, run=None,
            recipe={"stage": STAGE}, inputs={}, report=report, versions={},
        )  # fmt: skip
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _share_judgements(project: Project, before: str, after: str) -> None:
    """One folder under both identities, before the new one can be judged."""
    old, new = (judgements.file_of(project, identity).parent for identity in (before, after))
    old.mkdir(parents=True, exist_ok=True)
    if not new.exists():
        new.symlink_to(old.resolve().name, target_is_directory=True)
        durable.fsync_directory(new.parent)
