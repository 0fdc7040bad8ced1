"""Answers that wait to be ranked: one line a prompt, appended while they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench import durable
from workbench.errors import WorkbenchError

FILE = "candidates.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, and how it came about."""

    id: str  # unique within its set
    model: str  # name of the model or export
    kind: str  # "model" or "export"
    temperature: float
    seed: int
    text: str
    finish: str  # "stop", or "length" where it was cut off


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation that ends in a question, with its answers."""

    id: str
    messages: Sequence[Mapping[str, str]]
    answers: Sequence[Answer]

    def answer(self, answer_id: str) -> Answer:
        return next(answer for answer in self.answers if answer.id == answer_id)

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def parse(line: bytes) -> Prompt:
    """Raises `ValueError` if the line is no prompt with answers."""
    try:
        plain: dict[str, Any] = json.loads(line)
        answers = tuple(Answer(**answer) for answer in plain.pop("answers"))
        return Prompt(**plain, answers=answers)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(str(error)) from error


class Candidates:
    """The prompts of a file that may still be growing, by id, in their order."""

    def __init__(self, path: Path):
        self.path = path
        self.prompts: dict[str, Prompt] = {}
        self._read_bytes = 0
        self.refresh()

    def refresh(self) -> list[Prompt]:
        """Take in what was appended; the prompts that are new.

        Raises `WorkbenchError` if a line is no prompt with answers.
        """
        new = []
        for line in durable.whole_lines(self.path, self._read_bytes):
            try:
                prompt = parse(line)
            except ValueError as error:
                what = f"{self.path} is damaged in line {len(self.prompts) + 1}: {error}."
                raise WorkbenchError(what, "Have the answers written again.") from None
            self._read_bytes += len(line)
            self.prompts[prompt.id] = prompt
            new.append(prompt)
        return new
