"""Conversations on disk: `conversations.parquet`, with the messages and the tools as JSON text.

Where a person is still to say which rows are good, there is a column `status`: "new", "accepted" or "rejected".
Rejected rows are not read for training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from workbench.corpus.chats.messages import canonical
from workbench.corpus.chats.table import TableWriter, read_table
from workbench.corpus.chats.tokens import Conversation
from workbench.errors import WorkbenchError

FILE = "conversations.parquet"
SCHEMA = pa.schema([("messages", pa.string()), ("tools", pa.string()), ("source", pa.string())])
REVIEWED = SCHEMA.append(pa.field("status", pa.string()))
NEW, REJECTED = "new", "rejected"
REMEDY = "Import the conversations again: workbench import-chat SOURCE."


class ConversationWriter:
    """Writes conversations into `folder`; a context manager. `reviewed`: they wait for a person's yes or no."""

    def __init__(self, folder: Path, *, reviewed: bool = False):
        self._reviewed = reviewed
        self._table = TableWriter(folder / FILE, REVIEWED if reviewed else SCHEMA)

    @property
    def rows(self) -> int:
        return self._table.rows

    def add(self, messages: list[dict[str, Any]], tools: list[Any] | None, source: str) -> None:
        listed = canonical(tools) if tools else None
        status = (NEW,) if self._reviewed else ()
        self._table.add(orjson.dumps(messages).decode(), listed, source, *status)

    def __enter__(self) -> ConversationWriter:
        self._table.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._table.__exit__(*details)


def read_conversations(folder: Path) -> Iterator[Conversation]:
    """The conversations in folder `folder` of kind chats, in order, without rejected ones.

    Raises `WorkbenchError` if there are none, or the file cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        raise WorkbenchError(f"{folder} holds no conversations.", REMEDY)
    for row in read_table(path, REMEDY):
        if row.get("status") == REJECTED:
            continue
        listed = orjson.loads(row["tools"]) if row["tools"] else None
        yield Conversation(orjson.loads(row["messages"]), listed, row["source"])
