"""What is wrong with data before a model is trained on it, with the row that shows it.

Engines call `check_conversations` and the like before the first step and end the run on an error; the inspector
shows the same findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from workbench.corpus.chats.pairs import Mark, Pair
from workbench.corpus.chats.template import UNDROP
from workbench.corpus.chats.tokens import ChatTokenizer, Conversation, Encoded
from workbench.errors import WorkbenchError
from workbench.wording import agreeing, amount

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
    numbered = enumerate(zip(rows, encoded, strict=True))
    texts = [_Text(number, row.source, row.messages, item) for number, (row, item) in numbered]
    return _check(tokenizer, texts, _Findings("rows"), max_length)


def check_answers(
    tokenizer: ChatTokenizer,
    items: Sequence[Pair | Mark],
    encoded: Sequence[tuple[Encoded, ...]],
    *,
    max_length: int,
) -> list[Finding]:
    """What is wrong with pairs or marks, errors first. `encoded` are their answers after the prompts."""
    texts = []
    for number, (item, group) in enumerate(zip(items, encoded, strict=True)):
        answers = [item.chosen, item.rejected] if isinstance(item, Pair) else [item.completion]
        texts += [
            _Text(number, item.source, [*item.prompt, *answer], row) for answer, row in zip(answers, group, strict=True)
        ]
    pairs = bool(items) and isinstance(items[0], Pair)
    return _check(tokenizer, texts, _Findings("answers", "pairs" if pairs else ""), max_length)


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


class _Text(NamedTuple):
    """What is tokenised at once: a conversation, or one answer of a pair after its prompt."""

    item: int  # the number of the conversation, pair or mark
    source: str
    messages: Sequence[Mapping[str, Any]]
    encoded: Encoded


def _check(tokenizer: ChatTokenizer, texts: Sequence[_Text], found: _Findings, max_length: int) -> list[Finding]:
    if not tokenizer.end_ids:
        return [without_end(tokenizer)]
    for text in texts:
        row = text.encoded
        doubled = check_tokens(row.ids_L, tokenizer)
        if doubled:
            found.add(f"doubled {doubled}", text)
        for role in dropped_turns(text.messages, row.text):
            found.add("system" if role == "system" else "turn", text)
        kept_L = row.trained_L[:max_length]
        if not row.trained_L.any():
            found.add("untrained", text)
        elif not kept_L.any():
            found.add("cut away", text)
        elif not (tokenizer.is_end(row.ids_L) & row.trained_L).any():
            found.add("endless", text)
    return found.told(len(texts), max_length)


class _Findings:
    """Counts what was found, by kind, with the first text of each."""

    def __init__(self, things: str, of: str = ""):
        """`things`: what the texts are called; several may belong to one item, which is called `of`."""
        self.things, self.of = things, of
        self.first: dict[str, _Text] = {}
        self.rows: Counter[str] = Counter()
        self.items: dict[str, set[int]] = {}

    def add(self, kind: str, text: _Text) -> None:
        self.first.setdefault(kind, text)
        self.rows[kind] += 1
        self.items.setdefault(kind, set()).add(text.item)

    def who(self, kind: str, verb: str = "") -> str:
        """ "5 rows have", "304 answers of 152 pairs have"."""
        count = self.rows[kind]
        if not self.of:
            return amount(count, self.things, verb)
        things = f"{amount(count, self.things)} of {amount(len(self.items[kind]), self.of)}"
        return f"{things} {agreeing(count, verb)}".rstrip()

    def what(self, kind: str) -> str:
        """What goes with them, after `who` has said how many they are: "they are", "152 pairs are"."""
        if self.of:
            return amount(len(self.items[kind]), self.of, "are")
        return "it is" if self.rows[kind] == 1 else "they are"

    def told(self, total: int, max_length: int) -> list[Finding]:
        """As findings, errors first."""
        told: list[tuple[str, Literal["error", "warning"], Callable[[str], str], str]] = [
            *((f"doubled {name}", "error", self._doubled(name), UNDOUBLE) for name in ("BOS", "EOS")),
            ("system", "error", lambda kind: f"The chat template drops the system message of {self.who(kind)}.",
             UNDROP),
            ("untrained", "error" if self.rows["untrained"] == total else "warning",
             lambda kind: f"{self.who(kind, 'have')} nothing to train on, of {total:,} {self.things}.",
             "Give rows with answers, or --train-on all."),
            ("cut away", "error" if self.rows["cut away"] == total else "warning",
             lambda kind: f"{self.who(kind, 'have')} nothing to train on within {max_length:,} tokens: "
             f"{self.what(kind)} left out.",
             "Raise --max-length."),
            ("endless", "error" if self.rows["endless"] >= ENDLESS_SHARE * total else "warning",
             lambda kind: f"No end of a turn stands after {self.who(kind)}: a model would not learn to stop.",
             "Put the end token inside the template's {% generation %} block."),
            ("turn", "warning", lambda kind: f"The chat template drops words of {self.who(kind)}.",
             "Look at the row: workbench inspect."),
        ]  # fmt: skip
        findings = []
        for kind, severity, what, remedy in told:
            if count := self.rows[kind]:
                first = self.first[kind]
                text = first.encoded.text[:SHOWN_CHARACTERS]
                findings.append(Finding(severity, what(kind), remedy, first.source, text, count))
        return sorted(findings, key=lambda finding: finding.severity)

    def _doubled(self, name: str) -> Callable[[str], str]:
        return lambda kind: f"{name} stands twice in a row in {self.who(kind)}."
