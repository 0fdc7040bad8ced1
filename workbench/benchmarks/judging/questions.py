"""What the models are asked: conversations up to their last question, and questions of several turns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.contract import Message
from workbench.corpus.chats.formats import read_chats
from workbench.corpus.chats.messages import Unfit
from workbench.corpus.chats.rows import BadRow, find_rows, read_rows
from workbench.errors import WorkbenchError
from workbench.preferences.candidates import FILE, Candidates
from workbench.preferences.writer import prompt_id, questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`messages` end in the first question; each of `more` is asked after the answer to the one before."""

    id: str
    messages: Sequence[Message]
    more: tuple[str, ...] = ()
    category: str = ""
    references: tuple[str, ...] = ()  # good answers, a turn each; "" where there is none

    @property
    def turns(self) -> int:
        return 1 + len(self.more)

    def talk(self, answers: Sequence[str]) -> list[Message]:
        """The conversation up to the question that comes after `answers`."""
        found: list[Message] = [dict(message) for message in self.messages]
        for answer, question in zip(answers, self.more, strict=False):
            found += [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
        return found


def questions_of(folder: Path) -> list[Question]:
    """Those of an artifact's folder: conversations, or candidates.

    Raises `WorkbenchError` if there are none.
    """
    if (folder / FILE).is_file():
        found = [Question(id=item.id, messages=item.messages) for item in Candidates(folder / FILE).prompts.values()]
    else:
        found = [
            Question(id=prompt_id(number, messages), messages=messages)
            for number, messages in enumerate(questions(folder))
        ]
    return _some(found, folder.name)


def read_questions(path: str) -> tuple[list[Question], list[str]]:
    """The questions of a file, and what was left out of it, as "row 3: no question".

    MT-Bench's rows are {"question_id", "category", "turns": [text, ...], "reference": [text, ...]} (Zheng et al. 2023).
    Raises `WorkbenchError` if it holds none.
    """
    found: dict[str, Question] = {}
    left_out = []
    for file in find_rows([path]).files:
        for number, row in enumerate(read_rows(file, lambda _: None)):
            try:
                if isinstance(row, BadRow):
                    raise Unfit(row.reason)
                question = _question(row.value, number)
            except Unfit as unfit:
                left_out.append(f"{row.source}: {unfit}")
                continue
            if question.id in found:
                left_out.append(f"{row.source}: the id {question.id} stands there already")
                continue
            found[question.id] = question
    if not found and left_out:
        raise WorkbenchError(
            f"{path} holds no question: {left_out[0]}.", 'A row is {"prompt": TEXT} or {"turns": [TEXT, TEXT]}.'
        )
    return _some(list(found.values()), path), left_out


def _some(found: list[Question], where: str) -> list[Question]:
    if not found:
        raise WorkbenchError(
            f"There is no question in {where}.", 'A row is {"prompt": TEXT} or {"turns": [TEXT, TEXT]}.'
        )
    return found


def _question(row: Any, number: int) -> Question:
    """Raises `Unfit`."""
    if not isinstance(row, Mapping) or row.get("turns") is None:
        messages: list[Message] = [dict(message) for message in read_chats(row, "prompts")[0].messages]
        more: tuple[str, ...] = ()
    else:
        first, *rest = _texts(row["turns"])
        messages, more = [{"role": "user", "content": first}], tuple(rest)
    named = row if isinstance(row, Mapping) else {}
    given = next((named[key] for key in ("question_id", "id") if named.get(key) is not None), None)
    reference = named.get("reference") or ()
    references = [reference] if isinstance(reference, str) else reference
    return Question(
        id=prompt_id(number, [*messages, *({"role": "user", "content": text} for text in more)])
        if given is None
        else str(given),
        messages=messages,
        more=more,
        category=str(named.get("category") or ""),
        references=tuple(str(text or "") for text in references),
    )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str) and value.lstrip().startswith("["):  # a list in a cell of a csv
        try:
            value = json.loads(value)
        except ValueError:
            raise Unfit("turns is no list of texts") from None
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, Sequence) or not listed or not all(isinstance(t, str) and t.strip() for t in listed):
        raise Unfit("turns is no list of texts")
    return list(listed)
