"""The stage import-chat: rows of any known format to conversations, validated and without exact duplicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.corpus.chats.conversations import ConversationWriter
from workbench.corpus.chats.formats import Chat, detect, read_chats
from workbench.corpus.chats.intake import LONG_CHARACTERS, Intake
from workbench.corpus.chats.messages import Unfit, canonical, check_answered, check_order
from workbench.corpus.chats.rejects import Rejects
from workbench.corpus.chats.rows import Row
from workbench.corpus.duplicates import Duplicates
from workbench.corpus.progress import ProgressReport
from workbench.recipes.chats import ImportChatRecipe


def import_chat(
    recipe: ImportChatRecipe, output: Path, progress: ProgressReport, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Read the recipe's sources into conversations in the folder `output`, answer the report.

    Raises `WorkbenchError` if a source does not exist, its format is unknown, or not one row is left.
    """
    with ConversationWriter(output) as conversations, Rejects(output) as rejects:
        intake = _Conversations(conversations, rejects)
        intake.read(recipe.sources, recipe.format, progress, warn)
        if not conversations.rows:
            raise rejects.nothing_left("conversation", "Each row needs a question and an answer; --format says how.")
    progress.end()
    intake.tell(warn)
    return intake.report() | rejects.report()


class _Conversations(Intake):
    fallback = "chatml"
    keys = "prompt and completion, or messages"

    def __init__(self, conversations: ConversationWriter, rejects: Rejects):
        super().__init__(rejects)
        self.conversations = conversations
        self.duplicates = Duplicates()
        self.turns = self.with_system = self.with_tools = self.characters = 0

    @property
    def kept(self) -> int:
        return self.conversations.rows

    def detect(self, rows: Sequence[Any]) -> str | None:
        return detect(rows)

    def take(self, row: Row, form: str) -> None:
        found = read_chats(row.value, form)
        for chat in found:
            try:
                self._add(chat, row.source, form)
            except Unfit as why:
                if len(found) == 1:
                    raise
                self.rejects.add(row.source, str(why), chat.messages)

    def _add(self, chat: Chat, source: str, form: str) -> None:
        turns = chat.messages
        (check_order if form == "prompts" else check_answered)(turns)
        if not self.duplicates.is_new(canonical([turns, chat.tools])):
            raise Unfit("duplicate")
        self.conversations.add(turns, chat.tools, source)
        self.formats[form] += 1
        self.turns += len(turns)
        self.with_system += turns[0]["role"] == "system"
        self.with_tools += bool(chat.tools) or any("tool_calls" in turn for turn in turns)
        self.characters += sum(len(turn["content"]) for turn in turns)
        self.long += any(turn["role"] == "assistant" and len(turn["content"]) > LONG_CHARACTERS for turn in turns)

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = {
            "rows": self.conversations.rows,
            "turns": self.turns,
            "characters": self.characters,
            "with_system": self.with_system,
            "with_tools": self.with_tools,
            "long_answers": self.long,
            "repaired": self.repaired,
            "format": ", ".join(form for form, _ in self.formats.most_common()),
        }
        if set(self.formats) == {"prompts"}:
            report["prompts"] = True
        return report
