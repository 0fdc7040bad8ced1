"""What people said of answers: an append-only file in which every line is on disk before the next pair shows."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from workbench import durable
from workbench.errors import WorkbenchError

Verdict = Literal["left", "right", "tie", "both_bad"]
Kind = Literal["pair", "ranking", "edit", "skip", "flag", "retract"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One line. Which fields count depends on `kind`:

    pair     `left` and `right` as they were shown, `verdict`, `strength` (2: much better, 1: better, 0: neither)
    ranking  `order`: groups of answers, best first; answers of a group are equal
    edit     `left`: the answer that was improved, `text`: what it became
    skip     `left`, `right`, or all of `order`: not to be shown to this rater again
    flag     the prompt is no good; none of its pairs is shown again to anyone
    retract  `of`: the judgement that was taken back
    """

    kind: Kind
    rater: str
    prompt: str
    session: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    time: float = field(default_factory=time.time)  # seconds since the epoch
    left: str = ""
    right: str = ""
    verdict: Verdict | None = None
    strength: int = 0
    order: tuple[tuple[str, ...], ...] = ()
    text: str = ""
    of: str = ""
    seconds: float | None = None  # from shown to judged
    repeat_of: str = ""  # the judgement of the same rater on the same pair, shown again to see whether it holds
    tags: tuple[str, ...] = ()
    note: str = ""

    def line(self) -> bytes:
        """As one line of JSON, without the fields that say nothing."""
        plain = {key: value for key, value in asdict(self).items() if value not in ("", (), None)}
        return (json.dumps(plain, ensure_ascii=False) + "\n").encode()

    @property
    def pair(self) -> frozenset[str]:
        return frozenset((self.left, self.right))

    @property
    def winner(self) -> str | None:
        """The better answer of a pair."""
        return {"left": self.left, "right": self.right}.get(self.verdict or "")

    @property
    def loser(self) -> str | None:
        return {"left": self.right, "right": self.left}.get(self.verdict or "")


_FIELDS = frozenset(item.name for item in fields(Judgement))


def parse(line: bytes) -> Judgement:
    """Raises `ValueError` if the line is no judgement; fields of a newer version are dropped."""
    try:
        plain = {key: value for key, value in json.loads(line).items() if key in _FIELDS}
        plain["order"] = tuple(tuple(group) for group in plain.get("order", ()))
        plain["tags"] = tuple(plain.get("tags", ()))
        return Judgement(**plain)
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


class Book:
    """The judgements of one set of candidates; several sessions may write at once."""

    def __init__(self, path: Path):
        self.path = path
        self.judgements: dict[str, Judgement] = {}  # those that stand, in the order they were made
        self.history: list[Judgement] = []  # every line, those that take one back too
        self._read_bytes = 0
        self.refresh()

    def refresh(self) -> None:
        """Take in what was appended, by this session or others.

        Raises `WorkbenchError` if a line is no judgement.
        """
        for line in durable.whole_lines(self.path, self._read_bytes):
            try:
                judgement = parse(line)
            except ValueError as error:
                what = f"{self.path} is damaged in line {len(self.history) + 1}: {error}."
                raise WorkbenchError(what, "Restore it from a copy, or remove that line.") from None
            self._read_bytes += len(line)
            self.history.append(judgement)
            if judgement.kind == "retract":
                self.judgements.pop(judgement.of, None)
            else:
                self.judgements[judgement.id] = judgement

    def append(self, judgement: Judgement) -> None:
        """Write a judgement; it is on disk when this returns."""
        durable.append_line(self.path, judgement.line())
        self.refresh()

    def undo(self, rater: str, session: str = "") -> Judgement | None:
        """Take back the newest judgement of this rater that stands; which it was, None if there is none."""
        last = next((item for item in reversed(self.judgements.values()) if item.rater == rater), None)
        if last is not None:
            self.append(Judgement(kind="retract", rater=rater, session=session, prompt=last.prompt, of=last.id))
        return last

    def keep(self, rater: str) -> None:
        """Leave out what others judged."""
        self.judgements = {name: item for name, item in self.judgements.items() if item.rater == rater}

    def of(self, rater: str) -> Iterator[Judgement]:
        return (item for item in self.judgements.values() if item.rater == rater)

    def pairs(self) -> Iterator[Judgement]:
        """All comparisons of two answers, with those that rankings imply: k · (k - 1) / 2 of k answers
        (Ouyang et al. 2022)."""
        for item in self.judgements.values():
            if item.kind == "pair":
                yield item
            elif item.kind == "ranking":
                yield from implied(item)


def implied(ranking: Judgement) -> Iterator[Judgement]:
    """The pairs of a ranking; answers of one group tie."""
    for place, group in enumerate(ranking.order):
        for number, answer in enumerate(group):
            rest = [(other, True) for other in group[number + 1 :]]
            rest += [(other, False) for later in ranking.order[place + 1 :] for other in later]
            for other, equal in rest:
                yield Judgement(
                    kind="pair", rater=ranking.rater, prompt=ranking.prompt, session=ranking.session, id=ranking.id,
                    time=ranking.time, left=answer, right=other, verdict="tie" if equal else "left",
                    strength=0 if equal else 1, tags=ranking.tags, note=ranking.note,
                )  # fmt: skip
