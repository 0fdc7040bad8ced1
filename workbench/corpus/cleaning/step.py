"""What a cleaning step is: parameters, and an answer for each document.

A `Step` judges one document at a time and knows nothing else, so that any number of processes run it.
A `CorpusStep` compares documents with each other: it makes keys of each, decides once those of the whole
corpus are there, and then answers for each document, too.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict

from workbench.recipes.base import Section

if TYPE_CHECKING:
    import numpy as np

    from workbench.corpus.cleaning.word_splitting import Words

_EMPTY_LINES = re.compile(r"\n{2,}")


class Document:
    """One text on its way through the steps. Never changed: a step that edits answers a new text.

    What several steps need of a text is computed once, by cached properties of this class.
    """

    def __init__(
        self,
        text: str,
        source: str,
        position: int = 0,
        *,
        language: str | None = None,
        licence: str | None = None,
        markup: str = "",
    ):
        self.text = text
        self.source = source  # the file, relative to what was given; with what is in it after a colon
        self.position = position  # place in its source, from 0: a row, a member, a record
        self.language = language  # ISO 639-1 code of a text, or name of a programming language, where known
        self.licence = licence  # as its source says, or SPDX expression; for code, from its header
        self.markup = markup  # "html" while `text` is markup of that kind

    @cached_property
    def words(self) -> Words:
        """The words of the text, see `word_splitting`."""
        from workbench.corpus.cleaning.word_splitting import split_words

        return split_words(self.text)

    @cached_property
    def lines(self) -> list[str]:
        """The text split at line feeds, empty lines too."""
        return self.text.split("\n")

    @cached_property
    def filled_lines(self) -> list[str]:
        """The lines that are not only white space."""
        return [line for line in self.lines if line and not line.isspace()]

    @cached_property
    def paragraphs(self) -> list[str]:
        """The text split at empty lines, without those at its ends."""
        text = self.text.strip()
        return text.split("\n\n") if "\n\n\n" not in text else _EMPTY_LINES.split(text)

    def with_text(self, text: str, markup: str = "") -> Document:
        """The same document with another text."""
        return Document(text, self.source, self.position, language=self.language, licence=self.licence, markup=markup)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A step's answer for one document.

    `value` is what was measured, `limit` what it was compared with, and `parameter` the step's field that holds that
    limit. `spans` are the offending places in the text as the step got it, in characters. A kept document may learn
    its language.
    """

    outcome: Literal["kept", "changed", "rejected"]
    reason: str = ""  # short, the same for all documents alike: what they are counted under
    value: float | None = None
    limit: float | None = None
    parameter: str = ""
    spans: tuple[tuple[int, int], ...] = ()
    text: str | None = None  # of a changed document
    language: str | None = None


KEPT = Verdict("kept")


class _Named(Section):
    """Parameters are pydantic fields with units, bounds and defaults; `version` goes up with what it answers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=(), frozen=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1


class Step(_Named, ABC):
    """Judges documents one by one; picklable, and the same answer for the same document everywhere."""

    @abstractmethod
    def apply(self, document: Document) -> Verdict:
        """The verdict on `document`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a corpus step found of one document that is not simply kept.

    `cluster` is the ordinal of the document that stands for it and its like. `parts` are the places of what is
    to go (paragraphs, in their order).
    """

    kept: bool
    cluster: int
    similarity: float = 1.0  # to that document, estimated; 0 to 1
    parts: tuple[int, ...] = ()


class CorpusStep(_Named, ABC):
    """Judges documents by what the others are.

    Documents are numbered by `ordinal`: part number << 24 | row in the part. The keys of a part lie in a Parquet file
    with the columns `document` (uint64, the ordinal), `length` (uint32, characters) and `keys` (list of uint64),
    the decisions in one with `document`, `kept`, `cluster` (uint64), `similarity` (float32) and `parts` (list of
    uint32); a document without a row there is kept as it is.

    `edits` says whether `apply` may change texts: after a step that only rejects, the next corpus step's keys need no
    pass of their own.
    """

    edits: ClassVar[bool] = True

    @abstractmethod
    def keys(self, document: Document) -> np.ndarray:
        """uint64 [any number]: what this document is compared by."""

    @abstractmethod
    def decide(self, keys: Path, decisions: Path, memory_bytes: int) -> None:
        """Read all `keys/*.parquet`, write `decisions/<same name>` for parts with decisions.

        Takes at most about `memory_bytes`, however many documents there are; spills into `decisions` beyond that.
        The same keys give the same bytes.
        """

    @abstractmethod
    def apply(self, document: Document, decision: Decision | None) -> Verdict:
        """The verdict on `document`, of which `decide` said `decision`."""
