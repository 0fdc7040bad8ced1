"""The stage import-chat: rows of any known format to conversations, validated and without exact duplicates."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench.corpus.chats.conversations import ConversationWriter
from workbench.corpus.chats.formats import Chat, detect, read_chat
from workbench.corpus.chats.messages import Unfit, canonical, check_answered, check_order
from workbench.corpus.chats.rejects import Rejects
from workbench.corpus.chats.rows import BadRow, Row, RowFile, find_rows, read_rows
from workbench.corpus.duplicates import Duplicates
from workbench.corpus.progress import ProgressReport
from workbench.corpus.reading import UnusableFile
from workbench.errors import WorkbenchError
from workbench.recipes.chats import ImportChatRecipe

LOOKED_AT = 50  # rows that say which format it is
LONG_CHARACTERS = 32_768  # about 8,000 tokens: most trainings cut such an answer


def import_chat(
    recipe: ImportChatRecipe, output: Path, progress: ProgressReport, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Read the recipe's sources into conversations in the folder `output`, answer the report.

    Raises `WorkbenchError` if a source does not exist, its format is unknown, or not one row is left.
    """
    found = find_rows(recipe.sources)
    for line in found.left_out:
        warn(f"{line}.")
    progress.begin("importing", total=sum(file.size for file in found.files) or None, unit="bytes")
    with ConversationWriter(output) as conversations, Rejects(output) as rejects:
        intake = _Intake(conversations, rejects)
        for file in found.files:
            try:
                intake.read(file, recipe.format, progress)
            except UnusableFile as problem:
                rejects.add(file.name, problem.reason, problem.what)
                if len(found.files) == 1 and not conversations.rows:
                    raise WorkbenchError(problem.what, problem.remedy) from None
                warn(f"{problem.what} It was left out.")
        if not conversations.rows:
            raise rejects.nothing_left("conversation", "Each row needs a question and an answer; --format says how.")
    progress.end()
    rejects.tell(warn)
    if intake.long:
        many = "1 answer has" if intake.long == 1 else f"{intake.long:,} answers have"
        warn(f"{many} over {LONG_CHARACTERS:,} characters: training cuts at --max-length.")
    return intake.report() | rejects.report()


class _Intake:
    """Decides what becomes a conversation, and counts."""

    def __init__(self, conversations: ConversationWriter, rejects: Rejects):
        self.conversations, self.rejects = conversations, rejects
        self.duplicates = Duplicates()
        self.formats: Counter[str] = Counter()
        self.turns = self.with_system = self.with_tools = self.characters = self.long = 0

    def read(self, file: RowFile, form: str, progress: ProgressReport) -> None:
        rows: Iterator[Row | BadRow] = read_rows(file, progress.advance)
        if form == "auto":
            first = list(itertools.islice(rows, LOOKED_AT))
            values = [row.value for row in first if isinstance(row, Row)]
            detected = detect(values)
            if detected is None and values:
                raise unknown_format(file, values, "prompt and completion, or messages")
            form = detected or "chatml"
            rows = itertools.chain(first, rows)
        for row in rows:
            if isinstance(row, BadRow):
                self.rejects.add(row.source, row.reason, row.excerpt)
                continue
            try:
                self._add(read_chat(row.value, form), row.source, form)
            except Unfit as why:
                self.rejects.add(row.source, str(why), row.value)

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
            "format": ", ".join(form for form, _ in self.formats.most_common()),
        }
        if set(self.formats) == {"prompts"}:
            report["prompts"] = True
        return report


def unknown_format(file: RowFile, rows: Sequence[Any], known: str) -> UnusableFile:
    """The error for a file whose rows are written in no known way; `known` are keys that would do."""
    keys = next((", ".join(map(repr, list(row)[:8])) for row in rows if isinstance(row, dict)), "")
    there = f"the first has {keys}" if keys else "they are not objects"
    return UnusableFile(
        "unknown format",
        f"The rows of {file.name} are in no format that is known: {there}.",
        f"Say which with --format, or rename the keys to {known}.",
    )
