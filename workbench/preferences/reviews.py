"""A person's yes or no to each row of a set of conversations, and the set of those that were accepted.

The answers stand beside the artifact, which does not change, in a file that is appended to and flushed to the disk at
each; the newest about a row counts.
"""

from __future__ import annotations

import json
import os
import shutil
import time

from workbench import durable
from workbench.errors import WorkbenchError
from workbench.store import artifacts, judgements
from workbench.store.artifacts import Artifact
from workbench.store.catalog import Catalog
from workbench.store.project import Project

FILE = "reviews.jsonl"
STAGE = "accept"


class Reviews:
    """The answers on the conversations with this identity."""

    def __init__(self, project: Project, identity: str):
        """Raises `WorkbenchError` if the file is damaged before its last line."""
        self.path = judgements.file_of(project, identity).with_name(FILE)
        self.accepted: dict[int, bool] = {}  # row -> yes or no
        self._said: list[int] = []  # rows in the order in which they were answered
        self._read()

    def say(self, row: int, accepted: bool | None) -> None:
        """Yes, no, or (None) no answer after all; it is on the disk when this returns."""
        line = json.dumps({"row": row, "accepted": accepted, "time": time.time()}) + "\n"
        durable.append_line(self.path, line.encode())
        self._take(row, accepted)

    def undo(self) -> int | None:
        """Take the newest answer back; the row that it was about, None if there is none."""
        if not self._said:
            return None
        row = self._said[-1]
        self.say(row, None)
        return row

    @property
    def can_undo(self) -> bool:
        return bool(self._said)

    def status(self, row: int) -> str:
        """ "accepted", "rejected" or "new"."""
        said = self.accepted.get(row)
        return "new" if said is None else "accepted" if said else "rejected"

    def _take(self, row: int, accepted: bool | None) -> None:
        if row in self._said:
            self._said.remove(row)
        if accepted is None:
            self.accepted.pop(row, None)
        else:
            self.accepted[row] = accepted
            self._said.append(row)

    def _read(self) -> None:
        for number, line in enumerate(durable.whole_lines(self.path), 1):
            try:
                said = json.loads(line)
                self._take(int(said["row"]), said["accepted"])
            except (ValueError, KeyError, TypeError):
                raise WorkbenchError(f"{self.path} is damaged in line {number}.", "Remove that line.") from None


def accept(project: Project, catalog: Catalog, reviewed: Artifact, *, name: str) -> Artifact:
    """The accepted rows of `reviewed` as conversations called `name`.

    Raises `WorkbenchError` if none was accepted.
    """
    from workbench.corpus.chats.conversations import ConversationWriter, read_conversations

    accepted = Reviews(project, reviewed.identity).accepted
    rows = sorted(row for row, yes in accepted.items() if yes)
    if not rows:
        raise WorkbenchError(f"No row of {reviewed.id} was accepted yet.", "y accepts the row under the cursor.")
    chosen = set(rows)
    partial = durable.fresh_directory(project.folder("chats") / f"{name}-{os.getpid()}.partial")
    turns = 0
    with ConversationWriter(partial) as writer:
        for number, row in enumerate(read_conversations(artifacts.folder_of(project, reviewed))):
            if number in chosen:
                tools = list(row.tools) if row.tools else None
                writer.add([dict(message) for message in row.messages], tools, row.source)
                turns += len(row.messages)
    recipe = {"stage": STAGE, "chats": reviewed.id, "rows": rows}
    made = artifacts.seal(
        project,
        catalog,
        partial,
        kind="chats",
        name=name,
        identity=artifacts.identity_of({"stage": STAGE, "rows": rows}, {"chats": reviewed.identity}),
        stage=STAGE,
        run=None,
        recipe=recipe,
        inputs={"chats": reviewed},
        report={"rows": writer.rows, "turns": turns, "format": "accepted by a person",
                "rejected": sum(not yes for yes in accepted.values())},
        versions={},
    )  # fmt: skip
    shutil.rmtree(partial, ignore_errors=True)  # where the same was made before
    return made
