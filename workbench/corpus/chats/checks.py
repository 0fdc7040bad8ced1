"""What is wrong with data before a model is trained on it, with the row that shows it.

Engines call `check_conversations` and the like before the first step and end the run on an error; the inspector
shows the same findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from workbench.corpus.chats.pairs import Mark, Pair
from workbench.corpus.chats.tokens import ChatTokenizer, Conversation, Encoded
from workbench.errors import WorkbenchError

SHOWN_CHARACTERS = 160
ENDLESS_SHARE = 0.5  # of rows whose answers never end, from which a model would not learn to stop
UNDOUBLE = "The template writes it, and so does something else: mend the chat template, or take it out of the data."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing, in a sentence, with the first row that shows it and how many do."""

    severity: Literal["error", "warning"]
    what: str
    remedy: str
    source: str = ""  # the row's file and number
    text: str = ""  # the beginning of it, as it is tokenised
    rows: int = 0

    def error(self) -> WorkbenchError:
        where = f" The first: {self.source}: {self.text!r}." if self.text or self.source else ""
        return WorkbenchError(f"{self.what}{where}", self.remedy)


def raise_errors(findings: Iterable[Finding]) -> list[Finding]:
    """The warnings among them. Raises `WorkbenchError` for the first error."""
    warnings = []
    for finding in findings:
        if finding.severity == "error":
            raise finding.error()
        warnings.append(finding)
    return warnings


def check_conversations(
    tokenizer: ChatTokenizer, rows: Sequence[Conversation], encoded: Sequence[Encoded], *, max_length: int
) -> list[Finding]:
    """What is wrong with conversations, errors first. `encoded` are their tokens, uncut."""
    return _check(
        tokenizer, [(row.source, row.messages, item) for row, item in zip(rows, encoded, strict=True)], max_length
    )


def check_answers(
    tokenizer: ChatTokenizer,
    items: Sequence[Pair | Mark],
    encoded: Sequence[tuple[Encoded, ...]],
    *,
    max_length: int,
) -> list[Finding]:
    """What is wrong with pairs or marks, errors first. `encoded` are their answers after the prompts."""
    rows = []
    for item, group in zip(items, encoded, strict=True):
        answers = [item.chosen, item.rejected] if isinstance(item, Pair) else [item.completion]
        rows += [(item.source, [*item.prompt, *answer], row) for answer, row in zip(answers, group, strict=True)]
    return _check(tokenizer, rows, max_length)


def without_end(tokenizer: ChatTokenizer) -> Finding:
    """The finding for a tokenizer that has no token to end a text with."""
    error = tokenizer.no_end()
    return Finding("error", error.what, error.remedy)


def check_tokens(ids_L: np.ndarray, tokenizer: ChatTokenizer) -> str:
    """ "BOS" or "EOS" where one stands twice in a row within a document, else ""."""
    if tokenizer.bos_id is not None and len(ids_L) > 1 and ids_L[0] == ids_L[1] == tokenizer.bos_id:
        return "BOS"
    ends_L = tokenizer.is_end(ids_L)
    return "EOS" if bool((ends_L[1:] & ends_L[:-1]).any()) else ""


def dropped_turns(row: Sequence[Mapping[str, Any]], text: str) -> list[str]:
    """Roles of the messages whose words are not in `text`, however the template spaced them."""
    spaced = ""
    found = []
    for message in row:
        words = str(message.get("content") or "").strip()
        if words and words not in text:
            spaced = spaced or " ".join(text.split())
            if " ".join(words.split()) not in spaced:
                found.append(str(message.get("role")))
    return found


def _check(
    tokenizer: ChatTokenizer, rows: Sequence[tuple[str, Sequence[Mapping[str, Any]], Encoded]], max_length: int
) -> list[Finding]:
    if not tokenizer.end_ids:
        return [without_end(tokenizer)]
    found = _Findings()
    for source, messages, row in rows:
        doubled = check_tokens(row.ids_L, tokenizer)
        if doubled:
            found.add(f"doubled {doubled}", source, row)
        for role in dropped_turns(messages, row.text):
            found.add("system" if role == "system" else "turn", source, row)
        kept_L = row.trained_L[:max_length]
        if not row.trained_L.any():
            found.add("untrained", source, row)
        elif not kept_L.any():
            found.add("cut away", source, row)
        elif not (tokenizer.is_end(row.ids_L) & row.trained_L).any():
            found.add("endless", source, row)
    return found.told(len(rows), max_length)


class _Findings:
    """Counts what was found, by kind, with the first row of each."""

    def __init__(self) -> None:
        self.first: dict[str, tuple[str, Encoded]] = {}
        self.rows: dict[str, int] = {}

    def add(self, kind: str, source: str, row: Encoded) -> None:
        self.first.setdefault(kind, (source, row))
        self.rows[kind] = self.rows.get(kind, 0) + 1

    def told(self, total: int, max_length: int) -> list[Finding]:
        """As findings, errors first."""
        told: list[tuple[str, Literal["error", "warning"], Callable[[int], str], str]] = [
            *((f"doubled {name}", "error", _doubled(name), UNDOUBLE) for name in ("BOS", "EOS")),
            ("system", "error", lambda n: f"The chat template drops the system message of {_rows(n)}.",
             "Use a template that writes it, or leave system messages out of the data."),
            ("untrained", "error" if self.rows.get("untrained", 0) == total else "warning",
             lambda n: f"{_rows(n)} of {total:,} {'has' if n == 1 else 'have'} nothing to train on.",
             "Give rows with answers, or --train-on all."),
            ("cut away", "error" if self.rows.get("cut away", 0) == total else "warning",
             lambda n: f"Of {_rows(n)} nothing that is trained on lies within {max_length:,} tokens: left out.",
             "Raise --max-length."),
            ("endless", "error" if self.rows.get("endless", 0) >= ENDLESS_SHARE * total else "warning",
             lambda n: f"The answers of {_rows(n)} do not end in a token that ends a turn: a model would not learn to "
             "stop.",
             "Put the end token inside the template's {% generation %} block."),
            ("turn", "warning", lambda n: f"The chat template drops words of {_rows(n)}.",
             "Look at the row: workbench inspect."),
        ]  # fmt: skip
        findings = []
        for kind, severity, what, remedy in told:
            if count := self.rows.get(kind):
                source, row = self.first[kind]
                text = row.text[:SHOWN_CHARACTERS]
                findings.append(Finding(severity, what(count), remedy, source, text, count))
        return sorted(findings, key=lambda finding: finding.severity)


def _doubled(name: str) -> Callable[[int], str]:
    return lambda n: f"{name} stands twice in a row in {_rows(n)}."


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
